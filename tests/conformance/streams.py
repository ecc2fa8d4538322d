# SPDX-License-Identifier: Apache-2.0
"""The streams of one transport: how many stand, and how many the server has ended.

A real API server ends watches when it likes: some seconds after a restart it may end all of a resource once more. Who asserts
that nothing is asked for has to know whether the server has given a cause. What we end ourselves is none.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

from purelb.kube.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from purelb.kube.transport import ByteStream


class Streams:
    """`standing`: open now, and not over. `ended`: refused, broken off, at their end, or told of an error in the middle."""

    def __init__(self) -> None:
        self.standing = 0
        self.ended = 0

    @asynccontextmanager
    async def follow(self, stream: AbstractAsyncContextManager[ByteStream]) -> AsyncIterator[ByteStream]:
        async with AsyncExitStack() as stack:
            try:
                inner = await stack.enter_async_context(stream)
            except TransportError:
                self.ended += 1
                raise
            body = _Body(inner, self)
            try:
                yield body
            finally:
                self.standing -= not body.over


class _Body:
    """A stream that tells when it is over. One that is refused is over from the start."""

    def __init__(self, inner: ByteStream, streams: Streams) -> None:
        self.over = False
        self._inner = inner
        self._streams = streams
        self._chunks = aiter(inner)
        streams.standing += 1
        if inner.status >= 300:
            self._end()

    @property
    def status(self) -> int:
        return self._inner.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._inner.headers

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except (StopAsyncIteration, TransportError):
            self._end()
            raise
        if b'"type":"ERROR"' in chunk:
            self._end()
        return chunk

    def _end(self) -> None:
        if not self.over:
            self.over = True
            self._streams.standing -= 1
            self._streams.ended += 1
