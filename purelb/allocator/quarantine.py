# SPDX-License-Identifier: Apache-2.0
"""Released addresses that are kept back for a while, for a Service of the same namespace and name and for nobody else.

Begins when a release is confirmed, follows the group's `reuseDelay` when that is made shorter, and is lost when the term ends. Bound: one row per released address of a group with `reuseDelay`.
"""

from collections.abc import Iterator
from heapq import heappop, heappush

from msgspec import Struct
from msgspec.structs import replace

from purelb.allocator.keys import ServiceKey
from purelb.allocator.ranges import Address


class _Row(Struct, frozen=True, gc=False):
    """One address that is kept back. `since`: when its release was confirmed; `group`: the one it was released from; `by`: whose delay."""

    until: float
    service: ServiceKey
    since: float
    group: str
    by: str


class Quarantine:
    def __init__(self) -> None:
        self._rows: dict[Address, _Row] = {}
        self._of: dict[ServiceKey, set[Address]] = {}
        self._ends: list[tuple[float, Address]] = []

    def __contains__(self, address: Address) -> bool:
        return address in self._rows

    def __iter__(self) -> Iterator[Address]:
        return iter(self._rows)

    def kept_for(self, address: Address) -> tuple[float, ServiceKey] | None:
        """Until when an address is kept back, and for whom."""
        row = self._rows.get(address)
        return None if row is None else (row.until, row.service)

    def group_of(self, address: Address) -> str:
        """The group from which an address that is kept back was released."""
        return self._rows[address].group

    def delay_of(self, address: Address) -> tuple[str, float]:
        """By which group's `reuseDelay` an address is kept back, and for how long in all."""
        row = self._rows[address]
        return row.by, row.until - row.since

    def of(self, service: ServiceKey) -> tuple[Address, ...]:
        """What is kept back for a Service, lowest first."""
        return tuple(sorted(self._of.get(service, ())))

    def add(self, address: Address, service: ServiceKey, *, group: str, since: float, until: float) -> None:
        """Keep an address back."""
        self._rows[address] = _Row(until, service, since, group, group)
        self._of.setdefault(service, set()).add(address)
        heappush(self._ends, (until, address))

    def shorten(self, address: Address, delay: float, *, by: str) -> None:
        """Keep an address back for no longer than `delay` of the group `by` after its release; a longer delay changes nothing."""
        row = self._rows[address]
        if row.since + delay < row.until:
            self._rows[address] = replace(row, until=row.since + delay, by=by)
            heappush(self._ends, (row.since + delay, address))

    def drop(self, address: Address) -> None:
        """It is in use again, or its time has come. Unknown addresses are ignored."""
        known = self._rows.pop(address, None)
        if known is not None:
            kept = self._of[known.service]
            kept.discard(address)
            if not kept:
                del self._of[known.service]

    def deadline(self) -> float | None:
        """When the next one ends."""
        while self._ends:
            end, address = self._ends[0]
            row = self._rows.get(address)
            if row is not None and row.until == end:
                return end
            heappop(self._ends)
        return None

    def due(self, now: float, *, most: int | None = None) -> tuple[Address, ...]:
        """Those whose time has come, at most so many; they stay until they are dropped, and are to be dropped at once."""
        ended: dict[Address, None] = {}  # kept back, given and kept back again until the same moment: once
        while (most is None or len(ended) < most) and (deadline := self.deadline()) is not None and deadline <= now:
            ended[heappop(self._ends)[1]] = None
        return tuple(ended)
