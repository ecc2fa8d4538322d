# SPDX-License-Identifier: Apache-2.0
"""The wait of a reflector between two attempts: until when, what for, and what may cut it short.

Every failure costs one step of the `Backoff`, and what a server asks for (Retry-After) raises it. Three times a wait is cut to
two seconds, counted from the time that the server asked for. When another request of the same client succeeds while we wait
for a server that was down: once for each step. When nothing but the versions of an outage have expired: a server that was
restarted answers 410 to everybody and is well again. And when a server that was away is not ready yet: it answers so (429, 403
while it has not loaded the rights, 5xx), or it ends what it has just begun, because its cache of a resource begins anew. That
holds for half a minute from its first answer. (client-go waits in all cases.)
"""

import math
from collections.abc import Callable
from typing import Final

from purelb.kube.backoff import Backoff
from purelb.kube.errors import ApiError, Forbidden, KubeError, NotFound, TransportError

HURRY_WITHIN: Final = 2.0
# A server that is back loads rights and fills its caches for a few seconds. What it refuses after that, it means.
STARTS_WITHIN: Final = 30.0
MISSING_AFTER: Final = 3


class Waiting:
    """One for each reflector, for all of its waits."""

    def __init__(self, *, rng: Callable[[], float]) -> None:
        self.until: float | None = None
        self.then_watch = False  # else everything is fetched
        self._rng = rng
        self._backoff = Backoff()
        self._may_hurry = False
        self._not_before = 0.0  # what the server asked for
        self._back_at: float | None = -math.inf  # its first answer after it was away, None: it still is
        self._missing = 0
        self._only_expired = False  # the last watch answered 410 and nothing else

    def attempt(self, now: float) -> None:
        """An attempt begins."""
        self._backoff.attempt(now)

    def failed(self, error: KubeError | None, now: float, *, then_watch: bool, ended: bool = False) -> bool:
        """The attempt failed, so we wait. Answers whether the path was not there for the third time in a row.

        `ended`: nothing went wrong but that the server ended it too soon.
        """
        retry_after = (error.retry_after if isinstance(error, ApiError) else None) or 0.0
        self.until = now + self._backoff.failed(now, rng=self._rng, at_least=retry_after)
        self.then_watch = then_watch
        self._not_before = now + retry_after
        not_ready = isinstance(error, ApiError) and (error.code == 429 or error.code >= 500)
        self._may_hurry = not_ready or isinstance(error, TransportError)
        if isinstance(error, TransportError):
            self.lost()
        elif error is None or isinstance(error, ApiError):
            self._answered(now)
        if (ended or not_ready or isinstance(error, Forbidden)) and self.starts(now):
            self._hurry(now, draw=0.5 + 0.5 * self._rng())
        self._missing = self._missing + 1 if isinstance(error, NotFound) else 0
        return self._missing == MISSING_AFTER

    def lost(self) -> None:
        """There is no connection to the server, or no answer: an outage may have begun."""
        self._back_at = None

    def found(self, now: float) -> None:
        """The path is there."""
        self._missing = 0
        self._answered(now)

    def reachable(self, now: float) -> None:
        """Another request of the same client has succeeded."""
        if self._may_hurry:
            self._may_hurry = False
            self._hurry(now, draw=self._rng())

    def expired(self, now: float) -> None:
        """What failed was a watch whose version has expired. If the one before did so too, the step applies."""
        if not self._only_expired:
            self._hurry(now, draw=self._rng())
        self._only_expired = True

    def heard(self) -> None:
        """A watch brought something else than its expiry."""
        self._only_expired = False

    def starts(self, now: float) -> bool:
        """Whether an answer of now is one of a server that was away and is only just back."""
        return self._back_at is None or now - self._back_at < STARTS_WITHIN

    def _answered(self, now: float) -> None:
        if self._back_at is None:
            self._back_at = now

    def _hurry(self, now: float, *, draw: float) -> None:
        if self.until is not None:
            self.until = min(self.until, max(now, self._not_before) + HURRY_WITHIN * draw)
