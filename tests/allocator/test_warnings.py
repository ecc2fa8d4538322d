# SPDX-License-Identifier: Apache-2.0
"""What people are warned of although they get what they asked for: once, when they ask, and by nobody who starts later."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import EVENTS, SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.ipam import V4, Ipam, netbox
from tests.allocator.objects import INSTALL

PINNED = "192.0.2.11"
MOOT = "purelb.io/addresses decides: purelb.io/service-group default has no effect"
OLD = "spec.loadBalancerIP is deprecated: use the annotation purelb.io/addresses"
AMBIGUOUS = "a, b serve namespace shop and none is marked namespaceDefault: default serves it; mark one of them, or set priority"
KEPT = "purelb.io/allow-local keeps externalTrafficPolicy Local"

WARNINGS = {"ConfigurationWarning", "DeprecationWarning", "LocalOverride"}


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(),)


async def warned(cluster: Cluster, name: str = "web") -> list[tuple[str, str, str, str]]:
    """Reason, type, action and note of the warnings about a Service."""
    found = []
    async for page in cluster.admin.list_pages(EVENTS):
        found += [
            (each.reason, each.type, each.action, each.note)
            for each in page.objects
            for _ in range(each.series.count if each.series else 1)
            if each.regarding is not None and each.regarding.name == name and each.reason in WARNINGS
        ]
    return sorted(found)


CASES = [
    pytest.param(
        {"annotations": {"purelb.io/addresses": PINNED, "purelb.io/service-group": "default"}},
        ("ConfigurationWarning", "Warning", "Allocate", MOOT),
        id="a request makes the group moot",
    ),
    pytest.param(
        {"loadBalancerIP": PINNED}, ("DeprecationWarning", "Normal", "Allocate", OLD), id="the deprecated field"
    ),
    pytest.param(
        {"annotations": {"purelb.io/allow-local": ""}, "externalTrafficPolicy": "Local"},
        ("LocalOverride", "Normal", "Announce", KEPT),
        id="Local is kept",
    ),
]


@pytest.mark.parametrize(("asked", "expected"), CASES)
async def test_who_asks_like_this_is_told_once_and_not_again_by_the_next_term(
    cluster: Cluster, asked: dict[str, Any], expected: tuple[str, str, str, str]
) -> None:
    async with cluster.allocator():
        await cluster.serve(**asked)
        await cluster.clock.advance(5.0)
        assert len(await cluster.addresses()) == 1
        assert await warned(cluster) == [expected]
        await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"some": "label"}}}, "shop")
        await cluster.clock.advance(5.0)
    async with cluster.allocator():
        await cluster.clock.advance(5.0)
        assert await warned(cluster) == [expected]


@pytest.mark.parametrize(
    "noted",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"purelb.io/service-group": "default"}, id="a group"),
        pytest.param({"purelb.io/addresses": PINNED}, id="an address"),
        pytest.param({"purelb.io/allow-local": ""}, id="what would keep Local"),
    ],
)
async def test_who_asks_in_one_way_only_is_warned_of_nothing(cluster: Cluster, noted: dict[str, str]) -> None:
    async with cluster.allocator():
        await cluster.serve(annotations=noted)
        await cluster.clock.advance(5.0)
        assert len(await cluster.addresses()) == 1
        assert await warned(cluster) == []


async def test_who_loses_its_address_is_not_warned_again_of_how_it_asks(cluster: Cluster) -> None:
    shares: dict[str, Any] = {"annotations": {"purelb.io/allow-shared-ip": "k"}, "loadBalancerIP": PINNED}
    async with cluster.allocator():
        for name, port in (("other", 80), ("web", 81)):
            await cluster.serve(name, port=port, **shares)
            await cluster.clock.advance(5.0)
        assert await cluster.addresses() == (PINNED,)
        await cluster.patch(SERVICES, "web", {"spec": {"ports": [{"port": 80}]}}, "shop")
        await cluster.clock.advance(5.0)
        assert (await cluster.addresses(), await cluster.noted("allocated-wish")) == ((), None)
        assert await warned(cluster) == [("DeprecationWarning", "Normal", "Allocate", OLD)]


async def test_an_ambiguous_choice_that_falls_to_the_default_is_told(cluster: Cluster) -> None:
    for number, name in enumerate(("a", "b")):
        await cluster.create(SERVICE_GROUPS, pool(name, f"192.0.2.{50 + number}", namespaces=["shop"]), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(5.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert await warned(cluster) == [("ConfigurationWarning", "Warning", "Allocate", AMBIGUOUS)]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param(
            {"metadata": {"annotations": {"purelb.io/addresses": "192.0.2.10", "purelb.io/service-group": "default"}}},
            ("ConfigurationWarning", "Warning", "Allocate", MOOT),
            id="a request makes the group moot",
        ),
        pytest.param(
            {"spec": {"loadBalancerIP": "192.0.2.10"}},
            ("DeprecationWarning", "Normal", "Allocate", OLD),
            id="the deprecated field",
        ),
    ],
)
async def test_who_begins_to_ask_like_this_for_what_it_has_is_told_as_well(
    cluster: Cluster, edit: dict[str, Any], expected: tuple[str, str, str, str]
) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(5.0)
        await cluster.patch(SERVICES, "web", edit, "shop")
        await cluster.clock.advance(5.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert await warned(cluster) == [expected]
        await cluster.clock.advance(60.0)
    async with cluster.allocator():
        await cluster.clock.advance(5.0)
        assert await warned(cluster) == [expected]


async def test_what_was_taken_over_or_put_back_warns_nobody(cluster: Cluster) -> None:
    """An edit of our record, and a Service that PureLB (Go) left, are written to; nobody has asked for anything."""
    noted = {"purelb.io/allocated-by": "PureLB", "purelb.io/allocated-from": "default", "purelb.io/pool-type": "local"}
    await cluster.serve("left", annotations=noted, loadBalancerIP=PINNED)
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": PINNED}]}}}
    await cluster.patch(SERVICES, "left", ingress, "shop", subresource="status")
    async with cluster.allocator():
        await cluster.serve(loadBalancerIP="192.0.2.10")
        await cluster.clock.advance(5.0)
        before = await warned(cluster)
        assert before == [("DeprecationWarning", "Normal", "Allocate", OLD)]
        edit = {"metadata": {"annotations": {"purelb.io/allocated-wish": "group=elsewhere"}}}
        await cluster.patch(SERVICES, "web", edit, "shop")
        await cluster.clock.advance(5.0)
        assert ((await cluster.service()).metadata.annotations or {})["purelb.io/allocated-wish"] == (
            "addresses=192.0.2.10"
        )
        assert await warned(cluster) == before
        assert await warned(cluster, "left") == []


async def test_who_names_a_group_whose_source_is_asked_for_the_request_is_not_told_that_it_has_no_effect(
    cluster: Cluster,
) -> None:
    cluster.sources = {"netbox": Ipam(cluster.clock)}
    await cluster.create(SERVICE_GROUPS, netbox(), INSTALL)
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/addresses": V4[2], "purelb.io/service-group": "far"})
        await cluster.clock.advance(5.0)
        assert await cluster.addresses() == (V4[2],)
        assert await warned(cluster) == []
