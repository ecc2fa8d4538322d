# SPDX-License-Identifier: Apache-2.0
"""When to tell the link about an address: after a new win, when a cable or MAC changed, and again every minute.

Never because a reconcile ran, and never after an adoption. One send is a request and a reply for IPv4, one advertisement for
IPv6. Everything due goes through one budget per interface, so 5,000 addresses at link-up are paced instead of dropped; the
minute's repetition has a smaller budget of its own and stretches. Whether an address is still ours when its turn comes is
the owner's question (`verify_before_send`).
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from purelb.net.ranges import IPAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.api.nodeagents import Gratuitous

Kind = Literal["burst", "sequence", "repeat"]
FRAMES_PER_S: Final = 2000.0
REPEATS_PER_S: Final = 50.0
_BURST: Final = 0.1
"""A bucket holds this many seconds of its rate."""


class Send(Struct, frozen=True, gc=False):
    ip: IPAddress
    ifindex: int
    kind: Kind


class _Bucket:
    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._size = max(2.0, rate * _BURST)
        self._left = self._size
        self._at = float("-inf")

    def take(self, cost: float, now: float) -> bool:
        self._left = min(self._size, self._left + (now - self._at) * self._rate) if now > self._at else self._left
        self._at = max(self._at, now)
        if self._left < cost:
            return False
        self._left -= cost
        return True

    def free_at(self, cost: float) -> float:
        return self._at + max(0.0, cost - self._left) / self._rate


class Announcer:
    """What is to be said, and when. Owned by the reconciler, which asks `due` and does the sending."""

    def __init__(self, rng: Callable[[], float]) -> None:
        self._rng = rng
        self._heap: list[tuple[float, int, Send]] = []
        self._number = 0
        self._epoch: dict[IPAddress, int] = {}
        self._frames: dict[int, _Bucket] = {}
        self._repeats: dict[int, _Bucket] = {}

    def burst(self, ip: IPAddress, ifindex: int, *, delays: tuple[float, ...], now: float) -> None:
        for delay in delays:
            self._put(now + delay, Send(ip, ifindex, "burst"))

    def sequence(self, ip: IPAddress, ifindex: int, *, settings: Gratuitous, now: float) -> None:
        """The announce sequence after an add, and from then on the repetition."""
        if not settings.enabled:
            return
        for turn in range(settings.count):
            self._put(now + settings.initial_delay + turn * settings.interval, Send(ip, ifindex, "sequence"))
        self.repeat(ip, ifindex, settings=settings, now=now)

    def repeat(self, ip: IPAddress, ifindex: int, *, settings: Gratuitous, now: float) -> None:
        """Once, one repeat interval (give or take a tenth) from now."""
        if settings.enabled and settings.repeat_interval > 0:
            self._put(now + settings.repeat_interval * (0.9 + 0.2 * self._rng()), Send(ip, ifindex, "repeat"))

    def drop(self, ip: IPAddress) -> None:
        """Say nothing more about `ip` of what was planned so far."""
        self._epoch[ip] = self._number

    def due(self, now: float) -> list[Send]:
        """What may be sent now, in order of its time. What the budget does not allow stays."""
        ready: list[Send] = []
        later: list[tuple[float, int, Send]] = []
        while self._heap and self._heap[0][0] <= now:
            at, number, send = heapq.heappop(self._heap)
            if number <= self._epoch.get(send.ip, 0):
                continue
            if self._allowed(send, now):
                ready.append(send)
            else:
                later.append((max(at, self._free_at(send)), number, send))
        for entry in later:
            heapq.heappush(self._heap, entry)
        if not self._heap:
            self._epoch.clear()
        return ready

    def deadline(self) -> float | None:
        """When to ask `due` again."""
        return self._heap[0][0] if self._heap else None

    def _put(self, at: float, send: Send) -> None:
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, send))

    def _cost(self, send: Send) -> float:
        return 2.0 if send.ip.version == 4 else 1.0

    def _allowed(self, send: Send, now: float) -> bool:
        frames = self._frames.setdefault(send.ifindex, _Bucket(FRAMES_PER_S))
        if send.kind == "repeat":
            repeats = self._repeats.setdefault(send.ifindex, _Bucket(REPEATS_PER_S))
            if not repeats.take(1.0, now):
                return False
        return frames.take(self._cost(send), now)

    def _free_at(self, send: Send) -> float:
        at = self._frames[send.ifindex].free_at(self._cost(send))
        return max(at, self._repeats[send.ifindex].free_at(1.0)) if send.kind == "repeat" else at
