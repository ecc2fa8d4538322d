# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.bench.crowd URL TOKEN CA COUNT`: so many watches of Services over TLS, each on a connection of its own.

Prints `watching` when all have their first answer. Then answers lines on stdin: `seen` with how many events all of them have
read, `modified N` when that has become at least N. A process of its own, so that reading costs the server nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_EVENT: Final = b'{"type":"MODIFIED"'
_OPENING: Final = 50  # connections that are being opened at a time


class Crowd:
    """The process as its parent sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def until(self, events: int) -> None:
        """Return once all of them together have read so many events since they began."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the readers were started without their pipes")
        self._process.stdin.write(b"%d\n" % events)
        if not await self._process.stdout.readline():
            raise RuntimeError("the readers ended; their trace is above")


@asynccontextmanager
async def crowd(url: str, *, token: str, ca: Path, count: int, path: str) -> AsyncIterator[Crowd]:
    """So many readers of one watch, all of them past its beginning."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "purelb.sandbox.bench.crowd",
        url,
        token,
        str(ca),
        str(count),
        path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the readers were started without their pipes")
    try:
        if not await process.stdout.readline():
            raise RuntimeError("the readers did not start; their trace is above")
        yield Crowd(process)
    finally:
        process.stdin.close()
        await process.wait()


class _Readers:
    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._events = 0
        self._awaited: tuple[int, asyncio.Future[None]] | None = None

    async def read(self, url: str, context: ssl.SSLContext, request: bytes, turns: asyncio.Queue[int]) -> None:
        turn = await turns.get()
        split = urlsplit(url)
        reader, writer = await asyncio.open_connection(split.hostname, split.port, ssl=context)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(head.decode())
        turns.put_nowait(turn)
        self._left -= 1
        if not self._left:
            self.opened.set_result(None)
        tail = b""
        while got := await reader.read(65536):
            whole = tail + got
            self._saw(whole.count(_EVENT))
            tail = whole[-len(_EVENT) + 1 :]

    def _saw(self, events: int) -> None:
        self._events += events
        if self._awaited is not None and self._events >= self._awaited[0]:
            self._awaited[1].set_result(None)
            self._awaited = None

    async def until(self, events: int) -> None:
        if self._events < events:
            reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._awaited = (events, reached)
            await reached


async def _main(url: str, token: str, ca: str, count: int, path: str) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    readers = _Readers(count)
    turns: asyncio.Queue[int] = asyncio.Queue()
    for number in range(_OPENING):
        turns.put_nowait(number)
    async with asyncio.TaskGroup() as group:
        reading = [group.create_task(readers.read(url, context, request, turns)) for _ in range(count)]
        await readers.opened
        print("watching", flush=True)
        while wanted := (await lines.readline()).strip():
            await readers.until(int(wanted))
            print("seen", flush=True)
        for one in reading:
            one.cancel()


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]))
