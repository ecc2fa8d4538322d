# SPDX-License-Identifier: Apache-2.0
"""What the probes of both components say, at work, as a standby and while the API server is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from purelb.process.http import report
from tests.whole.town import Town

if TYPE_CHECKING:
    from purelb.process.component import Component

ALLOCATOR = ("phase", "synced", "access", "lease", "ledger")
AGENT = ("phase", "synced", "access", "lease", "netlink", "config")


@pytest.fixture
async def town() -> Town:
    asyncio.get_running_loop().set_debug(False)
    made = Town()
    await made.prepare()
    return made


def failing(component: Component) -> set[str]:
    return {name for name, text in component.checks().items() if text is not None}


async def test_each_component_has_the_checks_of_its_row_and_passes_them_at_work(town: Town) -> None:
    async with town.living() as processes:
        await town.clock.advance(5.0)
        standby = processes.another_allocator()
        await town.clock.advance(5.0)
        allocator = processes.allocator
        assert allocator is not None
        assert (allocator.phase(), standby.phase()) == ("Running", "Standby")
        for component in (allocator, standby):
            assert tuple(component.checks()) == ALLOCATOR
            assert failing(component) == set(), "a standby is ready as well, or a rolling update would never end"
        for agent in processes.crew.agents.values():
            assert tuple(agent.checks()) == AGENT
            assert failing(agent) == set()
            assert set(agent.health()) == {"owner"}


async def test_an_api_server_that_is_away_is_a_matter_of_readiness_and_never_of_liveness(town: Town) -> None:
    async with town.living() as processes:
        await town.clock.advance(5.0)
        allocator, agent = processes.allocator, processes.crew.agents["n1"]
        assert allocator is not None
        town.api_down = True
        await town.clock.advance(120.0)
        assert "lease" in failing(allocator)
        assert failing(agent) == {"lease"}
        for component in (allocator, agent):
            assert set(component.health().values()) == {None}
        town.api_down = False
        await town.clock.advance(60.0)
        assert failing(allocator) == failing(agent) == set()


async def test_before_the_first_answer_readiness_names_who_is_late(town: Town) -> None:
    town.api_down = True
    async with town.living() as processes:
        agent = processes.crew.agents["n1"]
        status, text = report(agent.checks(), verbose=False)
        assert status == 503
        lines = dict(line.split(": ", 1) for line in text.splitlines())
        assert lines["phase"] == "the phase is Syncing"
        assert "services" in lines["synced"]
        assert set(agent.health().values()) == {None}


def test_an_answer_is_ok_or_the_failing_checks_and_verbose_lists_all() -> None:
    assert report({"phase": None, "lease": None}, verbose=False) == (200, "ok\n")
    assert report({"phase": None, "lease": "it has expired"}, verbose=False) == (503, "lease: it has expired\n")
    assert report({"phase": None, "lease": "it has expired"}, verbose=True) == (
        503,
        "phase: ok\nlease: it has expired\n",
    )
    assert report({"phase": None}, verbose=True) == (200, "phase: ok\nok\n")
