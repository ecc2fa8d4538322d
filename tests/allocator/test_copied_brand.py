# SPDX-License-Identifier: Apache-2.0
"""Our brand comes along when a manifest is copied. On a Service that is not ours it proves nothing about what somebody else published there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import pool
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

COPIED = {
    "purelb.io/allocated-by": "PureLB",
    "purelb.io/allocated-from": "default",
    "purelb.io/pool-type": "local",
    "purelb.io/allocated-wish": "any",
}
THEIRS = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}}}


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "before it starts"])
async def test_a_brand_that_was_copied_takes_no_address_from_another_controller(
    cluster: Cluster, running: bool
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await cluster.serve("copy", loadBalancerClass="example.com/lb")
    await cluster.patch(SERVICES, "copy", THEIRS, "shop", subresource="status")
    if not running:
        await cluster.patch(SERVICES, "copy", {"metadata": {"annotations": COPIED}}, "shop")
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        if running:
            await cluster.patch(SERVICES, "copy", {"metadata": {"annotations": COPIED}}, "shop")
            await cluster.clock.advance(2.0)
        assert await cluster.addresses("copy") == ("203.0.113.5",)
        left = (await cluster.service("copy")).metadata.annotations or {}
        assert not COPIED.keys() & left.keys()
        assert [reason for name, reason, _ in await cluster.events() if name == "copy"] == []


@pytest.mark.parametrize(
    ("group_goes", "condition_goes"),
    [
        pytest.param(False, False, id="with its group and its condition"),
        pytest.param(True, False, id="without its group"),
        pytest.param(False, True, id="without its condition, as PureLB (Go) left it"),
    ],
)
async def test_what_we_gave_is_taken_back_from_who_left_while_nobody_led(
    cluster: Cluster, group_goes: bool, condition_goes: bool
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator(lb_class=("example.com/ours",)):
        await cluster.serve("web", loadBalancerClass="example.com/ours")
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.10",)
    if group_goes:
        await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
    if condition_goes:
        await cluster.patch(SERVICES, "web", {"status": {"conditions": None}}, "shop", subresource="status")
    async with cluster.allocator():
        await cluster.clock.advance(5.0)
        assert await cluster.addresses() == ()
        left = (await cluster.service("web")).metadata.annotations or {}
        assert not COPIED.keys() & left.keys()
