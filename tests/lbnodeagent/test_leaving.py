# SPDX-License-Identifier: Apache-2.0
"""An agent that is told to stop while peers, API server or kernel do not answer: each step ends, the next one starts."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.resources import LEASES
from purelb.sandbox.apiserver.faults import Hang, Rule
from tests.lbnodeagent.lan import Crew, Host, Lan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from purelb.lbnodeagent.host import Op, OpResult

WEB = "192.0.2.10"
BUDGET = 20.0


def cuts(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    found = [vars(record) for record in caplog.records if vars(record).get("code") == "shutdownStepCut"]
    return {fields["step"]: fields["left"] for fields in found}


async def left(cluster: Lan, crew: Crew, name: str) -> float:
    """Tell an agent to stop; how long it took."""
    began = cluster.clock.now()
    crew.agents[name].stop()
    return await cluster.clock.run_until(crew.tasks[name].done, within=60.0) - began


async def leases(cluster: Lan) -> set[str]:
    return {lease.metadata.name async for page in cluster.admin.list_pages(LEASES) for lease in page.objects}


async def test_a_hand_over_that_nobody_takes_is_cut_after_twelve_seconds_and_the_address_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    cluster = Lan()
    await cluster.prepare()
    async with cluster.running(lease_duration=60.0, renew_deadline=40.0) as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        for name in set(crew.agents) - {holder}:
            await crew.kill(name)  # their leases promise a minute, but nobody is there to take anything
        assert await left(cluster, crew, holder) == pytest.approx(12.0, abs=0.5)
        assert cluster.answering(WEB) == [holder]
        assert f"purelb-node-{holder}" not in await leases(cluster)
    assert cuts(caplog) == {"hand-over": f"1 addresses: {WEB}"}


async def test_an_api_server_that_hangs_keeps_no_agent_beyond_its_budget(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cluster = Lan()
    await cluster.prepare()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        (holder,) = cluster.answering(WEB)
        cluster.core.faults.add(Rule(effect=Hang()))
        assert await left(cluster, crew, holder) < BUDGET
        assert cluster.answering(WEB) == [holder]
    assert {"lease", "report"} <= set(cuts(caplog))


async def test_while_the_api_server_is_away_both_of_its_steps_together_take_two_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    cluster = Lan()
    await cluster.prepare()
    async with cluster.running("n1") as crew:
        cluster.api_down = True
        await cluster.clock.advance(30.0)
        assert await left(cluster, crew, "n1") <= 2.5


async def test_a_kernel_that_does_not_answer_costs_its_turn_and_not_the_lease(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    cluster = Lan()
    await cluster.prepare()

    async def hangs(_: Host, __: Sequence[Op]) -> Sequence[OpResult]:
        never: asyncio.Future[Sequence[OpResult]] = asyncio.get_running_loop().create_future()
        return await never

    async with cluster.running("n1") as crew:
        monkeypatch.setattr(Host, "apply", hangs)
        await cluster.serve("web", WEB)
        await cluster.clock.advance(1.0)
        assert await left(cluster, crew, "n1") < BUDGET
        assert await leases(cluster) == set()
    said = cuts(caplog)
    assert {"turn", "owner"} <= set(said)
    assert said["turn"].startswith("the turn of ")
