# SPDX-License-Identifier: Apache-2.0
"""One watch: where it stands in the log, what it filters, when it bookmarks and when it ends.

A watcher holds a position, not a queue: a slow reader costs nothing but the log, which is bounded, and one that falls behind
the log's end is ended. A state that stops matching the selectors is a DELETED with the last matching state at the revision
of the change. Frames are shared: the line of an entry is made once per view, whoever reads it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from purelb.sandbox.apiserver.answers import Obj, Refusal
from purelb.sandbox.apiserver.empty import EMPTY
from purelb.sandbox.apiserver.exchange import JSON_TYPE, Head, Watcher
from purelb.sandbox.apiserver.labels import LabelSelector
from purelb.sandbox.apiserver.mvcc import Collection, Entry, Store, Version
from purelb.sandbox.apiserver.selectors import FieldTerm
from purelb.sandbox.apiserver.views import META, View, Views, encode

BATCH_BYTES = 128 * 1024
"""Handed out at once, and at most one frame more: bounds what a slow reader's shell holds."""
BOOKMARK_EVERY = 60.0
BOOKMARK_BEFORE_END = 2.0


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which objects a list or a watch is about."""

    namespace: str | None
    labels: LabelSelector
    fields: tuple[FieldTerm, ...]

    @property
    def selective(self) -> bool:
        return bool(self.labels.terms or self.fields)

    def matches(self, version: Version) -> bool:
        if self.namespace is not None and version.key[0] != self.namespace:
            return False
        if not self.labels.matches(version.labels):
            return False
        obj: Obj | None = None
        for term in self.fields:
            if term.path == "metadata.name":
                if (version.key[1] == term.value) == term.negated:
                    return False
                continue
            obj = obj if obj is not None else version.decode()
            if not term.matches(obj):
                return False
        return True


class ObjectWatch(Watcher):
    """A watch on one collection."""

    def __init__(
        self,
        *,
        store: Store,
        collection: Collection,
        views: Views,
        view: View,
        wanted: Filter,
        initial: list[Version],
        initial_events: bool,
        start: int,
        ends_at: float,
        bookmarks_from: float | None,
        bookmark_every: float,
        wall: Callable[[float], datetime],
        done: Callable[[Watcher], None],
    ) -> None:
        super().__init__()
        self.head = Head(200, {"content-type": JSON_TYPE})
        self._store = store
        self._collection = collection
        self._views = views
        self._view = view
        self._wanted = wanted
        self._initial = list(reversed(initial))
        self._initial_events = initial_events
        self._start = start
        self._position = collection.position_after(start)
        self._ends_at = ends_at
        self._bookmark_at = (
            None if bookmarks_from is None else min(bookmarks_from + bookmark_every, ends_at - BOOKMARK_BEFORE_END)
        )
        self._bookmark_every = bookmark_every
        self._bookmarked = start
        self._wall = wall
        self._done = done
        self._columns_sent = False
        self._error: Obj | None = None

    def due(self) -> float | None:
        if self.ended:
            return None
        return self._ends_at if self._bookmark_at is None else min(self._ends_at, self._bookmark_at)

    def close(self) -> None:
        if not self.ended:
            self.ended = True
            self._initial = []
            self._done(self)

    def fail(self, why: Refusal) -> None:
        """End with an ERROR in the stream: a revision that is gone, or one that is yet to come."""
        self._initial = []
        self._error = why.status()

    def frames(self, now: float) -> list[bytes]:
        out: list[bytes] = []
        if self.ended:
            return out
        if self._initial or self._initial_events or self._error is not None:
            return self._beginning(now)
        log = self._collection
        if self._position < log.base:
            self.close()  # further behind than the log
            return out
        size, end = 0, log.end
        while self._position < end and size < BATCH_BYTES:
            entry = log.entry(self._position)
            self._position += 1
            frame = self._frame(entry, now)
            if frame is not None:
                out.append(frame)
                size += len(frame)
        self.more = self._position < end
        if self.more:
            return out
        if self._bookmark_at is not None and now >= self._bookmark_at:
            if log.changed > self._start and self._store.revision > self._bookmarked:
                self._bookmarked = self._store.revision
                out.append(self._bookmark(self._store.revision, {}))
            last = self._ends_at - BOOKMARK_BEFORE_END
            self._bookmark_at = None if self._bookmark_at >= last else min(now + self._bookmark_every, last)
        if now >= self._ends_at or log.dropped:
            self.close()
        return out

    def _beginning(self, now: float) -> list[bytes]:
        """An error and the end, or what was there when the watch began, then its bookmark."""
        self.more = True
        if self._error is not None:
            self.close()
            return [_line("ERROR", msgspec.json.encode(self._error))]
        out, size = [], 0
        while self._initial and size < BATCH_BYTES:
            out.append(self._object("ADDED", self._initial.pop(), now))
            size += len(out[-1])
        if not self._initial and self._initial_events:
            self._initial_events = False
            out.append(self._bookmark(self._start, {"k8s.io/initial-events-end": "true"}))
        return out

    def _frame(self, entry: Entry, now: float) -> bytes | None:
        if entry.rv <= self._start:
            return None
        selective = self._wanted
        if selective.namespace is not None and entry.new.key[0] != selective.namespace:
            return None
        if not selective.selective:
            return self._entry(entry.type, entry, entry.new, now)
        matched = entry.old is not None and selective.matches(entry.old)
        matches = entry.type != "DELETED" and selective.matches(entry.new)
        match matched, matches:
            case False, True:
                return self._entry("ADDED", entry, entry.new, now)
            case True, True:
                return self._entry("MODIFIED", entry, entry.new, now)
            case True, False:
                state = entry.new if entry.type == "DELETED" else self._last_match(entry)
                return self._entry("DELETED", entry, state, now)
            case _:
                return None

    @staticmethod
    def _last_match(entry: Entry) -> Version:
        """The state before the change, at the revision of the change."""
        old = entry.old
        if old is None:
            raise RuntimeError("a state that never was cannot stop matching")
        obj = old.decode()
        obj["metadata"]["resourceVersion"] = str(entry.rv)
        return Version(key=old.key, rv=entry.rv, uid=old.uid, labels=old.labels, body=encode(obj), schema=old.schema)

    def _entry(self, type_: str, entry: Entry, state: Version, now: float) -> bytes:
        if self._view.shape == "table":
            return self._object(type_, state, now)
        key = (type_, state is entry.new, self._view.cache_key)
        line = entry.lines.get(key)
        if line is None:
            line = entry.lines[key] = _line(type_, self._views.body(state, self._view))
        return line

    def _object(self, type_: str, state: Version, now: float) -> bytes:
        if self._view.shape != "table":
            return _line(type_, self._views.body(state, self._view))
        table = self._views.table(
            [state], self._view, {"resourceVersion": str(state.rv)}, self._wall(now), columns=not self._columns_sent
        )
        self._columns_sent = True
        return _line(type_, encode(table))

    def _bookmark(self, rv: int, annotations: Mapping[str, str]) -> bytes:
        metadata: Obj = {"resourceVersion": str(rv)}
        if annotations:
            metadata["annotations"] = dict(annotations)
        match self._view.shape:
            case "object":
                kind, api_version = self._view.kind.kind, self._view.api_version
            case "meta":
                kind, api_version = "PartialObjectMetadata", META
            case _:
                table = {"kind": "Table", "apiVersion": META, "metadata": metadata, "columnDefinitions": [], "rows": []}
                return _line("BOOKMARK", encode(table))
        shown: Obj = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
        if self._view.shape == "object":
            shown |= EMPTY.get((self._view.kind.key, api_version), {})
        return _line("BOOKMARK", encode(shown))


def _line(type_: str, body: bytes) -> bytes:
    return b'{"type":"' + type_.encode() + b'","object":' + body + b"}\n"
