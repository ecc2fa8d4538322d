# SPDX-License-Identifier: Apache-2.0
"""The competition for one lease, through one term. Pure; `elector.py` drives it.

*Following*: look at the lease, believe its holder for the duration it wrote since we saw the record change, take the lease
when nobody holds it any more. *Leading*: renew it; another holder, a deletion or a deadline without success ends the term.
*Releasing*: give it back, if it still is ours. *Over*: nothing is asked for any more; a next term is another `Election`.

Our own identity in a record, without a term of ours, is another holder: that write of ours may have been committed when we
had stopped waiting for it. A lease that vanished under a holder that we believe in is left alone until that holder must have
noticed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, assert_never

from purelb.kube.leasewords import (
    Absent,
    Action,
    Answer,
    Conflicted,
    Create,
    Extended,
    Failed,
    Found,
    Input,
    Lost,
    Poke,
    Read,
    Record,
    Release,
    Released,
    Renew,
    Request,
    Start,
    Stop,
    Take,
    Tick,
    Timing,
    Why,
    Won,
    Wrote,
)

Rng = Callable[[], float]


class Election:
    """Competes for one lease, for one term. `rng` answers uniformly in [0, 1).

    `release_within`: how long giving it back may be tried, by default for as long as a renewal would be.
    """

    def __init__(self, *, identity: str, timing: Timing, rng: Rng, release_within: float | None = None) -> None:
        if not identity:
            raise ValueError("an election needs an identity: with an empty one a released lease would look like ours")
        self._identity = identity
        self._timing = timing
        self._rng = rng
        self._release_within = timing.renew_deadline if release_within is None else release_within
        self._record = Record()
        self._phase: Literal["following", "leading", "releasing", "over"] = "following"
        self._out: list[Action] = []
        self._asked: Request | None = None
        self._asked_at = 0.0
        self._next_at: float | None = None
        self._ok_sent_at = 0.0  # of a term
        self._early_at = -math.inf  # when a poke last made us renew before it was due; routine renewals do not count
        self._number = 0
        self._release_by = 0.0
        self._conflicts = 0  # in a row

    @property
    def holder(self) -> str | None:
        """Who held the lease when we last saw it; None if nobody or unknown."""
        return self._record.spec.holder_identity or None

    @property
    def renewed_at(self) -> float:
        """When the latest write that made or kept the lease ours was sent; 0 before the first."""
        return self._ok_sent_at

    def actions(self) -> list[Action]:
        """What is to be done now, in this order."""
        out, self._out = self._out, []
        return out

    def deadline(self) -> float | None:
        """When to `receive(Tick())` unless something else is received before."""
        match self._phase:
            case "following":
                return self._next_at if self._asked is None else None
            case "leading":
                ends = self._ok_sent_at + self._timing.renew_deadline
                return ends if self._asked is not None or self._next_at is None else min(ends, self._next_at)
            case "releasing":
                return self._release_by if self._asked is not None or self._next_at is None else self._next_at
            case "over":
                return None
            case _:
                assert_never(self._phase)

    def receive(self, seen: Input, now: float) -> None:
        """Take in one input. An answer is that of the request outstanding."""
        asked = self._asked
        if isinstance(seen, Answer):
            self._asked = None
        match seen:
            case Found(lease=lease) | Wrote(lease=lease):
                self._record.saw(lease, now)
            case _:
                pass
        if isinstance(seen, Stop):
            self._stop(now)
            return
        match self._phase:
            case "following":
                self._follow(seen, asked, now)
            case "leading":
                self._lead(seen, now)
            case "releasing":
                self._release(seen, now)
            case "over":
                pass
            case _:
                assert_never(self._phase)

    def _follow(self, seen: Input, asked: Request | None, now: float) -> None:
        match seen:
            case Start():
                self._next_at = now + self._rng() * self._timing.retry
            case Tick() if asked is None and self._next_at is not None and now >= self._next_at:
                self._ask(Read(self._wait()), now)
            case Found():
                self._consider(now)
            case Wrote() if self._record.spec.holder_identity == self._identity:
                if now < self._asked_at + self._timing.renew_deadline:
                    self._phase = "leading"
                    self._ok_sent_at = self._asked_at
                    self._number = self._record.spec.lease_transitions or 0
                    self._next_at = self._asked_at + self._timing.retry
                    self._out.append(Won(self._number, self._asked_at + self._timing.guarded))
                else:
                    self._again(now)  # we were suspended meanwhile: what we took is as good as foreign
            case Absent() if isinstance(asked, Read):
                # Somebody deleted it; a holder that we believe in learns that with its next renewal, not now.
                if self.holder and now < self._record.expires_at(self._timing.duration):
                    self._wait_for_expiry(now)
                else:
                    self._record.gone()
                    self._ask(Create(self._wait()), now)
            case Failed(retry_after=retry_after):
                self._again(now, retry_after or 0.0)
            case Wrote() | Absent() | Conflicted():
                self._again(now)
            case _:
                pass

    def _consider(self, now: float) -> None:
        expires_at = self._record.expires_at(self._timing.duration)
        if not self.holder or now >= expires_at:
            transitions = (self._record.spec.lease_transitions or 0) + 1
            self._ask(Take(self._record.rv, transitions, self._wait()), now)
            return
        self._wait_for_expiry(now)

    def _wait_for_expiry(self, now: float) -> None:
        """Look again later, but not later than when the holder is not believed any more."""
        self._again(now)
        wake_at = self._record.expires_at(self._timing.duration) + 0.2 * self._timing.retry * self._rng()
        if self._next_at is None or wake_at < self._next_at:
            self._next_at = wake_at

    def _lead(self, seen: Input, now: float) -> None:
        ends = self._ok_sent_at + self._timing.renew_deadline
        match seen:
            case Wrote() | Found() if self._is_ours():
                if isinstance(seen, Wrote):
                    self._conflicts = 0
                    self._ok_sent_at = self._asked_at
                    self._next_at = self._asked_at + self._timing.retry
                    self._out.append(Extended(self._asked_at + self._timing.guarded))
                elif now < ends:
                    self._ask(Renew(self._record.rv, min(self._wait(), ends - now)), now)
            case Wrote() | Found():
                self._end("taken")
            case Absent():
                self._end("deleted")
            case Conflicted() if now < ends:
                self._conflicted(now, ends)
            case Failed(retry_after=retry_after):
                self._next_at = max(now + (retry_after or 0.0), self._asked_at + self._timing.retry)
            case Poke() if self._next_at is not None and self._ok_sent_at == self._asked_at:  # after a failure we wait
                soon = max(now, self._early_at + self._pause())
                if soon < self._next_at:
                    self._next_at = self._early_at = soon
            case _:
                pass
        if self._phase != "leading":
            return
        if now >= self._ok_sent_at + self._timing.renew_deadline:
            self._end("deadline")
        elif self._asked is None and self._next_at is not None and now >= self._next_at:
            self._ask(Renew(self._record.rv, min(self._wait(), ends - now)), now)

    def _is_ours(self) -> bool:
        """Whether the record still is that of this term: a higher number means that somebody was there in between."""
        spec = self._record.spec
        return spec.holder_identity == self._identity and (spec.lease_transitions or 0) == self._number

    def _end(self, why: Why) -> None:
        self._phase = "over"
        self._out.append(Lost(why))

    def _stop(self, now: float) -> None:
        if self._phase != "leading":
            self._over()
            return
        self._phase = "releasing"
        self._release_by = now + self._release_within
        # A renewal still in flight makes it a conflict, or is one.
        self._ask(Release(self._record.rv, min(self._wait(), self._release_within)), now)

    def _release(self, seen: Input, now: float) -> None:
        left = self._release_by - now
        match seen:
            case Conflicted() if left > 0:
                self._conflicted(now, self._release_by)
            case Found() if left > 0 and self._is_ours():
                self._ask(Release(self._record.rv, min(self._wait(), left)), now)
            case Failed(retry_after=retry_after) if left > 0:
                self._next_at = min(self._release_by, now + max(self._pause(), retry_after or 0.0))
            case Tick() if left > 0:
                if self._asked is None and self._next_at is not None and now >= self._next_at:
                    self._ask(Release(self._record.rv, min(self._wait(), left)), now)
            case _:
                self._over()

    def _conflicted(self, now: float, ends: float) -> None:
        """Read and write again at once; a second conflict in a row waits, or two writers would turn in circles."""
        self._conflicts += 1
        if self._conflicts % 2:
            self._ask(Read(min(self._wait(), ends - now)), now)
        else:
            self._next_at = min(ends, now + self._pause())

    def _over(self) -> None:
        if self._phase != "over":
            self._phase = "over"
            self._out.append(Released())

    def _ask(self, request: Request, now: float) -> None:
        self._asked, self._asked_at, self._next_at = request, now, None
        self._out.append(request)

    def _again(self, now: float, at_least: float = 0.0) -> None:
        self._next_at = now + max(at_least, self._timing.retry * (1 + 1.2 * self._rng()))

    def _pause(self) -> float:
        return 0.25 * self._timing.retry

    def _wait(self) -> float:
        """Half the deadline: one request that hangs must not cost the term."""
        return self._timing.renew_deadline / 2
