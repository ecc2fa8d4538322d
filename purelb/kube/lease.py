# SPDX-License-Identifier: Apache-2.0
"""Who holds a Lease, judged by one's own clock. Pure; `elector.py` drives it.

Promised: of two healthy holders one stops. Not promised: hard fencing, so each guarded write asks the fence once more and
carries a resourceVersion, which catches what a server commits late. Timestamps in a Lease are another machine's and are
never compared; only the moment *we* saw its spec change counts, and a holder is believed for the duration *it* wrote.

`Election` competes for one lease, `Observations` watches many, `Heartbeat` keeps one alive that nobody else wants. At most
one request is outstanding; what it answers is the next input. Our own identity in a record, without a term of ours, is
another holder: that write of ours may have been committed when we had stopped waiting for it.

Unlike client-go a term never outlives a loss: what was lost is acquired again as a new term, with a new number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar, assert_never

from msgspec import Struct

from purelb.kube.model import Lease, LeaseSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

K = TypeVar("K", bound=Hashable)
Rng = Callable[[], float]
Why = Literal["taken", "deleted", "deadline"]


class Timing(Struct, frozen=True):
    """How long a lease lasts, for how long renewing may fail, how often it is tried; seconds. Raises ValueError."""

    duration: float = 15
    renew_deadline: float = 10
    retry: float = 2

    def __post_init__(self) -> None:
        for name, value in (("lease duration", self.duration), ("retry period", self.retry)):
            if value < 1 or value != int(value):
                raise ValueError(f"{name} {value:g} s: must be a whole number of seconds, at least 1")
        if not self.duration > self.renew_deadline:
            raise ValueError(
                f"lease duration {self.duration:g} s is not longer than renew deadline {self.renew_deadline:g} s: "
                "a holder must give up before others may take over"
            )
        if not self.renew_deadline > 1.2 * self.retry:
            raise ValueError(
                f"renew deadline {self.renew_deadline:g} s is not longer than 1.2 x retry period {self.retry:g} s: "
                "one failed renewal would end the term"
            )

    @property
    def guarded(self) -> float:
        """How long after a renewal was sent its holder may write: shorter than others wait, by the drift of clocks."""
        return self.duration - max(1.0, self.duration / 10)


# What an election is told.


class Start(Struct, frozen=True):
    """Begin to compete."""


class Found(Struct, frozen=True):
    """The answer to a Read."""

    lease: Lease


class Wrote(Struct, frozen=True):
    """The answer to a Create, Take, Renew or Release."""

    lease: Lease


class Absent(Struct, frozen=True):
    """There is no such lease."""


class Conflicted(Struct, frozen=True):
    """The lease is not what the write was based on, or exists already."""


class Failed(Struct, frozen=True):
    """No answer, or a refusal; a write may have been committed. `retry_after` in seconds, if the server named one."""

    retry_after: float | None = None
    why: str = ""  # for people


class Tick(Struct, frozen=True):
    """Time has passed."""


class Stop(Struct, frozen=True):
    """The term is over by our own wish: give the lease back."""


class Poke(Struct, frozen=True):
    """What the heartbeat's lease should say has changed."""


Answer = Found | Wrote | Absent | Conflicted | Failed
Input = Start | Answer | Tick | Stop


# What it asks for.


class Read(Struct, frozen=True):
    timeout: float


class Create(Struct, frozen=True):
    timeout: float


class Take(Struct, frozen=True):
    """Make the lease ours, if it still is at `rv`; `transitions` is the number of our term."""

    rv: str
    transitions: int
    timeout: float


class Renew(Struct, frozen=True):
    rv: str
    timeout: float


class Release(Struct, frozen=True):
    rv: str
    timeout: float


class Won(Struct, frozen=True):
    """A term begins; its writes are guarded until `until`."""

    number: int
    until: float


class Extended(Struct, frozen=True):
    until: float


class Lost(Struct, frozen=True):
    why: Why


class Released(Struct, frozen=True):
    """Nothing more is to be done for this lease."""


Request = Read | Create | Take | Renew | Release
Action = Request | Won | Extended | Lost | Released


class _Sighting(Struct):
    fingerprint: object
    changed_at: float
    duration: float


class Observations(Generic[K]):
    """When each of many leases was last seen to change, on our own clock."""

    def __init__(self) -> None:
        self._seen: dict[K, _Sighting] = {}

    def saw(self, key: K, *, fingerprint: object, duration: float, now: float) -> bool:
        """`key` reads `fingerprint` (anything with equality) and promises `duration`; whether that is news."""
        known = self._seen.get(key)
        if known is None or known.fingerprint != fingerprint:
            self._seen[key] = _Sighting(fingerprint, now, duration)
            return True
        return False

    def gone(self, key: K) -> None:
        """`key` was deleted. Unknown keys are ignored."""
        self._seen.pop(key, None)

    def restart(self, now: float) -> None:
        """Take every lease as seen to change now: after we were cut off ourselves, the others get a full duration."""
        for sighting in self._seen.values():
            sighting.changed_at = now

    def keys(self) -> Iterable[K]:
        """The leases there are, in no order."""
        return tuple(self._seen)

    def valid_until(self, key: K) -> float | None:
        """Until when `key` is believed; None if there is no such lease."""
        known = self._seen.get(key)
        return None if known is None else known.changed_at + known.duration

    def next_expiry(self, now: float = -math.inf) -> float | None:
        """The earliest end of a lease that is later than `now`; None if there is none."""
        ends = (sighting.changed_at + sighting.duration for sighting in self._seen.values())
        return min((end for end in ends if end > now), default=None)


class _Record:
    """One lease as we last saw it, and since when it has read like that."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self._changed_at = 0.0

    def saw(self, lease: Lease, now: float) -> None:
        if self.lease is None or self.lease.spec != lease.spec:
            self._changed_at = now
        self.lease = lease

    def gone(self) -> None:
        self.lease = None

    @property
    def rv(self) -> str:
        return self.lease.metadata.resource_version if self.lease else ""

    @property
    def spec(self) -> LeaseSpec:
        return (self.lease.spec if self.lease else None) or LeaseSpec()

    def expires_at(self, default: float) -> float:
        """When its holder is not believed any more; `default` is for a record that names no duration."""
        return self._changed_at + (self.spec.lease_duration_seconds or default)


class Election:
    """Competes for one lease, for one term. `rng` answers uniformly in [0, 1)."""

    def __init__(self, *, identity: str, timing: Timing, rng: Rng) -> None:
        if not identity:
            raise ValueError("an election needs an identity: with an empty one a released lease would look like ours")
        self._identity = identity
        self._timing = timing
        self._rng = rng
        self._record = _Record()
        self._phase: Literal["following", "leading", "releasing", "over"] = "following"
        self._out: list[Action] = []
        self._asked: Request | None = None
        self._asked_at = 0.0
        self._next_at: float | None = None
        self._ok_sent_at = 0.0  # of a term
        self._number = 0
        self._release_by = 0.0
        self._conflicts = 0  # in a row

    @property
    def holder(self) -> str | None:
        """Who held the lease when we last saw it; None if nobody or unknown."""
        return self._record.spec.holder_identity or None

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
        self._release_by = now + self._timing.renew_deadline
        self._ask(
            Release(self._record.rv, self._wait()), now
        )  # a renewal still in flight makes it a conflict, or is one

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


class Heartbeat:
    """Keeps one lease of our own alive. What it says is the caller's; this decides when to write it, and whether.

    `mine(lease)` tells our lease from one that another process of the same name keeps. A foreign one is left alone
    (`passive`) until it stood still for its own duration. `interval`, `retry` and `timeout` may be set at any time.
    """

    POKE_EVERY: Final = 0.5

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
        self._record = _Record()
        self._out: list[Read | Create | Renew] = []
        self._asked: Read | Create | Renew | None = None
        self._asked_at = -math.inf
        self._next_at: float | None = None
        self._poked = False
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
        soon = max(now, self._asked_at + self.POKE_EVERY)
        if self._next_at is None or soon < self._next_at:
            self._next_at = soon

    def _ask(self, request: Read | Create | Renew, now: float) -> None:
        self._asked, self._asked_at, self._next_at = request, now, None
        self._out.append(request)
