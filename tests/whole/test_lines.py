# SPDX-License-Identifier: Apache-2.0
"""The lines of the log that a whole story leaves, as they are written: codes, levels, reasons, failures, sizes."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from purelb.api import reasons
from purelb.api.codes import CODES
from purelb.api.events import EVENTS
from purelb.process import logs
from purelb.process.logs import LINE_MAX_BYTES
from purelb.sandbox.apiserver.faults import Answer, LoseAnswer, Rule
from tests.installed import CountingSink
from tests.whole.town import Town

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = {row.code: row for row in CODES}
REASONS = {reason for table in reasons.TABLES.values() for reason in table}
REASONS |= {reason for _, reason in EVENTS} | {reasons.PUBLISH_REFUSED}


@pytest.fixture
async def town() -> Town:
    asyncio.get_running_loop().set_debug(False)
    made = Town()
    await made.prepare()
    return made


@pytest.fixture
def stream(town: Town) -> Iterator[io.StringIO]:
    """What a process would write to its standard output, debug included."""
    root, ours = logging.getLogger(), logging.getLogger("purelb")
    before = list(root.handlers), root.level, ours.level
    written = io.StringIO()
    logs.configure(component="town", level="debug", form="json", clock=town.clock, sink=CountingSink(), stream=written)
    yield written
    root.handlers[:], root.level, ours.level = before
    logging.captureWarnings(False)


async def story(town: Town) -> None:
    """Good days and bad ones: assigned, refused, published badly, moved, cut off, killed, released."""
    async with town.living() as processes:
        await town.wish("web")
        await town.wish("nowhere", annotations={"purelb.io/service-group": "x" * 200})
        town.core.faults.add(Rule(effect=Answer(code=422), resource="services/status", name="refused", count=2))
        town.core.faults.add(Rule(effect=LoseAnswer(), resource="services/status", name="lost", count=1))
        town.core.faults.add(Rule(effect=Answer(code=500), resource="lbnodestatuses*", verb="patch", count=2))
        town.core.faults.add(Rule(effect=Answer(code=403), resource="events*", count=2))
        await town.wish("refused")
        await town.wish("lost")
        await town.clock.advance(30.0)
        (holder,) = next(iter(town.holders().values()))
        await processes.crew.leave(holder)
        processes.crew.start(holder)
        await town.clock.advance(30.0)
        town.api_down = True
        await town.clock.advance(60.0)
        town.api_down = False
        await town.clock.advance(60.0)
        await processes.kill_allocator()
        processes.start_allocator()
        await town.clock.advance(30.0)


async def test_every_line_of_a_story_keeps_the_rules_of_the_log(town: Town, stream: io.StringIO) -> None:
    await story(town)
    lines: list[dict[str, Any]] = [json.loads(text) for text in stream.getvalue().splitlines()]
    seen = {line["code"] for line in lines}
    wanted = {"addressAssigned", "addressRefused", "publishRefused", "reportFailed", "takeover", "eventFailed"}
    assert wanted | {"leaseFailed", "phaseChanged", "watchFailed", "turnEnded", "apiCall", "holding"} <= seen
    for line in lines:
        row = TABLE[line["code"]]
        assert line["level"] == row.level or (row.code, line["level"]) == ("publishRefused", "debug"), line
        assert line["msg"], line
        assert line.get("reason", "InUse") in REASONS, line
        assert {"ts", "component"} <= set(line)
        assert ("error" in line) == row.failure or row.code == "library", line
        for seconds in ("retryIn", "took"):
            assert isinstance(line.get(seconds, 0.0), int | float), line
    assert max(len(text.encode()) for text in stream.getvalue().splitlines()) <= LINE_MAX_BYTES
    refused = next(line for line in lines if line["code"] == "publishRefused")
    assert {"error", "errorType", "retryIn", "service"} <= set(refused)
    report = next(line for line in lines if line["code"] == "reportFailed")
    assert {"error", "errorType", "attempt", "retryIn", "took"} <= set(report)
