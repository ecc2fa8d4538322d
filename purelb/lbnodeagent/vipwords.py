# SPDX-License-Identifier: Apache-2.0
"""The words of the machine of one local VIP: its states, what happens to it, and what it asks for.

Values, and nothing of what follows from what: that is the table in `vip`. Whether the address is in the kernel follows from the
state (`in_kernel`), not from the actions.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from purelb.lbnodeagent.election import Verdict
from purelb.net.ranges import IPAddress

State = Literal["Idle", "Holding", "Offering", "Closing", "Adopted"]
STATES: Final[tuple[State, ...]] = ("Idle", "Holding", "Offering", "Closing", "Adopted")
IN_KERNEL: Final[frozenset[State]] = frozenset({"Holding", "Offering", "Closing", "Adopted"})


class Vip(Struct, frozen=True, kw_only=True):
    """One VIP on this node. `on`: the interface that carries it, or would."""

    ip: IPAddress
    state: State = "Idle"
    on: int | None = None
    to: str | None = None
    """Offering, Closing: to whom."""
    winner: str | None = None
    """Of the last verdict, when that was somebody else."""
    timer_at: float | None = None
    ignore_until: float = 0.0
    quiet_until: float = 0.0
    """No second defence before this."""
    refusals: int = 0
    since: float = 0.0
    """When this process added it, or found it."""
    stood_at: float = float("-inf")
    """When a frame crossed ours and we stayed."""

    @property
    def renewed(self) -> bool:
        """In the kernel, and not merely found there."""
        return self.state in IN_KERNEL and self.state != "Adopted"

    @property
    def in_kernel(self) -> bool:
        return self.state in IN_KERNEL


class Judged(Struct, frozen=True, kw_only=True):
    """The verdict after a change of view; None: nothing claims the VIP here any more.

    `give_at`: when a holder gives it to the winner, None never (9.4). `on`: its interface, None when no link serves it.
    """

    verdict: Verdict | None
    give_at: float | None = None
    on: int | None = None


class Answer(Struct, frozen=True):
    """A frame of another MAC claimed the VIP; `node` when we know whose MAC that is.

    `stays`: we spoke as well at that time, and of two that heard each other at once we are the one that does not go.
    """

    mac: bytes
    node: str | None = None
    stays: bool = False


class TakenOver(Struct, frozen=True):
    """The API names `node` as announcing it."""

    node: str


class KernelLost(Struct, frozen=True):
    """It went away by a foreign hand. `expired`: its lifetime had ended by our clock."""

    expired: bool = False


class CarrierLost(Struct, frozen=True):
    """No carrier for 500 ms."""


class CarrierBack(Struct, frozen=True):
    """Carrier came back earlier than that, or the MAC changed."""


class PeerBack(Struct, frozen=True):
    """A member of the segment is alive again, or in a new process. What was taken before `after` it cannot have any more."""

    after: float


class AddRefused(Struct, frozen=True):
    error: str


class Fenced(Struct, frozen=True):
    """The own lease is stale and the policy is Withdraw."""


class Foreign(Struct, frozen=True):
    """Another instance holds our lease: its addresses now, whatever we did."""


class Timer(Struct, frozen=True):
    pass


VipEvent = (
    Judged
    | Answer
    | TakenOver
    | KernelLost
    | CarrierLost
    | CarrierBack
    | PeerBack
    | AddRefused
    | Fenced
    | Foreign
    | Timer
)


class Add(Struct, frozen=True):
    """The address appears; `row` says on which ground."""

    row: str
    from_node: str | None = None


class Delete(Struct, frozen=True):
    row: str


class Burst(Struct, frozen=True):
    """Announce now, and again after these delays."""

    delays: tuple[float, ...] = (0.0,)


class Sequence(Struct, frozen=True):
    """The configured announce sequence."""


class Offer(Struct, frozen=True):
    to: str


class Unoffer(Struct, frozen=True):
    pass


class Note(Struct, frozen=True):
    """A line for the log and, where one is kept, a counter."""

    code: str


Action = Add | Delete | Burst | Sequence | Offer | Unoffer | Note
