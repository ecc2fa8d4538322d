# SPDX-License-Identifier: Apache-2.0
"""How long a connection to the listener may take, and how much it may say.

Whoever begins a request and does not end it, or does not read the answer, holds one of few connections: it is cut so many
seconds after its last request began or ended, or after it was first seen. Requests are small questions: a body is refused,
and so are headers of more than 8 KiB together (aiohttp bounds only each of them). Not promised: that nobody holds all
connections for these seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Never

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from purelb.kube.clock import Clock

CONNECTIONS_MAX: Final = 64
HEADERS_MAX_BYTES: Final = 8190
REQUEST_S: Final = 5.0
LOOK_EVERY: Final = 1.0


class Connections:
    """When each connection of a listener last stirred."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stirred: dict[object, float] = {}
        self.server: web.Server | None = None

    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """What every request goes through."""

        @web.middleware
        async def limit(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self._stirred[request.protocol] = self._clock.now()
            try:
                refused = self._refused(request)
                if refused is not None:
                    refused.force_close()
                return await handler(request) if refused is None else refused
            finally:
                self._stirred[request.protocol] = self._clock.now()

        return limit

    def _refused(self, request: web.Request) -> web.Response | None:
        if self.server is not None and len(self.server.connections) > CONNECTIONS_MAX:
            return web.Response(status=503, text="too many connections\n")
        if sum(len(name) + len(value) for name, value in request.raw_headers) > HEADERS_MAX_BYTES:
            return web.Response(status=431, text="the headers are too long\n")
        if request.can_read_body:
            return web.Response(status=413, text="a body is not read here\n")
        return None

    async def cut_slow(self, server: web.Server) -> Never:
        """Until cancelled, cut the connections of `server` whose time is up."""
        self.server = server
        while True:
            now = self._clock.now()
            self._stirred = {each: self._stirred.get(each, now) for each in server.connections}
            for each in server.connections:
                if now - self._stirred[each] >= REQUEST_S and each.transport is not None:
                    each.transport.abort()
            await self._clock.until(now + LOOK_EVERY)
