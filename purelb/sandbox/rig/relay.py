# SPDX-License-Identifier: Apache-2.0
"""The service proxy without nftables: listens on every served address and carries bytes to a backend. TCP only.

Sockets are bound with IP_FREEBIND, so it listens on an address before the node holds it and after it lost it, and nobody has to tell it about moves: the
kernel delivers what arrives while the node holds the address. The backend sees the node's address, never the client's, so an `externalTrafficPolicy: Local`
Service is served, but without the address it asked to keep. Cluster IPs answer only where they are routed to the node, which nothing here does.

Chosen only where `nft` is missing: it costs a task and two copies per connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from purelb.sandbox.rig.proxy_rules import Backend, Frontend

IP_FREEBIND: Final = 15
IPV6_FREEBIND: Final = 78
CONNECT_LIMIT_S: Final = 3.0
CHUNK_BYTES: Final = 1 << 16

log = logging.getLogger(__name__)
Place = tuple[str, int]


class Relay:
    """Serves the frontends it was last told; connections that are open when theirs goes away run on."""

    def __init__(self) -> None:
        self._servers: dict[Place, asyncio.Server] = {}
        self._backends: dict[Place, tuple[Backend, ...]] = {}
        self._complained: set[Frontend] = set()

    async def serve(self, served: Sequence[Frontend]) -> bool:
        """Listen on exactly these; False if some address could not be listened on (the others are)."""
        for front in served:
            if front.protocol != "tcp" and front not in self._complained:
                self._complained.add(front)
                log.warning("%s port %d: the relay carries TCP only, not %s", front.address, front.port, front.protocol)
        self._backends = {(front.address, front.port): front.backends for front in served if front.protocol == "tcp"}
        for place in set(self._servers) - set(self._backends):
            self._servers.pop(place).close()
        complete = True
        for place in sorted(set(self._backends) - set(self._servers)):
            try:
                sock = _listen(place)
            except OSError as error:
                log.error("cannot listen on %s port %d: %s", *place, error)
                complete = False
                continue
            self._servers[place] = await asyncio.start_server(self._handler(place), sock=sock)
        return complete

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers = {}

    def _handler(self, place: Place):  # type: ignore[no-untyped-def]  # noqa: ANN202  asyncio names no type for it
        async def carry(client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
            backends = self._backends.get(place)
            try:
                if backends:
                    await carry_to(client_in, client_out, random.choice(backends))
            except (OSError, TimeoutError) as error:
                log.debug("%s port %d: %s", *place, error)
            finally:
                await close(client_out)

        return carry


async def carry_to(client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter, goal: Backend) -> None:
    """Connect to the backend and copy both ways until both have ended. Raises OSError or TimeoutError if it cannot be reached."""
    async with asyncio.timeout(CONNECT_LIMIT_S):
        backend_in, backend_out = await asyncio.open_connection(goal.address, goal.port)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(client_in, backend_out))
            group.create_task(_copy(backend_in, client_out))
    finally:
        await close(backend_out)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close and wait for it; a peer that was faster is as good."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until `source` ends; then `sink` is told that no more comes. A peer that is gone ends this direction."""
    with suppress(OSError):
        while chunk := await source.read(CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


def _listen(place: Place) -> socket.socket:
    address, _port = place
    sixth = ":" in address
    sock = socket.socket(socket.AF_INET6 if sixth else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sixth:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        sock.listen(128)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
