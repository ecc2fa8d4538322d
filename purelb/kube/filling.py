# SPDX-License-Identifier: Apache-2.0
"""What an informer does to its store, and whom it tells.

An object that cannot be read or indexed never costs its neighbours anything: what was known of it stays, marked stale, and it
is told of once. Objects come as they are to be stored, transformed where they were decoded. Long work (a replace and its delivery, a comparison) gives the loop a turn every 5 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from purelb.kube.audit import Comparison
from purelb.kube.clock import breathe
from purelb.kube.decode import Poison, transformed
from purelb.kube.handlers import Deliveries, Registration
from purelb.kube.listwatch import Compare, Compared, Remove, Replace, Spoil, Upsert
from purelb.kube.metrics import INFORMER_OVERLAY_DROPPED
from purelb.kube.model import KubeObject, key
from purelb.kube.store import Rejected, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.kube.clock import Clock
    from purelb.kube.metrics import Sink
    from purelb.kube.troubles import Troubles

T = TypeVar("T", bound=KubeObject)

SLICE: Final = 0.005


class Filling(Generic[T]):
    """The one place that changes the store of an informer. `transform` is for what did not come by a list or a watch."""

    def __init__(
        self,
        store: Store[T],
        *,
        name: str,
        transform: Callable[[T], T] | None,
        troubles: Troubles,
        clock: Clock,
        sink: Sink,
    ) -> None:
        self._store = store
        self._name = name
        self._transform = transform
        self._troubles = troubles
        self._clock = clock
        self._sink = sink
        self._deliveries: Deliveries[T] = Deliveries(name, sink)
        self._comparison = Comparison(store)  # of the audit under way
        self.replaced = 0  # how often everything was replaced
        self._dropped = 0

    def add(self, registration: Registration[T]) -> None:
        """One more handler, told at once of what is stored."""
        self._deliveries.add(registration, self._store.values())

    def note_write(self, obj: T) -> None:
        """The server's answer to a write of ours."""
        shaped = obj if self._transform is None else transformed(obj, self._transform)
        if isinstance(shaped, Poison):
            return  # it will come again through the watch, where it is counted and marked
        answer = self._store.note_write(shaped)
        if not isinstance(answer, Rejected):
            self._deliveries.tell(answer)

    def spoil(self, action: Spoil) -> None:
        """An object changed into something that cannot be read."""
        poison = action.poison
        self._troubles.spoiled(poison)
        self._store.spoil(poison.key, poison.error, poison.rv)

    def remove(self, action: Remove[T]) -> None:
        """An object was deleted."""
        self._troubles.mended(action.key)
        self._deliveries.tell(self._store.remove(action.key, action.obj, action.rv))

    def upsert(self, action: Upsert[T]) -> None:
        """An object is new, or changed."""
        answer = self._store.upsert(action.obj, action.rv)
        if isinstance(answer, Rejected):
            self._reject(answer, action.obj)
            return
        if self._troubles.any_spoiled:
            self._troubles.mended(key(action.obj))
        self._deliveries.tell(answer)

    async def replace(self, action: Replace[T]) -> None:
        """These objects are all there are. Returns when every handler was told."""
        self.replaced += 1
        replacement = self._store.replacement({bad.key: bad.error for bad in action.poison}, action.rv)
        for bad in action.poison:
            self._troubles.spoiled(bad)
        until = self._clock.now() + SLICE
        for obj in action.objects:
            replacement.take(obj)
            if self._clock.now() >= until:
                await breathe()
                until = self._clock.now() + SLICE
        for rejected in replacement.rejected:
            self._reject(rejected, None)
        self._deliveries.put(self._store.commit(replacement), initial=self.replaced == 1)
        self._troubles.only(self._store.undecodable)
        until = self._clock.now() + SLICE
        while self._deliveries.step():
            if self._clock.now() >= until:
                await breathe()
                until = self._clock.now() + SLICE

    async def compare(self, action: Compare[T]) -> Compared | None:
        """One page of an audit; after the last one, how all of it differs from what is stored."""
        if action.first:
            self._comparison = Comparison(self._store)
        until = self._clock.now() + SLICE
        for bad in action.poison:
            self._comparison.refuse(bad)
        for obj in action.objects:
            self._comparison.take(obj)
            if self._clock.now() >= until:
                await breathe()
                until = self._clock.now() + SLICE
        if not action.last:
            return None
        differences, self._comparison = self._comparison.differences(), Comparison(self._store)
        return Compared(differences)

    def _reject(self, rejected: Rejected, obj: T | None) -> None:
        meta = None if obj is None else obj.metadata
        uid, rv = (meta.uid, meta.resource_version) if meta else ("", "")
        self._troubles.spoiled(Poison(key=rejected.key, uid=uid, rv=rv, error=rejected.why))

    def count_dropped(self) -> None:
        """Tell the sink how many events were older than our own writes."""
        if self._store.dropped != self._dropped:
            self._sink.count(INFORMER_OVERLAY_DROPPED, self._name, by=self._store.dropped - self._dropped)
            self._dropped = self._store.dropped
