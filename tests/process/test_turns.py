# SPDX-License-Identifier: Apache-2.0
"""What liveness says of an owner, and what is counted of its turns."""

from __future__ import annotations

import asyncio

import pytest

from purelb.kube.owner import Done, Outcome, Owner
from purelb.kube.queue import WorkQueue
from purelb.process.metrics import METRICS, OWNER_TURN, UPDATE_ERRORS, UPDATES, Registry
from purelb.process.turns import counted, trouble
from tests.virtual_clock import VirtualClock


async def test_a_turn_that_does_not_end_is_a_reason_to_be_restarted_and_is_named() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    goes_on: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def step(key: str, _: float) -> Outcome:
        if key == "stuck":
            await goes_on
        return Done()

    owner = Owner(name="o", queue=queue, step=step, clock=clock)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(owner.run())
        queue.add("stuck")
        await clock.advance(59.0)
        assert trouble(owner, now=clock.now(), limit=60.0) is None
        await clock.advance(1.0)
        assert trouble(owner, now=clock.now(), limit=60.0) == "the turn of stuck has lasted 60 s"
        goes_on.set_result(None)
        await clock.advance(3600.0)
        assert owner.turn is None
        assert trouble(owner, now=clock.now(), limit=60.0) is None
        running.cancel()


def test_who_has_no_owner_yet_is_well() -> None:
    assert trouble(None, now=0.0, limit=60.0) is None


async def test_a_turn_is_counted_and_timed_however_it_ends() -> None:
    clock = VirtualClock()
    registry = Registry(METRICS)

    async def fine() -> Outcome:
        clock.jump(0.3)
        return Done()

    async def wrong() -> Outcome:
        raise ValueError("nobody thought of this")

    assert await counted(fine(), clock=clock, sink=registry) == Done()
    with pytest.raises(ValueError, match="nobody"):
        await counted(wrong(), clock=clock, sink=registry)
    assert (registry.value(UPDATES), registry.value(UPDATE_ERRORS)) == (2, 1)
    text = registry.text().decode()
    assert f'{OWNER_TURN.name}_bucket{{le="0.25"}} 1.0' in text
    assert f"{OWNER_TURN.name}_count 2.0" in text
