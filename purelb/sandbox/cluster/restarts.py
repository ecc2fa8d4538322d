# SPDX-License-Identifier: Apache-2.0
"""When a program that ended is started again. Pure.

1 s, then twice as long each time, 60 s at most; a program that ran for a minute has earned a fresh start. Kubernetes begins at 10 s and forgives after 10
minutes: too slow for something one watches.
"""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0
FORGIVEN_AFTER_S: Final = 60.0


class Restarts:
    def __init__(self) -> None:
        self.count = 0
        self._delay = FIRST_S

    def ended(self, *, ran_s: float) -> float:
        """The program ended after `ran_s`; the answer is the wait before its next start."""
        self.count += 1
        if ran_s >= FORGIVEN_AFTER_S:
            self._delay = FIRST_S
        delay, self._delay = self._delay, min(LONGEST_S, self._delay * 2)
        return delay
