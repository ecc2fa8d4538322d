# SPDX-License-Identifier: Apache-2.0
"""How late the event loop is, sampled each 250 ms.

A blocked loop renews no lease and answers no probe. The worst lag of the last 60 s is a gauge; the worst of the last 30 s
decides liveness. `Lag` is pure; `sample` is the only task that feeds it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Never

if TYPE_CHECKING:
    from purelb.kube.clock import Clock

SAMPLE_EVERY: Final = 0.25
KEPT_S: Final = 60.0


class Lag:
    """Worst lags of the last minute, in seconds; one maximum per second, so at most 61 values are kept."""

    def __init__(self) -> None:
        self._worst: deque[tuple[float, float]] = deque()

    def saw(self, lag: float, now: float) -> None:
        """Take in one sample."""
        if self._worst and now - self._worst[-1][0] < 1.0:
            at, before = self._worst[-1]
            self._worst[-1] = (at, max(before, lag))
        else:
            self._worst.append((now, lag))
        while now - self._worst[0][0] > KEPT_S:
            self._worst.popleft()

    def worst(self, now: float, *, within: float = KEPT_S) -> float:
        """The worst lag seen within the last `within` seconds; 0 before the first sample."""
        return max((lag for at, lag in self._worst if now - at <= within), default=0.0)


async def sample(lag: Lag, clock: Clock) -> Never:
    """Measure until cancelled."""
    while True:
        due = clock.now() + SAMPLE_EVERY
        await clock.until(due)
        now = clock.now()
        lag.saw(max(0.0, now - due), now)
