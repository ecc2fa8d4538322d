# SPDX-License-Identifier: Apache-2.0
"""Deaf gaps: this process did not run, or nobody could see our lease renewed, so the world may have gone on without us.

What we believe is older than we think then. A peer may have taken what ran out here, and the kernel *creates* an address
that a renewal names and that is gone. So while a gap is open nothing new is announced on a link; what is in the kernel with
a lifetime that runs stays and is renewed, for a short pause loses nothing.

A gap is closed by proof, not by time: a renewal of our own lease, sent after the gap was noticed, came back through the
leases' informer; after a pause of this process, the Services were listed again after that, too. Without an API server there
is no proof, and what ran out stays away. Rejected: to list Services again whenever the API was away; every node would at once.

Not promised: that a pause under a second is noticed, or that nobody took an address whose lifetime still runs.
"""

from __future__ import annotations

from typing import Final, Literal

Cause = Literal["lag", "lease", "lifetime"]
CAUSES: Final[tuple[Cause, ...]] = ("lag", "lease", "lifetime")

PULSE_S: Final = 0.5
LAG_S: Final = 1.0
"""A pause of the loop, or a turn of the owner, from which on it is one."""


class Pulse:
    """Notices that the loop stood still: it should beat every `PULSE_S`, and did not."""

    def __init__(self, now: float) -> None:
        self._beat_at = now
        self._pause = 0.0

    def beat(self, now: float) -> bool:
        """The loop runs; whether there is a pause to take note of."""
        self._note(now - self._beat_at - PULSE_S)
        self._beat_at = now
        return self._pause >= LAG_S

    def worked(self, began: float, now: float) -> None:
        """One turn of the owner took this long: for as long it was deaf."""
        self._note(now - began)

    def pause(self, now: float) -> float:
        """The longest pause that was not taken note of yet, in seconds; 0 when there was none worth it.

        To be called first in a turn: after a pause the owner may run before the pulse does.
        """
        self.beat(now)
        found, self._pause = self._pause, 0.0
        return found if found >= LAG_S else 0.0

    def _note(self, pause: float) -> None:
        self._pause = max(self._pause, pause)


class Deafness:
    """Whether a gap is open, and what is still to be proved. Changed by the owner only."""

    def __init__(self) -> None:
        self.open = False
        self.number = 0
        """Of the gap, so that a list that was asked for in another one proves nothing."""
        self.since = 0.0
        """What proves that we hear again was sent at this instant or later."""
        self._services = False
        self._listing = False

    def begin(self, now: float, *, services: bool) -> None:
        """A gap was noticed. `services`: their informer has to prove itself as well."""
        if self.open and (not services or (self._services and now <= self.since)):
            return  # the gap that is open asks for as much already
        self.open, self.number = True, self.number + 1
        self.since, self._services, self._listing = now, services, False

    def echoed(self, sent_at: float) -> Literal["wait", "list", "proved"]:
        """The youngest renewal of ours that came back was sent at `sent_at`; what has to happen now."""
        if sent_at < self.since or self._listing:
            return "wait"
        if not self._services:
            return "proved"
        self._listing = True
        return "list"

    @property
    def waits_for_echo(self) -> bool:
        return self.open and not self._listing

    def close(self) -> None:
        self.open = self._listing = False
