# SPDX-License-Identifier: Apache-2.0
"""How long the next attempt to reach a server has to wait.

0.8 s, doubling to 30 s, each step uniform in [d, 2d). It starts over only after an attempt that went well for 120 s: a long
outage, in which every tenth attempt gets half an answer, never falls back to its first step. What a server asks for
(Retry-After) raises a step and never lowers it.
"""

from collections.abc import Callable
from typing import Final

HEALTHY_AFTER: Final = 120.0


class Backoff:
    """One for each thing that is attempted: `attempt` when it begins, `failed` when it went wrong."""

    def __init__(self, *, base: float = 0.8, factor: float = 2.0, cap: float = 30.0) -> None:
        self._base, self._factor, self._cap = base, factor, cap
        self._delay = base
        self._attempt_at = 0.0

    def attempt(self, now: float) -> None:
        """An attempt begins."""
        self._attempt_at = now

    def failed(self, now: float, *, rng: Callable[[], float], at_least: float = 0.0) -> float:
        """The attempt failed: the time of the next one, in seconds from now."""
        if now - self._attempt_at >= HEALTHY_AFTER:
            self._delay = self._base
        delay = self._delay * (1.0 + rng())
        self._delay = min(self._cap, self._delay * self._factor)
        return max(delay, at_least)
