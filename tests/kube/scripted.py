# SPDX-License-Identifier: Apache-2.0
"""A `Transport` whose other end is a test.

Each request becomes a `Call` that waits until the test answers it: `reply`, `fail`, or, for a watch, `open`, which gives a
`Stream` to send through. With `respond` a function does that as each call arrives. Nothing is answered by itself, and
`assert_all_closed` says whether every stream that was opened was closed exactly once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.errors import TransportError, TransportKind
from purelb.kube.transport import ByteStream, Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from purelb.kube.clock import Clock


class Stream:
    """The server's end of an answer whose body is still coming. `joins`: what was sent since the last chunk comes as one."""

    joins = False

    def __init__(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers: Mapping[str, str] = headers or {}
        self.closed = 0
        self._items: deque[bytes | TransportError | None] = deque()
        self._wanted: asyncio.Future[None] | None = None

    def send(self, *events: Mapping[str, Any]) -> None:
        """Events of a watch, one line each."""
        self.send_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))

    def send_bytes(self, chunk: bytes) -> None:
        self._put(chunk)

    def end(self) -> None:
        self._put(None)

    def fail(self, kind: TransportKind) -> None:
        self._put(TransportError(kind, "as the test wants it"))

    def _put(self, item: bytes | TransportError | None) -> None:
        self._items.append(item)
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._items:
            self._wanted = asyncio.get_running_loop().create_future()
            await self._wanted
        match self._items[0]:
            case bytes() as chunk:
                self._items.popleft()
                while self.joins and self._items and isinstance(more := self._items[0], bytes):
                    chunk += more
                    self._items.popleft()
                return chunk
            case None:
                raise StopAsyncIteration
            case error:
                raise error


class Call:
    """One request, and the means to answer it."""

    def __init__(self, request: Request, *, streaming: bool) -> None:
        parts = urlsplit(request.target)
        self.request = request
        self.method = request.method
        self.path = parts.path
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in request.headers}
        self.streaming = streaming
        self.stream: Stream | None = None
        self.gone = False
        self._answer: asyncio.Future[Response | Stream] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<{self.method} {self.request.target}>"

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.request.body)

    def reply(self, body: Any = b"", *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer with bytes, or with anything else as JSON."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        if self.streaming:
            stream = self.open(status=status, headers=headers)
            stream.send_bytes(content)
            stream.end()
        else:
            self._answer.set_result(Response(status=status, headers=headers or {}, body=content))

    def reply_in_pieces(self, body: Any, *, of: int) -> None:
        """Answer with JSON as a long answer comes, in chunks of so many bytes."""
        content = msgspec.json.encode(body)
        pieces = tuple(content[at : at + of] for at in range(0, len(content), of))
        self._answer.set_result(Response(status=200, headers={}, pieces=pieces))

    def refuse(self, status: int, reason: str = "", *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        """Answer with a Status."""
        body = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": reason, **more}
        self.reply(body, status=status, headers=headers)

    def fail(self, kind: TransportKind) -> None:
        self._answer.set_exception(TransportError(kind, "as the test wants it"))

    def open(self, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Stream:
        self.stream = Stream(status, headers)
        self._answer.set_result(self.stream)
        return self.stream

    async def answered(self) -> Response | Stream:
        try:
            return await self._answer
        finally:
            self.gone = True


class Scripted:
    """Implements `Transport`. `calls` holds what nobody took yet, `seen` everything."""

    def __init__(self, respond: Callable[[Call], None] | None = None) -> None:
        self.respond = respond
        self.calls: deque[Call] = deque()
        self.seen: list[Call] = []
        self.streams: list[Stream] = []

    def take(self, method: str | None = None) -> Call:
        """The oldest call that waits and was not taken yet."""
        assert self.calls, "no call is waiting"
        call = self.calls.popleft()
        assert method is None or call.method == method, f"{call} is not a {method}"
        return call

    def _arrived(self, request: Request, *, streaming: bool) -> Call:
        call = Call(request, streaming=streaming)
        self.seen.append(call)
        if self.respond is None:
            self.calls.append(call)
        else:
            self.respond(call)
        return call

    async def exchange(self, request: Request) -> Response:
        answer = await self._arrived(request, streaming=False).answered()
        assert isinstance(answer, Response)
        return answer

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:
        answer = await self._arrived(request, streaming=True).answered()
        assert isinstance(answer, Stream)
        self.streams.append(answer)
        try:
            yield answer
        finally:
            answer.closed += 1

    def assert_all_closed(self) -> None:
        assert [stream.closed for stream in self.streams] == [1] * len(self.streams)


def client_over(transport: Scripted, clock: Clock, **more: Any) -> ApiClient:
    """An `ApiClient` on a scripted transport; it needs not be entered."""
    return ApiClient(
        fixed_access("http://api.test", token="t0ken"), user_agent="tests", clock=clock, transport=transport, **more
    )
