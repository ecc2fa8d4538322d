# SPDX-License-Identifier: Apache-2.0
"""The initial state that a watch streams, held back until the server says that it is complete.

Changes that happen meanwhile come between its objects, so it is a map and not a list; an object keeps the place in which it
came first. What became unreadable on the way stays in its readable version, and is marked when all of it is stored.
"""

from typing import Final, Generic, TypeVar

from msgspec import Struct

from purelb.kube.decode import Event, Poison, Spoiled, WatchEvent
from purelb.kube.model import KubeObject, annotations, key

T = TypeVar("T", bound=KubeObject)

END: Final = "k8s.io/initial-events-end"
OBJECTS_MAX: Final = 5_000_000  # as many as a list in pages may have


def ends_it(bookmark: KubeObject) -> bool:
    """Whether this bookmark says that all objects were sent. Exactly `"true"` does."""
    return annotations(bookmark).get(END) == "true"


class Complete(Struct, Generic[T], frozen=True):
    """`poison`: what was never readable. `spoiled`: what is in `objects` in an older version."""

    objects: tuple[T, ...]
    poison: tuple[Poison, ...]
    spoiled: tuple[Poison, ...]


class InitialState(Generic[T]):
    """One for each attempt."""

    def __init__(self) -> None:
        self._objects: dict[str, T] = {}
        self._poison: dict[str, Poison] = {}

    @property
    def too_large(self) -> bool:
        """Whether this can be no collection: a server that makes up objects would fill the memory."""
        return len(self._objects) + len(self._poison) > OBJECTS_MAX

    def take(self, event: WatchEvent[T]) -> bool:
        """Take in one event; whether it was about an object that has a name."""
        match event:
            case Event(type="ADDED" | "MODIFIED", object=obj) if name := key(obj):
                self._objects[name] = obj
                self._poison.pop(name, None)
            case Spoiled(type="ADDED" | "MODIFIED", poison=poison) if poison.key:
                self._poison[poison.key] = poison
            case Event(type="DELETED", object=obj):
                self._drop(key(obj))
            case Spoiled(type="DELETED", poison=poison):
                self._drop(poison.key)
            case _:
                return False
        return True

    def _drop(self, name: str) -> None:
        self._objects.pop(name, None)
        self._poison.pop(name, None)

    def complete(self) -> Complete[T]:
        """All of it."""
        bad = self._poison.items()
        return Complete(
            tuple(self._objects.values()),
            tuple(poison for name, poison in bad if name not in self._objects),
            tuple(poison for name, poison in bad if name in self._objects),
        )
