# SPDX-License-Identifier: Apache-2.0
"""Since when a Service waits, and how long it took to get its address: each is counted from its own beginning, and once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator import metrics
from purelb.allocator.groups import Groups
from purelb.allocator.ledger import Ledger
from purelb.allocator.tally import Tally
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import pool
from tests.allocator.objects import INSTALL, key

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

WEB = key("web")


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10"),)


def oldest(tally: Tally, now: float) -> dict[tuple[str, ...], float]:
    samples = tally.samples(Ledger(), Groups(), now)
    return {sample.labels: sample.value for sample in samples if sample.metric is metrics.OLDEST_PENDING}


def test_who_lacks_something_waits_since_it_began_to_whoever_announces_the_rest() -> None:
    tally = Tally()
    assert tally.stands(WEB, "partial", "FamilyUnavailable", 10.0, unannounced="AwaitingNode")
    assert not tally.stands(WEB, "partial", "FamilyUnavailable", 20.0)
    assert not tally.stands(WEB, "partial", "FamilyUnavailable", 30.0, unannounced="NoLiveAgent")
    assert oldest(tally, 100.0) == {("FamilyUnavailable",): 90.0}
    assert tally.stands(WEB, "pending", "PoolExhausted", 40.0)
    assert oldest(tally, 100.0) == {("PoolExhausted",): 60.0}
    assert tally.stands(WEB, "allocated", "", 50.0)
    assert oldest(tally, 100.0) == {}


async def test_how_long_an_address_took_counts_from_the_first_sight_and_a_move_not_at_all(cluster: Cluster) -> None:
    took = cluster.sink.observed
    async with cluster.allocator():
        await cluster.serve("first")
        await cluster.clock.advance(1.0)
        await cluster.serve()
        await cluster.clock.advance(100.0)
        await cluster.admin.delete(SERVICES, "first", namespace="shop")
        await cluster.clock.advance(5.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        (times,) = [values for (name, *_), values in took.items() if name == metrics.TIME_TO_ADDRESS.name]
        assert times == [pytest.approx(0.0, abs=0.5), pytest.approx(100.0, abs=0.5)]
        wider = pool(text="192.0.2.10-192.0.2.11")
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": wider["spec"]}, INSTALL)
        await cluster.clock.advance(100.0)
        await cluster.patch(
            SERVICES, "web", {"metadata": {"annotations": {"purelb.io/addresses": "192.0.2.11"}}}, "shop"
        )
        await cluster.clock.advance(5.0)
        assert await cluster.addresses() == ("192.0.2.11",)
        assert len(times) == 2, "it had an address all the time"
