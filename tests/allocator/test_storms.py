# SPDX-License-Identifier: Apache-2.0
"""Writes that conflict in a row: tried again less and less often, but never so seldom that a Service is forgotten."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.restores import FREE, Restores
from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver.faults import Answer, Delay, Rule
from tests.allocator.cluster import ALLOCATOR, pool
from tests.allocator.objects import key

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

CONFLICT = Rule(
    effect=Answer(code=409, reason="Conflict"), subject=ALLOCATOR.name, verb="patch", resource="services/status"
)

NEWS = 256


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(),)


async def test_without_news_it_is_tried_after_a_quarter_of_a_second_then_later_and_later_up_to_five(
    cluster: Cluster,
) -> None:
    async with cluster.allocator():
        number = cluster.core.faults.add(CONFLICT)
        await cluster.serve()
        tries, at = list[float](), 0.0
        while at < 60.0:
            before = cluster.status_writes()
            await cluster.clock.advance(1 / 16)
            at += 1 / 16
            tries += [at] * (cluster.status_writes() - before)
        apart = [later - former for former, later in pairwise(tries)]
        assert apart[0] <= 0.5
        assert max(apart) <= 5.5
        assert 12 <= len(tries) <= 20
        cluster.core.faults.remove(number)
        await cluster.clock.advance(5.5)
        assert await cluster.addresses() == ("192.0.2.10",)


async def test_who_was_edited_while_a_write_was_on_its_way_does_not_wait_for_the_end_of_a_long_row(
    cluster: Cluster,
) -> None:
    """What makes the next try worth while was heard before the refusal of this one."""
    async with cluster.allocator():
        number = cluster.core.faults.add(CONFLICT)
        await cluster.serve()
        await cluster.clock.advance(60.0)
        cluster.core.faults.remove(number)
        slow = Rule(effect=Delay(seconds=1.0), subject=ALLOCATOR.name, verb="patch", resource="services/status")
        cluster.core.faults.add(slow)
        count = cluster.status_writes()
        while cluster.status_writes() == count:
            await cluster.clock.advance(1 / 16)
        await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"some": "label"}}}, "shop")
        await cluster.clock.advance(1.0 + 0.5 + 1.0)
        assert await cluster.addresses() == ("192.0.2.10",)


async def test_a_service_that_is_there_for_us_and_not_for_the_server_is_tried_less_and_less_often(
    cluster: Cluster,
) -> None:
    """Its end is known before a watch that hangs, or a list that is refused, has told it."""
    gone = Rule(effect=Answer(code=404), subject=ALLOCATOR.name, verb="patch", resource="services/status")
    number = cluster.core.faults.add(gone)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(60.0)
        assert 12 <= cluster.status_writes() <= 20
        cluster.core.faults.remove(number)
        await cluster.clock.advance(5.5)
        assert await cluster.addresses() == ("192.0.2.10",)


async def test_with_news_all_the_time_it_is_tried_once_for_each_of_them(cluster: Cluster) -> None:
    async with cluster.allocator():
        number = cluster.core.faults.add(CONFLICT)
        await cluster.serve()
        for count in range(NEWS):
            await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"count": str(count)}}}, "shop")
            await cluster.clock.advance(1 / 64)
        assert NEWS // 2 <= cluster.status_writes() <= NEWS + 4
        cluster.core.faults.remove(number)
        await cluster.clock.advance(5.5)
        assert await cluster.addresses() == ("192.0.2.10",)


def test_a_restore_that_is_not_applied_counts_once_however_often_it_is_tried() -> None:
    restores, web = Restores(), key("web")
    for at in range(100):
        restores.restoring(web, float(at), applied=0.0)
    assert restores.wait(web, 100.0) == 0.0, "a storm of conflicts is nobody who writes the status"
    for at in range(101, 101 + FREE):
        restores.restoring(web, float(at), applied=float(at))
    assert restores.wait(web, 105.0) > 0.0
