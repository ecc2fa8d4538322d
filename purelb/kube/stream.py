# SPDX-License-Identifier: Apache-2.0
"""The body of a watch as batches of events.

A batch is what one chunk completed, or as much of it as could be decoded in 5 ms: a server that sends faster than that gives
the loop its turns all the same. A stream that outlives its own limit is ended by us, in case nobody else does.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from purelb.kube.clock import breathe
from purelb.kube.errors import TransportError
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
        deadline: float,
        transform: Callable[[T], T] | None = None,
        known: Known[T] | None = None,
    ) -> None:
        self._chunks = body.__aiter__()
        event = codec.event if transform is None else partial(codec.event_as, transform)
        self._event = event if known is None else partial(codec.event_unless_known, event, known)
        self._clock = clock
        self._deadline = deadline
        self._splitter = LineSplitter()
        self._lines: deque[bytes] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[WatchEvent[T], ...]:
        if self._lines:
            await breathe()
        while not self._lines:
            try:
                async with self._clock.timeout_at(self._deadline):
                    chunk = await self._chunks.__anext__()
            except TimeoutError:
                raise TransportError("timeout", "the watch outlived its own limit") from None
            self._lines.extend(self._splitter.feed(chunk))
        return tuple(self._decoded())

    def _decoded(self) -> Iterable[WatchEvent[T]]:
        until = self._clock.now() + SLICE
        while self._lines:
            yield self._event(self._lines.popleft())
            if self._clock.now() >= until:
                return
