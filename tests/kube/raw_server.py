# SPDX-License-Identifier: Apache-2.0
"""A server on a real socket of loopback that says what a test wants, byte by byte, and knows who has left.

`talk` gets each request's target and a `Line` to write to; when it returns the connection stays open for the next request,
unless it closed it. What it writes faster than the client reads waits, as on any socket.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Line:
    """The server's end of one connection. Raises ConnectionError once the client is gone."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.sent = 0

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        self.sent += len(data)
        await self._writer.drain()
        if self._writer.is_closing():
            raise ConnectionResetError

    async def answer(self, body: Any, *, status: str = "200 OK", headers: bytes = b"") -> None:
        """A whole answer; what is not bytes goes as JSON."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        await self.say(head.encode() + headers + b"\r\n" + content)

    async def open(self) -> None:
        """The head of an answer in chunks."""
        await self.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self.say(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def close(self) -> None:
        self._writer.close()


class RawServer:
    """`url`, the requests that came, and how many connections are open."""

    def __init__(self, talk: Callable[[str, Line], Awaitable[None]]) -> None:
        self._talk = talk
        self.url = ""
        self.targets: list[str] = []
        self.lines: list[Line] = []
        self.connections = 0
        self._changed: asyncio.Queue[None] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(writer)
        self.lines.append(line)
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1].decode()
                length = next(
                    (part for part in head.lower().split(b"\r\n") if part.startswith(b"content-length:")), b":0"
                )
                await reader.readexactly(int(length.partition(b":")[2]))
                self.targets.append(target)
                await self._talk(target, line)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left, or we have
        finally:
            writer.close()
            self.connections -= 1
            self._changed.put_nowait(None)

    async def until(self, connections: int) -> None:
        """Return once so many connections are open. The test's own time limit ends a wait in vain."""
        while self.connections != connections:
            await self._changed.get()


@asynccontextmanager
async def raw_server(talk: Callable[[str, Line], Awaitable[None]]) -> AsyncIterator[RawServer]:
    made = RawServer(talk)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.until(0)
