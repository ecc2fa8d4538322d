# SPDX-License-Identifier: Apache-2.0
"""First come, first served among intervals: what of each is new.

The one mutable thing in this room, because reading a group of thousands of items by merging immutable tuples again and again would
be quadratic. A `Cover` lives inside one call and is not shared. Two sorted lists of bounds, as the ledger's free sets have.
"""

from bisect import bisect_left, bisect_right

from purelb.net.ranges import Family, Interval


class Cover:
    """The addresses of one family that earlier intervals cover."""

    def __init__(self, family: Family) -> None:
        self._family: Family = family
        self._lows: list[int] = []
        self._highs: list[int] = []

    def add(self, interval: Interval) -> tuple[Interval, ...]:
        """Cover `interval`; answers the parts of it that were not covered before, ascending. O(log n) plus what it touches."""
        low, high = interval.low, interval.high
        start, end = bisect_left(self._highs, low), bisect_right(self._lows, high)
        fresh: list[Interval] = []
        at = low
        for index in range(start, end):
            if self._lows[index] > at:
                fresh.append(Interval(self._family, at, self._lows[index] - 1))
            at = max(at, self._highs[index] + 1)
        if at <= high:
            fresh.append(Interval(self._family, at, high))
        if start < end:
            low, high = min(low, self._lows[start]), max(high, self._highs[end - 1])
        self._lows[start:end] = [low]
        self._highs[start:end] = [high]
        return tuple(fresh)
