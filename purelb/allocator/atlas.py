# SPDX-License-Identifier: Apache-2.0
"""Which pool entry contains an address: one map over all accepted groups, made anew when groups are edited.

Looking up is a binary search. Comparing two maps answers where an address would belong to somebody else, as bounds: an edit costs what it
moves, not what is held. Both are made in pieces, because a group may have thousands of ranges.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import pairwise
from operator import itemgetter
from typing import Self

from msgspec import Struct

from purelb.allocator.ranges import Address
from purelb.api.pieces import LOOKS, Pieces, at_once
from purelb.net.ranges import Family, Interval


class EntryId(Struct, frozen=True, gc=False, order=True):
    """One pool entry of an accepted group; `index` counts within the family, in the order the entries are used."""

    group: str
    family: Family
    index: int


class Place(Struct, frozen=True, gc=False):
    """Where an address lies. `excluded`: written in the entry's pool, but never handed out."""

    entry: EntryId
    excluded: bool = False


class Atlas:
    """Which entry contains an address: one sorted interval list over all accepted groups, which are disjoint. Immutable.

    An excluded address is kept with a mark, so that a refusal can say so; where one group excludes what another hands
    out, the one that hands out wins.
    """

    __slots__ = ("_excluded", "_known")

    def __init__(self, known: Iterable[tuple[Place, Interval]] = ()) -> None:
        self._known: dict[Family, _Sorted] = {4: _Sorted(), 6: _Sorted()}
        self._excluded: dict[Family, _Sorted] = {4: _Sorted(), 6: _Sorted()}
        at_once(self._fill(known))

    @classmethod
    def making(cls, known: Iterable[tuple[Place, Interval]]) -> Pieces[Self]:
        """The atlas of these places, in pieces."""
        made = cls()
        yield from made._fill(known)
        return made

    def _fill(self, known: Iterable[tuple[Place, Interval]]) -> Pieces[None]:
        rows: dict[tuple[Family, bool], list[_Row]] = {}
        for number, (place, interval) in enumerate(known):
            if not number % LOOKS:
                yield
            rows.setdefault((interval.family, place.excluded), []).append((interval.low, interval.high, place))
        for (family, excluded), found in rows.items():
            yield from (self._excluded if excluded else self._known)[family].fill(found)

    def where(self, address: Address) -> Place | None:
        """The place of an address, None when no accepted group mentions it."""
        family, number = address
        return self._known[family].at(number) or self._excluded[family].at(number)

    def parts(self, family: Family) -> "tuple[_Sorted, _Sorted]":
        """The intervals that are handed out, and those that are excluded."""
        return self._known[family], self._excluded[family]

    def moved(self, other: "Atlas") -> Mapping[Family, tuple[tuple[int, int], ...]]:
        """Where another entry has the addresses than in the other atlas, or has them otherwise: sorted, disjoint bounds by family.

        A bit more where one group excludes what another one hands out.
        """
        return at_once(self.moving(other))

    def moving(self, other: "Atlas") -> Pieces[Mapping[Family, tuple[tuple[int, int], ...]]]:
        """The same in pieces."""
        found: dict[Family, tuple[tuple[int, int], ...]] = {}
        for family, known in self._known.items():
            handed_out, excluded = other.parts(family)
            one = yield from known.moving(handed_out)
            two = yield from self._excluded[family].moving(excluded)
            found[family] = (yield from _either(one, two)) if one and two else one or two
        return found


_Row = tuple[int, int, Place]
_Bounds = tuple[tuple[int, int], ...]


class _Sorted:
    __slots__ = ("_highs", "_lows", "_places")

    def __init__(self) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []
        self._places: list[Place] = []

    def fill(self, rows: list[_Row]) -> Pieces[None]:
        """Take over these rows, whatever their order."""
        rows.sort(key=itemgetter(0, 1))
        end = -1
        for number, (low, high, place) in enumerate(rows):
            if not number % LOOKS:
                yield
            # two groups may exclude the same address: the first to mention it is told
            if high > end:
                self._lows.append(max(low, end + 1))
                self._highs.append(high)
                self._places.append(place)
                end = high

    def moving(self, other: "_Sorted") -> Pieces[tuple[tuple[int, int], ...]]:
        """Where the other one has another entry, as sorted bounds."""
        yield
        mine = self.rows()
        yield
        theirs = other.rows()
        yield
        both = min(len(mine), len(theirs))
        head = tail = 0
        while head < both and mine[head] == theirs[head]:
            head += 1
            if not head % LOOKS:
                yield
        while tail < both - head and mine[-1 - tail] == theirs[-1 - tail]:
            tail += 1
            if not tail % LOOKS:
                yield
        mine, theirs = mine[head : len(mine) - tail], theirs[head : len(theirs) - tail]
        found: list[tuple[int, int]] = []
        for number, (low, end) in enumerate(pairwise(merge(_edges(mine), _edges(theirs)))):
            if not number % LOOKS:
                yield
            if low == end:
                continue
            before, after = self.at(low), other.at(low)
            if (before and before.entry) != (after and after.entry):
                found.append((low, end - 1))
        return tuple(found)

    def rows(self) -> list[_Row]:
        return list(zip(self._lows, self._highs, self._places, strict=True))

    def at(self, number: int) -> Place | None:
        index = bisect_right(self._lows, number) - 1
        return self._places[index] if index >= 0 and number <= self._highs[index] else None


def _either(one: _Bounds, two: _Bounds) -> Pieces[_Bounds]:
    """What lies within some of the one or of the other, both sorted."""
    found: list[tuple[int, int]] = []
    for number, (low, high) in enumerate(merge(one, two)):
        if not number % LOOKS:
            yield
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return tuple(found)


def _edges(rows: Iterable[_Row]) -> Iterator[int]:
    """Where something begins or ends, ascending: rows are sorted and disjoint."""
    for low, high, _ in rows:
        yield low
        yield high + 1
