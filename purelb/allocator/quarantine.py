# SPDX-License-Identifier: Apache-2.0
"""Released addresses that are kept back for a while, for a Service of the same namespace and name and for nobody else.

Begins when a release is confirmed and is lost when the term ends. Bound: one row per released address of a group with `reuseDelay`.
"""

from collections.abc import Iterator
from heapq import heappop, heappush

from purelb.allocator.keys import ServiceKey
from purelb.allocator.ranges import Address


class Quarantine:
    def __init__(self) -> None:
        self._rows: dict[Address, tuple[float, ServiceKey]] = {}
        self._of: dict[ServiceKey, set[Address]] = {}
        self._ends: list[tuple[float, Address]] = []

    def __contains__(self, address: Address) -> bool:
        return address in self._rows

    def __iter__(self) -> Iterator[Address]:
        return iter(self._rows)

    def kept_for(self, address: Address) -> tuple[float, ServiceKey] | None:
        """Until when an address is kept back, and for whom."""
        return self._rows.get(address)

    def of(self, service: ServiceKey) -> tuple[Address, ...]:
        """What is kept back for a Service, lowest first."""
        return tuple(sorted(self._of.get(service, ())))

    def add(self, address: Address, service: ServiceKey, until: float) -> None:
        """Keep an address back."""
        self._rows[address] = (until, service)
        self._of.setdefault(service, set()).add(address)
        heappush(self._ends, (until, address))

    def drop(self, address: Address) -> None:
        """It is in use again, or its time has come. Unknown addresses are ignored."""
        known = self._rows.pop(address, None)
        if known is not None:
            kept = self._of[known[1]]
            kept.discard(address)
            if not kept:
                del self._of[known[1]]

    def deadline(self) -> float | None:
        """When the next one ends."""
        while self._ends and self._rows.get(self._ends[0][1], (None,))[0] != self._ends[0][0]:
            heappop(self._ends)
        return self._ends[0][0] if self._ends else None

    def due(self, now: float) -> tuple[Address, ...]:
        """Those whose time has come; they stay until they are dropped."""
        ended: dict[Address, None] = {}  # kept back, given and kept back again until the same moment: once
        while (deadline := self.deadline()) is not None and deadline <= now:
            ended[heappop(self._ends)[1]] = None
        return tuple(ended)
