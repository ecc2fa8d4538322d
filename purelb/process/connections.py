# SPDX-License-Identifier: Apache-2.0
"""The connections of the listener: how many, how long, and how much they may say.

They are counted when they are accepted, so one that is still shaking hands counts: beyond 64 the visitor is told 503 and sent
away, and beyond as many who are being told so, closed without a word. Whoever begins a request and does not end it, or does
not read the answer, is cut so many seconds after the last request began or ended, or after it was first seen. Requests are
small questions: a body is refused, and so are headers of more than 8 KiB together. What is not HTTP gets 400; no answer says
what wrote it.

Not promised: that nobody holds all connections for these seconds.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Never

from aiohttp import web

from purelb.kube.failures import failure

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from purelb.kube.clock import Clock

log: Final = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 64
HEADERS_MAX_BYTES: Final = 8190
UNANSWERED_MAX_BYTES: Final = 2 * HEADERS_MAX_BYTES
"""Request line, headers and what separates them, before the request is answered."""
REQUEST_S: Final = 5.0
SENT_AWAY_S: Final = 1.0
LOOK_EVERY: Final = 1.0
FULL_PAUSE_S: Final = 0.5
"""Without a free descriptor there is nothing to accept a connection with."""


def _raw(status: str, text: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n"
    return f"{head}Connection: close\r\n\r\n{text}".encode("ascii")


BUSY: Final = _raw("503 Service Unavailable", "too many connections\n")
TOO_LONG: Final = _raw("431 Request Header Fields Too Large", "the headers are too long\n")


class Unnamed(web.Response):
    """An answer outside the application, which has its own way to leave the header out."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.pop("Server", None)


class Guarded(web.RequestHandler):
    """HTTP on one connection."""

    __slots__ = ("_unanswered",)

    def __init__(self, server: web.Server, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own callers give it
            keepalive_timeout=REQUEST_S,
            max_line_size=HEADERS_MAX_BYTES,
            max_field_size=HEADERS_MAX_BYTES,
        )
        self._unanswered = 0

    def answered(self) -> None:
        """A request was taken: what comes now belongs to the next."""
        self._unanswered = 0

    def data_received(self, data: bytes) -> None:
        self._unanswered += len(data)
        if self._unanswered > UNANSWERED_MAX_BYTES and self.transport is not None:
            self.transport.write(TOO_LONG)
            self.transport.close()
            return
        super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  it repeats what the visitor sent
    ) -> web.StreamResponse:
        """What is not HTTP, and our own mistakes: a short answer without details."""
        if status >= 500:
            fields = {"code": "pageFailed", "key": request.path, **failure(exc)}
            log.info("a page could not be made", exc_info=exc, extra=fields)
        if request.writer is not None and request.writer.output_size > 0:  # type: ignore[redundant-expr]
            raise ConnectionError("a part of the answer was sent")
        text = "this is not HTTP\n" if status < 500 else "something went wrong\n"
        answer = Unnamed(status=status, text=text)
        answer.force_close()
        return answer


class _SentAway(asyncio.Protocol):
    """Told 503. The connection stays for a moment: closed at once, with a question unread, it would be reset and the answer lost."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  of a stream
        transport.write(BUSY)
        if transport.can_write_eof():
            transport.write_eof()
        self._connections.sent_away[transport] = self._connections.clock.now()
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  as the protocol has it
        self._connections.sent_away.pop(self._transport, None)


class Connections:
    """All of one listener. `tls`: the context of the next connection, None for plain text."""

    def __init__(self, clock: Clock, *, tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        self.clock = clock
        self.sent_away: dict[asyncio.Transport, float] = {}
        self._tls = tls
        self._stirred: dict[object, float] = {}
        self._arriving = 0
        self._leaving = 0

    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """What every request goes through."""

        @web.middleware
        async def limit(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self._stirred[request.protocol] = self.clock.now()
            if isinstance(request.protocol, Guarded):
                request.protocol.answered()
            try:
                refused = _refused(request)
                if refused is not None:
                    refused.force_close()
                return await handler(request) if refused is None else refused
            finally:
                self._stirred[request.protocol] = self.clock.now()

        return limit

    async def serve(self, server: web.Server, sockets: Sequence[socket.socket]) -> Never:
        """Accept connections of `sockets` for `server` until cancelled. Raises what a task of it raised."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._cut_slow(server), name="process:connections")
            for listening in sockets:
                listening.setblocking(False)
                group.create_task(self._accept(server, listening, group), name="process:accept")
        raise AssertionError("tasks without an end have ended")

    async def _accept(self, server: web.Server, listening: socket.socket, group: asyncio.TaskGroup) -> Never:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                fields = {"code": "acceptFailed", **failure(error, retry_in=FULL_PAUSE_S)}
                log.info("a connection could not be accepted", extra=fields)
                await self.clock.until(self.clock.now() + FULL_PAUSE_S)
                continue
            if len(server.connections) + self._arriving < CONNECTIONS_MAX:
                self._arriving += 1
                group.create_task(self._welcome(server, accepted), name="process:arriving")
            elif len(self.sent_away) + self._leaving < CONNECTIONS_MAX:
                self._leaving += 1
                group.create_task(self._send_away(accepted), name="process:leaving")
            else:
                accepted.close()

    async def _welcome(self, server: web.Server, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._connect(lambda: Guarded(server, loop=loop), accepted)
        finally:
            self._arriving -= 1

    async def _send_away(self, accepted: socket.socket) -> None:
        try:
            await self._connect(lambda: _SentAway(self), accepted)
        finally:
            self._leaving -= 1

    async def _connect(self, protocol: Callable[[], asyncio.BaseProtocol], accepted: socket.socket) -> None:
        context = self._tls() if self._tls is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                protocol,
                accepted,
                ssl=context,
                ssl_handshake_timeout=REQUEST_S if context is not None else None,
                ssl_shutdown_timeout=SENT_AWAY_S if context is not None else None,
            )
        except OSError as error:  # ssl's errors and a handshake that takes too long are such
            log.debug("a connection did not come to be", extra={"code": "handshakeFailed", **failure(error)})
            accepted.close()

    async def _cut_slow(self, server: web.Server) -> Never:
        while True:
            now = self.clock.now()
            self._stirred = {each: self._stirred.get(each, now) for each in server.connections}
            for each in server.connections:
                if now - self._stirred[each] >= REQUEST_S and each.transport is not None:
                    each.transport.abort()
            for transport, since in list(self.sent_away.items()):
                if now - since >= SENT_AWAY_S:
                    transport.abort()
            await self.clock.until(now + LOOK_EVERY)


def _refused(request: web.Request) -> web.Response | None:
    if sum(len(name) + len(value) for name, value in request.raw_headers) > HEADERS_MAX_BYTES:
        return web.Response(status=431, text="the headers are too long\n")
    if request.can_read_body:
        return web.Response(status=413, text="a body is not read here\n")
    return None
