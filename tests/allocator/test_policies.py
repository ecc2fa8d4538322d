# SPDX-License-Identifier: Apache-2.0
"""externalTrafficPolicy Local: of which addresses it is overridden, and when somebody has set it often enough to mean it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.overrides import REST, TRIES, WITHIN, Overrides
from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver.faults import Delay, Rule
from tests.allocator.cluster import ALLOCATOR, pool
from tests.allocator.objects import key

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

WEB = key("web")


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    entry = {"pool": "198.51.100.1-198.51.100.9", "subnet": "198.51.100.0/24"}
    return (pool(), {"metadata": {"name": "far"}, "spec": {"remote": {"v4pool": entry}}})


async def policy(cluster: Cluster) -> str:
    spec = (await cluster.service()).spec
    assert spec is not None
    return spec.external_traffic_policy


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param("192.0.2.10", "Cluster", id="a local address"),
        pytest.param("198.51.100.5", "Local", id="a remote one"),
        pytest.param("198.51.100.5,192.0.2.10", "Cluster", id="one of each"),
        pytest.param("198.51.100.5,198.51.100.6", "Local", id="two remote ones"),
    ],
)
async def test_local_stays_where_no_address_is_local(cluster: Cluster, asked: str, expected: str) -> None:
    async with cluster.allocator():
        await cluster.serve(externalTrafficPolicy="Local", annotations={"purelb.io/addresses": asked})
        await cluster.clock.advance(2.0)
        assert (await policy(cluster), await cluster.addresses()) == (expected, tuple(asked.split(",")))


async def test_a_remote_service_that_asks_for_a_local_address_is_overridden_before_that_is_published(
    cluster: Cluster,
) -> None:
    async with cluster.allocator():
        await cluster.serve(externalTrafficPolicy="Local", annotations={"purelb.io/service-group": "far"})
        await cluster.clock.advance(2.0)
        assert await policy(cluster) == "Local"
        cluster.writes.clear()
        edit = {"metadata": {"annotations": {"purelb.io/service-group": "default"}}}
        await cluster.patch(SERVICES, "web", edit, "shop")
        await cluster.clock.advance(2.0)
        assert (await policy(cluster), await cluster.addresses()) == ("Cluster", ("192.0.2.10",))
        mine = [path.rpartition("/")[2] for _, path in cluster.writes if "/services/" in path]
        assert mine == ["web", "status"]


async def test_who_sets_local_now_and_then_is_overridden_each_time(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        for _ in range(6):
            await cluster.patch(SERVICES, "web", {"spec": {"externalTrafficPolicy": "Local"}}, "shop")
            await cluster.clock.advance(1.0)
            assert await policy(cluster) == "Cluster"
            await cluster.clock.advance(WITHIN / 2)
        assert "LocalOverrideContested" not in {reason for _, reason, _ in await cluster.events()}


def test_three_within_ten_minutes_are_too_many_and_then_there_is_rest_for_an_hour() -> None:
    overrides = Overrides()
    for at in (0.0, 300.0, 599.0):
        assert not overrides.contested(WEB, at)
        overrides.overridden(WEB, at)
    assert (TRIES, WITHIN, REST) == (3, 600.0, 3600.0)
    assert overrides.rests_until(WEB, 599.5) is None, "nobody has set it again"
    assert overrides.contested(WEB, 599.5)
    assert overrides.rests_until(WEB, 600.0) == 599.5 + REST
    assert overrides.contested(WEB, 599.5 + REST - 1)
    assert overrides.rests_until(WEB, 599.5 + REST) is None
    assert not overrides.contested(WEB, 599.5 + REST)
    overrides.overridden(WEB, 5000.0)
    assert not overrides.contested(WEB, 5001.0), "what was before is forgotten"
    overrides.overridden(key("other"), 0.0)
    overrides.forget(WEB)
    assert overrides.rests_until(WEB, 0.0) is None


async def test_who_allows_local_while_the_override_is_on_its_way_keeps_it(cluster: Cluster) -> None:
    """The write stands on the version that was decided upon: whatever its user said since then comes first."""
    late = Rule(effect=Delay(seconds=1.0), resource="services", verb="patch", subject=ALLOCATOR.name, count=1)
    cluster.core.faults.add(late)
    async with cluster.allocator():
        await cluster.serve(externalTrafficPolicy="Local")
        await cluster.clock.advance(0.5)
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/allow-local": ""}}}, "shop")
        await cluster.clock.advance(5.0)
        assert (await policy(cluster), await cluster.addresses()) == ("Local", ("192.0.2.10",))
        assert [path for _, path in cluster.writes if path.endswith("/services/web")], "it was sent"


async def told_of(cluster: Cluster) -> list[str]:
    return [note for _, reason, note in await cluster.events() if reason == "LocalOverride"]


async def test_who_allows_local_for_the_address_it_has_is_told_each_time_and_never_by_the_next_term(
    cluster: Cluster,
) -> None:
    kept = "purelb.io/allow-local keeps externalTrafficPolicy Local"

    async def allow(value: str | None, policy_of_now: str) -> None:
        edit = {"metadata": {"annotations": {"purelb.io/allow-local": value}}}
        await cluster.patch(SERVICES, "web", {**edit, "spec": {"externalTrafficPolicy": policy_of_now}}, "shop")
        await cluster.clock.advance(2.0)

    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(2.0)
        await allow("", "Cluster")
        assert await told_of(cluster) == [], "there is no Local to keep"
        await allow("", "Local")
        assert (await policy(cluster), await told_of(cluster)) == ("Local", [kept])
        await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"some": "label"}}}, "shop")
        await cluster.clock.advance(2.0)
        assert await told_of(cluster) == [kept], "nothing of it is new"
        await allow("", "Cluster")
        await allow("", "Local")
        assert await told_of(cluster) == [kept, kept]
    async with cluster.allocator():
        await cluster.clock.advance(10.0)
        assert await told_of(cluster) == [kept, kept], "what stands in the Service was told"


@pytest.mark.parametrize(
    ("group", "settings"),
    [
        pytest.param("far", {}, id="no address is local"),
        pytest.param("default", {"external_traffic_policy": "honor"}, id="the allocator overrides nobody"),
    ],
)
async def test_that_local_is_kept_is_told_only_where_it_would_have_been_overridden(
    cluster: Cluster, group: str, settings: dict[str, str]
) -> None:
    noted = {"purelb.io/allow-local": "", "purelb.io/service-group": group}
    async with cluster.allocator(**settings):
        await cluster.serve(externalTrafficPolicy="Local", annotations=noted)
        await cluster.clock.advance(5.0)
        assert len(await cluster.addresses()) == 1
        assert (await policy(cluster), await told_of(cluster)) == ("Local", [])


async def test_who_is_refused_is_not_overridden_whether_it_holds_something_or_not(cluster: Cluster) -> None:
    async with cluster.allocator():
        nowhere = {"purelb.io/addresses": "203.0.113.1"}
        await cluster.serve("nothing", externalTrafficPolicy="Local", annotations=nowhere)
        await cluster.serve()
        await cluster.clock.advance(2.0)
        edit = {"metadata": {"annotations": nowhere}, "spec": {"externalTrafficPolicy": "Local"}}
        await cluster.patch(SERVICES, "web", edit, "shop")
        await cluster.clock.advance(2.0)
        assert (await cluster.allocated())[1:] == (
            "NotInAnyPool",
            "203.0.113.1 is in no ServiceGroup; keeps 192.0.2.10",
        )
        assert [path for _, path in cluster.writes if path.endswith(("/web", "/nothing"))] == []
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/addresses": None}}}, "shop")
        await cluster.clock.advance(2.0)
        assert (await policy(cluster), await cluster.addresses()) == ("Cluster", ("192.0.2.10",))
