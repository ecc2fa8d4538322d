# SPDX-License-Identifier: Apache-2.0
"""The words in which leases are decided on: how they are timed, what a decider is told, what it asks for. Pure.

An answer is that of the one request outstanding. `Failed` says nothing about whether a write was committed.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from purelb.kube.model import Lease, LeaseSpec

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
    """Renew before it is due: what a heartbeat's lease should say has changed, or somebody wants to know whether a lease can be written."""


Answer = Found | Wrote | Absent | Conflicted | Failed
Input = Start | Answer | Tick | Poke | Stop


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


class Record:
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
