# SPDX-License-Identifier: Apache-2.0
"""One lease of our own, kept alive without competition. Pure; `keeper.py` drives it.

It is renewed at its interval and at once when what it should say changed, created again when somebody deleted it, and read
again when somebody edited it. A lease that another process of our name keeps is left alone until it stood still.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from purelb.kube.leasewords import (
    Absent,
    Answer,
    Conflicted,
    Create,
    Failed,
    Found,
    Poke,
    Read,
    Record,
    Renew,
    Start,
    Tick,
    Wrote,
)

if TYPE_CHECKING:
    from purelb.kube.model import Lease

Rng = Callable[[], float]


class Heartbeat:
    """Keeps one lease of our own alive. What it says is the caller's; this decides when to write it, and whether.

    `mine(lease)` tells our lease from one that another process of the same name keeps. A foreign one is left alone
    (`passive`) until it stood still for its own duration. `interval`, `retry` and `timeout` may be set at any time.
    """

    EARLY_MAX: Final = 2
    EARLY_WITHIN: Final = 1.0
    """At most so many renewals in so many seconds because of pokes. Those of the interval do not count: news must not wait
    half a second because a routine renewal was just made."""

    def __init__(
        self, *, interval: float, retry: float, timeout: float, mine: Callable[[Lease], bool], rng: Rng
    ) -> None:
        self.interval = interval
        self.retry = retry
        self.timeout = timeout
        self.last_ok_sent_at: float | None = None
        self.passive = False
        self._mine = mine
        self._rng = rng
        self._record = Record()
        self._out: list[Read | Create | Renew] = []
        self._asked: Read | Create | Renew | None = None
        self._asked_at = -math.inf
        self._next_at: float | None = None
        self._poked = False
        self._early: deque[float] = deque(maxlen=self.EARLY_MAX)  # instants of the latest renewals that pokes caused
        self._conflicts = 0  # in a row

    def actions(self) -> list[Read | Create | Renew]:
        """The request to make now, if any."""
        out, self._out = self._out, []
        return out

    def deadline(self) -> float | None:
        """When to `receive(Tick())`."""
        return self._next_at if self._asked is None else None

    def receive(self, seen: Start | Poke | Answer | Tick, now: float) -> None:
        """Take in one input. An answer is that of the request outstanding."""
        asked, asked_at = self._asked, self._asked_at
        if isinstance(seen, Answer):
            self._asked = None
        match seen:
            case Start():
                self._ask(Read(self.timeout), now)
            case Poke() if self._asked is not None:
                self._poked = True
            case Poke() if not self.passive:
                self._write_again(now)
            case Found(lease=lease):
                self._record.saw(lease, now)
                self._found(now)
            case Wrote(lease=lease):
                self._record.saw(lease, now)
                self.passive = False
                self._conflicts = 0
                self.last_ok_sent_at = asked_at
                self._next_at = asked_at + self.interval * (0.9 + 0.2 * self._rng())
            case Absent():
                self._record.gone()
                if isinstance(asked, Create):
                    self._next_at = now + self.retry  # not the lease is missing but its namespace
                else:
                    self._ask(Create(self.timeout), now)
            case Conflicted():
                self._conflicts += 1
                if self._conflicts % 2:
                    self._ask(Read(self.timeout), now)
                else:
                    self._next_at = now + self.retry  # two writers must not turn in circles
            case Failed(retry_after=retry_after):
                self._next_at = now + max(self.retry, retry_after or 0.0)
            case Tick() if self._asked is None and self._next_at is not None and now >= self._next_at:
                known = self._record.lease is not None and not self.passive
                self._ask(Renew(self._record.rv, self.timeout) if known else Read(self.timeout), now)
            case _:
                pass
        if self._poked and self._asked is None and not self.passive:
            self._poked = False
            self._write_again(now)

    def _found(self, now: float) -> None:
        if self._record.lease is not None and self._mine(self._record.lease):
            self.passive = False
            self._ask(Renew(self._record.rv, self.timeout), now)
            return
        expires_at = self._record.expires_at(self.interval)
        if not self._record.spec.holder_identity or now >= expires_at:
            self._ask(Renew(self._record.rv, self.timeout), now)
            return
        self.passive = True
        self._next_at = min(expires_at, now + self.retry * (1 + 1.2 * self._rng()))

    def _write_again(self, now: float) -> None:
        full = len(self._early) == self.EARLY_MAX
        soon = max(now, self._early[0] + self.EARLY_WITHIN) if full else now
        if self._next_at is None or soon < self._next_at:
            self._early.append(soon)
            self._next_at = soon

    def _ask(self, request: Read | Create | Renew, now: float) -> None:
        self._asked, self._asked_at, self._next_at = request, now, None
        self._out.append(request)
