# SPDX-License-Identifier: Apache-2.0
"""The steps of a graceful shutdown, each with a limit of its own, all within one budget.

A step that overruns is cut, said so (`shutdownStepCut`: which step, what it left undone) and the next one starts; so one
peer that does not answer costs its own step and no other. What is cut is repaired by the next start, as after a kill.

A step is awaited under the clock and cancelled at its end. Work that refuses to be cancelled is not waited for here: the
end of the budget, which `supervision` keeps, ends the process with it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from purelb.kube.clock import Clock

log: Final = logging.getLogger(__name__)


class Shutdown:
    """One shutdown: `begin` starts its budget, `step` runs one step. Before `begin` a step has its own limit only."""

    def __init__(self, clock: Clock, *, budget: float) -> None:
        self._clock = clock
        self._budget = budget
        self._ends: float | None = None

    @property
    def begun(self) -> bool:
        return self._ends is not None

    def begin(self) -> None:
        """The process was asked to stop. The first call counts."""
        if self._ends is None:
            self._ends = self._clock.now() + self._budget

    async def step(self, name: str, work: Awaitable[object], *, limit: float, left: Callable[[], str]) -> bool:
        """Run `work` for at most `limit` seconds and what is left of the budget; False when it was cut.

        `left` is asked, at the moment of the cut and before `work` is cancelled for good, what is not done.
        """
        began = self._clock.now()
        until = began + limit if self._ends is None else min(began + limit, self._ends)
        try:
            async with self._clock.timeout_at(until):
                await work
        except TimeoutError:
            if self._clock.now() < until:
                raise  # one of the work's own
            self.cut(name, left(), took=self._clock.now() - began)
            return False
        return True

    def cut(self, name: str, left: str, *, took: float) -> None:
        """Say that a step, which keeps its own limit, ended unfinished."""
        log.info(
            "shutdown: step %s was cut after %.1f s; left undone: %s",
            name,
            took,
            left,
            extra={"code": "shutdownStepCut", "step": name, "left": left, "took": took},
        )
