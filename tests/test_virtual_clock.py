# SPDX-License-Identifier: Apache-2.0
"""The clock that other tests stand on."""

from __future__ import annotations

import asyncio

import pytest

from tests.virtual_clock import VirtualClock


async def test_each_sleeper_sees_the_instant_it_asked_for() -> None:
    clock = VirtualClock(0.0)
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, *instants: float) -> None:
        for instant in instants:
            await clock.until(instant)
            seen.append((name, clock.now()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("a", 3.0, 3.5))
        group.create_task(sleeper("b", 1.0, 9.0))
        await clock.advance(5.0)
        assert seen == [("b", 1.0), ("a", 3.0), ("a", 3.5)]
        await clock.advance(5.0)
    assert seen[-1] == ("b", 9.0)
    assert clock.now() == 10.0


async def test_a_timeout_ends_its_body_at_its_deadline_and_not_before() -> None:
    clock = VirtualClock(0.0)
    ended: list[float] = []

    async def waits() -> None:
        try:
            async with clock.timeout_at(2.0):
                await clock.until(100.0)
        except TimeoutError:
            ended.append(clock.now())

    async with asyncio.TaskGroup() as group:
        task = group.create_task(waits())
        await clock.advance(1.9)
        assert not task.done()
        await clock.advance(0.1)
        assert ended == [2.0]


async def test_a_timeout_that_has_passed_ends_the_body_at_its_first_wait() -> None:
    clock = VirtualClock(50.0)
    with pytest.raises(TimeoutError):
        async with clock.timeout_at(49.0):
            await clock.until(60.0)


async def test_a_timeout_that_was_not_needed_leaves_nothing_behind() -> None:
    clock = VirtualClock(0.0)
    async with clock.timeout_at(2.0):
        pass
    assert clock.pending() == []


async def test_running_until_something_holds_says_when_it_never_will() -> None:
    clock = VirtualClock(0.0)
    with pytest.raises(AssertionError, match="nothing more happens"):
        await clock.run_until(lambda: False)
