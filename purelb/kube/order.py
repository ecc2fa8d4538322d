# SPDX-License-Identifier: Apache-2.0
"""Which write goes out next. Pure; `writer.py` sends them.

Writes to one target go out one at a time, in the order of submission; targets are served by priority, then by how long they
have waited. A write that waits gives way to a newer one of the same slot; one that was sent, even once, is not touched, since
the server may have seen it. A target whose newest wish keeps changing does not lose its place in the line.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from purelb.kube.errors import Status
from purelb.kube.model import KubeObject
from purelb.kube.resources import Resource
from purelb.kube.wire import PatchType

if TYPE_CHECKING:
    from collections.abc import Iterator

Verb = Literal["patch", "apply", "create", "delete"]


class Target(Struct, frozen=True):
    """The object a write is for. An empty name is that of a create whose name the server makes up."""

    resource: Resource[Any]
    namespace: str | None
    name: str


class Written(Struct, frozen=True):
    """The server did it. `obj` is its answer, None after a delete; `unchanged`: it was like that already."""

    obj: KubeObject | None
    rv: str
    unchanged: bool = False


class Conflicted(Struct, frozen=True):
    """The object is not what the write was based on. Read it again and decide again."""


class Missing(Struct, frozen=True):
    """There is no such object, or no such namespace."""


class Exists(Struct, frozen=True):
    """What was to be created is there already."""


class Refused(Struct, frozen=True):
    """The server will not do it, now or later: not allowed, not valid. Of several attempts one before may have been committed."""

    status: Status
    attempts: int = 1


class Fenced(Struct, frozen=True):
    """Our term was over at the moment of sending. An attempt before may have been committed."""


class Failed(Struct, frozen=True):
    """Given up. Unless `attempts` is 0, the write may have been committed."""

    error: Exception
    attempts: int


class Superseded(Struct, frozen=True):
    """A newer write of the same slot took its place before it was sent."""


class Cancelled(Struct, frozen=True):
    """The writer stopped. If the write was on its way it may have been committed."""


WriteResult = Written | Conflicted | Missing | Exists | Refused | Fenced | Failed | Superseded | Cancelled


class Write(Struct, frozen=True, kw_only=True):
    """One write and whom to tell. `slot` names what of its target it sets; writes without one are never superseded.

    `rv`: the write only holds for that version, and an answer with the same version is `unchanged`. `uid` is for deletes.
    `reply` is called exactly once, in the writer's task or inside `submit`; it should only put a key on a queue.
    """

    target: Target
    verb: Verb
    reply: Callable[[WriteResult], None]
    body: bytes = b""
    subresource: str | None = None
    patch_type: PatchType = PatchType.MERGE
    rv: str | None = None
    uid: str | None = None
    slot: str = ""
    priority: int = 0
    force: bool = False  # of an apply

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice has the effect of sending it once."""
        match self.verb:
            case "create":
                return bool(self.target.name)
            case "patch":
                return self.patch_type is not PatchType.JSON or self.rv is not None
            case _:
                return True


class Ticket(Struct, eq=False):
    """A write on its way. `attempts` and `give_up_at` are the sender's."""

    number: int
    write: Write
    attempts: int = 0
    give_up_at: float | None = None


class _Line(Struct, eq=False):
    """The writes of one target. `since` is the number of the ticket that it has waited for longest."""

    since: int
    waiting: OrderedDict[int, Ticket] = msgspec.field(default_factory=OrderedDict)
    slots: dict[str, int] = msgspec.field(default_factory=dict)
    sent: Ticket | None = None
    not_before: float = 0.0
    listed: tuple[int, int] | None = None  # its place in the heap


class WriteOrder:
    """Pure. Tickets go round: `submit`, `take`, then `answered`, or `again` and `take` once more."""

    def __init__(self) -> None:
        self._lines: dict[Target, _Line] = {}
        self._heap: list[tuple[int, int, _Line]] = []  # -priority, since; stale unless it is what `listed` says
        self._later: list[tuple[float, int, _Line]] = []  # not_before, number
        self._number = 0
        self._waiting = 0
        self._sent = 0
        self._held_until = 0.0

    @property
    def waiting(self) -> int:
        """Writes that are not on their way now."""
        return self._waiting

    @property
    def unanswered(self) -> int:
        """Writes that have no result yet: those that wait and those on their way."""
        return self._waiting + self._sent

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is on its way."""
        return not self._waiting and not self._sent

    def submit(self, write: Write) -> tuple[int, Ticket | None]:
        """The number of the new ticket, and the ticket that gave way to it."""
        self._number += 1
        line = self._lines.get(write.target)
        if line is None:
            line = self._lines[write.target] = _Line(since=self._number)
        old = None
        if write.slot and (number := line.slots.get(write.slot)) is not None:
            old = line.waiting.pop(number)
            self._waiting -= 1
        line.waiting[self._number] = Ticket(self._number, write)
        if write.slot:
            line.slots[write.slot] = self._number
        self._waiting += 1
        if line.sent is None and not line.not_before:
            self._list(line)
        return self._number, old

    def take(self, now: float) -> Ticket | None:
        """The next write to send; None if none may be sent now."""
        if now < self._held_until:
            return None
        while self._later and self._later[0][0] <= now:
            _, _, line = heapq.heappop(self._later)
            line.not_before = 0.0
            if line.waiting:
                self._list(line)
        while self._heap:
            place = heapq.heappop(self._heap)
            line = place[2]
            if line.listed != place[:2]:
                continue
            line.listed = None
            _, ticket = line.waiting.popitem(last=False)
            if line.slots.get(ticket.write.slot) == ticket.number:
                del line.slots[ticket.write.slot]
            line.sent = ticket
            self._waiting -= 1
            self._sent += 1
            return ticket
        return None

    def answered(self, ticket: Ticket) -> None:
        """`ticket` has its result: the next write of its target may go."""
        target = ticket.write.target
        line = self._lines[target]
        line.sent = None
        self._sent -= 1
        if line.waiting:
            line.since = next(iter(line.waiting))
            self._list(line)
        else:
            del self._lines[target]

    def again(self, ticket: Ticket, at: float) -> None:
        """`ticket` is to be sent once more, not before `at`; its target waits with it."""
        line = self._lines[ticket.write.target]
        line.sent = None
        line.waiting[ticket.number] = ticket
        line.waiting.move_to_end(ticket.number, last=False)
        line.not_before = at
        heapq.heappush(self._later, (at, ticket.number, line))
        self._sent -= 1
        self._waiting += 1

    def hold(self, until: float) -> float:
        """Send nothing before `until`; by how much later that is than before, given that it starts now or later."""
        added = until - self._held_until
        self._held_until = max(self._held_until, until)
        return max(0.0, added)

    def deadline(self) -> float | None:
        """When `take` may answer differently, after it answered None."""
        if self._heap:
            return self._held_until
        return max(self._later[0][0], self._held_until) if self._later else None

    def withdraw(self) -> Iterator[Ticket]:
        """Take out every write that is not on its way."""
        for target, line in list(self._lines.items()):
            tickets = list(line.waiting.values())
            line.waiting.clear()
            line.slots.clear()
            line.listed = None
            line.not_before = 0.0
            if line.sent is None:
                del self._lines[target]
            self._waiting -= len(tickets)
            yield from tickets
        self._heap.clear()
        self._later.clear()

    def _list(self, line: _Line) -> None:
        priority = max(ticket.write.priority for ticket in line.waiting.values())
        place = (-priority, line.since)
        if line.listed != place:
            line.listed = place
            heapq.heappush(self._heap, (*place, line))
