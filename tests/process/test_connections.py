# SPDX-License-Identifier: Apache-2.0
"""The listener and those who do not behave, over real sockets of the loopback."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from purelb.process import http
from purelb.process.component import CannotStart
from purelb.process.connections import CONNECTIONS_MAX, REQUEST_S
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

QUESTION = b"GET /healthz HTTP/1.1\r\nHost: here\r\n"


class Visitor:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.head = self.body = b""

    async def ask(self, text: bytes) -> int:
        """Send the bytes of a whole request; the status of the answer."""
        self._writer.write(text)
        return await self.hear()

    async def hear(self, *, body: bool = True) -> int:
        """The status of the next answer; its head stays in `head`."""
        async with asyncio.timeout(10):
            self.head = await self._reader.readuntil(b"\r\n\r\n")
            length = next(line for line in self.head.splitlines() if line.lower().startswith(b"content-length"))
            self.body = await self._reader.readexactly(int(length.partition(b":")[2])) if body else b""
        return int(self.head.split()[1])

    def say(self, text: bytes) -> None:
        self._writer.write(text)

    async def stays(self) -> bool:
        """Whether the connection is there, after everybody had some turns."""
        for _ in range(20):
            await asyncio.sleep(0)
        return not self._reader.at_eof() and self._reader.exception() is None

    async def is_cut(self) -> bool:
        """Wait for the end of the connection."""
        async with asyncio.timeout(3):  # less than aiohttp keeps whoever is silent
            try:
                return await self._reader.read() == b""
            except ConnectionResetError:
                return True


class Place:
    def __init__(self, port: int, clock: VirtualClock) -> None:
        self.clock = clock
        self._port = port

    @asynccontextmanager
    async def visitor(self) -> AsyncIterator[Visitor]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield Visitor(reader, writer)
        finally:
            writer.transport.abort()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    clock = VirtualClock()
    app = http.application(metrics=lambda: b"", health=dict, ready=dict, clock=clock)
    sockets = http.listen("127.0.0.1", 0)
    async with http.serving(app, sockets):
        yield Place(sockets[0].getsockname()[1], clock)


@pytest.mark.parametrize("host", ["é..x", "a" * 70, "\n", "::1%nope", "203.0.113.1", "[::1]"])
def test_a_host_that_is_none_of_ours_is_refused_with_what_to_choose(host: str) -> None:
    with pytest.raises(CannotStart) as refused:
        http.listen(host, 0)
    assert host in refused.value.error
    assert "--host" in refused.value.hint


async def test_who_begins_a_request_and_does_not_end_it_is_cut(place: Place) -> None:
    async with place.visitor() as slow, place.visitor() as quick:
        slow.say(QUESTION)
        assert await quick.ask(QUESTION + b"\r\n") == 200
        await place.clock.advance(REQUEST_S - 0.1)
        assert await slow.stays()
        assert await quick.ask(QUESTION + b"\r\n") == 200
        await place.clock.advance(2.0)
        assert await slow.is_cut()
        assert await quick.stays()


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        pytest.param(b"Content-Length: 3\r\n\r\nabc", 413, id="a body"),
        pytest.param(b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(10)) + b"\r\n", 431, id="many headers"),
        pytest.param(b"X: " + b"y" * 9000 + b"\r\n\r\n", 400, id="one long header"),
    ],
)
async def test_who_says_too_much_is_refused(place: Place, rest: bytes, status: int) -> None:
    async with place.visitor() as visitor:
        assert await visitor.ask(QUESTION + rest) == status


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH"])
async def test_nothing_can_be_changed_here(place: Place, method: bytes) -> None:
    async with place.visitor() as visitor:
        assert await visitor.ask(method + QUESTION[3:] + b"\r\n") == 405


async def test_one_connection_too_many_is_told_so_and_the_others_are_served(place: Place) -> None:
    async with AsyncExitStack() as stack:
        visitors = [await stack.enter_async_context(place.visitor()) for _ in range(CONNECTIONS_MAX)]
        for each in visitors:
            assert await each.ask(QUESTION + b"\r\n") == 200
        async with place.visitor() as another:
            assert await another.ask(QUESTION + b"\r\n") == 503
            assert await another.is_cut()
        await place.clock.settle()
        assert await visitors[0].ask(QUESTION + b"\r\n") == 200


async def test_they_are_counted_when_they_are_accepted_whether_or_not_they_ask(place: Place) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            await stack.enter_async_context(place.visitor())
        async with place.visitor() as another:
            await place.clock.settle()
            assert await another.hear() == 503
        await place.clock.advance(REQUEST_S + 1.0)
        async with place.visitor() as later:
            assert await later.ask(QUESTION + b"\r\n") == 200


async def test_headers_that_do_not_end_are_cut_before_they_fill_the_memory(place: Place) -> None:
    async with place.visitor() as visitor:
        visitor.say(QUESTION + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(30)))
        assert await visitor.hear() == 431
        assert await visitor.is_cut()


async def test_many_questions_on_one_connection_are_not_many_headers(place: Place) -> None:
    async with place.visitor() as visitor:
        for _ in range(50):
            assert await visitor.ask(QUESTION + b"X: " + b"y" * 1000 + b"\r\n\r\n") == 200


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="TLS where there is none"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="another protocol"),
        pytest.param(QUESTION + b"\r\n", id="a good one"),
        pytest.param(b"GET /nowhere HTTP/1.1\r\nHost: here\r\n\r\n", id="a page that is not there"),
        pytest.param(b"POST /healthz HTTP/1.1\r\nHost: here\r\n\r\n", id="a method that is not allowed"),
    ],
)
async def test_no_answer_says_what_wrote_it(place: Place, text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with place.visitor() as visitor:
        visitor.say(text)
        await visitor.hear()
        assert b"server:" not in visitor.head.lower()
        assert b"aiohttp" not in visitor.head.lower()
        assert not [record for record in caplog.records if record.name.startswith("aiohttp")], "noise of the network"


async def test_head_is_answered_without_a_body(place: Place) -> None:
    async with place.visitor() as visitor:
        visitor.say(b"HEAD" + QUESTION[3:] + b"Connection: close\r\n\r\n")
        await visitor.hear(body=False)
        assert visitor.head.startswith(b"HTTP/1.1 200")
        assert await visitor.is_cut()
