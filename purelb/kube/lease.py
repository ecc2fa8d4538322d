# SPDX-License-Identifier: Apache-2.0
"""Who holds a lease, judged by one's own clock. Pure.

Promised: of two healthy holders one stops. Not promised: hard fencing, so each guarded write asks the fence once more and
carries a resourceVersion, which catches what a server commits late. Timestamps in a lease are another machine's and are
never compared; only the moment *we* saw its spec change counts, and a holder is believed for the duration *it* wrote.

`Election` competes for one lease, `Heartbeat` keeps one alive that nobody else wants, `Observations` (below) watches many.
The first two ask for at most one request at a time; what it answers is their next input.

Unlike client-go a term never outlives a loss: what was lost is acquired again as a new term.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from purelb.kube.election import Election
from purelb.kube.heartbeat import Heartbeat
from purelb.kube.leasewords import (
    Absent,
    Action,
    Answer,
    Conflicted,
    Create,
    Extended,
    Failed,
    Found,
    Input,
    Lost,
    Poke,
    Read,
    Release,
    Released,
    Renew,
    Request,
    Start,
    Stop,
    Take,
    Tick,
    Timing,
    Why,
    Won,
    Wrote,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Absent",
    "Action",
    "Answer",
    "Conflicted",
    "Create",
    "Election",
    "Extended",
    "Failed",
    "Found",
    "Heartbeat",
    "Input",
    "Lost",
    "Observations",
    "Poke",
    "Read",
    "Release",
    "Released",
    "Renew",
    "Request",
    "Start",
    "Stop",
    "Take",
    "Tick",
    "Timing",
    "Why",
    "Won",
    "Wrote",
]

K = TypeVar("K", bound=Hashable)


class _Sighting(Struct):
    fingerprint: object
    changed_at: float
    duration: float


class Observations(Generic[K]):
    """When each of many leases was last seen to change, on our own clock."""

    def __init__(self) -> None:
        self._seen: dict[K, _Sighting] = {}

    def saw(self, key: K, *, fingerprint: object, duration: float, now: float) -> bool:
        """`key` reads `fingerprint` (anything with equality) and promises `duration`; whether that is news."""
        known = self._seen.get(key)
        if known is None or known.fingerprint != fingerprint:
            self._seen[key] = _Sighting(fingerprint, now, duration)
            return True
        return False

    def gone(self, key: K) -> None:
        """`key` was deleted. Unknown keys are ignored."""
        self._seen.pop(key, None)

    def restart(self, now: float) -> None:
        """Take every lease as seen to change now: after we were cut off ourselves, the others get a full duration."""
        for sighting in self._seen.values():
            sighting.changed_at = now

    def keys(self) -> Iterable[K]:
        """The leases there are, in no order."""
        return tuple(self._seen)

    def valid_until(self, key: K) -> float | None:
        """Until when `key` is believed; None if there is no such lease."""
        known = self._seen.get(key)
        return None if known is None else known.changed_at + known.duration

    def changed_at(self, key: K) -> float | None:
        """When `key` was last seen to change, its last sign of life; None if there is no such lease."""
        known = self._seen.get(key)
        return None if known is None else known.changed_at

    def next_expiry(self, now: float = -math.inf) -> float | None:
        """The earliest end of a lease that is later than `now`; None if there is none."""
        ends = (sighting.changed_at + sighting.duration for sighting in self._seen.values())
        return min((end for end in ends if end > now), default=None)
