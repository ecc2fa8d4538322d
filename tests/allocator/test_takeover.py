# SPDX-License-Identifier: Apache-2.0
"""A cluster that PureLB (Go) leaves behind is taken over without one address moving."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import NAMESPACES, SERVICES
from tests.allocator.cluster import pool
from tests.allocator.objects import INSTALL
from tests.purelb_go import OLD_NAMESPACE, Generation, left_by, moved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.allocator.cluster import Cluster


async def leave(cluster: Cluster, generation: Generation) -> None:
    """Write what PureLB (Go) would have written."""
    left = left_by(generation)
    if OLD_NAMESPACE[generation] != INSTALL:
        await cluster.create(NAMESPACES, {"metadata": {"name": OLD_NAMESPACE[generation]}})
    for body in (*left.groups, *left.agents):
        path = f"/apis/{body['apiVersion']}/namespaces/{body['metadata']['namespace']}/{body['kind'].lower()}s"
        json_type = (("Content-Type", "application/json"),)
        await cluster.admin.raw("POST", path, body=json.dumps(body).encode(), headers=json_type)
    for body in (*left.services, *left.strangers):
        status = {"status": body["status"]}
        await cluster.create(SERVICES, {name: body[name] for name in ("metadata", "spec")}, "shop")
        await cluster.patch(SERVICES, body["metadata"]["name"], status, "shop", subresource="status")


async def stored(cluster: Cluster) -> Mapping[str, Any]:
    """Every Service of the shop by its name, as the API server keeps it."""
    body = await cluster.admin.raw("GET", "/api/v1/namespaces/shop/services")
    return {item["metadata"]["name"]: item for item in json.loads(body.body)["items"]}


@pytest.mark.parametrize("generation", ["v1", "v2"])
async def test_what_purelb_in_go_leaves_is_taken_over_without_one_address_moving(
    cluster: Cluster, generation: Generation
) -> None:
    await leave(cluster, generation)
    before = await stored(cluster)
    settings = {"default_announcer": "PureLB", "config_scope": "all" if generation == "v1" else "install"}
    async with cluster.allocator(**settings):
        await cluster.clock.advance(20.0)
    after = await stored(cluster)
    assert list(moved(before, after)) == []
    ours = {body["metadata"]["name"] for body in left_by(generation).services}
    assert {cluster.status_writes(name) for name in ours} == {1}
    assert [reason for name, reason, _ in await cluster.events() if reason == "AddressAssigned"] == []

    cluster.writes.clear()
    async with cluster.allocator(**settings):
        await cluster.clock.advance(60.0)
        assert not [path for _, path in cluster.writes if path.endswith("/status")], "the second start says nothing new"
        await cluster.serve("newcomer")
        await cluster.clock.advance(1.0)
        (given,) = await cluster.addresses("newcomer")
        taken = {e["ip"] for body in before.values() for e in body["status"]["loadBalancer"]["ingress"]}
        assert given not in taken


@pytest.mark.parametrize("generation", ["v1", "v2"])
async def test_a_word_that_is_neither_true_nor_false_costs_nobody_an_address_that_purelb_in_go_gave(
    cluster: Cluster, generation: Generation
) -> None:
    await leave(cluster, generation)
    ours = {body["metadata"]["name"] for body in left_by(generation).services}
    for name in ours:
        word = {"metadata": {"annotations": {"purelb.io/multi-pool": "yes"}}}
        await cluster.patch(SERVICES, name, word, "shop")
    before = {name: body["status"]["loadBalancer"] for name, body in (await stored(cluster)).items()}
    settings = {"default_announcer": "PureLB", "config_scope": "all" if generation == "v1" else "install"}
    for _ in range(2):
        async with cluster.allocator(**settings):
            await cluster.clock.advance(20.0)
        assert {name: body["status"]["loadBalancer"] for name, body in (await stored(cluster)).items()} == before
    said = {name: (await cluster.allocated(name))[1] for name in ours}
    assert said == dict.fromkeys(ours, "InvalidRequest")


async def holds(cluster: Cluster, name: str, *ips: str, **service: Any) -> None:
    """A Service as PureLB (Go) leaves it whose user has edited it since: it never looked at one that had its address."""
    await cluster.serve(name, **service)
    brand = {"annotations": {"purelb.io/allocated-by": "PureLB"}}
    ingress = [{"ip": ip} for ip in ips]
    edit = {"metadata": brand, "status": {"loadBalancer": {"ingress": ingress}}}
    await cluster.patch(SERVICES, name, edit, "shop", subresource="status")


def asking(text: str) -> dict[str, Any]:
    return {"annotations": {"purelb.io/addresses": text}}


async def test_an_address_that_was_asked_for_in_vain_before_we_came_moves_nobody(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.10-192.0.2.40"), INSTALL)
    await holds(cluster, "another", "192.0.2.10", **asking("192.0.2.30"))
    await holds(cluster, "deprecated", "192.0.2.11", loadBalancerIP="192.0.2.31")
    await holds(cluster, "fewer", "192.0.2.12", "192.0.2.13", **asking("192.0.2.13"))
    await holds(cluster, "more", "192.0.2.14", **asking("192.0.2.34,192.0.2.14"))
    held = {name: await cluster.addresses(name) for name in ("another", "deprecated", "fewer")}
    for _ in range(2):
        async with cluster.allocator():
            await cluster.clock.advance(20.0)
            assert {name: await cluster.addresses(name) for name in held} == held
            assert await cluster.addresses("more") == ("192.0.2.34", "192.0.2.14")
            assert await cluster.noted("allocated-wish", "another") == "addresses=192.0.2.30"
    assert "AddressReleased" not in {reason for _, reason, _ in await cluster.events()}

    async with cluster.allocator():
        for name, annotations in (
            ("another", {"purelb.io/re-evaluate": "true"}),
            ("deprecated", {"purelb.io/addresses": "192.0.2.32"}),
            ("fewer", {"purelb.io/addresses": None}),
        ):
            await cluster.patch(SERVICES, name, {"metadata": {"annotations": annotations}}, "shop")
        await cluster.clock.advance(2.0)
        now = {name: await cluster.addresses(name) for name in held}
        asked = {"another": ("192.0.2.30",), "deprecated": ("192.0.2.32",), "fewer": ("192.0.2.12",)}
        assert now == asked, "whoever asks after that is heard"
