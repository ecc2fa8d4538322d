# SPDX-License-Identifier: Apache-2.0
"""The words of the list and watch protocol: what a `Reflector` is told, and what it wants done.

Inputs are facts, actions are orders; neither knows HTTP. Both are frozen, so a test can write down a whole conversation.
"""

from collections.abc import Mapping
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from purelb.kube.decode import Page, Poison, WatchEvent
from purelb.kube.errors import KubeError
from purelb.kube.model import KubeObject

T = TypeVar("T", bound=KubeObject)


# Inputs


class Start(Struct, frozen=True): ...


class ListFailed(Struct, frozen=True):
    error: KubeError


class Opened(Struct, frozen=True): ...


class Batch(Struct, Generic[T], frozen=True):
    events: tuple[WatchEvent[T], ...]


class Ended(Struct, frozen=True):
    """The request for a watch is over; `error` None: the server ended the stream."""

    error: KubeError | None = None


class CannotStream(Struct, frozen=True):
    """The server is too old to stream an initial state, so it was not asked for one."""


class Reachable(Struct, frozen=True):
    """Another request of the same client has succeeded after a failure."""


class Relist(Struct, frozen=True):
    why: str
    consistent: bool = False


class Difference(Struct, frozen=True):
    """The version of one object here and in an audit's list; None: it is not there at all."""

    here: str | None
    listed: str | None


class Compared(Struct, frozen=True):
    """How the list of an audit differs from what is stored, by key."""

    differences: Mapping[str, Difference]


class Tick(Struct, frozen=True):
    """The deadline may have been reached."""


class Stop(Struct, frozen=True): ...


Input = (
    Start
    | Page[T]
    | ListFailed
    | Opened
    | Batch[T]
    | Ended
    | CannotStream
    | Reachable
    | Relist
    | Compared
    | Tick
    | Stop
)


# Actions


class List(Struct, frozen=True):
    """Fetch one page. `rv` `""` reads from the quorum, `"0"` from the server's cache; `limit` 0 means all in one."""

    rv: str
    match: str | None = None
    limit: int = 0
    continue_: str | None = None


class Watch(Struct, frozen=True):
    """`initial_events`: the server sends all objects first, and then says that those were all."""

    rv: str
    timeout_s: float
    match: str | None = None
    initial_events: bool = False


class Close(Struct, frozen=True):
    """Give up the outstanding request."""


class Replace(Struct, Generic[T], frozen=True):
    """These objects are all there are. `serves`: how many of the relists asked for so far this one answers."""

    objects: tuple[T, ...]
    poison: tuple[Poison, ...]
    rv: str
    serves: int = 0


class Compare(Struct, Generic[T], frozen=True):
    """A page of an audit. Store nothing; after the last one say (`Compared`) how all of them differ from what is stored."""

    objects: tuple[T, ...]
    poison: tuple[Poison, ...]
    first: bool = True
    last: bool = True


class Upsert(Struct, Generic[T], frozen=True, gc=False):
    obj: T
    rv: str


class Remove(Struct, Generic[T], frozen=True, gc=False):
    """`obj` is what the server sent, None when that did not decode."""

    key: str
    obj: T | None
    rv: str


class Spoil(Struct, frozen=True):
    """An object changed into something that does not decode: what is stored is stale."""

    poison: Poison


class Progress(Struct, frozen=True, gc=False):
    rv: str


class Synced(Struct, frozen=True): ...


class Notice(Struct, frozen=True):
    """Something a person may want to know; `code` is stable."""

    level: Literal["info", "debug"]
    code: str
    details: Mapping[str, object]


Action = List | Watch | Close | Replace[T] | Compare[T] | Upsert[T] | Remove[T] | Spoil | Progress | Synced | Notice
