# SPDX-License-Identifier: Apache-2.0
"""A dry run of the real agent: what it says, and that neither server, kernel nor link notices."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from purelb.kube.access import fixed_access
from purelb.kube.resources import SERVICES
from purelb.lbnodeagent.main import AgentSettings, Deps, rehearsal
from purelb.process.dryrun import Plan
from tests.lbnodeagent.lan import INSTALL, Lan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from purelb.process.dryrun import Rehearsal

WEB = "192.0.2.10"
FAR = "198.51.100.10"


@asynccontextmanager
async def dry(lan: Lan, name: str, plan: Plan) -> AsyncIterator[Rehearsal]:
    host = lan.host(name)
    events, frames = host.events_, host.frames_
    deps = Deps(
        clock=lan.clock,
        sink=lan.sinks[name],
        access=fixed_access("http://memory"),
        transport=lan.transport(lan.writes[name]),
        host=lambda: (host, host) if events is not None else host.opened(),
    )
    settings = AgentSettings(namespace=INSTALL, node_name=name)
    async with rehearsal(settings, deps, plan) as rehearsed, asyncio.TaskGroup() as group:
        running = group.create_task(rehearsed.component.run())
        await lan.clock.run_until(rehearsed.at_rest, within=10.0)
        await lan.clock.advance(2.0)
        yield rehearsed
        running.cancel()
    host.events_, host.frames_ = events, frames


async def test_on_an_empty_link_it_would_add_everything_and_does_nothing() -> None:
    lan = Lan()
    await lan.prepare()
    await lan.serve("web", WEB)
    await lan.serve("far", FAR, group="wan")
    plan = Plan()
    async with dry(lan, "n1", plan) as rehearsed:
        await lan.clock.advance(120.0)
        assert rehearsed.at_rest()
        assert {name: text for name, text in rehearsed.component.checks().items() if text} == {}
        assert (*plan.lines(), *rehearsed.more()) == (
            f"+ {WEB}/32 dev eth0 shop/web: elected",
            f"+ {FAR}/24 dev kube-lb0 shop/far: every node of its group answers for it",
            "+ link kube-lb0 type dummy",
        )
    host = lan.host("n1")
    assert (host.log, host.sent, host.listening, set(host.interfaces)) == ([], [], {}, {1, 2})
    assert lan.writes["n1"] == []


async def test_beside_the_agent_that_holds_the_address_there_is_nothing_to_do() -> None:
    lan = Lan(nodes=1)
    await lan.prepare()
    await lan.serve("web", WEB)
    async with lan.running():
        assert lan.answering(WEB) == ["n1"]
        await lan.fold()
        lan.writes["n1"].clear()
        plan = Plan()
        async with dry(lan, "n1", plan) as rehearsed:
            assert (*plan.lines(), *rehearsed.more()) == ()
        await lan.clock.advance(10.0)
        assert lan.answering(WEB) == ["n1"], "the agent did not take the dry run for another one of its name"
        assert {path.rpartition("/")[2] for _, path in lan.writes["n1"]} <= {"purelb-node-n1"}, "renewals of the agent"


async def test_what_nobody_asks_for_any_more_would_go() -> None:
    lan = Lan(nodes=1)
    await lan.prepare()
    await lan.serve("web", WEB)
    told: list[str] = []
    async with lan.running() as crew:
        await crew.kill("n1")
        await lan.admin.delete(SERVICES, "web", namespace="shop")
        async with dry(lan, "n1", Plan(told.append)):
            assert lan.answering(WEB) == ["n1"]
    assert told == [f"- {WEB}/32 dev eth0 no Service asks for it"]


@pytest.mark.parametrize("name", ["n1", "n2", "n3"])
async def test_what_a_peer_holds_would_be_handed_over_to_a_better_node(name: str) -> None:
    lan = Lan()
    await lan.prepare()
    await lan.serve("web", WEB)
    others = [host.name for host in lan.hosts if host.name != name]
    async with lan.running(*others):
        (holder,) = lan.answering(WEB)
        await lan.fold()
        plan = Plan()
        async with dry(lan, name, plan) as rehearsed:
            better = WEB in "".join(rehearsed.more())
            assert plan.lines() == ()
            if better:
                assert rehearsed.more() == (f"+ {WEB}/32 dev eth0 shop/web: elected; {holder} would hand it over",)
        assert lan.answering(WEB) == [holder]
