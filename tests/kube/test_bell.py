# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio

from purelb.kube.bell import Bell
from tests.virtual_clock import START, VirtualClock


async def test_a_ring_wakes_the_task_that_waits_longest() -> None:
    clock = VirtualClock()
    bell, woken = Bell(clock), []

    async def wait(name: str) -> None:
        await bell.wait(None)
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second", "third"):
            group.create_task(wait(name))
        await clock.settle()
        bell.ring()
        await clock.settle()
        assert woken == ["first"]
        bell.ring_all()
    assert woken == ["first", "second", "third"]


async def test_a_wait_ends_at_its_time_without_a_ring() -> None:
    clock = VirtualClock()
    bell, ended = Bell(clock), []

    async def wait() -> None:
        await bell.wait(START + 2.5)
        ended.append(clock.now())

    async with asyncio.TaskGroup() as group:
        group.create_task(wait())
        await clock.advance(10)
    assert ended == [START + 2.5]
    assert bell.waiting == 0


async def test_a_ring_that_reached_a_cancelled_task_is_passed_on() -> None:
    clock = VirtualClock()
    bell, woken = Bell(clock), []

    async def wait(name: str) -> None:
        await bell.wait(None)
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(wait("first"))
        group.create_task(wait("second"))
        await clock.settle()
        bell.ring()
        first.cancel()  # in the same turn: it never gets to look
        await clock.settle()
        assert woken == ["second"]
    assert bell.waiting == 0


async def test_a_ring_that_nobody_waits_for_is_gone() -> None:
    clock = VirtualClock()
    bell = Bell(clock)
    bell.ring()
    started = clock.now()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(bell.wait(started + 1))
        await clock.settle()
        assert not task.done()
        await clock.advance(1)
