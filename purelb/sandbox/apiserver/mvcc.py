# SPDX-License-Identifier: Apache-2.0
"""Objects, one integer revision, and a bounded past: what etcd and the watch cache are to the real server.

Rule 1: a `Version` is immutable bytes, encoded once; reads, lists and every watcher share them. Whoever wants to change
an object decodes it, so nothing here is ever copied in depth. Rule 2: only `Store.commit` changes objects, and each
commit is one revision and one log entry. Rule 3: the past is bounded (`History`); below the floor the answer is 410, never
a gap. Rejected: objects as dicts, five times the memory of 10,000 Services and a deep copy for each read.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from purelb.sandbox.apiserver.answers import Obj

Key = tuple[str, str]
"""(namespace, name); namespace is empty for cluster-scoped objects."""

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the past is kept: an entry leaves when there are too many *and* it is old, or when all are too big."""

    entries: int = 100_000
    age: float = 300.0
    size_bytes: int = 256 * 1024 * 1024


class Version:
    """One state of one object. `labels` stand outside the bytes because selectors ask for them all the time."""

    __slots__ = ("body", "forms", "key", "labels", "rv", "schema", "uid")

    def __init__(self, *, key: Key, rv: int, uid: str, labels: Mapping[str, str], body: bytes, schema: int) -> None:
        self.key = key
        self.rv = rv
        self.uid = uid
        self.labels = labels
        self.body = body
        self.schema = schema  # which state of its definition's schemas this was defaulted with
        self.forms: dict[object, bytes] | None = None  # the same state as other views show it (see `views`)

    def decode(self) -> Obj:
        found: Obj = msgspec.json.decode(self.body, type=Obj)
        return found


class Entry:
    """One line of the log. `new` of a deletion is the final state at the deletion's own revision."""

    __slots__ = ("at", "collection", "lines", "new", "old", "type")

    def __init__(
        self, *, type_: EventType, new: Version, old: Version | None, at: float, collection: "Collection"
    ) -> None:
        self.type: EventType = type_
        self.new = new
        self.old = old
        self.at = at
        self.collection = collection
        self.lines: dict[object, bytes] = {}

    @property
    def rv(self) -> int:
        return self.new.rv

    @property
    def size(self) -> int:
        """Bytes this entry keeps alive: the state and the watch line made from it."""
        return 2 * len(self.new.body) + 512


class Collection:
    """The objects of one resource, sorted by key, and its part of the log.

    Positions count the entries ever made here. `base` is the oldest one still readable; forgotten entries are cut off in
    strides, since cutting the head of a long list one by one would cost its length each time.
    """

    def __init__(self, floor: int) -> None:
        self.floor = floor  # nothing is known here of revisions below this one
        self.dropped = False  # its definition is gone: who reads to the end is done
        self.objects: dict[Key, Version] = {}
        self.keys: list[Key] = []
        self.log: list[Entry] = []
        self.base = 0
        self._origin = 0  # position of log[0]
        self.changed = floor  # revision of the last commit here

    @property
    def end(self) -> int:
        return self._origin + len(self.log)

    def entry(self, position: int) -> Entry:
        return self.log[position - self._origin]

    def forget_oldest(self) -> None:
        self.base += 1
        if self.base - self._origin >= 1024:
            del self.log[: self.base - self._origin]
            self._origin = self.base

    def position_after(self, rv: int) -> int:
        """Position of the first entry younger than `rv`."""
        return self._origin + bisect_left(self.log, rv + 1, key=lambda entry: entry.rv)

    def scan(self, *, namespace: str | None, after: Key | None) -> Iterator[Version]:
        """Versions in key order, of one namespace or all, strictly after a key."""
        start = 0 if namespace is None else bisect_left(self.keys, (namespace, ""))
        if after is not None:
            start = max(start, bisect_left(self.keys, (after[0], after[1] + "\x00")))
        for index in range(start, len(self.keys)):
            key = self.keys[index]
            if namespace is not None and key[0] != namespace:
                return
            yield self.objects[key]

    def at(self, rv: int) -> dict[Key, Version | None]:
        """What differed from now at revision `rv`: the state then, or None where nothing was."""
        past: dict[Key, Version | None] = {}
        for entry in reversed(self.log):
            if entry.rv <= rv:
                break
            past[entry.new.key] = entry.old
        return past


class Store:
    """All collections under one revision counter."""

    def __init__(self, history: History, *, revision: int = 1000) -> None:
        self.revision = revision
        self.floor = revision  # states of revisions below this one are forgotten
        self._history = history
        self._collections: dict[str, Collection] = {}
        self._ring: deque[Entry] = deque()
        self._ring_bytes = 0

    def __getitem__(self, name: str) -> Collection:
        collection = self._collections.get(name)
        if collection is None:
            collection = self._collections[name] = Collection(self.floor)
        return collection

    def get(self, name: str, key: Key) -> Version | None:
        return self[name].objects.get(key)

    def collections(self) -> list[tuple[str, Collection]]:
        return list(self._collections.items())

    def floor_of(self, collection: Collection) -> int:
        return max(self.floor, collection.floor)

    def drop(self, name: str) -> Collection:
        """Take a collection out. Readers that hold it read it to its end; one of the same name starts from here."""
        collection = self[name]
        collection.dropped = True
        self._collections[name] = Collection(self.revision)
        return collection

    def commit(self, name: str, type_: EventType, new: Version, *, now: float) -> Entry:
        """Make `new` (whose rv must be the next revision) the state of its key, or remove the key with it as last state."""
        collection = self[name]
        old = collection.objects.get(new.key)
        if new.rv != self.revision + 1 or (old is None) != (type_ == "ADDED"):
            raise RuntimeError(f"{type_} of {name} {new.key} at {new.rv} does not follow revision {self.revision}")
        self.revision = collection.changed = new.rv
        if type_ == "DELETED":
            del collection.objects[new.key]
            del collection.keys[bisect_left(collection.keys, new.key)]
        else:
            collection.objects[new.key] = new
            if type_ == "ADDED":
                insort(collection.keys, new.key)
        entry = Entry(type_=type_, new=new, old=old, at=now, collection=collection)
        collection.log.append(entry)
        self._ring.append(entry)
        self._ring_bytes += entry.size
        self._trim(now)
        return entry

    def compact(self, rv: int) -> None:
        """Forget what happened up to and including `rv`."""
        while self._ring and self._ring[0].rv <= rv:
            self._forget()
        self.floor = max(self.floor, min(rv, self.revision))

    def _trim(self, now: float) -> None:
        most = self._history
        while self._ring_bytes > most.size_bytes and len(self._ring) > 1:
            self._forget()
        while len(self._ring) > most.entries and self._ring[0].at < now - most.age:
            self._forget()

    def _forget(self) -> None:
        entry = self._ring.popleft()
        self._ring_bytes -= entry.size
        self.floor = entry.rv
        entry.collection.forget_oldest()
