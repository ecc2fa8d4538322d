# SPDX-License-Identifier: Apache-2.0
"""A `Transport` whose other end is an `ApiCore` in the same process: components run against it without a socket.

Requests and answers are the bytes that would be on the wire. Everything waits on the given clock, so on a virtual clock a
run takes no time and gives the same result each time. The core's time is the clock's, counted from when this was made.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Self

from purelb.kube.bell import Bell
from purelb.kube.clock import Clock
from purelb.kube.errors import TransportError
from purelb.kube.transport import ByteStream, Request, Response
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.exchange import ApiRequest, ApiResponse, Head, Lost, Watcher
from purelb.sandbox.apiserver.identity import ADMIN, User


class MemoryTransport:
    """`user`: who is asking when a request carries no token."""

    def __init__(self, core: ApiCore, *, clock: Clock, user: User | None = ADMIN) -> None:
        self._core = core
        self.clock = clock
        self.start = clock.now()
        self._user = user

    def now(self) -> float:
        return self.clock.now() - self.start

    def _handle(self, request: Request) -> ApiResponse | Watcher:
        headers = {name.lower(): value for name, value in request.headers}
        asked = ApiRequest(
            method=request.method,
            target=request.target,
            headers=headers,
            body=request.body,
            user=None if "authorization" in headers else self._user,
        )
        return self._core.handle(asked, self.now())

    async def exchange(self, request: Request) -> Response:
        made = self._handle(request)
        if isinstance(made, ApiResponse):
            return Response(status=made.status, headers=made.headers, body=made.body)
        stream = _Stream(made, self)
        try:
            body = b"".join([chunk async for chunk in stream])
        finally:
            stream.close()
        return Response(status=stream.status, headers=stream.headers, body=body)

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:
        made = self._handle(request)
        if isinstance(made, ApiResponse):
            yield _Whole(made)
            return
        stream = _Stream(made, self)
        try:
            await stream.opened()
            yield stream
        finally:
            stream.close()


class _Whole:
    """A complete answer as a stream of one chunk."""

    def __init__(self, made: ApiResponse) -> None:
        self.status: int = made.status
        self.headers: Mapping[str, str] = made.headers
        self._left = [made.body] if made.body else []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class _Stream:
    """An answer that is still being made. Ends cleanly, or with the error of a connection that was cut."""

    def __init__(self, watcher: Watcher, transport: MemoryTransport) -> None:
        self._watcher = watcher
        self._transport = transport
        self._bell = Bell(transport.clock)
        self._frames: list[bytes] = []
        self._reached = 0.0
        watcher.wake = self._bell.ring_all

    @property
    def status(self) -> int:
        return self._head.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._head.headers

    @property
    def _head(self) -> Head:
        if self._watcher.head is None:
            raise TransportError("eof", "the connection was cut before the answer began")
        return self._watcher.head

    def close(self) -> None:
        self._watcher.wake = None
        self._watcher.close()

    async def opened(self) -> None:
        """Return once the headers are there."""
        while self._watcher.head is None:
            self._frames += self._watcher.frames(self._now())
            if self._watcher.head is None:
                await self._more()

    async def _more(self) -> None:
        if isinstance(self._watcher, Lost) and self._watcher.refused:
            raise TransportError("refused", "nobody listens")
        if self._watcher.aborted:
            raise TransportError("reset", "the connection was cut")
        due = self._watcher.due()
        at = None if due is None else due + self._transport.start
        await self._bell.wait(at)
        if due is not None and at is not None and self._transport.clock.now() >= at:
            self._reached = due

    def _now(self) -> float:
        """The core's time, and not a hair before the moment that was waited for: the sum and its difference may differ."""
        return max(self._transport.now(), self._reached)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._frames:
            self._frames = self._watcher.frames(self._now())
            if not self._frames and self._watcher.ended and not self._watcher.aborted:
                raise StopAsyncIteration
            if not self._frames:
                await self._more()
        frames, self._frames = self._frames, []
        return b"".join(frames)
