# SPDX-License-Identifier: Apache-2.0
"""A scrape of a whole agent, as a process would answer it."""

from __future__ import annotations

import asyncio

import pytest

from purelb.kube import metrics as kube_metrics
from purelb.kube.access import fixed_access
from purelb.lbnodeagent.main import Agent, AgentSettings, Deps
from purelb.lbnodeagent.metrics import METRICS
from purelb.process import metrics as process_metrics
from purelb.process.metrics import Registry
from tests.lbnodeagent.lan import INSTALL, Lan
from tests.promtool import complaints, frozen


async def scrape() -> str:
    """Of an agent that announces one address and waits for the endpoints of another."""
    cluster = Lan(1)
    await cluster.prepare()
    registry = Registry((*process_metrics.METRICS, *kube_metrics.METRICS, *METRICS))
    agent = Agent(
        AgentSettings(namespace=INSTALL, node_name="n1", pod_uid="uid"),
        Deps(
            clock=cluster.clock,
            sink=registry,
            access=fixed_access("http://memory"),
            transport=cluster.transport([]),
            host=cluster.host("n1").opened,
        ),
    )
    registry.samples = agent.samples
    async with asyncio.TaskGroup() as group:
        running = group.create_task(agent.run())
        await cluster.clock.advance(5.0)
        await cluster.serve("web", "192.0.2.10")
        await cluster.serve("local", "192.0.2.11", policy="Local")
        await cluster.clock.advance(5.0)
        text = registry.text().decode()
        agent.stop()
        await cluster.clock.run_until(running.done, within=30.0)
    return text


async def test_every_series_of_a_scrape_is_there_once() -> None:
    series = [line.rpartition(" ")[0] for line in (await scrape()).splitlines() if not line.startswith("#")]
    assert len(set(series)) == len(series)
    assert 'purelb_lbnodeagent_announced{ip="192.0.2.10",node="n1",service="shop/web"}' in "\n".join(series)


@pytest.mark.promtool
async def test_promtool_complains_about_inherited_names_and_nothing_else() -> None:
    assert complaints(await scrape()) == frozen()["lbnodeagent"]
