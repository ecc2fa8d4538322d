# SPDX-License-Identifier: Apache-2.0
"""Who waits for what, oldest first, so that one release costs one decision and not one per waiter.

A refused Service stands under each thing that would help it. When an address of a pool becomes free, its oldest waiter is woken;
whether the next one is woken is decided when that one was asked (`handing_on.py`). What cannot be handed on one by
one (a group changed, an address changed hands) wakes all of its waiters.

Bound: one row per waiting Service and wait; a refusal names few.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Container, Iterable, Iterator
from heapq import merge

from purelb.allocator.atlas import EntryId
from purelb.allocator.keys import ServiceKey
from purelb.allocator.waits import EntryHasRoom, GroupsChange, PoolHasRoom, QuotaHasRoom, SubnetActive, Wait
from purelb.net.ranges import IPNetwork

Age = tuple[str, ServiceKey]  # creationTimestamp, then namespace and name

_ONE_BY_ONE = (PoolHasRoom, EntryHasRoom, QuotaHasRoom)


class Waiting:
    def __init__(self) -> None:
        self._lines: dict[Wait, list[Age]] = {}
        self._places: dict[ServiceKey, tuple[str, tuple[Wait, ...]]] = {}
        self._woken: dict[ServiceKey, tuple[Wait, ...]] = {}

    def __contains__(self, service: ServiceKey) -> bool:
        return service in self._places

    def __len__(self) -> int:
        return len(self._places)

    def put(self, service: ServiceKey, created: str, waits: Iterable[Wait]) -> None:
        """The Service waits for exactly these; none means it does not wait."""
        wanted = tuple(waits)
        known = self._places.get(service)
        if known is not None:
            if known == (created, wanted):
                return
            self._leave(service, *known)
        if wanted:
            self._places[service] = (created, wanted)
            for wait in wanted:
                insort(self._lines.setdefault(wait, []), (created, service))

    def woken_for(self, service: ServiceKey) -> tuple[Wait, ...]:
        """All that the Service was woken for since it was last asked; asking forgets it."""
        return self._woken.pop(service, ())

    def waits_for(self, service: ServiceKey, wait: Wait) -> bool:
        """Whether the Service stands in this line."""
        known = self._places.get(service)
        return known is not None and wait in known[1]

    def wake(self, wait: Wait) -> tuple[ServiceKey, ...]:
        """Who is to be asked again: the oldest of a pool or quota, everybody else's whole line."""
        line = self._lines.get(wait)
        if not line:
            return ()
        if not isinstance(wait, _ONE_BY_ONE):
            return tuple(service for _, service in line)
        return self._wake(line[0][1], wait)

    def wake_next(self, wait: Wait, service: ServiceKey) -> tuple[ServiceKey, ...]:
        """Who stands in the line right behind a Service that goes on standing there."""
        line, (created, _) = self._lines[wait], self._places[service]
        at = bisect_right(line, (created, service))
        return self._wake(line[at][1], wait) if at < len(line) else ()

    def _wake(self, service: ServiceKey, wait: Wait) -> tuple[ServiceKey, ...]:
        known = self._woken.get(service, ())
        if wait not in known:
            self._woken[service] = (*known, wait)
        return (service,)

    def oldest(self, wait: Wait, most: int) -> tuple[ServiceKey, ...]:
        """The first so many of a line, who may be told of other numbers; unlike `wake`, nobody hands anything on."""
        return tuple(service for _, service in self._lines.get(wait, ())[:most])

    def everybody(self) -> Iterator[ServiceKey]:
        """All who wait, oldest first. Read from the lines as they stand: nobody may be put anywhere meanwhile."""
        return _oldest_first(self._lines.values())

    def groups_changed(self, names: Container[str] = ()) -> Iterator[ServiceKey]:
        """Everybody who waits for a group to change, or for room in one of those that did, oldest first; read as above."""
        return _oldest_first(
            line
            for wait, line in self._lines.items()
            if isinstance(wait, GroupsChange) or (isinstance(wait, _ONE_BY_ONE) and wait.group in names)
        )

    def subnets(self) -> tuple[IPNetwork, ...]:
        """The subnets that somebody waits for."""
        return tuple(wait.subnet for wait in self._lines if isinstance(wait, SubnetActive))

    def for_entries(self, entries: Callable[[EntryId], bool]) -> Iterator[ServiceKey]:
        """Everybody who waits for room in one of these entries, oldest first; read as above."""
        return _oldest_first(
            line for wait, line in self._lines.items() if isinstance(wait, EntryHasRoom) and entries(wait.entry)
        )

    def in_namespace(self, namespace: str) -> tuple[ServiceKey, ...]:
        """Everybody of one namespace who waits, for whatever, oldest first."""
        places = self._places.items()
        return tuple(key for _, key in sorted((at[0], key) for key, at in places if key.namespace == namespace))

    def _leave(self, service: ServiceKey, created: str, waits: tuple[Wait, ...]) -> None:
        for wait in waits:
            line = self._lines[wait]
            del line[bisect_left(line, (created, service))]
            if not line:
                del self._lines[wait]
        del self._places[service]


def _oldest_first(lines: Iterable[list[Age]]) -> Iterator[ServiceKey]:
    before: Age | None = None
    for row in merge(*lines):
        if row != before:
            yield row[1]
        before = row
