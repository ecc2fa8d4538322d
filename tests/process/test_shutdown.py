# SPDX-License-Identifier: Apache-2.0
"""Steps, budget and supervision of a process on virtual time."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Never

import pytest

from purelb.process.component import Phase, PhaseTracker
from purelb.process.shutdown import Shutdown
from purelb.process.supervision import Roll, TaskEnded, run, supervise, unending, verdict
from tests.virtual_clock import START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from purelb.kube.metrics import Sample


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def cuts(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object]]:
    return [
        (vars(record)["step"], vars(record)["left"])
        for record in caplog.records
        if vars(record).get("code") == "shutdownStepCut"
    ]


async def sleeping(clock: VirtualClock, seconds: float) -> None:
    await clock.until(clock.now() + seconds)


async def test_a_step_that_ends_in_time_says_nothing(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shutdown = Shutdown(clock, budget=10)
    shutdown.begin()
    async with asyncio.TaskGroup() as group:
        step = group.create_task(shutdown.step("writes", sleeping(clock, 3.9), limit=4.0, left=lambda: "?"))
        await clock.advance(4.0)
    assert step.result()
    assert cuts(caplog) == []


async def test_a_step_that_overruns_is_cut_at_its_limit_says_what_is_left_and_the_next_one_starts(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shutdown = Shutdown(clock, budget=10)
    shutdown.begin()
    ended: list[float] = []

    async def leave() -> None:
        await shutdown.step("writes", sleeping(clock, 99), limit=4.0, left=lambda: "3 writes")
        ended.append(clock.now() - START)
        await shutdown.step("lease", sleeping(clock, 1), limit=2.0, left=lambda: "the lease")
        ended.append(clock.now() - START)

    async with asyncio.TaskGroup() as group:
        group.create_task(leave())
        await clock.advance(10.0)
    assert ended == [4.0, 5.0]
    assert cuts(caplog) == [("writes", "3 writes")]


async def test_no_step_outlasts_the_budget(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    shutdown = Shutdown(clock, budget=5)
    shutdown.begin()

    async def leave() -> float:
        await shutdown.step("one", sleeping(clock, 99), limit=4.0, left=lambda: "one")
        shutdown.begin()  # a second request to stop gives no new budget
        await shutdown.step("two", sleeping(clock, 99), limit=4.0, left=lambda: "two")
        await shutdown.step("three", sleeping(clock, 99), limit=4.0, left=lambda: "three")
        return clock.now() - START

    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(leave())
        await clock.advance(20.0)
    assert leaving.result() == 5.0
    assert [step for step, _ in cuts(caplog)] == ["one", "two", "three"]


async def test_a_timeout_inside_a_step_is_an_error_of_its_own(clock: VirtualClock) -> None:
    async def fails() -> None:
        raise TimeoutError("of the work")

    with pytest.raises(TimeoutError, match="of the work"):
        await Shutdown(clock, budget=5).step("one", fails(), limit=4.0, left=lambda: "?")


def test_nothing_leads_back_from_draining(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    phase = PhaseTracker()
    for step in ("Running", "Draining", "Standby", "Running", "Stopped"):
        phase.become(step)
    assert phase.current == "Stopped"
    assert [vars(record)["phase"] for record in caplog.records] == ["Running", "Draining", "Stopped"]


class Working:
    """A component whose `run` is given; it hears of `stop`."""

    def __init__(self, work: Callable[[Working], Awaitable[None]]) -> None:
        self._work = work
        self.tracker = PhaseTracker()
        self.told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        await self._work(self)

    def stop(self) -> None:
        self.tracker.become("Draining")
        self.told.set_result(None)

    def phase(self) -> Phase:
        return self.tracker.current

    def checks(self) -> Mapping[str, str | None]:
        return {}

    def health(self) -> Mapping[str, str | None]:
        return {}

    def show(self, *, most: int) -> Mapping[str, object]:
        return {}

    def samples(self) -> Iterable[Sample]:
        return ()


class Supervised:
    """A component under supervision. `ended`: exit codes with which the process was ended by force, and when."""

    def __init__(self, clock: VirtualClock, work: Callable[[Working], Awaitable[None]]) -> None:
        self.clock = clock
        self.component = Working(work)
        self.asked: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.roll = Roll(self.asked)
        self.ended: list[tuple[int, float]] = []
        self.stubborn = True

    def end(self, code: int) -> None:
        self.ended.append((code, self.clock.now() - START))
        self.stubborn = False

    async def run(self, **beside: Callable[[], Awaitable[None]]) -> int:
        async def endless(work: Callable[[], Awaitable[None]]) -> Never:
            await work()
            return None  # type: ignore[misc]  # what a mistake looks like

        return await supervise(
            self.component,
            name="c",
            budget=10.0,
            clock=self.clock,
            roll=self.roll,
            beside={name: endless(work) for name, work in beside.items()},
            end=self.end,
        )


@pytest.fixture
async def quiet_loop() -> AsyncIterator[None]:
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"


@pytest.mark.usefixtures("quiet_loop")
async def test_who_stops_within_the_budget_ends_with_0(clock: VirtualClock) -> None:
    async def work(me: Working) -> None:
        await me.told
        await sleeping(clock, 9.0)

    it = Supervised(clock, work)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(it.run())
        await clock.advance(1.0)
        it.asked.set_result(None)
        await clock.advance(9.0)
        assert running.done()
    assert running.result() == 0
    assert it.ended == []


@pytest.mark.usefixtures("quiet_loop")
async def test_the_end_of_the_budget_names_the_tasks_that_are_left_and_ends_with_0(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def work(me: Working) -> None:
        await sleeping(clock, 3600.0)

    it = Supervised(clock, work)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(it.run())
        await clock.settle()
        it.asked.set_result(None)
        await clock.advance(10.0)
        assert running.done()
    assert running.result() == 0
    ((step, left),) = cuts(caplog)
    assert step == "budget"
    assert isinstance(left, list)
    assert any(line.startswith("c:component at ") for line in left)


@pytest.mark.usefixtures("quiet_loop")
async def test_who_refuses_to_be_cancelled_is_ended_half_a_second_after_the_budget(clock: VirtualClock) -> None:
    async def work(me: Working) -> None:
        while it.stubborn:
            try:
                await sleeping(clock, 1.0)
            except asyncio.CancelledError:
                continue

    it = Supervised(clock, work)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(it.run())
        await clock.settle()
        it.asked.set_result(None)
        await clock.advance(12.0)
        assert running.done()
    assert it.ended == [(0, 10.5)]


async def unasked() -> None:
    return


async def mistaken() -> None:
    raise ValueError("a mistake of ours")


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        pytest.param(unasked, "taskEnded", id="returns"),
        pytest.param(mistaken, "taskDied", id="raises"),
    ],
)
@pytest.mark.usefixtures("quiet_loop")
async def test_a_task_beside_the_component_that_ends_unasked_is_exit_code_5(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture, beside: Callable[[], Awaitable[None]], said: str
) -> None:
    caplog.set_level(logging.INFO)

    async def work(me: Working) -> None:
        await me.told

    with pytest.raises(BaseExceptionGroup) as raised:
        await Supervised(clock, work).run(lag=beside)
    assert verdict(raised.value) == 5
    assert [vars(record)["code"] for record in caplog.records] == [said]


@pytest.mark.usefixtures("quiet_loop")
async def test_a_component_that_ends_unasked_is_exit_code_5(clock: VirtualClock) -> None:
    async def work(me: Working) -> None:
        return

    with pytest.raises(BaseExceptionGroup) as raised:
        await Supervised(clock, work).run()
    assert isinstance(raised.value.exceptions[0], TaskEnded)
    assert verdict(raised.value) == 5


@pytest.mark.usefixtures("quiet_loop")
async def test_a_task_that_died_among_others_that_do_not_end_is_seen_by_liveness(clock: VirtualClock) -> None:
    async def stubborn() -> None:
        while it.stubborn:
            try:
                await sleeping(clock, 1.0)
            except asyncio.CancelledError:
                continue

    async def work(me: Working) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(unending(stubborn(), name="stubborn"))
            group.create_task(unending(sleeping(clock, 2.0), name="mistaken"))
            await me.told

    it = Supervised(clock, work)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(failing(it))
        await clock.advance(1.0)
        before = it.roll.trouble()
        await clock.advance(2.0)
        after = it.roll.trouble()
        it.stubborn = False  # before anything is asserted: nobody could end this process otherwise
        await clock.advance(2.0)
        assert (before, after) == (None, "mistaken ended, and the others did not")
        assert running.result() == 5


async def failing(it: Supervised) -> int:
    try:
        return await it.run()
    except BaseExceptionGroup as group:
        return verdict(group)


def test_who_ran_in_time_leaves_the_alarm_of_the_process_as_it_was() -> None:
    async def work() -> int:
        return 3

    before = signal.getsignal(signal.SIGALRM)
    assert run(work()) == 3
    assert signal.getsignal(signal.SIGALRM) == before
