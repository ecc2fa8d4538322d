# SPDX-License-Identifier: Apache-2.0
"""What a system outside the cluster has to be able to do, so that a group may take its addresses from there.

A source answers values. It never raises but for `CancelledError`, ends within its own deadline, and remembers for whom it gave what:
`allocate` repeated for one uid and family gives the same address, `release` of what is not ours does nothing. Whatever it answers is
foreign input (`answers.py`): the text of an address is only text until it was looked at.

The groups of this cluster's own ranges are no source: their free sets are part of the ledger, read by a plan and changed by a commit, with
nothing to wait for in between. So there is no call that must not suspend, and no way to get that wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from purelb.allocator.keys import ServiceKey
from purelb.allocator.refusals import Refusal
from purelb.allocator.sources.ask import Ask
from purelb.api.groups import Group
from purelb.net.ranges import Family


class Grant(Struct, frozen=True, gc=False):
    """One address as the source writes it, and the source's own name for what it gave."""

    ip: str
    reference: str = ""


class Granted(Struct, frozen=True, gc=False):
    """What was given; the families that are missing were not to be had."""

    grants: tuple[Grant, ...]


class Held(Struct, frozen=True, gc=False):
    """An address that a source gave for a Service. After a restart the reference is empty until `adopt` has told it."""

    service: ServiceKey
    uid: str
    ip: str
    reference: str = ""


class Adopted(Struct, frozen=True, gc=False):
    """What a source makes of what we hold: agreed, held there for a living uid that lacks it, somebody else's, nobody's."""

    confirmed: tuple[Held, ...] = ()
    left_over: tuple[Held, ...] = ()
    conflicting: tuple[Held, ...] = ()
    orphaned: tuple[Held, ...] = ()


class Usage(Struct, frozen=True, gc=False):
    """Numbers of addresses by family; a family that is not there is unknown."""

    in_use: Mapping[Family, int] = {}
    size: Mapping[Family, int] = {}


Verb = Literal["allocate", "release", "adopt", "usage"]
Answer = Granted | Adopted | Usage | Refusal | None


class Call(Struct, frozen=True, gc=False):
    """One request to the source of a group. What it is about is in the field of its verb; `usage` has none."""

    ticket: int
    group: Group
    verb: Verb
    ask: Ask | None = None
    held: Held | None = None
    claims: tuple[Held, ...] = ()


class Source(Protocol):
    """One group's source. A `Refusal` is an answer like any other, and says why not."""

    async def allocate(self, ask: Ask) -> Granted | Refusal: ...

    async def release(self, held: Held) -> Refusal | None: ...

    async def adopt(self, claims: Sequence[Held]) -> Adopted | Refusal: ...

    async def usage(self) -> Usage | Refusal: ...


# Makes the source of a group; called once for each text of its section.
Factory = Callable[[Group], Source]


def server_of(group: Group) -> str:
    """Which server a group talks to; calls to one server share its limit."""
    if group.netbox is not None:
        return group.netbox.url
    return group.external.socket if group.external is not None else ""


def source_text(group: Group) -> str:
    """How messages name the source of a group."""
    return f"{group.source} at {server_of(group)}"


def section_of(group: Group) -> object:
    """The part of a group that a source is made from."""
    return group.netbox, group.external
