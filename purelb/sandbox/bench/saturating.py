# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.bench.saturating`: a server that costs its client nothing but the client's own work.

Answers are made before the first request and written as fast as the socket takes them: `watch=` a stream of as many events as
the label selector `n=...` says, any other GET a list of so many Services, PATCH one Service. It runs as a process of its own,
so that the client's CPU time is the client's. Prints its port; ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from purelb.sandbox.bench import recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DISTINCT: Final = 500
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_PIECES: Final = 50  # events in a chunk: 90 KB


@asynccontextmanager
async def saturating() -> AsyncIterator[str]:
    """The URL of such a server, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "purelb.sandbox.bench.saturating",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the server was started without its pipes")
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        await process.wait()


class _Answers:
    def __init__(self) -> None:
        lines = recorded.events(DISTINCT)
        pieces = [b"".join(lines[at : at + _PIECES]) for at in range(0, DISTINCT, _PIECES)]
        self._chunks = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces]
        self._service = recorded.compact(recorded.service(1))
        self._lists: dict[int, bytes] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if found := re.search(rb"(?i)content-length: *(\d+)", head):
                    await reader.readexactly(int(found[1]))
                await self._answer(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has what it wanted
        finally:
            writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        wanted = re.search(rb"labelSelector=n%3D(\d+)", head)
        count = int(wanted[1]) if wanted else 0
        if head.startswith(b"PATCH"):
            writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(self._service) + self._service)
        elif re.search(rb"watch=[tT]rue", head):
            writer.write(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            for number in range(count // _PIECES):
                writer.write(self._chunks[number % len(self._chunks)])
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            if count not in self._lists:
                self._lists[count] = recorded.listed("service", count)
            body = self._lists[count]
            writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def _main() -> None:
    server = await asyncio.start_server(_Answers().serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
