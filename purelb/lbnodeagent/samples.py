# SPDX-License-Identifier: Apache-2.0
"""The agent's gauges, computed at a scrape from what the owner holds at that moment."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from purelb.kube.metrics import Sample
from purelb.lbnodeagent import metrics
from purelb.lbnodeagent.endpoints import SERVICE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from purelb.kube.informer import Informer
    from purelb.kube.model import EndpointSlice
    from purelb.lbnodeagent.state import State

CONFLICT_S: Final = 60.0
"""So long after the last foreign answer an address counts as contested."""


def samples(state: State, *, stale: bool, healthy: bool, now: float) -> Iterator[Sample]:
    """All of them; the process caps those per address."""
    ours = list(state.present.ours())
    wanted = [address for address in ours if state.wants(address.ip) is not None]
    yield Sample(metrics.ANNOUNCED_IPS, float(len(wanted)))
    yield Sample(metrics.ORPHANED_IPS, float(len(ours) - len(wanted)))
    shown = [
        (service, str(address.ip))
        for address in wanted
        if (claim := state.asked.claims.get(address.ip)) is not None
        for service in claim.services
    ]
    for service, ip in shown:
        yield Sample(metrics.ANNOUNCED, 1.0, (service, state.node, ip))
    for reason, count in Counter(why.reason for why in state.withheld.values()).items():
        yield Sample(metrics.WITHHELD, float(count), (reason,))
    if state.configuration is not None:
        for word in metrics.SELECTOR_STATES:
            yield Sample(metrics.SELECTOR_STATE, float(word == state.configuration.state), (word,))
    current = "fenced" if state.fenced else "draining" if state.draining else "holding" if stale else "fit"
    for word in metrics.STATES:
        yield Sample(metrics.FAILURE_STATE, float(word == current), (word,))
    contested = sum(1 for at in state.conflicts.values() if now - at < CONFLICT_S)
    yield Sample(metrics.CONFLICTS, float(contested))
    yield Sample(metrics.LEASE_DURATION, float(state.duration))
    yield Sample(metrics.LEASE_HEALTHY, float(healthy and not stale and not state.passive))
    yield from _members(state, now)


def slices(
    informer: Informer[EndpointSlice], services: Iterable[str], *, watched: bool, now: float
) -> Iterator[Sample]:
    """What is known of EndpointSlices. `services`: those whose slices decide something here, before which none are watched."""
    yield Sample(metrics.SLICES_SYNC, float(informer.lists_done))
    yield Sample(metrics.SLICES_SYNC_ERRORS, float(informer.lists_failed))
    if not watched:
        return
    yield from informer.samples()
    yield Sample(metrics.SLICES_AGE, now - informer.heard_at)
    for service in services:
        yield Sample(metrics.SLICES, float(len(informer.store.by_index(SERVICE_NAME, service))), (service,))


def _members(state: State, now: float) -> Iterator[Sample]:
    standings = state.view.standings.values()
    yield Sample(metrics.MEMBERS, float(sum(1 for standing in standings if standing.liveness != "dead")))
    yield Sample(metrics.SUBNETS, float(len(state.view.segments)))
    yield Sample(metrics.LOCAL_SUBNETS, float(len(state.layout.subnets)))
    seen = Counter(state.membership.seen(node, now) for node in state.membership.peers)
    for word in metrics.PEER_STATES:
        yield Sample(metrics.PEERS, float(seen.get(word, 0)), (word,))
