# SPDX-License-Identifier: Apache-2.0
"""What one server process holds, and the one function through which all of it changes.

`commit` turns an object into the next revision and brings everything that is derived from objects along: kinds and
schemas from definitions, allocations from Services, tokens from ServiceAccounts; then it wakes the watchers. All of that
is an index of the store and is never changed anywhere else.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from purelb.sandbox.apiserver.allocations import Allocations
from purelb.sandbox.apiserver.answers import Obj
from purelb.sandbox.apiserver.definitions import DEFINITIONS, Custom, check_definition
from purelb.sandbox.apiserver.exchange import Watcher
from purelb.sandbox.apiserver.identity import Tokens
from purelb.sandbox.apiserver.kinds import Kind, Registry
from purelb.sandbox.apiserver.mvcc import Collection, EventType, History, Key, Store, Version
from purelb.sandbox.apiserver.services import FAMILIES
from purelb.sandbox.apiserver.views import Views, encode


class State:
    def __init__(
        self,
        *,
        history: History,
        rng: Callable[[], float],
        epoch: datetime,
        minor: int = 34,
        families: Sequence[str] = FAMILIES,
    ) -> None:
        self.minor = minor  # of the Kubernetes version that is imitated
        self.families = families  # of the cluster's Services; the first is the default
        self.rng = rng
        self.kinds = Registry()
        self.store = Store(history)
        self.customs: dict[str, Custom] = {}
        self.views = Views(self.customs)
        self.allocations = Allocations(rng, families=families)
        self.tokens = Tokens(rng)
        # Watchers in the order they came: which of them is woken first must not depend on hashes.
        self.readers: dict[Collection, dict[Watcher, None]] = {}
        self._epoch = epoch

    def wall(self, now: float) -> datetime:
        return self._epoch + timedelta(seconds=now)

    def stamp(self, now: float) -> str:
        return self.wall(now).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def uid(self) -> str:
        """A version 4 UUID from our own source of randomness."""
        number = 0
        for _ in range(4):
            number = number << 32 | int(self.rng() * 2**32)
        number = number & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def version(self, kind: Kind, obj: Obj, *, rv: int | None) -> Version:
        """The object as it would stand at a revision; its resourceVersion is set in place, or taken away for None."""
        metadata = obj["metadata"]
        if rv is None:
            metadata.pop("resourceVersion", None)
        else:
            metadata["resourceVersion"] = str(rv)
        custom = self.customs.get(kind.key)
        return Version(
            key=(metadata.get("namespace", ""), metadata["name"]),
            rv=rv or 0,
            uid=metadata["uid"],
            labels=metadata.get("labels") or {},
            body=encode(obj),
            schema=custom.epoch if custom is not None else 0,
        )

    def commit(self, kind: Kind, type_: EventType, obj: Obj, old: Obj | None, *, now: float) -> Version:
        """Store an object that is complete and valid. `old` is what it replaces, as stored."""
        version = self.version(kind, obj, rv=self.store.revision + 1)
        self.store.commit(kind.key, type_, version, now=now)
        self._derive(kind, type_, obj, old)
        self.ring(self.store[kind.key])
        return version

    def _derive(self, kind: Kind, type_: EventType, obj: Obj, old: Obj | None) -> None:
        gone = type_ == "DELETED"
        match kind.key:
            case "services":
                self.allocations.committed(old, None if gone else obj)
            case "serviceaccounts" if gone:
                self.tokens.forget_account(obj["metadata"]["uid"])
            case key if key == DEFINITIONS:
                self._define(obj, gone=gone)
            case _:
                pass

    def _define(self, obj: Obj, *, gone: bool) -> None:
        key = obj["metadata"]["name"]
        if gone:
            self.kinds.remove(key)
            self.customs.pop(key, None)
            self.ring(self.store.drop(key))
            return
        custom, _ = check_definition(obj, None, epoch=self.store.revision)
        if custom is not None:
            self.customs[key] = custom
            self.kinds.add(custom.kind)

    def attach(self, collection: Collection, watcher: Watcher) -> None:
        self.readers.setdefault(collection, {})[watcher] = None

    def detach(self, collection: Collection, watcher: Watcher) -> None:
        left = self.readers.get(collection)
        if left is not None:
            left.pop(watcher, None)
            if not left:
                del self.readers[collection]

    def ring(self, collection: Collection) -> None:
        for watcher in list(self.readers.get(collection, ())):
            watcher.ring()

    def get(self, kind: Kind, key: Key) -> Version | None:
        return self.store.get(kind.key, key)
