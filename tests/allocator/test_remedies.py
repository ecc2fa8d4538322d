# SPDX-License-Identifier: Apache-2.0
"""What changes a refusal really changes it, by itself: for each reason the situation, the remedy that is told, and nothing else.

Whoever waits is not touched, unless the remedy is an edit of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.api import reasons
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.allocator.cluster import Cluster

    Remedy = Callable[[Cluster], Awaitable[object]]

KEY = "purelb.io/allow-shared-ip"
PIN = {"purelb.io/addresses": "192.0.2.10"}
SIX = {"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"}
V6 = {"pool": "2001:db8::10-2001:db8::19", "subnet": "2001:db8::/64"}
ENTRY = {"pool": "192.0.2.10-192.0.2.12", "subnet": "192.0.2.0/24"}
REMOTE = {"metadata": {"name": "default"}, "spec": {"remote": {"v4pool": ENTRY}}}
LOCAL = {"externalTrafficPolicy": "Local"}
SEVERAL = {"purelb.io/multi-pool": "true"}


def edit_group(name: str = "default", **spec: Any) -> Remedy:
    return lambda cluster: cluster.patch(SERVICE_GROUPS, name, {"spec": spec}, INSTALL)


def grow(text: str, **entry: Any) -> Remedy:
    return edit_group(local={"v4pool": {"pool": text, **entry}})


def create(body: Mapping[str, Any]) -> Remedy:
    return lambda cluster: cluster.create(SERVICE_GROUPS, body, INSTALL)


def edit(name: str, *, spec: Mapping[str, Any] | None = None, **noted: str | None) -> Remedy:
    annotations = {f"purelb.io/{word.replace('_', '-')}": text for word, text in noted.items()}
    body = {"metadata": {"annotations": annotations}, "spec": spec or {}}
    return lambda cluster: cluster.patch(SERVICES, name, body, "shop")


def delete(name: str) -> Remedy:
    return lambda cluster: cluster.admin.delete(SERVICES, name, namespace="shop")


def ports(*numbers: int) -> dict[str, Any]:
    return {"ports": [{"port": number, "name": f"p{number}"} for number in numbers]}


def a_node(subnets: str) -> Remedy:
    return lambda cluster: Node(cluster, "n1", subnets).renew()


FULL = pool(text="192.0.2.10")
FENCE = pool("fence", "192.0.2.50", namespaces=["bank"], enforceNamespaces=True)
ALIKE = (pool("a", "192.0.2.50", namespaces=["shop"]), pool("b", "192.0.2.60", namespaces=["shop"]))
RACK = {"metadata": {"name": "default"}, "spec": {"local": {"v4pools": [ENTRY], "multiPool": True}}}
BALANCED = {"metadata": {"name": "default"}, "spec": {"local": {"v4pools": [ENTRY], "balancePools": True}}}

# the groups; who is there first: annotations and spec; who asks: the same; the reason; what helps
ROWS: dict[str, tuple[tuple[Mapping[str, Any], ...], Any, Any, str, Remedy]] = {
    "an annotation is corrected": (
        (pool(),), None, ({"purelb.io/addresses": "x"}, {}), "InvalidRequest", edit("web", addresses=None),
    ),
    "the named group is created": (
        (), None, ({"purelb.io/service-group": "late"}, {}), "UnknownGroup", create(pool("late")),
    ),
    "another one is named": (
        (pool(),), None, ({"purelb.io/service-group": "late"}, {}), "UnknownGroup", edit("web", service_group="default"),
    ),
    "the named group is repaired": (
        (pool(text="192.0.2.9-192.0.2.1"),), None, ({"purelb.io/service-group": "default"}, {}), "GroupNotReady",
        grow("192.0.2.10"),
    ),
    "a group that serves is created": ((), None, ({}, {}), "NoMatchingGroup", create(pool())),
    "a group may be chosen": (
        (pool("some", autoAssign=False),), None, ({}, {}), "NoMatchingGroup", edit_group("some", autoAssign=True),
    ),
    "one is marked as the default": (ALIKE, None, ({}, {}), "AmbiguousGroup", edit_group("b", namespaceDefault=True)),
    "one is given a priority": (ALIKE, None, ({}, {}), "AmbiguousGroup", edit_group("a", priority=1)),
    "one of them goes": (
        ALIKE, None, ({}, {}), "AmbiguousGroup",
        lambda cluster: cluster.admin.delete(SERVICE_GROUPS, "a", namespace=INSTALL),
    ),
    "the fence takes the namespace in": (
        (FENCE,), None, ({"purelb.io/service-group": "fence"}, {}), "NamespaceDenied",
        edit_group("fence", namespaces=["bank", "shop"]),
    ),
    "the fence is torn down": (
        (FENCE,), None, ({"purelb.io/addresses": "192.0.2.50"}, {}), "NamespaceDenied",
        edit_group("fence", enforceNamespaces=False),
    ),
    "a pool grows around the address": (
        (pool(),), None, ({"purelb.io/addresses": "192.0.2.99"}, {}), "NotInAnyPool", grow("192.0.2.0/24"),
    ),
    "the address is excluded no more": (
        ({"metadata": {"name": "default"}, "spec": {"local": {"v4pool": {**ENTRY, "exclude": ["192.0.2.10"]}}}},),
        None, (PIN, {}), "AddressReserved", grow("192.0.2.10-192.0.2.12", exclude=None),
    ),
    "the other family is wanted as well": (
        ({"metadata": {"name": "default"}, "spec": {"local": {"v4pool": ENTRY, "v6pool": V6}}},), None,
        ({"purelb.io/addresses": "2001:db8::10"}, {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}),
        "FamilyMismatch", edit("web", spec={"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}),
    ),
    "a pool of the family is added": ((pool(),), None, ({}, SIX), "FamilyUnavailable", edit_group(local={"v6pool": V6})),
    "the holder goes": ((pool(),), (PIN, {}), (PIN, {}), "InUse", delete("other")),
    "the holder moves": ((pool(),), (PIN, {}), (PIN, {}), "InUse", edit("other", addresses="192.0.2.11")),
    "the holder shares": (
        (pool(),), (PIN, {}), ({**PIN, KEY: "k"}, ports(81)), "InUse", edit("other", allow_shared_ip="k"),
    ),
    "the holder takes the same key": (
        (pool(),), ({**PIN, KEY: "j"}, {}), ({**PIN, KEY: "k"}, ports(81)), "SharingKeyMismatch",
        edit("other", allow_shared_ip="k"),
    ),
    "the request is dropped": (
        (pool(),), ({KEY: "k"}, {}), ({"purelb.io/addresses": "192.0.2.12", KEY: "k"}, ports(81)), "SharingKeyBound",
        edit("web", addresses=None),
    ),
    "the key stands for nothing any more": (
        (pool(),), ({KEY: "k"}, {}), ({"purelb.io/addresses": "192.0.2.12", KEY: "k"}, ports(81)), "SharingKeyBound",
        delete("other"),
    ),
    "the other one gives up the port": (
        (pool(),), ({KEY: "k"}, {}), ({KEY: "k"}, {}), "SharingPortClash", edit("other", spec=ports(81)),
    ),
    "the other one is not Local any more": (
        (REMOTE,), ({KEY: "k"}, {**LOCAL, "selector": {"app": "a"}}),
        ({KEY: "k"}, {**ports(81), "selector": {"app": "b"}}), "SharingPolicyMismatch",
        edit("other", spec={"externalTrafficPolicy": "Cluster"}),
    ),
    "the pool grows": ((FULL,), ({}, {}), ({}, {}), "PoolExhausted", grow("192.0.2.10-192.0.2.11")),
    "an address is freed": ((FULL,), ({}, {}), ({}, {}), "PoolExhausted", delete("other")),
    "another pool is opened": (
        (FULL, pool("more", "192.0.2.60")), ({}, {}), ({}, {}), "PoolExhausted", edit_group("more", autoAssign=True),
    ),
    "the quota is raised": (
        (pool(quotaPerNamespace=1),), ({}, {}), ({}, {}), "QuotaExceeded", edit_group(quotaPerNamespace=2),
    ),
    "the quota is lifted": (
        (pool(quotaPerNamespace=1),), ({}, {}), ({}, {}), "QuotaExceeded", edit_group(quotaPerNamespace=None),
    ),
    "one of the namespace is freed": ((pool(quotaPerNamespace=1),), ({}, {}), ({}, {}), "QuotaExceeded", delete("other")),
    "the drain ends": ((pool(drain=True),), None, ({}, {}), "GroupDraining", edit_group(drain=False)),
    "a node comes up in the subnet": ((RACK,), None, ({}, {}), "NoActiveSubnet", a_node("192.0.2.0/24")),
    "a node of a larger subnet comes up": ((RACK,), None, ({}, {}), "NoActiveSubnet", a_node("192.0.0.0/16")),
    "balancing ends": (
        (BALANCED,), None, (SEVERAL, {}), "MultiPoolRefused", edit_group(remote={"v4pool": ENTRY}, local=None),
    ),
    "the key is dropped": (
        (REMOTE,), None, ({**SEVERAL, KEY: "k"}, {}), "MultiPoolRefused", edit("web", allow_shared_ip=None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ROWS)
async def test_it_is_served_once(cluster: Cluster, what: str) -> None:
    groups, other, (noted, spec), reason, remedy = ROWS[what]
    for body in groups:
        await cluster.create(SERVICE_GROUPS, body, INSTALL)
    async with cluster.allocator():
        if other is not None:
            await cluster.serve("other", annotations=other[0], **other[1])
            await cluster.clock.advance(2.0)
            assert await cluster.addresses("other")
        await cluster.serve(annotations=noted, **spec)
        await cluster.clock.advance(2.0)
        told = await cluster.condition()
        assert told is not None
        assert (told.status, told.reason, await cluster.addresses()) == ("False", reason, ())
        await remedy(cluster)
        await cluster.clock.advance(3.0)
        told = await cluster.condition()
        assert told is not None
        assert (told.status, told.reason) == ("True", "AddressAssigned")
        assert await cluster.addresses()


def test_every_reason_that_an_operator_can_do_something_about_has_a_row() -> None:
    elsewhere = {"IPAMPending", "IPAMUnavailable", "IPAMDenied", "IPAMMisconfigured", "AddressConflict"}
    refusals = {row.name for row in reasons.ALLOCATED_REASONS.values() if not row.status}
    assert {row[3] for row in ROWS.values()} == refusals - elsewhere
