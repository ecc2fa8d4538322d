# SPDX-License-Identifier: Apache-2.0
"""Who is told what changed, and in which order.

A change is bound to the handlers that were registered when it happened and is told exactly once to each of them that still
is. Changes are told in the order in which the store took them; what happens while some are still waiting to be told queues up
behind them, so no handler sees an update of an object that it was not told of. A handler that raises costs itself that one
call: it is logged and counted, the others are served.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, assert_never

from purelb.kube.metrics import INFORMER_HANDLER_ERRORS, INFORMER_UNCHANGED, Sink
from purelb.kube.model import KubeObject
from purelb.kube.queue import INITIAL, LIVE
from purelb.kube.store import Added, Change, Deleted, Unchanged, Updated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

T = TypeVar("T", bound=KubeObject)
T_contra = TypeVar("T_contra", bound=KubeObject, contravariant=True)
K = TypeVar("K")
K_contra = TypeVar("K_contra", contravariant=True)


class Handler(Protocol[T_contra]):
    """Called synchronously, after the store changed."""

    def added(self, obj: T_contra, *, initial: bool) -> None:
        """`initial`: it was there when the informer, or this handler, began."""
        ...

    def updated(self, old: T_contra, new: T_contra) -> None: ...

    def deleted(self, obj: T_contra, *, final: bool) -> None:
        """`final`: as the server sent it; else the last version we knew."""
        ...


class Queue(Protocol[K_contra]):
    def add(self, key: K_contra, *, priority: int = LIVE) -> None: ...


class _Enqueue(Generic[T, K]):
    def __init__(self, queue: Queue[K], keys_of: Callable[[T], Iterable[K]]) -> None:
        self._queue = queue
        self._keys_of = keys_of

    def added(self, obj: T, *, initial: bool) -> None:
        for key in self._keys_of(obj):
            self._queue.add(key, priority=INITIAL if initial else LIVE)

    def updated(self, old: T, new: T) -> None:
        for key in dict.fromkeys((*self._keys_of(old), *self._keys_of(new))):
            self._queue.add(key)

    def deleted(self, obj: T, *, final: bool) -> None:  # noqa: ARG002  gone is gone
        for key in self._keys_of(obj):
            self._queue.add(key)


def enqueue(queue: Queue[K], keys_of: Callable[[T], Iterable[K]]) -> Handler[T]:
    """The standard handler: the keys of what changed go to a queue, on an update those of before and after."""
    return _Enqueue(queue, keys_of)


class Registration(Generic[T]):
    """One handler of one informer. Removing is final and may be repeated."""

    def __init__(self, handler: Handler[T], *, deliver_unchanged: bool) -> None:
        self.handler = handler
        self.deliver_unchanged = deliver_unchanged
        self.active = True

    def remove(self) -> None:
        """The handler is called no more, not even for what waits to be told."""
        self.active = False


class _Batch(Generic[T]):
    """Changes that happened at once, and who is to be told."""

    def __init__(self, changes: Iterable[Change[T]], handlers: tuple[Registration[T], ...], *, initial: bool) -> None:
        self.changes = deque(changes)  # and no container for each: ten thousand would set off a search for garbage
        self.handlers = handlers
        self.initial = initial


class Deliveries(Generic[T]):
    """The handlers of one informer and what they have not been told yet."""

    def __init__(self, resource: str, sink: Sink) -> None:
        self._resource = resource
        self._sink = sink
        self._handlers: tuple[Registration[T], ...] = ()
        self._waiting: deque[_Batch[T]] = deque()  # none of them empty
        self._busy = False

    def add(self, registration: Registration[T], known: Iterable[T]) -> None:
        """Register, and tell at once of all that is `known`."""
        self._handlers = (*(held for held in self._handlers if held.active), registration)
        for obj in known:
            self._tell(Added(obj), registration, initial=True)

    def put(self, changes: Iterable[Change[T]], *, initial: bool = False) -> None:
        """Changes that the store has taken; `step` tells them."""
        batch = _Batch(changes, self._handlers, initial=initial)
        if batch.changes:
            self._waiting.append(batch)

    def step(self) -> bool:
        """Tell one change. Answers whether more wait."""
        if self._waiting:
            batch = self._waiting[0]
            change = batch.changes.popleft()
            if not batch.changes:
                self._waiting.popleft()
            self._tell_all(change, batch.handlers, initial=batch.initial)
        return bool(self._waiting)

    def tell(self, changes: Iterable[Change[T]]) -> None:
        """Tell changes that the store has taken, now; behind what is being told, or waits for it, in their turn."""
        if self._busy or self._waiting:
            self.put(changes)
            return
        handlers = self._handlers
        for change in changes:
            self._tell_all(change, handlers, initial=False)
        while self._waiting:  # what handlers themselves made known
            self.step()

    def _tell_all(self, change: Change[T], handlers: tuple[Registration[T], ...], *, initial: bool) -> None:
        self._busy = True
        try:
            if isinstance(change, Unchanged):
                self._sink.count(INFORMER_UNCHANGED, self._resource)
            for registration in handlers:
                self._tell(change, registration, initial=initial)
        finally:
            self._busy = False

    def _tell(self, change: Change[T], registration: Registration[T], *, initial: bool) -> None:
        if not registration.active:
            return
        try:
            match change:
                case Added(obj):
                    registration.handler.added(obj, initial=initial)
                case Updated(old, new):
                    registration.handler.updated(old, new)
                case Unchanged(old, new):
                    if registration.deliver_unchanged:
                        registration.handler.updated(old, new)
                case Deleted(obj, final):
                    registration.handler.deleted(obj, final=final)
                case _:
                    assert_never(change)
        except Exception:
            # One handler is fenced off from the others, and the stream from all of them.
            self._sink.count(INFORMER_HANDLER_ERRORS, self._resource)
            log.info("a handler raised", exc_info=True, extra={"code": "handlerRaised", "resource": self._resource})
