# SPDX-License-Identifier: Apache-2.0
"""An API server that vanishes without a word, as when a cable comes loose: how long a watch of the runtime believes in it."""

from __future__ import annotations

import asyncio
import time

import pytest

from purelb.kube.errors import TransportError
from purelb.kube.transport import AiohttpTransport, Request
from tests.netns.conftest import run

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


@pytest.mark.usefixtures("namespace")
async def test_a_watch_whose_packets_are_dropped_is_over_within_35_seconds() -> None:
    left = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        await left
        writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with (
            AiohttpTransport(f"http://127.0.0.1:{port}") as transport,
            transport.stream(Request(method="GET", target="/")) as stream,
        ):
            chunks = aiter(stream)
            assert await anext(chunks) == b"first"
            run("nft", "add", "table", "inet", "gone")
            run(
                "nft", "add", "chain", "inet", "gone", "incoming", "{ type filter hook input priority 0; policy drop; }"
            )
            began = time.monotonic()
            with pytest.raises(TransportError) as caught:
                await anext(chunks)
            lasted = time.monotonic() - began
    finally:
        left.set_result(None)
        server.close()
    assert caught.value.kind in {"eof", "reset", "timeout"}, "what a reflector continues at once"
    assert 25.0 < lasted < 35.0


@pytest.mark.usefixtures("namespace")
async def test_a_server_that_does_not_even_take_a_connection_is_given_up_after_five_seconds() -> None:
    run("nft", "add", "table", "inet", "gone")
    run("nft", "add", "chain", "inet", "gone", "incoming", "{ type filter hook input priority 0; policy drop; }")
    async with AiohttpTransport("http://127.0.0.1:6443") as transport:
        began = time.monotonic()
        with pytest.raises(TransportError) as caught:
            await transport.exchange(Request(method="GET", target="/"))
        lasted = time.monotonic() - began
    assert caught.value.kind == "timeout"
    assert 4.9 < lasted < 15.0, "and not after the 60 seconds and more of a TCP that nobody told"
