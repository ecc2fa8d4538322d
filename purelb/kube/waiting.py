# SPDX-License-Identifier: Apache-2.0
"""The wait of a reflector between two attempts: until when, what for, and what may cut it short.

Every failure costs one step of the `Backoff`, and what a server asks for (Retry-After) raises it. Twice a wait is cut to two
seconds. When another request of the same client succeeds while we wait for a server that was down: once for each step. And
when nothing but the versions of an outage have expired: a server that was restarted answers 410 to everybody and is well again.
(client-go waits in both cases.)
"""

from collections.abc import Callable
from typing import Final

from purelb.kube.backoff import Backoff
from purelb.kube.errors import ApiError, KubeError, NotFound, TransportError

HURRY_WITHIN: Final = 2.0
MISSING_AFTER: Final = 3


class Waiting:
    """One for each reflector, for all of its waits."""

    def __init__(self, *, rng: Callable[[], float]) -> None:
        self.until: float | None = None
        self.then_watch = False  # else everything is fetched
        self._rng = rng
        self._backoff = Backoff()
        self._may_hurry = False
        self._missing = 0
        self._only_expired = False  # the last watch answered 410 and nothing else

    def attempt(self, now: float) -> None:
        """An attempt begins."""
        self._backoff.attempt(now)

    def failed(self, error: KubeError | None, now: float, *, then_watch: bool) -> bool:
        """The attempt failed, so we wait. Answers whether the path was not there for the third time in a row."""
        retry_after = (error.retry_after if isinstance(error, ApiError) else None) or 0.0
        self.until = now + self._backoff.failed(now, rng=self._rng, at_least=retry_after)
        self.then_watch = then_watch
        passing = isinstance(error, TransportError) or (
            isinstance(error, ApiError) and (error.code == 429 or error.code >= 500)
        )
        self._may_hurry = passing and not retry_after
        self._missing = self._missing + 1 if isinstance(error, NotFound) else 0
        return self._missing == MISSING_AFTER

    def reachable(self, now: float) -> None:
        """Another request of the same client has succeeded."""
        if self._may_hurry:
            self._may_hurry = False
            self._hurry(now)

    def expired(self, now: float) -> None:
        """What failed was a watch whose version has expired. If the one before did so too, the step applies."""
        if not self._only_expired:
            self._hurry(now)
        self._only_expired = True

    def heard(self) -> None:
        """A watch brought something else than its expiry."""
        self._only_expired = False

    def found(self) -> None:
        """The path is there."""
        self._missing = 0

    def _hurry(self, now: float) -> None:
        if self.until is not None:
            self.until = min(self.until, now + HURRY_WITHIN * self._rng())
