# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.bench.serving embedded|bare DIRECTORY`: one API server in a process of its own, that tells what it costs.

`embedded` is ours, as the sandbox runs it. `bare` is what any server in this language costs: the same TLS, an aiohttp handler
that reads the body and answers with a Service made beforehand. Prints its URL, then answers lines on stdin: `cpu` with the
seconds of CPU of this process, `rss` with its resident bytes, `token` with a token. Ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from aiohttp import web

from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.http import listening, serve
from purelb.sandbox.apiserver.pki import Pki
from purelb.sandbox.bench import recorded
from purelb.sandbox.bench.memory import resident

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Kind = Literal["embedded", "bare"]


class Serving:
    """The process as its parent sees it."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url

    async def ask(self, word: str) -> str:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the server was started without its pipes")
        self._process.stdin.write(word.encode() + b"\n")
        return (await self._process.stdout.readline()).decode().strip()

    async def cpu_s(self) -> float:
        return float(await self.ask("cpu"))

    async def rss_mib(self) -> float:
        return float(await self.ask("rss")) / 2**20


@asynccontextmanager
async def serving(kind: Kind, directory: Path) -> AsyncIterator[Serving]:
    """Such a server; `directory` will hold its authority."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "purelb.sandbox.bench.serving",
        kind,
        str(directory),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the server was started without its pipes")
    try:
        url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise RuntimeError("the server did not start; its trace is above")
        yield Serving(process, url)
    finally:
        process.stdin.close()
        await process.wait()


_ANSWER: Final = recorded.compact(recorded.service(1))


async def _bare(request: web.BaseRequest) -> web.StreamResponse:
    await request.read()
    return web.Response(body=_ANSWER, headers={"content-type": "application/json"})


@asynccontextmanager
async def _bare_server(pki: Pki) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(_bare, access_log=None, keepalive_timeout=120.0))
    await runner.setup()
    one = listening("127.0.0.1", 0)
    await web.SockSite(runner, one, ssl_context=pki.server_context()).start()
    try:
        yield f"https://127.0.0.1:{one.getsockname()[1]}"
    finally:
        await runner.cleanup()


async def _main(kind: str, directory: Path) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    pki = Pki(directory)
    if kind == "bare":
        async with _bare_server(pki) as url:
            print(url, flush=True)
            await _obey(lines, None)
        return
    core = ApiCore(rng=random.SystemRandom().random, epoch=datetime.now(UTC))
    async with serve(core, pki=pki) as server:
        print(server.url, flush=True)
        await _obey(lines, core)


async def _obey(lines: asyncio.StreamReader, core: ApiCore | None) -> None:
    while command := (await lines.readline()).strip():
        match command:
            case b"cpu":
                print(time.process_time(), flush=True)
            case b"rss":
                print(resident(), flush=True)
            case b"token":
                print(core.tokens.issue(namespace="default", account="bench") if core else "none", flush=True)
            case other:
                raise ValueError(f"no such command: {other!r}")


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2])))
