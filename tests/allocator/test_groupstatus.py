# SPDX-License-Identifier: Apache-2.0
"""The status of a ServiceGroup: every field says what the ledger and the group say, and it is written no more than it has to be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from purelb.allocator import groupstatus
from purelb.allocator.groups import Groups
from purelb.allocator.ledger import Ledger
from purelb.api.kinds import SERVICE_GROUPS, ServiceGroupStatus
from purelb.kube.model import LabelSelector
from purelb.kube.resources import NAMESPACES, SERVICES
from purelb.sandbox.apiserver.faults import Answer, Rule
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL, group

PATH = "/servicegroups/default/status"


async def status(cluster: Cluster, name: str = "default", namespace: str = INSTALL) -> dict[str, Any]:
    """What is stored, without the time of the condition."""
    answer = await cluster.admin.raw("GET", f"/apis/purelb.io/v2/namespaces/{namespace}/servicegroups/{name}")
    found: dict[str, Any] = msgspec.json.decode(answer.body)["status"]
    for condition in found["conditions"]:
        del condition["lastTransitionTime"]
    return found


def ready(reason: str, message: str, *, is_ready: bool = True, generation: int = 1) -> list[dict[str, Any]]:
    return [
        {
            "type": "Ready",
            "status": "True" if is_ready else "False",
            "reason": reason,
            "message": message,
            "observedGeneration": generation,
        }
    ]


async def test_every_field_is_there_and_says_what_is(cluster: Cluster) -> None:
    entries = {
        "v4pool": {"pool": "192.0.2.10-192.0.2.14", "subnet": "192.0.2.0/24", "exclude": ["192.0.2.14"]},
        "v6pools": [
            {"pool": "2001:db8:0:1::/64", "subnet": "2001:db8:0:1::/64", "excludeFirstLast": True},
            {"pool": "2001:db8:0:2::1", "subnet": "2001:db8:0:2::/64"},
        ],
    }
    spec = {"local": entries, "namespaces": ["shop", "shop", "attic"], "reuseDelay": "10m"}
    spec["namespaceSelector"] = {"matchLabels": {"tier": "gold"}}
    await cluster.create(NAMESPACES, {"metadata": {"name": "mine", "labels": {"tier": "gold"}}})
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "default"}, "spec": spec}, INSTALL)
    async with cluster.allocator():
        for name in ("a", "b", "c"):
            await cluster.serve(name, ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv4", "IPv6"])
        await cluster.clock.advance(2.0)
        await cluster.admin.delete(SERVICES, "b", namespace="shop")
        await cluster.clock.advance(2.0)
        found = await status(cluster)
        assert found == {
            "observedGeneration": 1,
            "conditions": ready("Accepted", "accepted"),
            "announce": "Local",
            "ipam": "Cluster",
            "addresses": ["192.0.2.10-192.0.2.14", "2001:db8:0:1::/64", "2001:db8:0:2::1"],
            "boundNamespaces": ["attic", "mine", "shop"],
            "allocatedIPv4": 2,
            "allocatedIPv6": 2,
            "availableIPv4": 1,
            "availableIPv6": 2**63 - 1,
            "quarantinedIPv4": 1,
            "quarantinedIPv6": 1,
        }
        fields = {field.encode_name for field in msgspec.structs.fields(ServiceGroupStatus)}
        assert fields - found.keys() == {"externalServices"}, "which only a sidecar has"
        await cluster.clock.advance(600.0)
        found = await status(cluster)
        assert (found["availableIPv4"], found["quarantinedIPv4"]) == (2, 0), "the delay is over"


async def test_of_a_group_that_cannot_be_used_only_what_is_known_is_said(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(2.0)
        broken = {"spec": {"local": {"v4pool": {"pool": "192.0.2.9-192.0.2.1"}}}}
        await cluster.patch(SERVICE_GROUPS, "default", broken, INSTALL)
        await cluster.clock.advance(2.0)
        found = await status(cluster)
        (condition,) = found.pop("conditions")
        assert (condition["status"], condition["reason"], condition["observedGeneration"]) == (
            "False",
            "InvalidSpec",
            2,
        )
        assert condition["message"].startswith('v4pool.pool: "192.0.2.9-192.0.2.1" ends before it starts')
        assert found == {
            "observedGeneration": 2,
            "allocatedIPv4": 1,
            "allocatedIPv6": 0,
            "quarantinedIPv4": 0,
            "quarantinedIPv6": 0,
        }


async def test_of_two_refused_groups_of_one_name_the_one_that_would_be_used_shows_what_is_kept(
    cluster: Cluster,
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    backwards = {"spec": {"local": {"v4pool": {"pool": "192.0.2.9-192.0.2.1"}}}}
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.9-192.0.2.1"), "shop")
    async with cluster.allocator(config_scope="all"):
        await cluster.serve()
        await cluster.clock.advance(2.0)
        await cluster.patch(SERVICE_GROUPS, "default", backwards, INSTALL)
        await cluster.clock.advance(2.0)
        assert (await status(cluster))["allocatedIPv4"] == 1
        assert (await status(cluster, namespace="shop"))["allocatedIPv4"] == 0


async def test_the_first_write_is_at_once_and_a_burst_is_one_a_second(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.0/24"), INSTALL)
    async with cluster.allocator():
        await cluster.clock.advance(5.0)
        cluster.writes.clear()
        await cluster.serve("first")
        await cluster.clock.advance(0.1)
        assert sum(path.endswith(PATH) for _, path in cluster.writes) == 1
        for number in range(100):
            await cluster.serve(f"s{number}")
            await cluster.clock.advance(0.05)
        await cluster.clock.advance(2.0)
        assert sum(path.endswith(PATH) for _, path in cluster.writes) <= 8
        assert (await status(cluster))["allocatedIPv4"] == 101


async def test_what_somebody_writes_into_it_is_put_back(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        before = await status(cluster)
        lies = {"status": {"allocatedIPv4": 99, "boundNamespaces": ["everything"], "conditions": []}}
        await cluster.patch(SERVICE_GROUPS, "default", lies, INSTALL, subresource="status")
        await cluster.clock.advance(2.0)
        assert await status(cluster) == before
        for lie in ({"message": "all is lost"}, {"observedGeneration": 9}, {"reason": "Draining"}, {"status": "False"}):
            since = {"lastTransitionTime": "2030-01-01T00:00:00Z"}
            lies = {"status": {"conditions": [{**ready("Accepted", "accepted")[0], **since, **lie}]}}
            await cluster.patch(SERVICE_GROUPS, "default", lies, INSTALL, subresource="status")
            await cluster.clock.advance(2.0)
            assert await status(cluster) == before, lie


@pytest.mark.parametrize(
    ("spec", "stays"),
    [
        pytest.param(pool()["spec"], False, id="a group of this cluster"),
        pytest.param(pool(text="192.0.2.9-192.0.2.1")["spec"], False, id="one that is refused"),
        pytest.param({"external": {"provider": "mine", "announce": "remote"}}, True, id="a sidecar's stays"),
    ],
)
async def test_nobody_holds_an_address_at_a_sidecar_where_there_is_none(
    cluster: Cluster, spec: dict[str, Any], stays: bool
) -> None:
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "default"}, "spec": spec}, INSTALL)
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        before = await status(cluster)
        named = {"externalServices": ["shop/web"]}
        await cluster.patch(SERVICE_GROUPS, "default", {"status": named}, INSTALL, subresource="status")
        cluster.writes.clear()
        await cluster.clock.advance(10.0)
        assert await status(cluster) == (before | named if stays else before)
        assert len([path for _, path in cluster.writes if path.endswith(PATH)]) == (0 if stays else 1)


async def test_it_says_that_a_group_drains_and_what_is_odd_about_it(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool("default", "192.0.2.10-192.0.2.12,192.0.2.12"), INSTALL)
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        (condition,) = (await status(cluster))["conditions"]
        assert condition["reason"] == "AcceptedWithWarnings"
        assert "192.0.2.12" in condition["message"]
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"drain": True}}, INSTALL)
        await cluster.clock.advance(2.0)
        assert (await status(cluster))["conditions"] == ready("Draining", "hands out no new addresses", generation=2)
        told = [reason for name, reason, _ in await cluster.events() if name == "default"]
        assert sorted(told) == ["AcceptedWithWarnings", "Draining"]


@pytest.mark.parametrize("code", [403, 404, 500])
async def test_what_became_of_a_group_is_told_once_however_often_its_status_cannot_be_written(
    cluster: Cluster, code: int
) -> None:
    refused = Rule(effect=Answer(code=code), resource="servicegroups*/status", verb="patch")
    number = cluster.core.faults.add(refused)
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)

    async def told() -> list[str]:
        return [reason for name, reason, _ in await cluster.events() if name == "default"]

    async with cluster.allocator():
        await cluster.clock.advance(1500.0)
        assert len([path for _, path in cluster.writes if path.endswith(PATH)]) > 2, "it was tried again"
        assert await told() == ["Accepted"]
        for drain in (True, None):
            await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"drain": drain}}, INSTALL)
            await cluster.clock.advance(700.0)
        assert sorted(await told()) == ["Accepted", "Accepted", "Draining"]
        cluster.core.faults.remove(number)
        await cluster.clock.advance(700.0)
        assert (await status(cluster))["conditions"] == ready("Accepted", "accepted", generation=3)
        lies: dict[str, Any] = {"status": {"conditions": []}}
        await cluster.patch(SERVICE_GROUPS, "default", lies, INSTALL, subresource="status")
        await cluster.clock.advance(5.0)
        assert (await status(cluster))["conditions"] == ready("Accepted", "accepted", generation=3)
        assert sorted(await told()) == ["Accepted", "Accepted", "Draining"]


@pytest.mark.parametrize("count", [1024, 1025])
def test_of_the_namespaces_that_a_group_serves_1024_are_listed_at_most(count: int) -> None:
    selecting = {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}
    groups = Groups(
        [group(namespaces=["attic"], namespace_selector=msgspec.convert(selecting, LabelSelector))],
        install_namespace=INSTALL,
    )
    (standing,) = groups.standings.values()
    names = tuple(f"n{number:04}" for number in range(count - 1))
    found = groupstatus.desired(standing, groups=groups, ledger=Ledger(), namespaces=names)
    assert found.fields["boundNamespaces"] == ["attic", *names][:1024]
