# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from purelb.kube.metrics import (
    RECONCILE_ERRORS,
    RECONCILE_PANICS,
    RECONCILE_TERMINAL,
    RECONCILE_TIME,
    RECONCILE_TOTAL,
)
from purelb.kube.owner import After, Done, Fatal, Outcome, Owner, Rejected, Retry
from purelb.kube.queue import INITIAL, URGENT, Exponential, WorkQueue
from tests.kube.told import Told
from tests.virtual_clock import START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class World:
    """An owner whose step plays a script: for each key what its turns end in, `Done` after the last."""

    def __init__(self, *, gate: Callable[[], bool] = lambda: True, panic_limit: int = 0) -> None:
        self.clock = VirtualClock()
        self.told = Told()
        self.queue: WorkQueue[str] = WorkQueue(clock=self.clock, limiter=Exponential(base=1, cap=60))
        self.owner = Owner(
            name="o",
            queue=self.queue,
            step=self.step,
            clock=self.clock,
            gate=gate,
            panic_limit=panic_limit,
            sink=self.told,
        )
        self.script: dict[str, Iterator[Outcome | Exception]] = {}
        self.turns: list[tuple[str, float]] = []
        self.takes = 0.0
        self.blocks = 0.0

    async def step(self, key: str, now: float) -> Outcome:
        assert now == self.clock.now()
        self.turns.append((key, now - START))
        self.clock.jump(self.blocks)
        if self.takes:
            await self.clock.until(now + self.takes)
        match next(self.script.get(key, iter(())), Done()):
            case Exception() as error:
                raise error
            case outcome:
                return outcome

    def says(self, key: str, *outcomes: Outcome | Exception) -> None:
        self.script[key] = iter(outcomes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.owner.run())
            yield task
            self.queue.shut_down()


async def test_done_forgets_the_failures_before_it() -> None:
    world = World()
    world.says("a", Retry("x"), Retry("x"), Done(), Retry("x"))
    world.queue.add("a")
    async with world.running():
        await world.clock.advance(10)
        world.queue.add("a")
        await world.clock.advance(10)
    assert world.turns == [("a", 0), ("a", 1), ("a", 3), ("a", 10), ("a", 11)]
    assert world.told.counts[RECONCILE_TOTAL.name, "o", "requeue"] == 3
    assert world.told.counts[RECONCILE_TOTAL.name, "o", "success"] == 2


async def test_after_comes_back_at_its_exact_time_and_forgets_failures() -> None:
    world = World()
    world.says("a", Retry("x"), After(7.5), Retry("x"))
    world.queue.add("a")
    async with world.running():
        await world.clock.advance(20)
    assert world.turns == [("a", 0), ("a", 1), ("a", 8.5), ("a", 9.5)]
    assert world.told.counts[RECONCILE_TOTAL.name, "o", "requeue_after"] == 1


async def test_rejected_waits_for_a_new_event() -> None:
    world = World()
    world.says("a", Retry("x"), Rejected("unknown group"), Retry("x"))
    world.queue.add("a")
    async with world.running():
        await world.clock.advance(1000)
        assert world.turns == [("a", 0), ("a", 1)]
        world.queue.add("a")
        await world.clock.advance(10)
    assert world.turns[2:] == [("a", 1000), ("a", 1001)]
    assert world.told.counts[RECONCILE_TOTAL.name, "o", "terminal"] == 1
    assert world.told.counts[RECONCILE_TERMINAL.name, "o"] == 1


async def test_a_step_that_raises_costs_its_own_key_a_delay_and_the_next_key_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    world.says("bad", KeyError("ours"), KeyError("ours"))
    world.queue.add("bad")
    world.queue.add("good")
    async with world.running():
        await world.clock.advance(10)
    assert world.turns == [("bad", 0), ("good", 0), ("bad", 1), ("bad", 3)]
    assert world.told.counts[RECONCILE_PANICS.name, "o"] == 2
    assert world.told.counts[RECONCILE_ERRORS.name, "o"] == 2
    assert world.told.counts[RECONCILE_TOTAL.name, "o", "error"] == 2
    lines = [record for record in caplog.records if getattr(record, "code", "") == "stepRaised"]
    assert len(lines) == 1  # the second within a minute is not said again
    assert lines[0].exc_info is not None


async def test_a_step_that_raises_again_and_again_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    world.says("bad", *(KeyError("ours") for _ in range(10)))
    world.queue.add("bad")
    async with world.running():
        await world.clock.advance(200)
    assert [at for _, at in world.turns] == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    attempts = [record.__dict__["attempt"] for record in caplog.records if hasattr(record, "attempt")]
    assert attempts == [1, 7, 8, 9]


async def test_a_key_that_raises_for_the_tenth_time_makes_the_owner_unhealthy_until_it_succeeds() -> None:
    world = World()
    world.says("bad", *[ValueError("ours")] * 10)
    world.queue.add("bad")
    async with world.running():
        await world.clock.run_until(lambda: len(world.turns) == 9)
        assert world.owner.healthy
        await world.clock.run_until(lambda: len(world.turns) == 10)
        assert not world.owner.healthy
        assert world.owner.panicking == ("bad",)
        await world.clock.run_until(lambda: len(world.turns) == 11)
        assert world.owner.healthy


async def test_fatal_leaves_run_and_the_key_is_not_in_processing_any_more() -> None:
    world = World()
    world.says("a", Fatal("the ledger contradicts itself"))
    world.queue.add("a")
    with pytest.raises(Fatal, match="contradicts"):
        await world.owner.run()
    assert await world.queue.get() == "a"
    world.queue.done("a")


async def test_as_many_panics_in_a_row_as_the_limit_allows_are_fatal() -> None:
    world = World(panic_limit=3)
    world.says("a", ValueError("1"), ValueError("2"), Done(), ValueError("3"), ValueError("4"), ValueError("5"))
    world.queue.add("a")

    async def run() -> None:
        with pytest.raises(Fatal, match="3 steps in a row raised for a") as caught:
            await world.owner.run()
        assert isinstance(caught.value.__cause__, ValueError)

    async with asyncio.TaskGroup() as group:
        group.create_task(run())
        await world.clock.advance(5)
        world.queue.add("a")
        await world.clock.advance(5)
    assert len(world.turns) == 6


async def test_while_the_gate_is_closed_nothing_runs_and_after_wake_keys_run_by_priority() -> None:
    is_open = False
    world = World(gate=lambda: is_open)
    async with world.running():
        world.queue.add("initial", priority=INITIAL)
        world.queue.add("live")
        world.queue.add("urgent", priority=URGENT)
        await world.clock.advance(5)
        assert world.turns == []
        assert len(world.queue) == 3
        is_open = True
        world.owner.wake()
        await world.clock.settle()
        assert [key for key, _ in world.turns] == ["urgent", "live", "initial"]


async def test_a_gate_that_closes_during_a_step_keeps_the_next_key_waiting() -> None:
    is_open = True
    world = World(gate=lambda: is_open)
    world.takes = 2
    async with world.running():
        world.queue.add("a")
        world.queue.add("b")
        await world.clock.advance(1)
        is_open = False
        await world.clock.advance(5)
        assert [key for key, _ in world.turns] == ["a"]
        is_open = True
        world.owner.wake()
        await world.clock.advance(5)
    assert [key for key, _ in world.turns] == ["a", "b"]


async def test_a_closed_queue_ends_an_owner_whose_gate_is_closed() -> None:
    world = World(gate=lambda: False)
    world.queue.add("a")
    async with world.running() as task:
        await world.clock.settle()
        world.queue.shut_down()
        await world.clock.settle()
        assert task.done()
    assert world.turns == []


async def test_steps_never_overlap_and_a_key_added_during_its_step_gets_one_more() -> None:
    world = World()
    world.takes = 2
    async with world.running():
        world.queue.add("a")
        await world.clock.advance(1)
        for _ in range(3):
            world.queue.add("a")
            world.queue.add("b")
        await world.clock.advance(10)
    assert world.turns == [("a", 0), ("b", 2), ("a", 4)]
    assert world.told.observed[RECONCILE_TIME.name, "o"] == [2.0, 2.0, 2.0]


async def test_cancelled_in_a_step_the_owner_leaves_the_key_ready_and_not_in_processing() -> None:
    world = World()
    world.takes = 2
    world.queue.add("a")
    world.queue.add("b")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.owner.run())
        await world.clock.advance(1)
        task.cancel()
    assert sorted([await world.queue.get(), await world.queue.get()]) == ["a", "b"]


@pytest.mark.parametrize("point", range(1, 6))
async def test_cancelled_at_any_point_no_key_is_lost(point: int) -> None:
    world = World()
    world.takes = 1
    keys = ["a", "b", "c"]
    for key in keys:
        world.queue.add(key)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.owner.run())
        for _ in range(point):
            await world.clock.advance(0.5)
        task.cancel()
    finished = [key for key, at in world.turns if at + 1 <= world.clock.now() - START]
    waiting = [await world.queue.get() for _ in range(len(world.queue))]
    assert sorted(finished + waiting) == keys


async def test_a_step_that_holds_the_loop_is_counted_and_one_that_waits_is_not() -> None:
    world = World()
    world.takes = 5
    world.queue.add("waits")
    async with world.running():
        await world.clock.advance(6)
        assert world.owner.held_loop == 0
        world.blocks = 0.2
        world.takes = 0
        world.queue.add("blocks")
        await world.clock.advance(1)
    assert world.owner.held_loop == 1


@pytest.mark.parametrize(("blocks", "counted"), [(0.099, 0), (0.101, 1)], ids=["up to 100 ms not", "above it"])
async def test_holding_the_loop_is_counted_from_a_tenth_of_a_second(blocks: float, counted: int) -> None:
    world = World()
    world.blocks = blocks
    world.queue.add("a")
    async with world.running():
        await world.clock.advance(1)
    assert world.owner.held_loop == counted


async def test_a_queue_that_is_never_empty_leaves_the_loop_to_others_every_few_milliseconds() -> None:
    world = World()
    world.blocks = 0.0009
    for number in range(100):
        world.queue.add(f"key-{number}")
    done_when_others_ran: list[int] = []

    async def other() -> None:
        while len(world.turns) < 100:
            await asyncio.sleep(0)
            done_when_others_ran.append(len(world.turns))

    async with world.running(), asyncio.TaskGroup() as group:
        group.create_task(other())
    steps = [after - before for before, after in itertools.pairwise([0, *done_when_others_ran])]
    assert max(steps[1:]) == 3  # those that begin within 2 ms; the first is before the others had begun
