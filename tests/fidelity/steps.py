# SPDX-License-Identifier: Apache-2.0
"""The words in which a case is written: requests, watches and polls, as data.

A case is a sequence of steps, sent in order by one client to one server. Nothing in it says what the answer should be: the real
server says that, once, in a transcript (`normal`), and the embedded server must say the same. So a case has no expectation that
could be wrong, and a new question costs one line. Rule: a case never names what another case made. What varies from run to
run stands in angle brackets and is filled in by the runner: `<ns>` (the room's namespace), `<group>` (the room's API group)
and whatever an earlier step kept (`keep="web"` makes `<web.rv>`, `<web.uid>`, `<web.continue>`).

Rejected: steps as functions. They could decide, and then two servers might be asked different questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

JSON = "application/json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

Object = dict[str, Any]


class From(Struct, frozen=True):
    """A body made from one that a step kept: that object with a merge patch on it."""

    kept: str
    patch: Object = {}


class Request(Struct, frozen=True, kw_only=True):
    """One request and its whole answer. `raw` is sent as it is and takes the place of `body`."""

    method: str
    path: str
    body: object = None
    raw: bytes | None = None
    media: str = JSON
    accept: str = JSON
    keep: str = ""
    leave_out: tuple[str, ...] = ()  # parts of the answer that this case does not ask about
    only: tuple[str, ...] = ()  # or the only ones that it does
    token: str | None = None  # of somebody else; empty: of nobody
    until: Mapping[str, object] = {}  # repeat a GET until all of these paths have these values


class Open(Struct, frozen=True, kw_only=True):
    """Open a watch and leave it open. Its headers are part of the transcript."""

    watch: str
    path: str
    accept: str = JSON


class Events(Struct, frozen=True, kw_only=True):
    """Read from a watch until there are `count` events, or to its end. `lasting` are seconds that the end may take."""

    watch: str
    count: int = 0
    to_the_end: bool = False
    bookmarks: bool = True  # False: they are read and not counted, for their moments are the server's own
    lasting: tuple[float, float] | None = None
    leave_out: tuple[str, ...] = ()


class Wait(Struct, frozen=True, kw_only=True):
    """Time passes: for the real server by waiting, for the embedded one by moving its clock."""

    seconds: float


class Compact(Struct, frozen=True):
    """The past is forgotten: lists and watches of revisions up to now expire."""


class Kubectl(Struct, frozen=True, kw_only=True):
    """kubectl with these arguments and this file on stdin, in the room's namespace."""

    arguments: tuple[str, ...]
    stdin: object = None


Step = Request | Open | Events | Wait | Compact | Kubectl


class Room(Struct, frozen=True, kw_only=True):
    """A namespace and an API group. Cases of one room share them and what `prepare` made there."""

    name: str
    prepare: tuple[Step, ...] = ()


class Case(Struct, frozen=True, kw_only=True):
    """`name` completes "both servers agree on ...". Without a room it has one of its own."""

    name: str
    steps: tuple[Step, ...]
    room: Room | None = None
    needs: frozenset[str] = frozenset()  # "compact", "kubectl"


def case(name: str, *steps: Step | tuple[Step, ...], room: Room | None = None) -> Case:
    flat = tuple(one for step in steps for one in (step if isinstance(step, tuple) else (step,)))
    needs = {"compact" for step in flat if isinstance(step, Compact)}
    needs |= {"kubectl" for step in flat if isinstance(step, Kubectl)}
    return Case(name=name, steps=flat, room=room, needs=frozenset(needs))


def get(path: str, **more: Any) -> Request:
    return Request(method="GET", path=path, **more)


def post(path: str, body: object, **more: Any) -> Request:
    return Request(method="POST", path=path, body=body, **more)


def put(path: str, body: object, **more: Any) -> Request:
    return Request(method="PUT", path=path, body=body, **more)


def patch(path: str, body: object, **more: Any) -> Request:
    return Request(method="PATCH", path=path, body=body, media=more.pop("media", MERGE), **more)


def delete(path: str, body: object = None, **more: Any) -> Request:
    return Request(method="DELETE", path=path, body=body, **more)


def watch(path: str, *, name: str = "w", **more: Any) -> Open:
    """`path` with its query but for `watch=true`."""
    return Open(watch=name, path=f"{path}{'&' if '?' in path else '?'}watch=true", **more)


def events(count: int = 0, *, name: str = "w", **more: Any) -> Events:
    return Events(watch=name, count=count, to_the_end=not count, **more)


def kubectl(*arguments: str, stdin: object = None) -> Kubectl:
    return Kubectl(arguments=arguments, stdin=stdin)
