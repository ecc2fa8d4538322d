# SPDX-License-Identifier: Apache-2.0
"""Real sockets on loopback: what a server does, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from purelb.kube.access import Tls, ssl_context
from purelb.kube.errors import TransportError
from purelb.kube.transport import AiohttpTransport, Request
from tests.kube.authority import Authority
from tests.kube.cancelling import waiting_in

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

GET = Request(method="GET", target="/x")
PATCH = Request(method="PATCH", target="/x", body=b"{}")


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def talking(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that says exactly what the test wants, byte by byte."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left, as it should
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def failure(server: str, request: Request = GET, **more: Any) -> str:
    async with AiohttpTransport(server, **more) as transport:
        with pytest.raises(TransportError) as caught:
            await transport.exchange(request)
    return caught.value.kind


async def fine(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.method} {request.path_qs} {await request.text()}", headers={"X-Odd-Case": "1"})


async def test_an_exchange_brings_status_headers_in_lower_case_and_body() -> None:
    async with serving(fine) as server, AiohttpTransport(f"{server}/pre/fix") as transport:
        answer = await transport.exchange(Request(method="PATCH", target="/x?a=%2F", body=b"{}"))
    assert (answer.status, answer.body) == (200, b"PATCH /pre/fix/x?a=%2F {}")
    assert answer.headers["x-odd-case"] == "1"


async def test_headers_go_out_as_given_and_none_are_invented() -> None:
    seen: dict[str, str] = {}

    async def answer(request: web.Request) -> web.Response:
        seen.update(request.headers)
        return web.Response()

    async with serving(answer) as server, AiohttpTransport(server) as transport:
        await transport.exchange(
            Request(method="GET", target="/", headers=(("Accept", "a/b"), ("Accept-Encoding", "identity")))
        )
    assert seen.pop("Host").startswith("127.0.0.1")
    assert seen == {"Accept": "a/b", "Accept-Encoding": "identity"}


async def test_nothing_of_the_environment_goes_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(dict(request.headers))

    async with serving(answer) as server, AiohttpTransport(server) as transport:
        sent = json.loads((await transport.exchange(GET)).body)
    assert "Authorization" not in sent


async def test_a_redirect_is_answered_and_not_followed() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with serving(answer) as server, AiohttpTransport(server) as transport:
        assert (await transport.exchange(GET)).status == 302
    assert asked == ["/x"]


async def test_an_answer_that_is_compressed_though_nobody_asked_is_decoded() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"plain"), headers={"Content-Encoding": "gzip"})

    async with serving(answer) as server, AiohttpTransport(server) as transport:
        assert (await transport.exchange(GET)).body == b"plain"


@pytest.mark.parametrize("compressed", [True, False])
async def test_an_answer_above_the_limit_is_not_held(*, compressed: bool) -> None:
    content = b"x" * 3_000_000

    async def answer(_: web.Request) -> web.Response:
        if compressed:
            return web.Response(body=gzip.compress(content), headers={"Content-Encoding": "gzip"})
        return web.Response(body=content)

    async with serving(answer) as server:
        assert await failure(server, Request(method="GET", target="/", body_max_bytes=1_000_000)) == "too_large"


@pytest.mark.parametrize("compressed", [True, False])
async def test_a_long_answer_comes_in_pieces_if_they_are_wanted_and_else_as_one(*, compressed: bool) -> None:
    content = random.Random(1).randbytes(1_200_000)

    async def answer(request: web.Request) -> web.Response:
        body = content[: int(request.query["size"])]
        if compressed:
            return web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})
        return web.Response(body=body)

    async with serving(answer) as server, AiohttpTransport(server) as transport:
        for size, wanted in ((1_200_000, True), (1_200_000, False), (1_000_000, True)):
            request = Request(method="GET", target=f"/?size={size}", in_pieces=wanted)
            found = await transport.exchange(request)
            assert bool(found.pieces) is (wanted and size > 1024 * 1024)
            assert (found.body or b"".join(found.pieces)) == content[:size]
            assert not found.body or not found.pieces
        with pytest.raises(TransportError, match="longer than 100000 bytes"):
            await transport.exchange(
                Request(method="GET", target="/?size=1200000", in_pieces=True, body_max_bytes=100_000)
            )


async def test_the_body_of_a_refusal_is_read_up_to_64_kib_and_its_connection_given_up() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=503)
        await response.prepare(request)
        while True:
            await response.write(b"x" * 16_384)
            sent += 16_384

    async with serving(endless) as server, AiohttpTransport(server) as transport:
        answer = await transport.exchange(GET)
        assert (answer.status, answer.body) == (503, b"x" * 65_536)
    assert sent < 16 * 1024 * 1024, "it went on reading"


async def test_a_refusal_that_is_cut_is_still_a_refusal() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 409 Conflict\r\nContent-Length: 100\r\n\r\nhalf of")
        await writer.drain()

    async with talking(talk) as server, AiohttpTransport(server) as transport:
        answer = await transport.exchange(GET)
        assert (answer.status, answer.body) == (409, b"half of")


async def test_a_short_refusal_costs_no_connection() -> None:
    peers = set[Any]()

    async def refuse(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(status=404, text="404 page not found")

    async with serving(refuse) as server, AiohttpTransport(server) as transport:
        for _ in range(3):
            assert (await transport.exchange(GET)).body == b"404 page not found"
    assert len(peers) == 1


async def test_a_stream_brings_chunks_as_they_come_and_ends_with_the_answer() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in (b"one\n", b"two\n"):
            await response.write(chunk)
        return response

    async with serving(answer) as server, AiohttpTransport(server) as transport, transport.stream(GET) as stream:
        assert stream.status == 200
        assert stream.headers["transfer-encoding"] == "chunked"
        assert b"".join([chunk async for chunk in stream]) == b"one\ntwo\n"


async def test_leaving_a_stream_closes_its_connection() -> None:
    left: asyncio.Queue[str] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
        assert await reader.read() == b""
        left.put_nowait("closed")

    async with talking(talk) as server, AiohttpTransport(server) as transport:
        async with transport.stream(GET) as stream:
            assert await stream.__aiter__().__anext__() == b"one\n"
        assert await left.get() == "closed"


async def test_leaving_a_stream_that_ended_costs_nobody_the_connection_that_it_gave_back() -> None:
    arrived, go_on = asyncio.Queue[object](), asyncio.Queue[None]()

    async def slow(request: web.Request) -> web.StreamResponse:
        arrived.put_nowait(request.transport)
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"one\n")
        await go_on.get()
        await answer.write_eof()
        return answer

    async with serving(slow) as server, AiohttpTransport(server) as transport, asyncio.TaskGroup() as group:
        async with transport.stream(GET) as stream:
            chunks = stream.__aiter__()
            assert await chunks.__anext__() == b"one\n"
            go_on.put_nowait(None)
            with pytest.raises(StopAsyncIteration):
                await chunks.__anext__()
            first = await arrived.get()
            other = group.create_task(transport.exchange(GET))
            assert await arrived.get() is first, "the connection serves somebody else by now"
        go_on.put_nowait(None)
        assert (await other).body == b"one\n"


class Freezing:
    """A peer behind TLS that says `words` to whoever asks, and from `frozen` on takes nothing in, not even a leave."""

    def __init__(self, words: bytes) -> None:
        self._authority = Authority()
        self._words = words
        self.request = Request(method="GET", target="/", tls=ssl_context(Tls(ca_pem=self._authority.pem)))
        self.asked = asyncio.Queue[None]()
        self.left = asyncio.Queue[None]()
        self.frozen = False

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._words)
        self.asked.put_nowait(None)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        peer = await asyncio.start_server(self._speak, "127.0.0.1", 0, ssl=self._authority.server_context())
        port = peer.sockets[0].getsockname()[1]

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            answers, there = await asyncio.open_connection("127.0.0.1", port)

            async def back() -> None:
                while data := await answers.read(65536):
                    writer.write(data)

            async with asyncio.TaskGroup() as group:
                answering = group.create_task(back())
                with contextlib.suppress(ConnectionError):
                    while data := await reader.read(65536):
                        if not self.frozen:
                            there.write(data)
                self.left.put_nowait(None)
                answering.cancel()
            there.transport.abort()

        async with talking(relay) as server:
            yield server.replace("http:", "https:")
        peer.close()

    async def gone(self) -> None:
        """The connection is closed: within half of the time that asyncio waits for a peer's leave."""
        async with asyncio.timeout(15):
            await self.left.get()


FIRST_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n"


async def test_leaving_a_stream_closes_its_connection_though_a_frozen_peer_does_not_take_leave() -> None:
    peer = Freezing(FIRST_CHUNK)
    async with peer.serving() as server, AiohttpTransport(server) as transport:
        async with transport.stream(peer.request) as stream:
            assert await stream.__aiter__().__anext__() == b"one\n"
            peer.frozen = True
        await peer.gone()


WAITING = {
    "for the answer": (b"", "start"),
    "for the rest of it": (FIRST_CHUNK, "_read_up_to"),
    "for the rest of a refusal": (FIRST_CHUNK.replace(b"200 OK", b"409 Conflict"), "_beginning"),
}


@pytest.mark.parametrize("how", WAITING)
async def test_cancelling_an_exchange_closes_its_connection_though_a_frozen_peer_does_not_take_leave(how: str) -> None:
    words, where = WAITING[how]
    peer = Freezing(words)
    async with (
        peer.serving() as server,
        AiohttpTransport(server) as transport,
        asyncio.TaskGroup() as group,
    ):
        task = group.create_task(transport.exchange(peer.request))
        await peer.asked.get()
        while where not in [code.co_name for code in waiting_in(task.get_coro())]:
            await asyncio.sleep(0)
        peer.frozen = True
        task.cancel()
        await peer.gone()


async def test_cancelling_a_stream_that_waits_for_its_answer_closes_its_connection_though_a_frozen_peer_is_silent() -> (
    None
):
    peer = Freezing(b"")

    async def watch(transport: AiohttpTransport) -> None:
        async with transport.stream(peer.request):
            raise AssertionError("there was no answer")

    async with (
        peer.serving() as server,
        AiohttpTransport(server) as transport,
        asyncio.TaskGroup() as group,
    ):
        task = group.create_task(watch(transport))
        await peer.asked.get()
        peer.frozen = True
        task.cancel()
        await peer.gone()


async def test_cancelling_an_exchange_closes_its_connection() -> None:
    events: asyncio.Queue[str] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        events.put_nowait("asked")
        assert await reader.read() == b""
        events.put_nowait("closed")

    async with talking(talk) as server, AiohttpTransport(server) as transport, asyncio.TaskGroup() as group:
        task = group.create_task(transport.exchange(GET))
        assert await events.get() == "asked"
        task.cancel()
        assert await events.get() == "closed"


ENDINGS = {
    "no answer at all": (b"", "eof"),
    "half a header": (b"HTTP/1.1 200 OK\r\nContent-Le", "eof"),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "eof"),
    "half a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc", "eof"),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
    "a chunk without a length": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol"),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_what_ends_early_or_is_not_http_is_named(name: str) -> None:
    said, kind = ENDINGS[name]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)

    async with talking(talk) as server:
        assert await failure(server) == kind


async def test_a_stream_that_is_cut_fails_where_it_was_cut() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")

    async with talking(talk) as server, AiohttpTransport(server) as transport, transport.stream(GET) as stream:
        chunks = stream.__aiter__()
        assert await chunks.__anext__() == b"one\n"
        with pytest.raises(TransportError) as caught:
            await chunks.__anext__()
    assert caught.value.kind == "eof"


async def test_a_reset_is_a_reset() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with talking(talk) as server:
        assert await failure(server, PATCH) == "reset"


async def test_nobody_listening_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert await failure(f"http://127.0.0.1:{port}") == "refused"


async def test_a_connection_closed_while_idle_is_replaced_for_a_get_and_an_error_for_a_patch() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")  # the next request on it is left without an answer

    async with talking(talk) as server, AiohttpTransport(server) as transport:
        await transport.exchange(GET)
        await transport.exchange(GET)
        assert connections == 2
        with pytest.raises(TransportError) as caught:
            await transport.exchange(PATCH)
        assert caught.value.kind == "eof"
        assert connections == 2


async def test_an_idle_connection_serves_the_next_request_for_a_minute_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("aiohttp.connector.monotonic", lambda: now)  # by which the library judges what it keeps
    connections: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        connections.append(request.transport.get_extra_info("peername")[1])
        return web.Response()

    async with serving(answer) as server, AiohttpTransport(server) as transport:
        for later in (0.0, 60.0, 60.5):
            now += later
            await transport.exchange(GET)
    assert connections[1] == connections[0], "given up within the minute"
    assert connections[2] != connections[1], "used after the minute"


async def test_sockets_notice_a_peer_that_vanished() -> None:
    options: dict[str, int] = {}
    looked: asyncio.Queue[None] = asyncio.Queue()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await looked.get()
        return response

    async with serving(answer) as server, AiohttpTransport(server) as transport, transport.stream(GET) as stream:
        connection = stream._answer.connection  # type: ignore[attr-defined]
        sock = connection.transport.get_extra_info("socket")
        for name in ("TCP_NODELAY", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"):
            options[name] = sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
        options["SO_KEEPALIVE"] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        looked.put_nowait(None)
    assert options == {
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE": 10,
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 4,
        "TCP_USER_TIMEOUT": 30_000,
        "SO_KEEPALIVE": 1,
    }


async def test_a_transport_that_is_not_open_refuses() -> None:
    with pytest.raises(TransportError, match="not open"):
        await AiohttpTransport("http://127.0.0.1:1").exchange(GET)


# TLS


async def test_a_certificate_of_the_authority_is_accepted_and_others_are_not() -> None:
    right, wrong = Authority(), Authority("another")
    async with serving(fine, tls=right.server_context()) as server:
        async with AiohttpTransport(server) as transport:
            trusting = Request(method="GET", target="/", tls=ssl_context(Tls(ca_pem=right.pem)))
            assert (await transport.exchange(trusting)).status == 200
        for context in (ssl_context(Tls(ca_pem=wrong.pem)), None):
            assert await failure(server, Request(method="GET", target="/", tls=context)) == "tls"


async def test_a_name_that_the_certificate_does_not_have_is_refused_unless_another_is_asked_for() -> None:
    authority = Authority()
    request = Request(method="GET", target="/", tls=ssl_context(Tls(ca_pem=authority.pem)))
    async with serving(fine, tls=authority.server_context("api.test", "192.0.2.1")) as server:
        assert await failure(server, request) == "tls"
        async with AiohttpTransport(server, server_name="api.test") as transport:
            assert (await transport.exchange(request)).status == 200


async def test_verification_can_be_switched_off() -> None:
    request = Request(method="GET", target="/", tls=ssl_context(Tls(verify=False)))
    other = Authority().server_context("elsewhere", "192.0.2.1")
    async with serving(fine, tls=other) as server, AiohttpTransport(server) as transport:
        assert (await transport.exchange(request)).status == 200


async def test_a_client_certificate_is_shown() -> None:
    authority = Authority()
    async with (
        serving(fine, tls=authority.server_context(clients=True)) as server,
        AiohttpTransport(server) as transport,
    ):
        tls = Tls(ca_pem=authority.pem, client_cert=authority.issue("me"))
        assert (await transport.exchange(Request(method="GET", target="/", tls=ssl_context(tls)))).status == 200


async def test_connections_are_pooled_by_whom_they_trust() -> None:
    """A rotated authority takes effect with the next request; an open stream goes on."""
    authority, connections = Authority(), set()

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        connections.add(request.transport.get_extra_info("peername"))
        if request.path == "/stream":
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"one")
            await asyncio.sleep(0)
            await proceed.get()
            await response.write(b"two")
            return response
        return web.Response()

    proceed: asyncio.Queue[None] = asyncio.Queue()
    old, new = (ssl_context(Tls(ca_pem=authority.pem)) for _ in range(2))
    request = Request(method="GET", target="/stream", tls=old)
    async with (
        serving(answer, tls=authority.server_context()) as server,
        AiohttpTransport(server) as transport,
        transport.stream(request) as stream,
    ):
        chunks = stream.__aiter__()
        assert await chunks.__anext__() == b"one"
        for context in (old, old, new, new):
            await transport.exchange(Request(method="GET", target="/", tls=context))
        assert len(connections) == 3
        proceed.put_nowait(None)
        assert await chunks.__anext__() == b"two"
