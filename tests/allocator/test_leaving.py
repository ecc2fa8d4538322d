# SPDX-License-Identifier: Apache-2.0
"""An allocator that is told to stop while what it needs does not answer: each step ends, the next one starts."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.main import Allocator, Deps
from purelb.allocator.settings import AllocatorSettings
from purelb.api import leases
from purelb.kube.access import fixed_access
from purelb.kube.resources import LEASES
from purelb.sandbox.apiserver.faults import Hang, Refuse, Rule
from tests.allocator.cluster import ALLOCATOR, Cluster, pool
from tests.allocator.objects import INSTALL
from tests.installed import Recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from purelb.sandbox.apiserver.faults import Effect

BUDGET = 10.0


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.250"),)


class Leader:
    """An allocator that leads. `leave` tells it to stop and answers how long it took."""

    def __init__(self, cluster: Cluster, running: asyncio.Task[None], component: Allocator) -> None:
        self.cluster = cluster
        self.component = component
        self.running = running

    async def leave(self) -> float:
        clock = self.cluster.clock
        began = clock.now()
        self.component.stop()
        return await clock.run_until(self.running.done, within=60.0) - began

    async def holder(self) -> str | None:
        lease = await self.cluster.admin.get(LEASES, leases.ALLOCATOR_LEASE, namespace=INSTALL)
        return lease.spec.holder_identity if lease.spec is not None else None


@asynccontextmanager
async def leading(cluster: Cluster, **settings: Any) -> AsyncIterator[Leader]:
    transport = Recording(cluster.core, clock=cluster.clock, user=ALLOCATOR)
    transport.writes = cluster.writes
    component = Allocator(
        AllocatorSettings(namespace=INSTALL, **settings),
        Deps(cluster.clock, cluster.sink, access=fixed_access("http://memory"), transport=transport),
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(component.run())
        await cluster.clock.run_until(lambda: component.phase() == "Running", within=30.0)
        yield Leader(cluster, running, component)
        assert running.done(), "the component did not stop"


def away(cluster: Cluster, effect: Effect, resource: str = "*") -> None:
    cluster.core.faults.add(Rule(effect=effect, subject=ALLOCATOR.name, resource=resource))


def cuts(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    found = [vars(record) for record in caplog.records if vars(record).get("code") == "shutdownStepCut"]
    return {fields["step"]: fields["left"] for fields in found}


async def test_with_a_server_that_answers_nothing_is_cut_and_the_lease_is_free(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with leading(cluster) as leader:
        await cluster.serve()
        await cluster.clock.settle()
        assert await leader.leave() < 1.0
        assert await leader.holder() in {None, ""}
    assert cuts(caplog) == {}
    assert len(await cluster.addresses()) == 1
    phases = [vars(record)["phase"] for record in caplog.records if vars(record).get("code") == "phaseChanged"]
    assert phases == ["Syncing", "Standby", "Running", "Draining", "Stopped"]


@pytest.mark.parametrize("effect", [Hang(), Refuse()], ids=["hangs", "refuses"])
async def test_an_api_server_that_is_away_keeps_nobody_beyond_the_budget(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, effect: Effect
) -> None:
    caplog.set_level(logging.INFO)
    async with leading(cluster) as leader:
        for number in range(40):
            await cluster.serve(f"web{number}")
        away(cluster, effect)
        await cluster.clock.settle()
        took = await leader.leave()
        assert took <= BUDGET
        assert await leader.holder() not in {None, ""}, "it could not be given back: it runs out by itself"
    said = cuts(caplog)
    assert {"writes", "lease"} <= set(said)
    assert str(said["writes"]).endswith(" writes")
    assert "purelb-allocator" in str(said["lease"])


async def test_the_lease_is_given_back_within_two_seconds_or_left(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with leading(cluster) as leader:
        await cluster.clock.advance(30.0)
        away(cluster, Hang(), resource="leases*")
        assert await leader.leave() == pytest.approx(2.0, abs=0.01)
    assert set(cuts(caplog)) == {"lease"}


async def test_writes_that_do_not_drain_do_not_cost_the_lease(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with leading(cluster) as leader:
        away(cluster, Hang(), resource="services/status")
        for number in range(20):
            await cluster.serve(f"web{number}")
        await cluster.clock.advance(0.1)
        assert await leader.leave() == pytest.approx(4.0, abs=0.1)
        assert await leader.holder() in {None, ""}
    assert cuts(caplog) == {"writes": "20 writes"}


async def test_events_that_cannot_be_sent_are_left(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with leading(cluster) as leader:
        away(cluster, Hang(), resource="events*")
        for number in range(20):
            await cluster.serve(f"web{number}")
        await cluster.clock.advance(1.0)
        assert await leader.leave() == pytest.approx(2.0, abs=0.1)
        assert await leader.holder() in {None, ""}
    assert {vars(record).get("code") for record in caplog.records} >= {"eventsUnsent"}


async def test_who_drains_is_alive_but_not_ready_and_takes_no_new_key(cluster: Cluster) -> None:
    async with leading(cluster) as leader:
        away(cluster, Hang(), resource="services/status")
        await cluster.serve()
        await cluster.clock.advance(0.1)
        leader.component.stop()
        await cluster.serve("later")
        await cluster.clock.advance(3.0)
        assert leader.component.phase() == "Draining"
        assert leader.component.checks()["phase"] == "the phase is Draining"
        assert set(leader.component.health().values()) == {None}
        cluster.core.faults.clear()
        await cluster.clock.run_until(leader.running.done, within=30.0)
    assert await cluster.addresses("later") == ()
