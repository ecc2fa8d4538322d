# SPDX-License-Identifier: Apache-2.0
"""Which addresses of a pool entry are free, and which one is next.

An entry hands its addresses out in the order they were written, ascending inside an item. `Layout` numbers them in that order
(0 is handed out first); `FreeSet` keeps the free numbers as sorted, disjoint intervals that never touch. So "lowest free" is
the head of a list, and claiming or returning an address is a binary search and a list insertion, however full or large the
entry is: nothing here ever iterates over addresses, and an IPv6 /64 costs what a /30 costs.

Rejected: a bitmap (a /64 has no bitmap), a heap of returned addresses (it cannot say whether one given address is free), and
free intervals of addresses per written item (finding the first item with something free is a search of its own).

Not promised: any order between entries. That is the caller's, because balancing and sharing keys have a say in it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Self

from purelb.api.pieces import LOOKS, Pieces, at_once
from purelb.net.ranges import Family, print_bounds

# An address as the ledger knows it: hashes and compares at the speed of a tuple, unlike `ipaddress` objects.
Address = tuple[Family, int]


@lru_cache(maxsize=1024)
def ip_text(of: Address) -> str:
    """Canonical text of an address. Remembered, because one decision says the same address several times."""
    return print_bounds(of[0], of[1])


class Layout:
    """The addresses of one entry, numbered in the order they are handed out. Immutable."""

    __slots__ = ("_bases", "_by_address", "_highs", "_lows", "_starts", "size")

    def __init__(self, intervals: Iterable[tuple[int, int]]) -> None:
        """`intervals` are disjoint (low, high) bounds, both inclusive, in the order they are used."""
        self._starts: list[int] = []  # first address of the interval, by number
        self._bases: list[int] = []  # first number of the interval, by number
        self._by_address: list[int] = []
        self._lows: list[int] = []
        self._highs: list[int] = []
        self.size = 0
        at_once(self._fill(intervals))

    @classmethod
    def making(cls, intervals: Iterable[tuple[int, int]]) -> Pieces[Self]:
        """The layout of these intervals, in pieces."""
        made = cls(())
        yield from made._fill(intervals)
        return made

    def _fill(self, intervals: Iterable[tuple[int, int]]) -> Pieces[None]:
        written: list[tuple[int, int]] = []
        for number, (low, high) in enumerate(intervals):
            if not number % LOOKS:
                yield
            written.append((low, high))
            self._starts.append(low)
            self._bases.append(self.size)
            self.size += high - low + 1
        yield
        self._by_address = sorted(range(len(written)), key=written.__getitem__)
        for at in range(0, len(written), LOOKS):
            yield
            self._lows += [written[i][0] for i in self._by_address[at : at + LOOKS]]
            self._highs += [written[i][1] for i in self._by_address[at : at + LOOKS]]

    def number_of(self, address: int) -> int | None:
        """The number of an address, None when the entry does not contain it."""
        at = bisect_right(self._lows, address) - 1
        if at < 0 or address > self._highs[at]:
            return None
        return self._bases[self._by_address[at]] + address - self._lows[at]

    def address_at(self, number: int) -> int:
        """The address with a number in [0, size)."""
        at = bisect_right(self._bases, number) - 1
        return self._starts[at] + number - self._bases[at]

    def intervals(self) -> Iterable[tuple[int, int]]:
        """The (low, high) bounds sorted by address."""
        return zip(self._lows, self._highs, strict=True)

    def __eq__(self, other: object) -> bool:
        """Whether the other one hands out the same addresses in the same order."""
        if not isinstance(other, Layout):
            return NotImplemented
        return (self.size, self._starts, self._bases) == (other.size, other._starts, other._bases)

    __hash__ = None  # type: ignore[assignment]

    def addresses_of(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """The addresses with the numbers `low` to `high`, as bounds."""
        at = bisect_right(self._bases, low) - 1
        while low <= high:
            end = self._bases[at + 1] - 1 if at + 1 < len(self._bases) else self.size - 1
            ahead = self._starts[at] - self._bases[at]
            yield ahead + low, ahead + min(high, end)
            low, at = end + 1, at + 1

    def numbers_of(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """The numbers of the addresses `low` to `high`, all of which it has, as bounds."""
        at = bisect_right(self._lows, low) - 1
        while low <= high:
            ahead = self._bases[self._by_address[at]] - self._lows[at]
            yield ahead + low, ahead + min(high, self._highs[at])
            low, at = self._highs[at] + 1, at + 1


class FreeSet:
    """A set of numbers below `size`, kept as intervals. Starts full."""

    __slots__ = ("_highs", "_lows", "count")

    def __init__(self, size: int) -> None:
        self._lows: list[int] = [0] if size else []
        self._highs: list[int] = [size - 1] if size else []
        self.count = size

    @classmethod
    def without(cls, size: int, taken: Iterable[tuple[int, int]]) -> Self:
        """All numbers below `size` but those within some disjoint bounds."""
        found = cls(size)
        found._lows, found._highs, low = [], [], 0
        for first, last in (*sorted(taken), (size, size)):
            if first > low:
                found._lows.append(low)
                found._highs.append(first - 1)
            low = last + 1
        found.count = sum(found._highs) - sum(found._lows) + len(found._lows)
        return found

    def taken(self, size: int) -> Iterator[tuple[int, int]]:
        """The numbers below `size` that are not free, as sorted bounds."""
        low = 0
        for first, last in zip((*self._lows, size), (*self._highs, size), strict=True):
            if first > low:
                yield low, first - 1
            low = last + 1

    def lowest(self) -> int | None:
        """The smallest free number, None when nothing is free."""
        return self._lows[0] if self._lows else None

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._lows, number) - 1
        return at >= 0 and number <= self._highs[at]

    def take(self, number: int) -> None:
        """Remove a number that is free; `KeyError` when it is not."""
        at = bisect_right(self._lows, number) - 1
        if at < 0 or number > self._highs[at]:
            raise KeyError(number)
        low, high = self._lows[at], self._highs[at]
        if low == high:
            del self._lows[at], self._highs[at]
        elif number == low:
            self._lows[at] = number + 1
        elif number == high:
            self._highs[at] = number - 1
        else:
            self._lows.insert(at + 1, number + 1)
            self._highs.insert(at, number - 1)
        self.count -= 1

    def give(self, number: int) -> None:
        """Add a number that is not free; `KeyError` when it is."""
        at = bisect_left(self._lows, number)
        if (at < len(self._lows) and self._lows[at] == number) or (at > 0 and number <= self._highs[at - 1]):
            raise KeyError(number)
        touches_below = at > 0 and self._highs[at - 1] == number - 1
        touches_above = at < len(self._lows) and self._lows[at] == number + 1
        if touches_below and touches_above:
            self._highs[at - 1] = self._highs[at]
            del self._lows[at], self._highs[at]
        elif touches_below:
            self._highs[at - 1] = number
        elif touches_above:
            self._lows[at] = number
        else:
            self._lows.insert(at, number)
            self._highs.insert(at, number)
        self.count += 1

    def intervals(self) -> tuple[tuple[int, int], ...]:
        """The free numbers as sorted (low, high) bounds."""
        return tuple(zip(self._lows, self._highs, strict=True))
