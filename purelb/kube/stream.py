# SPDX-License-Identifier: Apache-2.0
"""The body of a watch as batches of events.

A batch is what one chunk completed, or as much of it as could be decoded in 5 ms: a server that sends faster than that gives
the loop its turns all the same. What is known already is looked for only while the initial state is sent.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from purelb.kube.clock import breathe
from purelb.kube.decode import Event
from purelb.kube.initial import ends_it
from purelb.kube.lines import LineSplitter
from purelb.kube.model import KubeObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from purelb.kube.clock import Clock
    from purelb.kube.decode import Codec, Known, WatchEvent
    from purelb.kube.transport import ByteStream

T = TypeVar("T", bound=KubeObject)

SLICE: Final = 0.005


class WatchStream(Generic[T]):
    """Batches of events, one or more for each chunk that arrived. Ends when the server ends it; a line without its end is dropped."""

    def __init__(
        self,
        body: ByteStream,
        codec: Codec[T],
        *,
        clock: Clock,
        transform: Callable[[T], T] | None = None,
        known: Known[T] | None = None,
    ) -> None:
        self._chunks = body.__aiter__()
        self._plain = codec.event if transform is None else partial(codec.event_as, transform)
        self._event = self._plain if known is None else partial(codec.event_unless_known, self._plain, known)
        self._clock = clock
        self._splitter = LineSplitter()
        self._lines: deque[bytes] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[WatchEvent[T], ...]:
        if self._lines:
            await breathe()
        while not self._lines:
            self._lines.extend(self._splitter.feed(await self._chunks.__anext__()))
        return tuple(self._decoded())

    def _decoded(self) -> Iterable[WatchEvent[T]]:
        until = self._clock.now() + SLICE
        while self._lines:
            event = self._event(self._lines.popleft())
            if self._event is not self._plain and self._ends_the_beginning(event):
                self._event = self._plain
            yield event
            if self._clock.now() >= until:
                return

    def _ends_the_beginning(self, event: WatchEvent[T]) -> bool:
        return isinstance(event, Event) and event.type == "BOOKMARK" and ends_it(event.object)
