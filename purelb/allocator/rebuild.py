# SPDX-License-Identifier: Apache-2.0
"""How a term begins: groups accepted, what others have reserved, what is published learnt. No address is given before it ended.

The Services come from a list that the API server answered after the term began, read from its quorum: a cache filled before may lack
the former leader's last writes, and an address handed out twice would follow from that. Nothing is written here; all that differs is
found by the decisions that follow: first of the Services that wait for an address, oldest first, then of those that have theirs.
"""

import logging
from collections.abc import Sequence
from heapq import merge
from typing import Final

from purelb.allocator import conflicts, lending, reservations
from purelb.allocator.configuring import log_standing, reading_groups
from purelb.allocator.deadlines import AUDIT_EVERY, arm
from purelb.allocator.hearing import node_changed
from purelb.allocator.keys import AgentsDue, ServiceKey, StatusDue
from purelb.allocator.learning import blame, learn, learn_leaving
from purelb.allocator.observed import age
from purelb.allocator.state import Hands, State
from purelb.api import leases
from purelb.api.pieces import LOOKS, Pieces
from purelb.kube.clock import Clock
from purelb.kube.model import Service
from purelb.kube.queue import INITIAL, LIVE

log: Final = logging.getLogger(__name__)


async def rebuild(state: State, hands: Hands, clock: Clock) -> None:
    """Fill an empty state from the stores, and enqueue every Service. Gives the loop a turn every few milliseconds."""
    began, pace = clock.now(), hands.pace()
    state.groups = await pace.through(reading_groups(state))
    await pace.through(
        state.ledger.configuring(
            state.groups.layouts,
            state.groups.atlas,
            reuse_delays=state.groups.reuse_delays,
            elsewhere=state.groups.elsewhere,
        )
    )
    for name in _nodes(state):
        await pace.through(node_changed(state, hands, name, clock.now()))
    services = await pace.through(_oldest_first(state.stores.services.values()))
    ownership, learnt = state.config.ownership, 0
    for service in services:
        key = ServiceKey(service.metadata.namespace, service.metadata.name)
        given = ownership.given(service)
        if given:
            if ownership.owns(service):
                for conflict in learn(service, ledger=state.ledger, groups=state.groups, rules=state.config.rules):
                    conflicts.found(state, hands, conflict, clock.now())
            else:
                learn_leaving(service, ledger=state.ledger, groups=state.groups, rules=state.config.rules)
            learnt += key in state.ledger.records
        reservations.of_service(state.ledger, key, service, ours=given)
        await pace.rest()
    for address in state.ledger.index.disputed():
        blame(state.ledger, address, state.service)
        await pace.rest()
    await pace.through(lending.configure(state, hands, clock.now()))
    for service in services:
        key = ServiceKey(service.metadata.namespace, service.metadata.name)
        waits = key not in state.ledger.records and ownership.owns(
            service
        )  # somebody waits for it; the others are served
        hands.soon(key, priority=LIVE if waits else INITIAL)
        await pace.rest()
    for place, standing in state.groups.standings.items():
        log_standing(standing)
        hands.soon(StatusDue(*place), priority=INITIAL)
    state.agents_due_at = clock.now()
    hands.soon(AgentsDue(), priority=INITIAL)
    state.rebuild_took = clock.now() - began
    state.audit_at = clock.now() + AUDIT_EVERY
    arm(state, hands, clock.now())
    log.info(
        "the ledger is rebuilt",
        extra={"code": "ledgerRebuilt", "services": len(services), "learnt": learnt, "took": state.rebuild_took},
    )


def _oldest_first(services: Sequence[Service]) -> Pieces[list[Service]]:
    """Sorted by age, some at a time: ten thousand at once would hold the loop for too long."""
    runs: list[list[Service]] = []
    for at in range(0, len(services), LOOKS):
        runs.append(sorted(services[at : at + LOOKS], key=age))
        yield
    found: list[Service] = []
    for number, service in enumerate(merge(*runs, key=age)):
        if not number % LOOKS:
            yield
        found.append(service)
    return found


def _nodes(state: State) -> list[str]:
    """Every node that a Node, a report or a lease is about."""
    stores = state.stores
    named = [*stores.nodes.keys(), *(report.metadata.name for report in stores.reports.values())]
    leased = (leases.node_of_lease(lease.metadata.name) for lease in stores.leases.values())
    return sorted({*named, *(name for name in leased if name is not None)})
