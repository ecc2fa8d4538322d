# SPDX-License-Identifier: Apache-2.0
"""What signals do, on virtual time. That they arrive is shown on a real process in `test_runtime`."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import signal
from typing import TYPE_CHECKING

import pytest

from purelb.kube.metrics import NO_SINK
from purelb.process import logs
from purelb.process.signals import Signals, tasks
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


class Told:
    def __init__(self, level: str = "info") -> None:
        self.clock = VirtualClock()
        self.ended: list[int] = []
        self.stream = io.StringIO()
        logs.configure(component="c", level="info", form="json", clock=self.clock, sink=NO_SINK, stream=self.stream)
        logs.set_level("debug" if level == "debug" else "info")
        self.signals = Signals(
            level="debug" if level == "debug" else "info",
            state=lambda: {"phase": "Running", "many": {str(number): "x" * 500 for number in range(400)}},
            clock=self.clock,
            end=self.ended.append,
        )

    @property
    def level(self) -> int:
        return logging.getLogger("purelb").level

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def _restored() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("purelb")
    before = list(root.handlers), root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before[0], before[1], before[2]
    logging.captureWarnings(False)


pytestmark = pytest.mark.usefixtures("_restored")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
async def test_the_first_one_asks_and_the_second_ends_the_process_at_once(number: signal.Signals) -> None:
    it = Told()
    it.signals.receive(number)
    assert it.signals.asked.result() == number
    assert it.ended == []
    it.signals.receive(signal.SIGTERM)
    assert it.ended == [143]


@pytest.mark.parametrize(("level", "other"), [("info", logging.DEBUG), ("debug", logging.INFO)])
async def test_the_level_toggles_and_is_back_after_fifteen_minutes_to_the_second(level: str, other: int) -> None:
    it = Told(level)
    before = it.level
    async with asyncio.TaskGroup() as group:
        calm = group.create_task(it.signals.calm())
        await it.clock.advance(5.0)
        it.signals.receive(signal.SIGUSR2)
        assert it.level == other
        await it.clock.advance(899.0)
        assert it.level == other
        await it.clock.advance(1.0)
        assert it.level == before
        await it.clock.advance(3600.0)
        assert it.level == before
        calm.cancel()


async def test_a_second_toggle_is_the_way_back_and_starts_no_new_quarter_of_an_hour() -> None:
    it = Told()
    async with asyncio.TaskGroup() as group:
        calm = group.create_task(it.signals.calm())
        it.signals.receive(signal.SIGUSR2)
        await it.clock.advance(60.0)
        it.signals.receive(signal.SIGUSR2)
        assert it.level == logging.INFO
        it.signals.receive(signal.SIGUSR2)
        await it.clock.advance(870.0)
        assert it.level == logging.DEBUG, "the quarter of an hour of the first toggle does not count"
        await it.clock.advance(30.0)
        assert it.level == logging.INFO
        calm.cancel()


async def test_a_hangup_does_nothing() -> None:
    it = Told()
    it.signals.receive(signal.SIGHUP)
    assert it.lines() == []
    assert not it.signals.asked.done()


async def inner(clock: VirtualClock) -> None:
    await clock.until(clock.now() + 60.0)


async def test_the_state_is_one_line_of_64_kib_at_most_with_every_task_and_where_it_waits() -> None:
    it = Told()
    asyncio.get_running_loop().set_debug(False)  # it notes where each task was made, for so long that it says so
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(inner(it.clock), name=f"c:waits-{number:03}") for number in range(300)]
        await asyncio.sleep(0)
        it.signals.receive(signal.SIGUSR1)
        assert len(it.stream.getvalue().encode()) <= 64 * 1024
        (line,) = it.lines()
        assert (line["code"], line["phase"], line["truncated"]) == ("stateDump", "Running", True)
        assert isinstance(line["many"], dict), "fewer of them, but not a text of half a dictionary"
        shown = line["tasks"]
        assert isinstance(shown, list)
        assert sum(task.startswith("c:waits-") for task in shown) == 300
        for task in waiting:
            task.cancel()


async def test_a_task_is_shown_where_it_waits_and_not_where_it_was_started() -> None:
    async with asyncio.TaskGroup() as group:
        clock = VirtualClock()
        waiting = group.create_task(inner(clock), name="c:waits")
        await asyncio.sleep(0)
        (shown,) = (line for line in tasks() if line.startswith("c:waits"))
        assert shown.startswith("c:waits at virtual_clock.py:")
        waiting.cancel()
