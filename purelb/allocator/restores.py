# SPDX-License-Identifier: Apache-2.0
"""How soon a status that somebody else has written is put back.

A slip of a hand is put back at once. But another controller that takes the same Services for its own writes again whenever we do, as
fast as the API server answers both of us. After a few times in a row we wait ever longer, up to a minute, until nobody has
disturbed us for ten minutes. Only writes that were applied count, so a storm of conflicts does not slow us down. Forgets with the term.

Rejected: giving way, as with externalTrafficPolicy; an address that is not in the status is not announced, and its user has lost it.
"""

from typing import Final

from msgspec import Struct

from purelb.allocator.keys import ServiceKey

FREE: Final = 5
FIRST: Final = 1.0
CAP: Final = 60.0
FORGET: Final = 600.0


class _Row(Struct, frozen=True, gc=False):
    """`times` in a row, the newest at `at`, when the last write that was applied was that of `applied`."""

    times: int
    at: float
    applied: float


class Restores:
    def __init__(self) -> None:
        self._rows: dict[ServiceKey, _Row] = {}

    def wait(self, service: ServiceKey, now: float) -> float:
        """How long to wait before the status is put back; 0: at once."""
        row = self._known(service, now)
        if row is None or row.times < FREE:
            return 0.0
        return max(0.0, row.at + min(FIRST * (1 << min(row.times - FREE, 16)), CAP) - now)

    def contested(self, service: ServiceKey, now: float) -> bool:
        """Whether somebody writes it again and again."""
        row = self._known(service, now)
        return row is not None and row.times >= FREE

    def restoring(self, service: ServiceKey, now: float, *, applied: float) -> None:
        """A write that puts it back is on its way; `applied`: when the last one of ours was."""
        row = self._known(service, now)
        if row is None or row.applied != applied:
            self._rows[service] = _Row(row.times + 1 if row is not None else 1, now, applied)

    def forget(self, service: ServiceKey) -> None:
        """The Service is gone, or not ours any more."""
        self._rows.pop(service, None)

    def _known(self, service: ServiceKey, now: float) -> _Row | None:
        row = self._rows.get(service)
        if row is not None and now >= row.at + FORGET:
            del self._rows[service]
            return None
        return row
