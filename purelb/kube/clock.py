# SPDX-License-Identifier: Apache-2.0
"""The clock of a process: the only place that reads time, sleeps or draws randomness.

`now()` reads CLOCK_BOOTTIME on Linux, which runs on while the machine is suspended: a deadline that passed in a suspended
VM is seen as passed. A timestamp that another machine wrote is never compared with it.

Everything else takes `now` as an argument or a `Clock` at construction, so a test or the simulator can put one adapter
under a whole process. Rejected: `loop.time()` (monotonic, stands still in suspend) and `time.time()` (people set it).
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager


class Clock(Protocol):
    """Time and chance, as one process sees them."""

    def now(self) -> float:
        """Seconds of this machine's own clock, for deadlines. Never goes back."""
        ...

    def wall(self) -> datetime:
        """UTC, only for timestamps that people read."""
        ...

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...

    async def until(self, deadline: float) -> None:
        """Return at `deadline` (of `now()`), at once if it has passed."""
        ...

    def timeout_at(self, deadline: float | None) -> AbstractAsyncContextManager[object]:
        """Raise `TimeoutError` around its body at `deadline`; None never does."""
        ...


class SystemClock:
    """The clock of the machine this runs on."""

    now: Callable[[], float]

    def __init__(self) -> None:
        # Asked several times for each event of a watch: nothing of ours stands between the asking and the call.
        self.now = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def random(self) -> float:
        return random.random()

    async def until(self, deadline: float) -> None:
        # The loop sleeps on a clock that stands still in suspend, so a long sleep is checked against ours once a minute.
        while (left := deadline - self.now()) > 0:
            await asyncio.sleep(min(left, 60.0))

    def timeout_at(self, deadline: float | None) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(None if deadline is None else max(0.0, deadline - self.now()))


async def breathe() -> None:
    """Give the loop one turn, so that a long piece of work lets others run."""
    await asyncio.sleep(0)
