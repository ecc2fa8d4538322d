# SPDX-License-Identifier: Apache-2.0
"""Whatever an operator edits in a group, who has addresses of it keeps them, is not written to in vain, and a restart agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from tests.allocator.cluster import pool
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from purelb.api.kinds import ServiceGroup
    from tests.allocator.cluster import Cluster

DUAL: dict[str, Any] = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}
FOUR = {"pool": "192.0.2.10-192.0.2.19", "subnet": "192.0.2.0/24"}
SIX = {"pool": "2001:db8::10-2001:db8::19", "subnet": "2001:db8::/64"}
HELD = {"one": ("192.0.2.10", "2001:db8::10"), "two": ("192.0.2.11", "2001:db8::11"), "three": ("192.0.2.12",)}
SILENT: dict[str, dict[str, Any]] = {
    "a quota below what is held": {"quotaPerNamespace": 1},
    "a fence for others": {"namespaces": ["bank"], "enforceNamespaces": True},
    "others' namespaces": {"namespaces": ["bank"]},
    "a selector that matches nobody": {"serviceSelector": {"matchLabels": {"tier": "gold"}}},
    "namespaces by a label that none has": {"namespaceSelector": {"matchLabels": {"tier": "gold"}}},
    "not to be chosen": {"autoAssign": False},
    "a priority": {"priority": 7},
    "a drain": {"drain": True},
    "a delay": {"reuseDelay": "1h"},
    "balancing": {"local": {"balancePools": True}},
    "a larger pool": {"local": {"v4pool": {"pool": "192.0.2.0/24"}}},
    "another order of entries": {"local": {"v4pools": [{**FOUR, "pool": "192.0.2.100"}]}},
    "an exclusion of what is free": {"local": {"v4pool": {"exclude": ["192.0.2.15-192.0.2.19"]}}},
}
TOLD: dict[str, dict[str, Any]] = {
    "an exclusion of what is held": {"local": {"v4pool": {"exclude": ["192.0.2.10-192.0.2.19"]}}},
    "a smaller pool": {"local": {"v4pool": {"pool": "192.0.2.99"}, "v6pool": {"pool": "2001:db8::99"}}},
    "a family less": {"local": {"v6pool": None}},
}


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return ({"metadata": {"name": "default"}, "spec": {"local": {"v4pool": FOUR, "v6pool": SIX}}},)


async def served(cluster: Cluster) -> None:
    await cluster.serve("one", **DUAL)
    await cluster.clock.advance(1.0)
    await cluster.serve("two", annotations={"purelb.io/service-group": "default"}, **DUAL)
    await cluster.clock.advance(1.0)
    await cluster.serve("three", annotations={"purelb.io/addresses": "192.0.2.12"})
    await cluster.clock.advance(30.0)  # everything about them was told
    assert {name: await cluster.addresses(name) for name in HELD} == HELD
    cluster.writes.clear()


@pytest.mark.parametrize("what", [*SILENT, *TOLD])
async def test_an_edit_of_their_group_takes_nothing_away(cluster: Cluster, what: str) -> None:
    async with cluster.allocator():
        await served(cluster)
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": (SILENT | TOLD)[what]}, INSTALL)
        await cluster.clock.advance(70.0)
        group: ServiceGroup = await cluster.admin.get(SERVICE_GROUPS, "default", namespace=INSTALL)
        assert group.status is not None
        (ready,) = group.status.conditions or ()
        assert (ready.status, ready.observed_generation) == ("True", 2), "the edit was read, and the group is good"
        assert {name: await cluster.addresses(name) for name in HELD} == HELD
        written = {path.split("/")[-2] for _, path in cluster.writes if "/services/" in path}
        assert bool(written) == (what in TOLD), "who has nothing to be told is not written to"
        for name in HELD:
            found = await cluster.condition(name=name)
            assert found is not None
            assert found.status == "True"
    before = [await cluster.service(name) for name in HELD]
    async with cluster.allocator():
        await cluster.clock.advance(70.0)
        assert [await cluster.service(name) for name in HELD] == before


async def test_a_better_group_moves_nobody(cluster: Cluster) -> None:
    async with cluster.allocator():
        await served(cluster)
        better = pool("better", "192.0.2.200-192.0.2.210", namespaces=["shop"], namespaceDefault=True, priority=1)
        await cluster.create(SERVICE_GROUPS, better, INSTALL)
        await cluster.clock.advance(70.0)
        assert {name: await cluster.addresses(name) for name in HELD} == HELD
        assert not [path for _, path in cluster.writes if "/services/" in path]
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("next") == ("192.0.2.200",)
