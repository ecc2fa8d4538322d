# SPDX-License-Identifier: Apache-2.0
"""What the probes of one address add up to, without sockets or clocks.

A probe is answered or lost; it counts at the instant it was sent. A gap runs from the sending of the first lost probe to the sending of the next answered
one, so its error is one probe interval. A probe that is answered late but within its limit is answered. Results may arrive in any order.

Not promised: the reason of a loss, or gaps shorter than the interval.
"""

from __future__ import annotations

from bisect import insort

import msgspec


class Summary(msgspec.Struct, frozen=True, gc=False):
    """Gaps are 0 when nothing was lost; an outage that still lasts counts up to the last probe. `nodes`: who answered, in order of change."""

    sent: int
    lost: int
    longest_gap_s: float
    last_gap_s: float
    nodes: tuple[str, ...]


class Record:
    """The results of one target, one entry per probe: an hour at 50 a second is 180,000 of them, so it is for measurements, not for ever."""

    def __init__(self) -> None:
        self._results: list[tuple[float, str | None]] = []

    def answered(self, node: str, *, sent_at: float) -> None:
        insort(self._results, (sent_at, node), key=lambda result: result[0])

    def lost(self, *, sent_at: float) -> None:
        insort(self._results, (sent_at, None), key=lambda result: result[0])

    def summary(self) -> Summary:
        longest, last, since = 0.0, 0.0, None
        nodes: list[str] = []
        for sent_at, node in self._results:
            if node is None:
                since = sent_at if since is None else since
                last = sent_at - since
                longest = max(longest, last)
                continue
            if since is not None:
                last, since = sent_at - since, None
                longest = max(longest, last)
            if not nodes or nodes[-1] != node:
                nodes.append(node)
        lost = sum(1 for _, node in self._results if node is None)
        return Summary(len(self._results), lost, longest, last, tuple(nodes))
