# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from purelb.sandbox.rig.links import build
from purelb.sandbox.rig.namespaces import inside
from purelb.sandbox.rig.proxy_rules import Backend, Frontend
from purelb.sandbox.rig.relay import Relay
from purelb.sandbox.rig.topology import Shape, plan

if TYPE_CHECKING:
    from collections.abc import Callable


async def echo_server(answer: bytes) -> tuple[asyncio.Server, int]:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()
        writer.write(answer + asked)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def ask(address: str, port: int, text: bytes = b"?") -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_bytes_and_the_end_of_each_direction_are_carried() -> None:
    server, port = await echo_server(b"one:")
    relay = Relay()
    front = Frontend("127.0.0.9", "tcp", 8099, (Backend("127.0.0.1", port),), keep_source=False)
    assert await relay.serve([front])
    big = b"x" * 300_000
    assert await ask("127.0.0.9", 8099, big) == b"one:" + big
    relay.close()
    server.close()


async def test_a_backend_that_is_gone_closes_the_connection_and_serves_the_next_one() -> None:
    relay = Relay()
    server, port = await echo_server(b"two:")
    server.close()
    await server.wait_closed()
    dead = Frontend("127.0.0.9", "tcp", 8098, (Backend("127.0.0.1", port),), keep_source=False)
    assert await relay.serve([dead])
    assert await ask("127.0.0.9", 8098) == b""
    server, port = await echo_server(b"two:")
    assert await relay.serve([Frontend("127.0.0.9", "tcp", 8098, (Backend("127.0.0.1", port),), keep_source=False)])
    assert await ask("127.0.0.9", 8098) == b"two:?"
    relay.close()
    server.close()


async def test_what_is_not_served_any_more_is_refused() -> None:
    relay = Relay()
    front = Frontend("127.0.0.9", "tcp", 8097, (Backend("127.0.0.1", 1),), keep_source=False)
    assert await relay.serve([front])
    assert await relay.serve([])
    with pytest.raises(ConnectionRefusedError):
        await ask("127.0.0.9", 8097)


async def test_udp_is_not_served_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    relay = Relay()
    front = Frontend("127.0.0.9", "udp", 53, (Backend("127.0.0.1", 1),), keep_source=False)
    for _ in range(2):
        assert await relay.serve([front])
    assert [record.message for record in caplog.records] == ["127.0.0.9 port 53: the relay carries TCP only, not udp"]


@pytest.mark.netns
def test_an_address_answers_as_soon_as_the_node_has_it(in_namespaces: Callable[[Callable[[], Any]], Any]) -> None:
    def body() -> list[str]:
        rig = build(plan(Shape(nodes=1)))

        async def story() -> list[str]:
            server, port = await echo_server(b"here:")
            relay = Relay()
            fronts = [
                Frontend(address, "tcp", 80, (Backend("127.0.0.1", port),), keep_source=False)
                for address in ("172.30.1.200", "fd00:30:1::200")
            ]
            assert await relay.serve(fronts), "it listens although nobody has the address"
            try:
                await ask("172.30.1.200", 80)
            except OSError:
                seen = ["refused"]
            else:
                seen = ["answered"]
            for address in ("172.30.1.200/32", "fd00:30:1::200/128"):
                added = await asyncio.create_subprocess_exec("ip", "addr", "add", address, "dev", "lo", "nodad")
                assert await added.wait() == 0
            seen += [(await ask(front.address, 80)).decode() for front in fronts]
            relay.close()
            server.close()
            return seen

        with inside(rig.networks["n1"]):
            return asyncio.run(story())  # everything in this process is in n1 until it is over

    assert in_namespaces(body) == ["refused", "here:?", "here:?"]
