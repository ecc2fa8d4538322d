# SPDX-License-Identifier: Apache-2.0
"""For how long a step holds the loop: long work is carried out piece by piece, and between two pieces the others have a turn.

The turn stays the step's own: no key is handled meanwhile, and nobody but the owner changes what the owner owns. So a decision
never sees half of an edit; the informers, the writer and the listener go on. What they change meanwhile comes as a key of its own.
"""

from collections.abc import Callable, Generator
from typing import Final, TypeVar

from purelb.kube.clock import breathe

T = TypeVar("T")

# The house allows 5 ms; short steps before this one and the last piece are in it as well.
SLICE: Final = 0.002


class Pace:
    """One step, or one rebuild. `now` is the clock of the process."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until = now() + SLICE

    async def rest(self) -> None:
        """Give the others a turn, if they have waited for long enough."""
        if self._now() >= self._until:
            await breathe()
            self._until = self._now() + SLICE

    async def through(self, work: Generator[None, None, T]) -> T:
        """All of the work; its answer."""
        while True:
            try:
                next(work)
            except StopIteration as ended:
                answer: T = ended.value
                return answer
            await self.rest()
