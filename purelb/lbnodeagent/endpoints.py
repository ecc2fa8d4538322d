# SPDX-License-Identifier: Apache-2.0
"""Which nodes have a healthy endpoint of a Service.

An endpoint is healthy when it is ready or serving, so a terminating one that still serves counts. `ready` null means true,
`serving` null means `ready`. One address may stand in several slices of a Service: it counts as healthy only if all of them
say so, because the slice that lags behind is wrong in an unknown direction. A node is healthy if one of its addresses is.

A node that becomes healthy counts at once; one that loses its last endpoint keeps counting for another 100 ms, because a
moved endpoint leaves one slice and enters another in two events.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from purelb.kube.model import Endpoint, EndpointSlice

SERVICE_NAME: Final = "kubernetes.io/service-name"
LINGER_S: Final = 0.1
_TYPES: Final = {4: "IPv4", 6: "IPv6"}


def healthy_nodes(slices: Iterable[EndpointSlice], *, family: int) -> frozenset[str]:
    """Nodes with a healthy endpoint in `slices` (those of one Service) of this family. The order of slices is nothing."""
    said: dict[tuple[str, str], bool] = defaultdict(lambda: True)
    for part in slices:
        if part.address_type != _TYPES[family]:
            continue
        for endpoint in part.endpoints or ():
            if not endpoint.node_name:
                continue
            healthy = _healthy(endpoint)
            for address in endpoint.addresses or ():
                said[endpoint.node_name, address] &= healthy
    return frozenset(node for (node, _), healthy in said.items() if healthy)


def _healthy(endpoint: Endpoint) -> bool:
    conditions = endpoint.conditions
    if conditions is None:
        return True
    ready = conditions.ready is not False
    return ready or (ready if conditions.serving is None else conditions.serving)


class Lingering:
    """Remembers since when a node has had no healthy endpoint. One owner; keys are (Service, family)."""

    def __init__(self) -> None:
        self._healthy: dict[tuple[str, int], frozenset[str]] = {}
        self._lost: dict[tuple[str, int, str], float] = {}

    def nodes(self, service: str, family: int, healthy: frozenset[str], now: float) -> frozenset[str]:
        """The nodes that count now, given those that are healthy now."""
        before = self._healthy.get((service, family), frozenset())
        self._healthy[service, family] = healthy
        for node in before - healthy:
            self._lost[service, family, node] = now + LINGER_S
        for node in healthy:
            self._lost.pop((service, family, node), None)
        lingering = set()
        for (name, of, node), until in list(self._lost.items()):
            if (name, of) != (service, family):
                continue
            if now < until:
                lingering.add(node)
            else:
                del self._lost[name, of, node]
        return healthy | lingering

    def deadline(self, service: str, family: int) -> float | None:
        """When the answer for this Service changes by itself."""
        ends = (until for (name, of, _), until in self._lost.items() if (name, of) == (service, family))
        return min(ends, default=None)

    def forget(self, service: str) -> None:
        for family in (4, 6):
            self._healthy.pop((service, family), None)
        for key in [key for key in self._lost if key[0] == service]:
            del self._lost[key]
