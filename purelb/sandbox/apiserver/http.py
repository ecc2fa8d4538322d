# SPDX-License-Identifier: Apache-2.0
"""An `ApiCore` on sockets: TLS, HTTP/1.1, streams. It decides nothing.

One `Server` may listen on many sockets, some of them made elsewhere (before entering a namespace, say). Requests are
carried to the core in the loop's own thread, one after the other, so the core needs no lock. An answer that is not complete
yet goes to `streams`. A watch whose connection must not end cleanly is aborted at the transport, so that the client sees a
reset.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from purelb.sandbox.apiserver.core import BODY_MAX_BYTES, ApiCore
from purelb.sandbox.apiserver.exchange import ApiRequest, Watcher
from purelb.sandbox.apiserver.identity import User
from purelb.sandbox.apiserver.pki import Pki
from purelb.sandbox.apiserver.streams import Streams
from purelb.sandbox.apiserver.tls import TlsTransport


class _OurMistakesOnly(logging.Filter):
    """What is no HTTP is answered with 400 and is its sender's affair: no stack of ours explains it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


_log = logging.getLogger(__name__)
_log.addFilter(_OurMistakesOnly())
_BACKLOG = 4096
_CLOSING_S = 1.0


class Server:
    """Made by `serve`. `urls` are where it listens, in the order of the sockets."""

    def __init__(self, core: ApiCore, pki: Pki) -> None:
        self.core = core
        self.urls: list[str] = []
        self._pki = pki
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._streams = Streams(self._loop, self.now)
        self._http = web.Server(
            self._serve,
            access_log=None,
            logger=_log,
            keepalive_timeout=120.0,
            handler_cancellation=True,
            auto_decompress=False,  # the real server takes a body as it comes
        )
        self._listeners: list[asyncio.Server] = []

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def open_streams(self) -> int:
        """How many watches and waiting answers are being served."""
        return len(self._streams)

    def now(self) -> float:
        """The core's time: seconds since this server was made."""
        return self._loop.time() - self._start

    def skip(self, seconds: float) -> None:
        """Move the core's time ahead, for a test that would otherwise wait."""
        self._start -= seconds
        self._arm()

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        for one in sockets:
            await self.listen(one)

    async def listen(self, one: socket.socket) -> str:
        """Serve on one more socket, listening or merely bound; answers its URL."""
        one.setblocking(False)
        context = self._pki.server_context()

        def connected() -> TlsTransport:
            return TlsTransport(self._http, context=context, loop=self._loop)

        self._listeners.append(await self._loop.create_server(connected, sock=one, backlog=_BACKLOG))
        host, port = one.getsockname()[:2]
        url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self.urls.append(url)
        return url

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for listener in self._listeners:
            listener.close()
        self._streams.end()
        self._http.pre_shutdown()
        await self._http.shutdown(_CLOSING_S)

    def admin_kubeconfig(self) -> str:
        """Path of a kubeconfig for the first socket."""
        return str(self._pki.admin_kubeconfig(self.url))

    # --- one request -------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await self._body(request)
        asked = ApiRequest(
            method=request.method,
            target=request.raw_path,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
            user=_certified(request.transport),
        )
        made = self.core.handle(asked, self.now())
        if isinstance(made, Watcher):
            self._arm()
            return await self._streams.serve(request, made)
        return web.Response(status=made.status, headers=dict(made.headers), body=made.body)

    @staticmethod
    async def _body(request: web.BaseRequest) -> bytes:
        """At most one byte more than the core accepts: it says what is wrong with that."""
        if not request.body_exists:
            return b""
        parts, size = [], 0
        async for part in request.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > BODY_MAX_BYTES:
                break
        return b"".join(parts)

    # --- time --------------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """See to it that `tick` runs when the core is next due."""
        due = self.core.due(self.now())
        if due is None:
            return
        at = self._start + due
        if self._timer is not None:
            if not self._timer.cancelled() and self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.core.tick(self.now())
        self._arm()


def _certified(transport: asyncio.BaseTransport | None) -> User | None:
    """Whom the client's certificate names; TLS has verified it against our authority."""
    found: Any = transport.get_extra_info("peercert") if transport is not None else None
    if not found:
        return None
    pairs = [pair for part in found["subject"] for pair in part]
    name = next((value for key, value in pairs if key == "commonName"), "")
    groups = tuple(value for key, value in pairs if key == "organizationName")
    return User(name=name, groups=(*groups, "system:authenticated"))


def listening(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    made.listen(_BACKLOG)
    return made


@contextlib.asynccontextmanager
async def serve(
    core: ApiCore,
    *,
    pki: Pki,
    host: str = "127.0.0.1",
    port: int = 0,
    sockets: Sequence[socket.socket] = (),
) -> AsyncIterator[Server]:
    """Serve a core until the context is left. Given sockets are used instead of host and port, and belong to the server."""
    server = Server(core, pki)
    try:
        await server.open(sockets or (listening(host, port),))
        yield server
    finally:
        await server.close()
