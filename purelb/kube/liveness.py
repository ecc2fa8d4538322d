# SPDX-License-Identifier: Apache-2.0
"""The life of a stream: how long it is asked to last, what its silence means, and what its end.

Silence is not death: an idle server sends nothing. Only a watch that has shown a bookmark is expected to show another, within
150 s. While everything there is is being sent, the server has something to say: 10 s without a word are worth a notice, after
30 s it will not come.

A watch that ends at once and has moved no version was none: asked for again at once, such a server would go on like that.
"""

from collections.abc import Callable
from typing import Final

WATCH_MIN: Final = 300.0  # a watch asks for [m, 2m) seconds, so that not all of a fleet ends at once
SHORT_WATCH: Final = 1.0
QUIET: Final = 10.0  # the initial state does not come on: say so
QUIET_MAX: Final = 30.0  # it will not come
IDLE_LIMIT: Final = 150.0


class Liveness:
    """One for each reflector; `asked` begins the next stream.

    `idle_at`: when a watch is taken for dead, None while it may be silent. `quiet_at`: when to ask how long the initial state
    has been `quiet`.
    """

    def __init__(self, *, rng: Callable[[], float], watch_min: float = WATCH_MIN) -> None:
        self.idle_at: float | None = None
        self.quiet_at = 0.0
        self._rng = rng
        self._watch_min = max(WATCH_MIN, watch_min)
        self._from: str | None = None  # the version that it began from, None: it has brought everything
        self._opened_at = 0.0
        self._lasts = 0.0
        self._quiet = 0.0

    def asked(self, rv: str) -> float:
        """A stream from this version is asked for; for how many seconds."""
        self._from, self.idle_at, self._lasts = rv, None, self._watch_min * (1.0 + self._rng())
        return self._lasts

    def begun(self, now: float) -> None:
        """It is waited for from now, or was opened."""
        self._opened_at = now
        self.heard(now)

    def heard(self, now: float) -> None:
        """It has brought something."""
        self.quiet_at, self._quiet = now + QUIET, 0.0
        if self.idle_at is not None:
            self.idle_at = now + IDLE_LIMIT

    def bookmarked(self, now: float) -> None:
        """It has shown one of the bookmarks that come every minute, so from now on silence means something."""
        self.idle_at = now + IDLE_LIMIT

    def filled(self) -> None:
        """It has brought everything there is, so it was not short, however soon it ends."""
        self._from = None

    def quiet(self, now: float) -> float:
        """Nothing has come until `quiet_at`: for how many seconds by now."""
        self._quiet += QUIET
        self.quiet_at = now + QUIET
        return self._quiet

    def idle(self, now: float) -> bool:
        """Whether its silence is taken for death."""
        return self.idle_at is not None and now >= self.idle_at

    def short(self, rv: str, now: float) -> bool:
        """Whether one that ends now, at this version, ends at once and without a word."""
        return rv == self._from and now - self._opened_at < SHORT_WATCH

    def served(self, now: float) -> bool:
        """Whether it went on for as long as any is asked to."""
        return now - self._opened_at >= self._watch_min

    def outlived(self, now: float) -> bool:
        """Whether the server had to end it by now."""
        return now - self._opened_at >= self._lasts
