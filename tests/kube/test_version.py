# SPDX-License-Identifier: Apache-2.0
"""Whether a server can stream an initial state: what its version says, and that it is asked once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from purelb.kube.errors import KubeError
from purelb.kube.informer import Informer
from purelb.kube.resources import NODES, SERVICES
from purelb.kube.version import streams
from tests.kube.scripted import Scripted, client_over
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from tests.kube.scripted import Call

SAID: dict[bytes, bool] = {
    b'{"major":"1","minor":"26"}': False,
    b'{"major":"1","minor":"27"}': True,
    b'{"major":"1","minor":"26+"}': False,
    b'{"major":"1","minor":"27+"}': True,
    b'{"major":"1","minor":"9"}': False,
    b'{"major":"2","minor":"0"}': True,
    b'{"major":"0","minor":"99"}': False,
    b'{"major":"1","minor":""}': True,
    b'{"major":"","minor":"26"}': True,
    b'{"major":"one","minor":"x"}': True,
    b'{"major":1,"minor":26}': True,
    b"{}": True,
    b"": True,
    b"<html>": True,
    b"[" * 100_000: True,
    b'{"major":"1","minor":"\xff"}': True,
}


@pytest.mark.parametrize("body", SAID, ids=lambda body: body[:40].decode("ascii", "replace"))
def test_what_is_no_version_is_tried(body: bytes) -> None:
    assert streams(body) is SAID[body]


async def test_it_is_asked_once_for_all_who_want_to_know() -> None:
    transport = Scripted()
    client = client_over(transport, VirtualClock())
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(client.can_stream()) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call = transport.take("GET")
        assert call.path == "/version"
        call.reply({"major": "1", "minor": "26"})
    assert [task.result() for task in asked] == [False] * 5
    assert await client.can_stream() is False
    assert len(transport.seen) == 1


@pytest.mark.parametrize("code", [403, 404, 406])
async def test_a_server_that_keeps_it_to_itself_is_tried_and_not_asked_again(code: int) -> None:
    transport = Scripted(lambda call: call.refuse(code))
    client = client_over(transport, VirtualClock())
    assert await client.can_stream() is True
    assert await client.can_stream() is True
    assert len(transport.seen) == 1


@pytest.mark.parametrize("how", ["refused", "429", "503", "401"])
async def test_without_an_answer_all_get_the_error_and_the_next_one_asks_again(how: str) -> None:
    clock, transport, errors = VirtualClock(), Scripted(), list[KubeError]()
    client = client_over(transport, clock)

    async def ask() -> None:
        try:
            await client.can_stream()
        except KubeError as error:
            errors.append(error)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(ask())
        await clock.settle()
        call = transport.take("GET")
        if how.isdigit():
            call.refuse(int(how))
        else:
            call.fail("refused")
    assert len(errors) == 3
    assert len(transport.seen) == 1
    transport.respond = lambda call: call.reply({"major": "1", "minor": "34"})
    assert await client.can_stream() is True


async def test_when_the_one_who_asked_is_cancelled_another_one_asks() -> None:
    clock, transport = VirtualClock(), Scripted()
    client = client_over(transport, clock)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(client.can_stream())
        second = group.create_task(client.can_stream())
        await clock.settle()
        transport.take("GET")
        first.cancel()
        await clock.settle()
        transport.take("GET").reply({"major": "1", "minor": "27"})
        assert await second is True
    assert first.cancelled()


async def test_informers_of_one_client_ask_once_and_list_from_an_old_server() -> None:
    clock = VirtualClock()

    def respond(call: Call) -> None:
        if call.path == "/version":
            call.reply({"major": "1", "minor": "26"})
        elif call.query.get("watch"):
            call.open()
        else:
            call.reply({"metadata": {"resourceVersion": "10"}})

    transport = Scripted(respond)
    client = client_over(transport, clock)
    informers = Informer(client, SERVICES), Informer(client, NODES)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(informer.run()) for informer in informers]
        await clock.settle()
        assert all(informer.synced for informer in informers)
        assert [call.path for call in transport.seen].count("/version") == 1
        assert not [call for call in transport.seen if "sendInitialEvents" in call.query]
        for task in running:
            task.cancel()


async def test_an_outage_at_the_start_is_an_outage_like_any_other() -> None:
    clock, asked = VirtualClock(0.0), list[float]()

    def respond(call: Call) -> None:
        assert call.path == "/version"
        asked.append(clock.now())
        call.fail("refused")

    transport = Scripted(respond)
    informer = Informer(client_over(transport, clock), SERVICES)
    running = asyncio.get_running_loop().create_task(informer.run())
    await clock.advance(30.0)
    assert asked == pytest.approx([0.0, 0.8, 2.4, 5.6, 12.0, 24.8])
    assert "refused" in informer.last_error
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert clock.pending() == []
