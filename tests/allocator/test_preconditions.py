# SPDX-License-Identifier: Apache-2.0
"""What a status write stands on: the version that was decided upon, the patience after a refusal, the minute of a message."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.flights import CONFLICT_CAP, CONFLICT_WAIT
from purelb.allocator.keys import ReadAgain
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import NODES, SERVICES
from purelb.kube.writer import Conflicted, Missing
from purelb.sandbox.apiserver.faults import Answer, Delay, Rule
from tests.allocator.cluster import ALLOCATOR, pool
from tests.allocator.objects import INSTALL, key, service
from tests.allocator.test_landing import Bench

if TYPE_CHECKING:
    from purelb.sandbox.apiserver.faults import Effect
    from tests.allocator.cluster import Cluster

THEIRS = {
    "type": "example.com/Programmed",
    "status": "True",
    "reason": "Programmed",
    "message": "",
    "lastTransitionTime": "2030-01-01T00:00:00Z",
}


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10"),)


def ours(effect: Effect, *, count: int | None = None) -> Rule:
    return Rule(effect=effect, resource="services/status", verb="patch", subject=ALLOCATOR.name, count=count)


async def test_a_condition_that_somebody_adds_while_ours_are_on_their_way_is_not_lost(cluster: Cluster) -> None:
    cluster.core.faults.add(ours(Delay(seconds=1.0), count=1))
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(0.5)
        theirs = {"status": {"conditions": [THEIRS]}}
        await cluster.patch(SERVICES, "web", theirs, "shop", subresource="status")
        await cluster.clock.advance(5.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert cluster.status_writes() == 2, "the first one met another version than it was decided on"
        status = (await cluster.service()).status
        assert status is not None
        assert {found.type for found in status.conditions or ()} == {
            THEIRS["type"],
            "purelb.io/Allocated",
            "purelb.io/Announced",
        }


async def test_a_refused_write_is_tried_again_after_one_second_then_later_and_later_up_to_five_minutes(
    cluster: Cluster,
) -> None:
    cluster.core.faults.add(ours(Answer(code=422)))
    async with cluster.allocator():
        await cluster.serve()
        tries, at = list[float](), 0.0
        while at < 1500.0:
            before = cluster.status_writes()
            await cluster.clock.advance(0.25)
            at += 0.25
            tries += [at] * (cluster.status_writes() - before)
    apart = [later - former for former, later in pairwise(tries)]
    expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert apart == [pytest.approx(each, abs=0.5) for each in expected]


async def test_another_message_alone_waits_until_a_minute_after_the_last_write(cluster: Cluster) -> None:
    await cluster.create(NODES, {"metadata": {"name": "n1"}})
    addresses = {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]}}
    await cluster.patch(NODES, "n1", addresses, subresource="status")
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.serve("next")
        await cluster.clock.advance(10.0)
        wider = pool(text="192.0.2.10-192.0.2.11")
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": wider["spec"]}, INSTALL)
        await cluster.clock.advance(49.0)
        assert (await cluster.allocated("next"))[2] == "default: 1 of 1 IPv4 addresses in use"
        await cluster.clock.advance(2.0)
        assert (await cluster.allocated("next"))[2] == "default: 1 of 2 IPv4 addresses in use, 1 reserved"
        assert cluster.status_writes("next") == 2


async def test_who_met_a_conflict_does_not_wait_long_where_the_newer_version_is_known_already() -> None:
    bench = Bench(service())
    await bench.step()
    for _ in range(6):
        await bench.answer(Conflicted())
        await bench.step(ReadAgain(key("web")))
        await bench.step()
    await bench.answer(Conflicted())
    assert bench.hands.waiting[-1] == (key("web"), CONFLICT_CAP), "after many in a row it takes its time"
    await bench.step(ReadAgain(key("web")))
    await bench.step()
    bench.services.upsert(service(rv="2"))
    await bench.answer(Conflicted())
    assert bench.hands.waiting[-1] == (key("web"), CONFLICT_WAIT)


async def test_a_service_that_the_server_does_not_know_is_read_again_before_anything_else_is_sent() -> None:
    bench = Bench(service())
    await bench.step()
    await bench.answer(Missing())
    assert bench.hands.waiting[-1] == (key("web"), CONFLICT_WAIT)
    await bench.step(now=CONFLICT_WAIT)
    assert bench.hands.reads == [key("web")], "if it is gone, its address is free as soon as that is known"
    assert len(bench.hands.writes) == 1
