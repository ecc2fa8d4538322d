# SPDX-License-Identifier: Apache-2.0
"""A dry run of the real allocator: what it says, and that the server has no write of it in its log."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from purelb.allocator.main import Deps, rehearsal
from purelb.allocator.settings import AllocatorSettings
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.access import fixed_access
from purelb.kube.resources import LEASES, SERVICES
from purelb.process.dryrun import Plan
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL
from tests.installed import Recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from purelb.process.dryrun import Rehearsal


@asynccontextmanager
async def dry(cluster: Cluster, plan: Plan) -> AsyncIterator[Rehearsal]:
    transport = Recording(cluster.core, clock=cluster.clock)
    transport.writes = cluster.writes
    deps = Deps(cluster.clock, cluster.sink, access=fixed_access("http://memory"), transport=transport)
    async with rehearsal(AllocatorSettings(namespace=INSTALL), deps, plan) as rehearsed, asyncio.TaskGroup() as group:
        running = group.create_task(rehearsed.component.run())
        await cluster.clock.run_until(rehearsed.at_rest, within=10.0)
        await cluster.clock.advance(2.0)
        yield rehearsed
        running.cancel()


async def test_it_tells_each_patch_once_and_sends_none() -> None:
    cluster = Cluster()
    await cluster.prepare()
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    for name in ("api", "web"):
        await cluster.serve(name)
    before = {name: await cluster.service(name) for name in ("api", "web")}
    plan = Plan()
    async with dry(cluster, plan) as rehearsed:
        await cluster.clock.advance(600.0)
        assert rehearsed.at_rest()
    status = [line for line in plan.lines() if line.startswith("patch services/status ")]
    assert [line.split()[2] for line in status] == ["shop/api", "shop/web"]
    assert [f'"ip":"192.0.2.{last}"' in line for last, line in zip((10, 11), status, strict=True)] == [True, True]
    assert cluster.writes == []
    assert {name: await cluster.service(name) for name in ("api", "web")} == before


async def test_it_takes_no_lease_and_does_not_wait_for_the_one_who_has_it() -> None:
    cluster = Cluster()
    await cluster.prepare()
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator(leader_elect=True):
        await cluster.clock.advance(5.0)
        held = await cluster.admin.get(LEASES, "purelb-allocator", namespace=INSTALL)
        assert held.spec is not None
        holder = held.spec.holder_identity
        await cluster.serve("web")
        await cluster.clock.advance(2.0)
        cluster.writes.clear()
        plan = Plan()
        async with dry(cluster, plan):
            pass
        after = await cluster.admin.get(LEASES, "purelb-allocator", namespace=INSTALL)
        assert after.spec is not None
        assert after.spec.holder_identity == holder
        assert plan.lines() == (), "what the leader did needs nothing more"
        assert {path.rpartition("/")[2] for _, path in cluster.writes} <= {"purelb-allocator"}


async def test_run_on_and_on_it_tells_what_follows_from_a_change() -> None:
    cluster = Cluster()
    await cluster.prepare()
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    told: list[str] = []
    async with dry(cluster, Plan(told.append)):
        await cluster.serve("late")
        await cluster.clock.advance(2.0)
        assert [line.split()[2] for line in told if "services/status" in line] == ["shop/late"]
        cluster.writes.clear()
        await cluster.patch(
            SERVICES, "late", {"metadata": {"annotations": {"purelb.io/addresses": "192.0.2.12"}}}, "shop"
        )
        await cluster.clock.advance(2.0)
    assert '"ip":"192.0.2.12"' in told[-1] or '"ip":"192.0.2.12"' in told[-2]
    assert cluster.writes == []


async def test_a_policy_that_would_be_overridden_is_told_with_the_address() -> None:
    cluster = Cluster()
    await cluster.prepare()
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await cluster.serve("web", externalTrafficPolicy="Local")
    plan = Plan()
    async with dry(cluster, plan) as rehearsed:
        await cluster.clock.advance(60.0)
        assert rehearsed.at_rest()
    told = [line for line in plan.lines() if " shop/web " in line]
    assert [line.split()[1] for line in told] == ["services", "services/status"]
    assert '"externalTrafficPolicy":"Cluster"' in told[0]
    assert '"ip":"192.0.2.10"' in told[1]
    assert cluster.writes == []
