# SPDX-License-Identifier: Apache-2.0
"""The objects of one resource as last seen, with indices and snapshots. Pure: it answers what changed, it calls nobody.

Rules. `_objects` is the truth, the indices follow it, and only `_put`, `_drop` and `commit` write either. An object that cannot be
indexed or did not decode leaves the version before it in place, marked stale: unknown is not gone. A replace removes nothing
that it could not read. Versions are compared in one place only, `note_write`, and only when both are decimal.

A snapshot costs nothing when it is taken: it shares the dictionaries, and the next change copies them first.

A large replace is taken object by object (`replacement`), so that its driver can give others a turn; nothing of it can be seen
before `commit`. Rejected: changing the store in place over many turns (a reader in between would see half of two worlds).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Final, Generic, TypeAlias, TypeVar

from msgspec import Struct

from purelb.kube.model import KubeObject, key
from purelb.kube.sharing import Sharing, keep_equal

T = TypeVar("T", bound=KubeObject)

Index: TypeAlias = Callable[[T], tuple[str, ...]]

EMPTY: Final[Mapping[str, Index[KubeObject]]] = MappingProxyType({})


class Added(Struct, Generic[T], frozen=True, gc=False):
    obj: T


class Updated(Struct, Generic[T], frozen=True, gc=False):
    old: T
    new: T


class Unchanged(Struct, Generic[T], frozen=True, gc=False):
    """Only the version moved."""

    old: T
    new: T


class Deleted(Struct, Generic[T], frozen=True, gc=False):
    """`final`: the server said so, and `obj` is what it sent. Else it is the last version we knew."""

    obj: T
    final: bool


Change: TypeAlias = Added[T] | Updated[T] | Unchanged[T] | Deleted[T]


class Rejected(Struct, frozen=True):
    """The object cannot be stored; what was stored under its key stays. `key` `""`: it has no name."""

    key: str
    why: str


class _Readable(Generic[T]):
    """What store and snapshot can be asked."""

    _objects: dict[str, T]
    _sets: dict[str, dict[str, AbstractSet[str]]]
    _poison: dict[str, str]

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, name: str) -> bool:
        return name in self._objects

    def get(self, name: str) -> T | None:
        """The object with key `name`, None when there is none."""
        return self._objects.get(name)

    def keys(self) -> tuple[str, ...]:
        """All keys, sorted."""
        return tuple(sorted(self._objects))

    def values(self) -> tuple[T, ...]:
        """All objects, sorted by key."""
        return tuple(self._objects[name] for name in sorted(self._objects))

    def by_index(self, name: str, value: str) -> tuple[T, ...]:
        """The objects whose index `name` has `value`, sorted by key. Raises KeyError for an index that was not declared."""
        return tuple(self._objects[found] for found in sorted(self._sets[name].get(value, ())))

    def index_values(self, name: str) -> tuple[str, ...]:
        """The values that index `name` has at present, sorted."""
        return tuple(sorted(self._sets[name]))

    @property
    def stale(self) -> Mapping[str, str]:
        """Keys of objects whose newer version could not be read, and why."""
        return {name: why for name, why in self._poison.items() if name in self._objects}

    @property
    def undecodable(self) -> Mapping[str, str]:
        """Keys of all objects that could not be read, stored in an older version or not, and why."""
        return MappingProxyType(self._poison)


class Snapshot(_Readable[T]):
    """The store at one moment; it never changes."""

    def __init__(
        self,
        objects: dict[str, T],
        sets: dict[str, dict[str, AbstractSet[str]]],
        poison: dict[str, str],
        rv: str,
    ) -> None:
        self._objects = objects
        self._sets = sets
        self._poison = poison
        self.rv = rv


_NEW: Final = (None, ())  # one for all: ten thousand of them would leave holes between the objects that stay


class Replacement(Generic[T]):
    """A new content for a store, prepared beside the old one: `take` each object, then `Store.commit`."""

    def __init__(
        self, store: _Readable[T], functions: Mapping[str, Index[T]], poison: Mapping[str, str], rv: str
    ) -> None:
        self._store = store
        self._functions = functions
        self.rv = rv
        self.poison = {name: why for name, why in poison.items() if name}
        self.objects: dict[str, T] = {}
        self.values: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in functions}
        self.compared: dict[str, tuple[T | None, tuple[Change[T], ...]]] = {}
        self.rejected: list[Rejected] = []

    def take(self, obj: T) -> None:
        """One object of the list. What cannot be stored is in `rejected` afterwards."""
        name = key(obj)
        if not obj.metadata.name:
            self.rejected.append(Rejected("", "it has no name"))
            return
        values = _indexed(self._functions, obj)
        if isinstance(values, str):
            self.poison[name] = values
            self.rejected.append(Rejected(name, values))
            return
        old = self._store.get(name)
        self.put(name, obj, values)
        self.compared[name] = _NEW if old is None else (old, _changes(old, obj))

    def put(self, name: str, obj: T, values: Mapping[str, tuple[str, ...]]) -> None:
        """Hold `obj` without comparing it."""
        self.objects[name] = obj
        for index, found in values.items():
            if found:
                self.values[index][name] = found


class Store(_Readable[T]):
    """Changed by one task; what a change did comes back as values, in the order to be told.

    `sharing`: that of whoever decodes lists and new objects. A newer version of an object is shared here, once, by whichever of watch
    and answer brings it.
    """

    def __init__(self, indices: Mapping[str, Index[T]] | None = None, *, sharing: Sharing | None = None) -> None:
        self._sharing = sharing
        self._objects = {}
        self._sets = {}
        self._open: dict[tuple[str, str], set[str]] = {}  # those of `_sets` that no snapshot shares
        self._poison = {}
        self._functions: dict[str, Index[T]] = {}
        self._values: dict[str, dict[str, tuple[str, ...]]] = {}
        self._written: dict[str, int] = {}  # versions of our own writes that no event has reached yet
        self._shared = False
        self.rv = ""
        self.dropped = 0  # events older than our own write
        for name, function in (indices or {}).items():
            self.add_index(name, function)

    def snapshot(self) -> Snapshot[T]:
        """The store as it is now, in constant time."""
        self._shared = True
        return Snapshot(self._objects, self._sets, self._poison, self.rv)

    def add_index(self, name: str, function: Index[T]) -> None:
        """Add an index and fill it. Raises ValueError when the name is taken, or whatever `function` raises."""
        if name in self._functions:
            raise ValueError(f"there is an index {name!r} already")
        values = {stored: function(obj) for stored, obj in self._objects.items()}
        self._own()
        self._functions[name] = function
        self._values[name] = values
        self._sets[name] = _grouped(values)

    def upsert(self, obj: T, rv: str = "") -> tuple[Change[T], ...] | Rejected:
        """Store a version that an event brought."""
        self.rv = rv or self.rv
        name = key(obj)
        if self._written and self._older_than_ours(name, obj.metadata.resource_version):
            return ()
        return self._store(name, obj)

    def remove(self, name: str, obj: T | None, rv: str = "") -> tuple[Change[T], ...]:
        """Take out what a DELETED event named; `obj` as the server sent it. Nothing happens for an unknown key."""
        self.rv = rv or self.rv
        if self._older_than_ours(name, rv):
            return ()
        self._written.pop(name, None)
        if name in self._poison:
            self._own()
            del self._poison[name]
        known = self._objects.get(name)
        if known is None:
            return ()
        self._drop(name)
        return (Deleted(known if obj is None else obj, final=True),)

    def spoil(self, name: str, why: str, rv: str = "") -> None:
        """A newer version of an object could not be read."""
        self.rv = rv or self.rv
        if name and not self._older_than_ours(name, rv):
            self._own()
            self._poison[name] = why

    def progress(self, rv: str) -> None:
        """The server has told everything up to `rv`."""
        self.rv = rv or self.rv
        seen = _decimal(rv)
        if seen is not None and self._written:
            self._written = {name: ours for name, ours in self._written.items() if ours > seen}

    def note_write(self, obj: T) -> tuple[Change[T], ...] | Rejected:
        """Store what the server answered to a write of ours, unless an event has brought that or a later version.

        Does nothing when a version is not decimal: it cannot be known which one is newer.
        """
        name = key(obj)
        ours = _decimal(obj.metadata.resource_version)
        stored = self._objects.get(name)
        seen = _decimal(self.rv if stored is None else stored.metadata.resource_version)
        if ours is None or seen is None or ours <= seen:
            return ()
        if stored is None and self._sharing is not None:
            self._sharing.within(obj)  # type: ignore[arg-type]
        answer = self._store(name, obj)
        if not isinstance(answer, Rejected):
            self._written[name] = ours
        return answer

    def replace(self, objects: Iterable[T], poison: Mapping[str, str], rv: str) -> tuple[Change[T], ...]:
        """These are all objects there are, in one piece; see `replacement`."""
        replacement = self.replacement(poison, rv)
        for obj in objects:
            replacement.take(obj)
        return self.commit(replacement)

    def replacement(self, poison: Mapping[str, str], rv: str) -> Replacement[T]:
        """A replace to be taken in small steps; `poison` are the keys that it holds in an unreadable form."""
        return Replacement(self, self._functions, poison, rv)

    def commit(self, new: Replacement[T]) -> tuple[Change[T], ...]:
        """Make `new` the content. Answers deletions, then updates and additions in the list's order."""
        listed = _decimal(new.rv)
        # Our own write that is newer than this list: the list neither reverts nor removes it.
        newer = {name: ours for name, ours in self._written.items() if listed is not None and listed < ours}
        for name in {*new.poison, *newer}:
            if name in newer:
                new.poison.pop(name, None)
            if name in self._objects:
                new.compared.pop(name, None)
                new.put(name, self._objects[name], {index: self._values[index].get(name, ()) for index in new.values})
        gone = [Deleted(obj, final=False) for name, obj in self._objects.items() if name not in new.objects]
        changes: list[Change[T]] = []
        for name, (seen, change) in new.compared.items():
            old = self._objects.get(name)
            if old is None:
                changes.append(Added(new.objects[name]))
            else:  # our own write may have come in between
                changes += change if change and old is seen else _changes(old, new.objects[name])
        self._objects, self._values, self._poison, self._written = new.objects, new.values, new.poison, newer
        self._sets = {index: _grouped(values) for index, values in new.values.items()}
        self._open.clear()
        self._shared = False
        self.rv = new.rv or self.rv
        swapped = [change for change in changes if isinstance(change, Deleted)]
        if swapped:
            changes = [change for change in changes if not isinstance(change, Deleted)]
        return (*gone, *swapped, *changes)

    # Only `_put` and `_drop` write `_objects` and the indices of a single object, only `commit` those of all.

    def _store(self, name: str, obj: T) -> tuple[Change[T], ...] | Rejected:
        if not obj.metadata.name:
            return Rejected("", "it has no name")
        moved: list[tuple[str, tuple[str, ...]]] = []  # indices in which it stands elsewhere now: mostly none
        try:
            for index, function in self._functions.items():
                found = function(obj)
                if self._values[index].get(name, ()) != found:
                    moved.append((index, found))
        except Exception as error:  # noqa: BLE001  one object is fenced off from its neighbours
            why = _cannot_be_indexed(error)
            self.spoil(name, why)
            return Rejected(name, why)
        old = self._objects.get(name)
        self._put(name, obj, moved)
        changes = _changes(old, obj)
        if old is not None and self._sharing is not None:
            self._sharing.beside(old, obj)  # type: ignore[arg-type]
        return changes

    def _put(self, name: str, obj: T, moved: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        if self._shared:
            self._own()
        if self._poison:
            self._poison.pop(name, None)
        self._objects[name] = obj
        for index, new in moved:
            self._reindex(index, name, new)

    def _drop(self, name: str) -> None:
        self._own()
        del self._objects[name]
        for index in self._functions:
            self._reindex(index, name, ())
            self._values[index].pop(name, None)

    def _reindex(self, index: str, name: str, new: tuple[str, ...]) -> None:
        old = self._values[index].get(name, ())
        self._values[index][name] = new
        sets = self._sets[index]
        for value in set(old) - set(new):
            left = self._keys_at(index, value)
            left.discard(name)
            if not left:
                del sets[value], self._open[index, value]
        for value in set(new) - set(old):
            self._keys_at(index, value).add(name)

    def _keys_at(self, index: str, value: str) -> set[str]:
        """The keys of one value of an index, to be changed: copied at the first change after a snapshot, not at each."""
        keys = self._open.get((index, value))
        if keys is None:
            keys = self._open[index, value] = set(self._sets[index].get(value, ()))
            self._sets[index][value] = keys
        return keys

    def _own(self) -> None:
        if self._shared:
            self._open.clear()
            self._objects = dict(self._objects)
            self._sets = {name: dict(sets) for name, sets in self._sets.items()}
            self._poison = dict(self._poison)
            self._shared = False

    def _older_than_ours(self, name: str, rv: str) -> bool:
        ours = self._written.get(name) if self._written else None
        if ours is None:
            return False
        seen = _decimal(rv)
        if seen is not None and seen <= ours:
            self.dropped += 1
            return True
        del self._written[name]
        return False


def _changes(old: T | None, new: T) -> tuple[Change[T], ...]:
    if old is None:
        return (Added(new),)
    if old is new:  # a list brought what is known in this version already
        return (Unchanged(old, new),)
    before, after = old.metadata.uid, new.metadata.uid
    if before and after and before != after:
        return (Deleted(old, final=False), Added(new))
    return (Unchanged(old, new),) if keep_equal(old, new) else (Updated(old, new),)  # type: ignore[arg-type]


def _grouped(values: Mapping[str, tuple[str, ...]]) -> dict[str, AbstractSet[str]]:
    sets: dict[str, set[str]] = {}
    for name, found in values.items():
        for value in found:
            sets.setdefault(value, set()).add(name)
    return {value: frozenset(names) for value, names in sets.items()}


def _decimal(rv: str) -> int | None:
    return int(rv) if rv.isascii() and rv.isdigit() and len(rv) <= 20 else None


def _indexed(functions: Mapping[str, Index[T]], obj: T) -> dict[str, tuple[str, ...]] | str:
    try:
        return {name: function(obj) for name, function in functions.items()}
    except Exception as error:  # noqa: BLE001  one object is fenced off from its neighbours
        return _cannot_be_indexed(error)


def _cannot_be_indexed(error: Exception) -> str:
    return f"it cannot be indexed: {type(error).__name__}: {error}"
