# SPDX-License-Identifier: Apache-2.0
"""What each event of a watch changes: the stored objects, how far we have come, what an audit still suspects.

ADDED and MODIFIED store, DELETED removes, BOOKMARK only moves on. What is none of these, or of another kind, is told and
skipped. None of them moves the reflector to another state: the two that do, an error and what cannot be read at all, are
handed back to it, and what stands behind them is not looked at.
"""

from typing import Final, Generic, TypeVar, assert_never

from purelb.kube.audit import Audit
from purelb.kube.decode import Event, Failed, Foreign, Garbled, Spoiled, WatchEvent
from purelb.kube.initial import ends_it
from purelb.kube.listwatch import Action, Notice, Progress, Remove, Spoil, Upsert
from purelb.kube.liveness import Liveness
from purelb.kube.model import KubeObject, key
from purelb.kube.position import Position

T = TypeVar("T", bound=KubeObject)

FEW: Final = 8  # changes that may be taken in without a turn for anybody else: less than a millisecond of work
_CHANGES: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})


def few(events: tuple[WatchEvent[T], ...]) -> bool:
    """Whether nothing comes of these, on a watch, but a few `Upsert` and `Remove`."""
    return len(events) <= FEW and all(isinstance(event, Event) and event.type in _CHANGES for event in events)


def without_effect(event: Event[T] | Spoiled | Foreign) -> Action[T]:
    """What is to be said of an event that changes no object we know."""
    match event:
        case Foreign(type=kind, kind=foreign):
            return Notice("info", "foreignEvent", {"type": kind, "kind": foreign})
        case Spoiled(type="ADDED" | "MODIFIED", poison=poison):
            return Spoil(poison)  # nobody can say which object it was
        case Event(type=kind) | Spoiled(type=kind):
            return Notice("info", "unknownEvent", {"type": kind})
        case _:
            assert_never(event)


class Changes(Generic[T]):
    """One for each reflector, whose position, audit and liveness these are."""

    def __init__(self, *, position: Position, audit: Audit, liveness: Liveness) -> None:
        self._position = position
        self._audit = audit
        self._liveness = liveness

    def take(self, events: tuple[WatchEvent[T], ...], now: float, *, out: list[Action[T]]) -> Failed | Garbled | None:
        """Append to `out` what the events change; the one that ends the stream, if any does."""
        for event in events:
            match event:
                case Event(type="ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" as kind, object=obj):
                    rv = obj.metadata.resource_version
                    self._position.advance(rv, kind)
                    if kind == "BOOKMARK":
                        if not ends_it(obj):
                            self._liveness.bookmarked(now)
                        out.append(Progress(rv))
                        continue
                    if self._audit.suspects:
                        self._audit.saw(key(obj), rv, deleted=kind == "DELETED")
                    out.append(Remove(key(obj), obj, rv) if kind == "DELETED" else Upsert(obj, rv))
                case Spoiled(type="ADDED" | "MODIFIED" | "DELETED" as kind, poison=poison):
                    self._position.advance(poison.rv, kind)
                    self._audit.saw(poison.key, poison.rv, deleted=kind == "DELETED")
                    out.append(Remove(poison.key, None, poison.rv) if kind == "DELETED" else Spoil(poison))
                case Spoiled(type="BOOKMARK", poison=poison):
                    self._position.advance(poison.rv, "BOOKMARK")
                case Failed() | Garbled():
                    return event
                case _:
                    out.append(without_effect(event))
        return None
