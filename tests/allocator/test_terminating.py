# SPDX-License-Identifier: Apache-2.0
"""A Service that is being deleted, and whose finalizer takes its time: it gets nothing more, keeps what it has, and disturbs nobody."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.allocator.metrics import PENDING
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL

SHARES = {"purelb.io/allow-shared-ip": "k"}


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10/32"),)


async def two_sharers_one_of_which_is_being_deleted(cluster: Cluster) -> None:
    await cluster.serve("leaving", port=80, annotations=SHARES)
    await cluster.clock.advance(1.0)
    await cluster.serve("staying", port=81, annotations=SHARES)
    await cluster.clock.advance(1.0)
    held = {"metadata": {"finalizers": ["example.com/wait"]}}
    await cluster.patch(SERVICES, "leaving", held, "shop")
    await cluster.admin.delete(SERVICES, "leaving", namespace="shop")
    await cluster.clock.advance(1.0)
    assert await cluster.addresses("leaving") == await cluster.addresses("staying") == ("192.0.2.10",)


async def port(cluster: Cluster, name: str, number: int) -> None:
    await cluster.patch(SERVICES, name, {"spec": {"ports": [{"port": number}]}}, "shop")
    await cluster.clock.advance(1.0)


async def test_an_edit_that_disturbs_nobody_takes_nothing_and_its_ports_of_now_count(cluster: Cluster) -> None:
    async with cluster.allocator():
        await two_sharers_one_of_which_is_being_deleted(cluster)
        await port(cluster, "leaving", 82)
        assert await cluster.addresses("leaving") == ("192.0.2.10",)
        await cluster.serve("next", port=82, annotations=SHARES)
        await cluster.serve("other", port=80, annotations=SHARES)
        await cluster.clock.advance(1.0)
        refused = await cluster.says(name="next")
        assert (refused.reason, await cluster.addresses("next")) == ("SharingPortClash", ())
        assert await cluster.addresses("other") == ("192.0.2.10",)
    async with cluster.allocator():
        await cluster.clock.advance(5.0)
        assert await cluster.addresses("leaving") == await cluster.addresses("other") == ("192.0.2.10",)


async def test_an_edit_into_anothers_port_costs_the_address_and_a_restart_changes_nothing(cluster: Cluster) -> None:
    async with cluster.allocator():
        await two_sharers_one_of_which_is_being_deleted(cluster)
        await port(cluster, "leaving", 81)
        assert (await cluster.addresses("leaving"), await cluster.addresses("staying")) == ((), ("192.0.2.10",))
        told = await cluster.says(name="leaving")
        assert told.reason == "SharingPortClash"
        await port(cluster, "leaving", 83)
        assert await cluster.addresses("leaving") == (), "it gets nothing more"
    async with cluster.allocator():
        await cluster.clock.advance(5.0)
        assert (await cluster.addresses("leaving"), await cluster.addresses("staying")) == ((), ("192.0.2.10",))


async def test_it_is_not_written_to_as_long_as_nothing_of_it_changes(cluster: Cluster) -> None:
    async with cluster.allocator():
        await two_sharers_one_of_which_is_being_deleted(cluster)
        cluster.writes.clear()
        await cluster.patch(SERVICES, "leaving", {"metadata": {"labels": {"a": "b"}}}, "shop")
        await cluster.clock.advance(60.0)
        assert not cluster.status_writes("leaving")


DUAL: dict[str, Any] = {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}


@pytest.mark.parametrize(
    ("waits", "address"),
    [
        pytest.param({}, "192.0.2.10", id="an address"),
        pytest.param(DUAL, "2001:db8::10", id="the second of two"),
    ],
)
async def test_who_waits_for_an_address_is_not_passed_over_for_one_that_is_being_deleted(
    cluster: Cluster, waits: dict[str, Any], address: str
) -> None:
    """It is the oldest in line, and gets nothing: whoever is behind it comes next."""
    if waits:
        wide = {"local": {"v4pool": {"pool": "192.0.2.10-192.0.2.19", "subnet": "192.0.2.0/24"}}}
        wide["local"]["v6pool"] = {"pool": "2001:db8::10/128", "subnet": "2001:db8::/64"}
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": wide}, INSTALL)
    async with cluster.allocator() as component:
        for name in ("holds", "leaving", "behind"):
            await cluster.serve(name, **waits)
            await cluster.clock.advance(1.1)
        held = {"metadata": {"finalizers": ["example.com/wait"]}}
        await cluster.patch(SERVICES, "leaving", held, "shop")
        await cluster.admin.delete(SERVICES, "leaving", namespace="shop")
        await cluster.clock.advance(1.0)
        waiting = {each.labels[0]: each.value for each in component.samples() if each.metric == PENDING}
        assert waiting["PoolExhausted"] == 1, "who gets nothing more is no alarm"
        assert address not in await cluster.addresses("behind")
        await cluster.admin.delete(SERVICES, "holds", namespace="shop")
        await cluster.clock.advance(1.0)
        assert address in await cluster.addresses("behind")
        assert address not in await cluster.addresses("leaving")
