# SPDX-License-Identifier: Apache-2.0
"""How a task that waits is told to look again.

A bell carries no value: whoever is woken looks at the state itself and may find nothing, so a ring too many costs one look
and a value can never be lost in flight. Each waiter owns one future of the loop. A ring that reached a waiter which was
cancelled in the same turn is passed on to the next one.

Rejected: `asyncio.Event` and `asyncio.Condition`, which are locks by another name and leave the caller to reset them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from purelb.kube.clock import Clock


class Bell:
    """Tasks wait at it; any synchronous code rings it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many tasks wait here."""
        return len(self._waiters)

    def ring(self) -> None:
        """Wake the task that waits longest, if any."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def ring_all(self) -> None:
        """Wake every task that waits."""
        while self._waiters:
            self.ring()

    async def wait(self, until: float | None) -> None:
        """Return after a ring or at `until` (of the clock; None: never by itself). Nobody rang is no error."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with self._clock.timeout_at(until):
                await waiter
        except TimeoutError:
            pass  # the time has come: the caller looks at its state either way
        except asyncio.CancelledError:
            self._leave(waiter)
            self.ring()  # ours may have been rung for all
            raise
        self._leave(waiter)

    def _leave(self, waiter: asyncio.Future[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
