# SPDX-License-Identifier: Apache-2.0
"""What whole agents count: take-overs and how long they took, preferences that cannot be met, what is known of endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.kube.resources import ENDPOINT_SLICES
from purelb.lbnodeagent import metrics
from purelb.sandbox.apiserver.faults import Answer, Rule
from tests.lbnodeagent.lan import Lan

if TYPE_CHECKING:
    from purelb.kube.metrics import Metric
    from purelb.lbnodeagent.main import Agent

WEB = "192.0.2.10"
D = 10.0


async def lan() -> Lan:
    made = Lan()
    await made.prepare()
    return made


async def endpoint(cluster: Lan, service: str, node: str) -> None:
    body = {
        "metadata": {"name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": node, "conditions": {"ready": True}}],
        "ports": [],
    }
    await cluster.create(ENDPOINT_SLICES, body, "shop")


def gauges(agent: Agent, metric: Metric) -> dict[tuple[str, ...], float]:
    return {sample.labels: sample.value for sample in agent.samples() if sample.metric is metric}


async def test_a_takeover_after_a_death_is_timed_from_the_last_sign_of_life() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(20.0)
        (holder,) = cluster.answering(WEB)
        await cluster.fold()
        await cluster.clock.advance(20.0)
        cluster.host(holder).connected = False
        await crew.kill(holder)
        await cluster.clock.advance(D + 2.0)
        (heir,) = (name for name in cluster.answering(WEB) if name != holder)
        (took,) = cluster.sinks[heir].observed[metrics.TAKEOVER.name, "lease"]
        assert D <= took <= D + 1.0


async def test_a_takeover_from_a_node_that_leaves_takes_less_than_a_second() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        await crew.leave(holder)
        (heir,) = cluster.answering(WEB)
        (took,) = cluster.sinks[heir].observed[metrics.TAKEOVER.name, "drain"]
        assert took < 1.0


async def test_an_address_that_was_nobodys_is_no_takeover() -> None:
    cluster = await lan()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(5.0)
        assert not [
            name for sink in cluster.sinks.values() for name, *_ in sink.observed if name == metrics.TAKEOVER.name
        ]


async def test_a_preference_for_endpoints_that_no_candidate_has_is_counted_once() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await endpoint(cluster, "web", "far-away")
        await cluster.serve("web", WEB, node_affinity="service-endpoints")
        await cluster.clock.advance(60.0)
        assert len(cluster.answering(WEB)) == 1
        for name in crew.agents:
            assert cluster.sinks[name].counts[metrics.AFFINITY_FALLBACK.name, "shop/web"] == 1


async def test_slices_are_counted_for_services_that_need_them_and_their_age_grows_while_the_server_is_away() -> None:
    cluster = await lan()
    async with cluster.running("n1") as crew:
        agent = crew.agents["n1"]
        assert gauges(agent, metrics.SLICES_SYNC) == {(): 0.0}
        assert gauges(agent, metrics.SLICES_AGE) == {}
        await endpoint(cluster, "web", "n1")
        await endpoint(cluster, "other", "n1")
        await cluster.serve("web", WEB, policy="Local")
        await cluster.serve("other", "192.0.2.11")
        await cluster.clock.advance(5.0)
        assert gauges(agent, metrics.SLICES) == {("shop/web",): 1.0}
        assert gauges(agent, metrics.SLICES_SYNC) == {(): 1.0}
        cluster.api_down = True
        await cluster.clock.advance(300.0)
        assert gauges(agent, metrics.SLICES_AGE)[()] >= 300.0
        cluster.api_down = False
        await cluster.clock.advance(60.0)
        assert gauges(agent, metrics.SLICES_AGE)[()] <= 60.0
        labels = [(sample.metric.name, sample.labels) for sample in agent.samples()]
        assert len(set(labels)) == len(labels), "a series twice"


async def test_a_list_that_fails_is_counted() -> None:
    cluster, name = await lan(), "n1"
    async with cluster.running(name) as crew:
        await endpoint(cluster, "web", name)
        cluster.core.faults.add(Rule(effect=Answer(code=500), resource="endpointslices*", count=3))
        await cluster.serve("web", WEB, policy="Local")
        await cluster.clock.advance(60.0)
        assert gauges(crew.agents[name], metrics.SLICES_SYNC_ERRORS)[()] == 3
        assert gauges(crew.agents[name], metrics.SLICES_SYNC) == {(): 1.0}
