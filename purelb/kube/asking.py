# SPDX-License-Identifier: Apache-2.0
"""The requests of an informer: one at a time, as a task of its own, which hands over what it got.

What comes back is an input of the reflector, errors of the server too. A request that was given up may have handed over
something already, which its receiver throws away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from purelb.kube.errors import KubeError
from purelb.kube.listwatch import Batch, CannotStream, Ended, Input, List, ListFailed, Opened, Watch
from purelb.kube.metrics import (
    REFLECTOR_ITEMS_PER_LIST,
    REFLECTOR_ITEMS_PER_WATCH,
    REFLECTOR_LIST_DURATION,
    REFLECTOR_LISTS,
    REFLECTOR_WATCH_DURATION,
    REFLECTOR_WATCHES,
)
from purelb.kube.model import KubeObject

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from purelb.kube.client import ApiClient
    from purelb.kube.decode import Known, Page
    from purelb.kube.resources import Resource
    from purelb.kube.store import Store

T = TypeVar("T", bound=KubeObject)


class Asking(Generic[T]):
    """Lists and watches one resource in one scope. `hand_over` waits while the receiver is busy; `lists_done` counts what it stored."""

    def __init__(
        self,
        client: ApiClient,
        r: Resource[T],
        *,
        name: str,
        namespace: str | None,
        labels: str,
        fields: str,
        transform: Callable[[T], T] | None,
        store: Store[T],
        hand_over: Callable[[Input[T]], Awaitable[None]],
        lists_done: Callable[[], int],
    ) -> None:
        self.seen_at = client.clock.now()  # when the server last proved that what we know is current
        self.streams_failed = 0  # lists that were to come as a stream
        self._client = client
        self._clock = client.clock
        self._sink = client.sink
        self._resource = r
        self._name = name
        self._namespace, self._labels, self._fields = namespace, labels, fields
        self._transform = transform
        self._store = store
        self._receiver = hand_over
        self._lists_done = lists_done
        self._request: asyncio.Task[None] | None = None

    def start(self, action: List | Watch, group: asyncio.TaskGroup) -> None:
        """Make a request. The one before has ended, or was given up."""
        work: Any = self._list(action) if isinstance(action, List) else self._watch(action)
        what = "list" if isinstance(action, List) else "watch"
        self._request = group.create_task(work, name=f"informer:{self._name}:{what}")

    def give_up(self) -> None:
        """Cancel the request under way."""
        if self._request is not None:
            self._request.cancel()
            self._request = None

    def _known(self) -> Known[T] | None:
        """Most of what is listed again is stored in the same version: twins of it would cost time, and leave holes in memory."""
        return self._store.get if len(self._store) else None

    async def _list(self, action: List) -> None:
        name, started = self._name, self._clock.now()
        if action.continue_ is None:
            self._sink.count(REFLECTOR_LISTS, name)
        seen: Page[T] | ListFailed
        try:
            seen = await self._client.list_page(
                self._resource,
                namespace=self._namespace,
                labels=self._labels,
                fields=self._fields,
                rv=action.rv,
                match=action.match,
                limit=action.limit,
                continue_=action.continue_,
                transform=self._transform,
                known=self._known(),
            )
        except KubeError as error:
            seen = ListFailed(error)
        else:
            self._sink.observe(REFLECTOR_LIST_DURATION, self._clock.now() - started, name)
            self._sink.observe(REFLECTOR_ITEMS_PER_LIST, len(seen.objects) + len(seen.poison), name)
        await self._hand_over(seen)

    async def _watch(self, action: Watch) -> None:
        name, started, events = self._name, self._clock.now(), 0
        lists_before = self._lists_done()
        ended: Ended | CannotStream = Ended()
        try:
            if action.initial_events and not await self._client.can_stream():
                await self._hand_over(CannotStream())
                return
            self._sink.count(REFLECTOR_WATCHES, name)
            async with self._client.watch(
                self._resource,
                namespace=self._namespace,
                labels=self._labels,
                fields=self._fields,
                rv=action.rv,
                timeout_s=action.timeout_s,
                initial_events=action.initial_events,
                transform=self._transform,
                known=self._known() if action.initial_events else None,
            ) as stream:
                await self._hand_over(Opened())
                async for batch in stream:
                    events += len(batch)
                    await self._hand_over(Batch(batch))
        except KubeError as error:
            ended = Ended(error)
            self.streams_failed += action.initial_events and self._lists_done() == lists_before
        self._sink.observe(REFLECTOR_WATCH_DURATION, self._clock.now() - started, name)
        self._sink.observe(REFLECTOR_ITEMS_PER_WATCH, events, name)
        await self._hand_over(ended)

    async def _hand_over(self, seen: Input[T]) -> None:
        if not isinstance(seen, ListFailed | Ended | CannotStream):  # a failure proves nothing about what we know
            self.seen_at = self._clock.now()
        await self._receiver(seen)
