# SPDX-License-Identifier: Apache-2.0
"""When the status of a ServiceGroup or an LBNodeAgent is written, and what becomes of the write.

Only if it says something else; one write per group and second, the first at once; agents together, at most every five seconds, and
two seconds after the first news, because the nodes tell one after the other what they made of an edit. Allocation waits for none of it:
an object without a status subresource (404) is tried again every ten minutes and told of once.
"""

import logging
from typing import Any, Final, assert_never

from purelb.allocator import agentstatus, groupstatus, metrics
from purelb.allocator.flights import Flight, Purpose
from purelb.allocator.keys import AgentsDue, StatusDue
from purelb.allocator.occasions import occasion
from purelb.allocator.ready import ready_of
from purelb.allocator.state import PRIORITY_FOLD, Hands, State, Statusless
from purelb.api import reasons
from purelb.api.kinds import LB_NODE_AGENTS, SERVICE_GROUPS
from purelb.kube.model import ObjectMeta, ObjectReference
from purelb.kube.resources import Resource
from purelb.kube.writer import (
    Cancelled,
    Conflicted,
    Exists,
    Failed,
    Fenced,
    Missing,
    Refused,
    Superseded,
    WriteResult,
    Written,
)

log: Final = logging.getLogger(__name__)

GROUP_APART: Final = 1.0
AGENTS_APART: Final = 5.0
AGENTS_SETTLE: Final = 2.0
WITHOUT_STATUS: Final = 600.0
GONE_SHOWS_AFTER: Final = 2.0
AFTER_CONFLICT: Final = 1.0
AFTER_FAILURE: Final = 60.0


def group_due(state: State, hands: Hands, due: StatusDue, now: float) -> None:
    """Write the status of a group if it says something else, at most once a second."""
    place = (due.namespace, due.group)
    standing = state.groups.standings.get(place)
    stored = state.stores.groups.get(f"{due.namespace}/{due.group}")
    if standing is None or stored is None:
        state.group_written_at.pop(place, None)
        state.statusless.pop((SERVICE_GROUPS.kind, *place), None)
        return
    wanted = groupstatus.desired(
        standing,
        groups=state.groups,
        ledger=state.ledger,
        namespaces=state.stores.namespaces.keys(),
        loans=state.loans,
    )
    if not groupstatus.differs(stored, wanted):
        return
    if (wait := _wait(state, SERVICE_GROUPS.kind, stored.metadata, now)) > 0:
        hands.later(due, wait)
        return
    written_at = state.group_written_at.get(place)
    if written_at is not None and now < written_at + GROUP_APART:
        hands.later(due, written_at + GROUP_APART - now)
        return
    state.group_written_at[place] = now
    before = ready_of(stored.status.conditions if stored.status is not None else None)
    if before is None or (before.reason, before.observed_generation) != (wanted.reason, standing.generation):
        told = occasion(wanted.reason, wanted.message, "ServiceGroup")
        # Where the status cannot be written, or is emptied by somebody, it does not show that this was told.
        about, value = f"{SERVICE_GROUPS.kind} {stored.metadata.uid}", f"{wanted.reason} {standing.generation}"
        if told is not None and state.once.new(about, reasons.READY, value, now):
            hands.tell(
                ObjectReference(
                    api_version=SERVICE_GROUPS.api_version,
                    kind=SERVICE_GROUPS.kind,
                    namespace=due.namespace,
                    name=due.group,
                    uid=stored.metadata.uid,
                ),
                told,
            )
    body = groupstatus.patch(stored, wanted, now=hands.wall())
    _write(state, hands, SERVICE_GROUPS, stored.metadata, body, purpose="group", now=now)


def agents_due(state: State, hands: Hands, now: float) -> None:
    """Fold what the nodes say of their configuration into the LBNodeAgents, when it is time."""
    if state.agents_due_at is None:
        state.agents_due_at = max(now + AGENTS_SETTLE, state.agents_folded_at + AGENTS_APART)
    if now < state.agents_due_at:
        hands.later(AgentsDue(), state.agents_due_at - now)
        return
    if state.announcements.unsure:
        return  # who uses it is not known yet; when it is, it is asked for again
    state.agents_due_at, state.agents_folded_at = None, now
    alive = state.announcements.alive
    reports = {
        report.metadata.name: report.status.config
        for report in state.stores.reports.values()
        if report.metadata.name in alive and report.status is not None and report.status.config is not None
    }
    nodes = state.stores.nodes.values()
    waits: list[float] = []
    for stored in state.stores.agents.values():
        meta = stored.metadata
        wanted = agentstatus.desired(
            stored, reports, nodes, install_namespace=state.config.install_namespace, scope=state.config.scope
        )
        if not agentstatus.differs(stored, wanted):
            continue
        if (wait := _wait(state, LB_NODE_AGENTS.kind, meta, now)) > 0:
            waits.append(wait)
            continue
        body = agentstatus.patch(stored, wanted, now=hands.wall())
        _write(state, hands, LB_NODE_AGENTS, meta, body, purpose="agent", now=now)
    if waits:
        hands.later(AgentsDue(), min(waits))
    for kind, namespace, name in tuple(state.statusless):
        if kind == LB_NODE_AGENTS.kind and state.stores.agents.get(f"{namespace}/{name}") is None:
            del state.statusless[kind, namespace, name]


def landed(state: State, hands: Hands, flight: Flight, result: WriteResult, now: float) -> None:
    """Take in the answer to a write of a status."""
    if flight.place is None:
        return
    namespace, name = flight.place
    groups = flight.purpose == "group"
    again = StatusDue(namespace, name) if groups else AgentsDue()
    outcome = "other"
    match result:
        case Written():
            outcome = "success"
            state.statusless.pop((_kind(flight), namespace, name), None)
        case Conflicted():
            outcome = "conflict"
            hands.later(again, AFTER_CONFLICT)
        case Missing():
            hands.later(again, _without_status(state, flight, namespace, name, now))
        case Refused(status=status):
            outcome = "forbidden" if status.code == 403 else "other"
            hands.later(again, AFTER_FAILURE)
        case Failed() | Exists():
            hands.later(again, AFTER_FAILURE)
        case Fenced():
            hands.later(again, AFTER_CONFLICT)  # the lease may be renewed after all
            return
        case Superseded() | Cancelled():
            return
        case _:
            assert_never(result)
    if groups:
        hands.sink.count(metrics.STATUS_WRITES, outcome)


def _without_status(state: State, flight: Flight, namespace: str, name: str, now: float) -> float:
    """When to try again where there was nothing to write to. Told of once it is sure that the object itself is there."""
    kind = _kind(flight)
    known = state.statusless.get((kind, namespace, name))
    sure = known is not None and known.uid == flight.uid
    wait = WITHOUT_STATUS if sure else GONE_SHOWS_AFTER
    state.statusless[kind, namespace, name] = Statusless(flight.uid, now + wait)
    if sure and state.once.new(kind, "statusMissing", "", now):
        fields = {"code": "statusMissing", "kind": kind, "namespace": namespace}
        log.info(
            "the API server does not know the status of %s %s: its CRD is older than this allocator",
            kind,
            name,
            extra=fields,
        )
    return wait


def _kind(flight: Flight) -> str:
    return SERVICE_GROUPS.kind if flight.purpose == "group" else LB_NODE_AGENTS.kind


def _wait(state: State, kind: str, meta: ObjectMeta, now: float) -> float:
    """How long an object that seemed to have no status subresource is left alone."""
    known = state.statusless.get((kind, meta.namespace, meta.name))
    return 0.0 if known is None or known.uid != meta.uid else known.until - now


def _write(
    state: State,
    hands: Hands,
    resource: Resource[Any],
    meta: ObjectMeta,
    body: bytes,
    *,
    purpose: Purpose,
    now: float,
) -> None:
    flight = Flight(purpose, place=(meta.namespace, meta.name), uid=meta.uid, sent_at=now)
    hands.write(
        state.flights.depart(flight),
        resource,
        namespace=meta.namespace,
        name=meta.name,
        body=body,
        rv=None,
        subresource="status",
        slot="status",
        priority=PRIORITY_FOLD,
    )
