# SPDX-License-Identifier: Apache-2.0
"""When to tell the link about an address: after a new win, when a cable or MAC changed, and again every minute.

Never because a reconcile ran, and never after an adoption. One send is a request and a reply for IPv4, one advertisement for
IPv6. Everything due goes through one budget per interface, so 5,000 addresses at link-up are paced instead of dropped; the
minute's repetition has a smaller budget of its own and stretches. Whether an address is still ours when its turn comes is
the owner's question (`verify_before_send`).
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from purelb.net.ranges import IPAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.api.nodeagents import Gratuitous

Kind = Literal["burst", "sequence", "repeat"]
FRAMES_PER_S: Final = 2000.0
REPEATS_PER_S: Final = 50.0
_SAVED_S: Final = 0.1
"""So many seconds of its rate a budget may save up."""
_ROUNDING: Final = 1e-6


class Send(Struct, frozen=True, gc=False):
    ip: IPAddress
    ifindex: int
    kind: Kind


class _Line:
    """Sends that wait for their budget, in order, and the budget: `rate` per second, of which some may be saved."""

    def __init__(self, rate: float) -> None:
        self.waiting: deque[tuple[int, Send]] = deque()
        self._rate = rate
        self._size = max(2.0, rate * _SAVED_S)
        self._left = self._size
        self._at = 0.0

    def take(self, cost: float, now: float) -> bool:
        self._left = min(self._size, self._left + max(0.0, now - self._at) * self._rate)
        self._at = max(self._at, now)
        if self._left < cost - _ROUNDING:
            return False
        self._left -= cost
        return True

    def free_at(self) -> float | None:
        """When the first that waits may go; None when none waits."""
        if not self.waiting:
            return None
        return self._at + max(0.0, _cost(self.waiting[0][1]) - self._left) / self._rate


def _cost(send: Send) -> float:
    """Of a repetition its own line counts sends; every other counts frames."""
    return 1.0 if send.kind == "repeat" or send.ip.version == 6 else 2.0


class Announcer:
    """What is to be said, and when. Owned by the reconciler, which asks `due` and does the sending."""

    def __init__(self, rng: Callable[[], float]) -> None:
        self._rng = rng
        self._heap: list[tuple[float, int, Send]] = []
        self._number = 0
        self._epoch: dict[IPAddress, int] = {}
        self._lines: dict[tuple[int, bool], _Line] = {}

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
        """What may be sent now, in order of its time. What the budget does not allow waits in line."""
        while self._heap and self._heap[0][0] <= now:
            _, number, send = heapq.heappop(self._heap)
            key = send.ifindex, send.kind == "repeat"
            line = self._lines.get(key)
            if line is None:
                line = self._lines[key] = _Line(REPEATS_PER_S if key[1] else FRAMES_PER_S)
            line.waiting.append((number, send))
        ready: list[Send] = []
        for line in self._lines.values():
            while line.waiting:
                number, send = line.waiting[0]
                if number > self._epoch.get(send.ip, 0):
                    if not line.take(_cost(send), now):
                        break
                    ready.append(send)
                line.waiting.popleft()
        if not self._heap and not any(line.waiting for line in self._lines.values()):
            self._epoch.clear()
        return ready

    def deadline(self) -> float | None:
        """When to ask `due` again."""
        ends = [free for line in self._lines.values() if (free := line.free_at()) is not None]
        if self._heap:
            ends.append(self._heap[0][0])
        return min(ends, default=None)

    def _put(self, at: float, send: Send) -> None:
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, send))
