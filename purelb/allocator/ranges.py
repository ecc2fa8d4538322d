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

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Layout:
    """The addresses of one entry, numbered in the order they are handed out. Immutable."""

    __slots__ = ("_bases", "_by_address", "_highs", "_lows", "_starts", "size")

    def __init__(self, intervals: Iterable[tuple[int, int]]) -> None:
        """`intervals` are disjoint (low, high) bounds, both inclusive, in the order they are used."""
        written = tuple(intervals)
        self._starts: list[int] = []  # first address of the interval, by number
        self._bases: list[int] = []  # first number of the interval, by number
        number = 0
        for low, high in written:
            self._starts.append(low)
            self._bases.append(number)
            number += high - low + 1
        self.size = number
        self._by_address = sorted(range(len(written)), key=written.__getitem__)
        self._lows = [written[i][0] for i in self._by_address]
        self._highs = [written[i][1] for i in self._by_address]

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


class FreeSet:
    """A set of numbers below `size`, kept as intervals. Starts full."""

    __slots__ = ("_highs", "_lows", "count")

    def __init__(self, size: int) -> None:
        self._lows: list[int] = [0] if size else []
        self._highs: list[int] = [size - 1] if size else []
        self.count = size

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
