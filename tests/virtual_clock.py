# SPDX-License-Identifier: Apache-2.0
"""A `Clock` whose time only a test moves.

`settle()` lets every task run until all of them wait for something; `advance(seconds)` then moves time from one deadline
to the next, settling in between, so a task sees the exact instant it asked for. Randomness is a fixed value or a list.

It looks at the loop's list of ready callbacks, which is private to asyncio: counting turns instead would be guessing.
Real sockets, threads and processes are not waited for.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

START = 1000.0
_TURNS_MAX = 100_000


class VirtualClock:
    """Implements the `Clock` protocol. `chance` is what `random()` answers: a number, or numbers used up in turn."""

    def __init__(self, now: float = START, *, chance: float | Iterable[float] = 0.0) -> None:
        self._now = now
        self._started = now
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._chance = itertools.repeat(chance) if isinstance(chance, int | float) else iter(chance)

    def now(self) -> float:
        return self._now

    def wall(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self._now - self._started)

    def random(self) -> float:
        return float(next(self._chance))

    async def until(self, deadline: float) -> None:
        if deadline <= self._now:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not reached.done():
                reached.set_result(None)

        timer = self._at(deadline, wake)
        try:
            await reached
        finally:
            self._forget(timer)

    def timeout_at(self, deadline: float | None) -> _TimeoutAt:
        return _TimeoutAt(self, deadline)

    # What follows is for tests.

    async def settle(self) -> None:
        """Run the other tasks until all of them wait."""
        ready: Any = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        for _ in range(_TURNS_MAX):
            await asyncio.sleep(0)
            if not ready:
                return
        raise AssertionError(f"tasks are still busy after {_TURNS_MAX} turns of the loop at {self._now}")

    async def advance(self, seconds: float) -> None:
        """Move time by `seconds`, stopping at each deadline on the way."""
        end = self._now + seconds
        await self.settle()
        while self._timers and self._timers[0][0] <= end:
            self.fire()
            await self.settle()
        self._now = end
        await self.settle()

    async def run_until(self, predicate: Callable[[], object], *, within: float = 3600.0) -> float:
        """Move time from deadline to deadline until `predicate()` holds; answers the instant."""
        end = self._now + within
        await self.settle()
        while not predicate():
            if not self._timers or self._timers[0][0] > end:
                raise AssertionError(f"nothing more happens before {end}, and {predicate} does not hold")
            self.fire()
            await self.settle()
        return self._now

    def jump(self, seconds: float) -> None:
        """Move time without running anybody: a blocked loop, or a suspended machine."""
        self._now += seconds

    def pending(self) -> list[float]:
        """The deadlines somebody waits for, soonest first."""
        return sorted(at for at, _, _ in self._timers)

    def fire(self) -> None:
        """Go to the soonest deadline and wake who waits for it; nobody runs yet."""
        at, _, call = heapq.heappop(self._timers)
        self._now = max(self._now, at)
        call()

    def _at(self, deadline: float, call: Callable[[], None]) -> tuple[float, int, Callable[[], None]]:
        timer = (deadline, next(self._order), call)
        heapq.heappush(self._timers, timer)
        return timer

    def _forget(self, timer: tuple[float, int, Callable[[], None]]) -> None:
        if timer in self._timers:
            self._timers.remove(timer)
            heapq.heapify(self._timers)


class _TimeoutAt:
    """`asyncio.timeout`, started by virtual time."""

    def __init__(self, clock: VirtualClock, deadline: float | None) -> None:
        self._clock = clock
        self._deadline = deadline
        self._inner = asyncio.timeout(None)
        self._timer: tuple[float, int, Callable[[], None]] | None = None

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        if self._deadline is not None:
            if self._deadline <= self._clock.now():
                self._expire()
            else:
                self._timer = self._clock._at(self._deadline, self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._clock._forget(self._timer)
        await self._inner.__aexit__(kind, error, trace)

    def _expire(self) -> None:
        self._inner.reschedule(asyncio.get_running_loop().time())
