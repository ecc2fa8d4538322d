# SPDX-License-Identifier: Apache-2.0
"""`kubectl replace` while nobody leads: our annotations are gone with the manifest that lacked them, our status is not.

What stood in the status is the Service's still, also where it could not be given today; somebody else's address is taken by nobody.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from purelb.allocator import publish, refusals
from purelb.allocator.observed import says_we_gave
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.model import Condition, Service
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL, ip, service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.allocator.refusals import Refusal

SHARED = {"purelb.io/allow-shared-ip": "k"}


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(),)


async def put(cluster: Cluster, annotations: Mapping[str, str] | None = None, name: str = "web") -> None:
    """Replace a Service as a whole by its manifest."""
    path = f"/api/v1/namespaces/shop/services/{name}"
    manifest = json.loads((await cluster.admin.raw("GET", path)).body)
    manifest["metadata"]["annotations"] = dict(annotations or {})
    del manifest["status"]
    body = json.dumps(manifest).encode()
    await cluster.admin.raw("PUT", path, body=body, headers=[("content-type", "application/json")])
    assert "purelb.io/allocated-by" not in ((await cluster.service(name)).metadata.annotations or {})


async def fence(cluster: Cluster) -> None:
    await cluster.patch(
        SERVICE_GROUPS, "default", {"spec": {"namespaces": ["other"], "enforceNamespaces": True}}, INSTALL
    )


async def shrink(cluster: Cluster) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": pool(text="192.0.2.12/32")["spec"]}, INSTALL)


async def drain(cluster: Cluster) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"drain": True}}, INSTALL)


@pytest.mark.parametrize("spec", [{"loadBalancerClass": None}, {}], ids=["without a class", "with our class"])
@pytest.mark.parametrize("meanwhile", [fence, shrink, drain])
async def test_what_could_not_be_given_today_stays_where_it_is(
    cluster: Cluster, meanwhile: Any, spec: dict[str, Any]
) -> None:
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.serve(**spec)
        await cluster.clock.advance(1.0)
        before = (await cluster.service()).metadata.annotations or {}
    await meanwhile(cluster)
    await put(cluster)
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        noted = (await cluster.service()).metadata.annotations or {}
        assert noted.get("purelb.io/allocated-by") == "PureLB", "nobody announces what carries no brand"
        if meanwhile is not shrink:  # nothing but the lost annotations said where a stray came from
            assert noted == before
        await cluster.serve("next", annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("next") == ()
        assert "ForeignIngress" not in {reason for _, reason, _ in await cluster.events()}


@pytest.mark.parametrize("leads", [True, False], ids=["while we lead", "while nobody leads"])
async def test_an_address_that_the_new_manifest_asks_for_is_given(cluster: Cluster, *, leads: bool) -> None:
    """Who asked in vain before we came carries no condition of ours."""
    async with cluster.allocator():
        await cluster.serve()
        await cluster.serve("late")
        await cluster.clock.advance(1.0)
        if leads:
            await put(cluster, {"purelb.io/addresses": "192.0.2.12"})
            await cluster.clock.advance(1.0)
    if not leads:
        await put(cluster, {"purelb.io/addresses": "192.0.2.12"})
    await put(cluster, {"purelb.io/addresses": "192.0.2.13"}, "late")
    for _ in range(2):
        async with cluster.allocator():
            await cluster.clock.advance(90.0)
            assert await cluster.addresses() == ("192.0.2.12",)
            told = "192.0.2.13 is in no ServiceGroup; keeps 192.0.2.11"
            assert await cluster.allocated("late") == ("False", "NotInAnyPool", told)


async def test_who_was_refused_a_change_keeps_what_its_condition_says_it_keeps(cluster: Cluster) -> None:
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.serve(loadBalancerClass=None)
        await cluster.clock.advance(1.0)
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/addresses": "x"}}}, "shop")
        await cluster.clock.advance(1.0)
    await fence(cluster)
    await put(cluster)
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert ((await cluster.service()).metadata.annotations or {}).get("purelb.io/allocated-by") == "PureLB"


async def shared(cluster: Cluster) -> None:
    """Two Services share an address, and then nobody leads."""
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.serve("older", annotations=SHARED, loadBalancerClass=None)
        await cluster.clock.advance(1.0)
        await cluster.serve(annotations=SHARED, port=81, loadBalancerClass=None)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)


async def test_a_share_that_lost_its_key_with_the_manifest_stays_and_is_contested(cluster: Cluster) -> None:
    await shared(cluster)
    await put(cluster)
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.clock.advance(2.0)
        assert await cluster.addresses("older") == await cluster.addresses() == ("192.0.2.10",)
        assert ((await cluster.service()).metadata.annotations or {}).get("purelb.io/allocated-by") == "PureLB"


async def test_a_share_whose_new_manifest_takes_the_others_port_gets_another_address(cluster: Cluster) -> None:
    await shared(cluster)
    await cluster.patch(SERVICES, "web", {"spec": {"ports": [{"port": 80}]}}, "shop")
    await put(cluster)
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.clock.advance(2.0)
        assert await cluster.addresses("older") == ("192.0.2.10",)
        assert await cluster.addresses() == ("192.0.2.11",)
        assert ("web", "AddressConflict") in {event[:2] for event in await cluster.events()}


@pytest.mark.parametrize(
    "theirs",
    [
        pytest.param([{"ip": "192.0.2.11", "ipMode": "VIP"}], id="another address of the pool"),
        pytest.param([{"ip": "192.0.2.10"}, {"ip": "203.0.113.1"}], id="ours and another"),
        pytest.param([{"ip": "192.0.2.10"}, {"hostname": "lb.example"}], id="ours and a hostname"),
    ],
)
async def test_what_our_condition_does_not_name_is_somebody_elses(
    cluster: Cluster, theirs: list[dict[str, str]]
) -> None:
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.serve(loadBalancerClass=None)
        await cluster.clock.advance(1.0)
    await fence(cluster)
    await put(cluster)
    status = {"status": {"loadBalancer": {"ingress": theirs}}}
    await cluster.patch(SERVICES, "web", status, "shop", subresource="status")
    before = await cluster.service()
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.clock.advance(2.0)
        after = await cluster.service()
        assert after.status is not None
        assert before.status is not None
        assert after.status.load_balancer == before.status.load_balancer
        assert not after.metadata.annotations
        assert "ForeignIngress" in {reason for _, reason, _ in await cluster.events()}


def told(ingress: tuple[str, ...], named: tuple[str, ...], refusal: Refusal | None, *, partial: bool) -> Service:
    """A Service with this ingress and the condition that the allocator writes for the named addresses."""
    addresses = tuple(map(ip, named))
    groups = tuple(None if text.endswith((".89", ".99")) else "default" for text in named)
    excluded_by = {ip(text): "default" for text in named if text.endswith(".89")}
    said = publish.allocated(addresses, groups, refusal, partial=partial, missing="IPv6", excluded_by=excluded_by)
    condition = Condition(type="purelb.io/Allocated", status=str(said.status), reason=said.reason, message=said.message)
    found = service(ingress=ingress)
    assert found.status is not None
    return replace(found, status=replace(found.status, conditions=(condition,)))


@pytest.mark.parametrize(
    ("named", "refusal", "partial"),
    [
        pytest.param(("192.0.2.10",), None, False, id="assigned"),
        pytest.param(("192.0.2.10", "192.0.2.11"), None, False, id="two"),
        pytest.param(("192.0.2.10",), refusals.family_unavailable("default", 6), True, id="partially"),
        pytest.param(("192.0.2.99",), None, False, id="kept"),
        pytest.param(("192.0.2.89",), None, False, id="excluded"),
        pytest.param(("192.0.2.89", "192.0.2.99"), None, False, id="kept and excluded"),
        pytest.param(("192.0.2.10",), refusals.group_draining("default"), False, id="refused, keeps it"),
    ],
)
def test_each_message_that_names_addresses_proves_that_we_gave_them_and_no_others(
    named: tuple[str, ...], refusal: Refusal | None, partial: bool
) -> None:
    assert says_we_gave(told(named, named, refusal, partial=partial))
    for other in (("192.0.2.1",), (*named, "192.0.2.98"), ("192.0.2.98", *named), ()):
        assert not says_we_gave(told(other, named, refusal, partial=partial))


def test_a_refusal_that_names_an_address_proves_nothing() -> None:
    refused = refusals.excluded(ip("192.0.2.10"), "default")
    assert not says_we_gave(told(("192.0.2.10",), (), refused, partial=False))
