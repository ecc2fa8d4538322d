# SPDX-License-Identifier: Apache-2.0
"""Addresses that can serve nobody, in the middle of a pool: given to nobody, and taken from nobody who has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from tests.allocator.desk import Desk
from tests.allocator.objects import INSTALL, group, service, v4

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

POOL = "127.255.255.254-128.0.0.1"


def test_what_can_serve_nobody_is_never_given_and_not_counted_and_a_request_is_told_so() -> None:
    desk = Desk(group("default", v4(POOL, "0.0.0.0/0")))
    refusal = desk.ask(service("asks", annotations={"purelb.io/addresses": "127.255.255.255"}))
    assert refusal is not None
    assert (refusal.reason, refusal.text) == ("AddressReserved", "127.255.255.255 is excluded by default")
    assert desk.ledger.pools.usage("default", 4).free == 2
    assert [desk.get(service(name)) for name in ("a", "b", "c")] == [("128.0.0.0",), ("128.0.0.1",), ()]


async def test_who_has_such_an_address_already_keeps_it(cluster: Cluster) -> None:
    body = {"metadata": {"name": "default"}, "spec": {"local": {"v4pool": {"pool": POOL, "subnet": "0.0.0.0/0"}}}}
    await cluster.create(SERVICE_GROUPS, body, INSTALL)
    notes = {"purelb.io/allocated-by": "PureLB", "purelb.io/allocated-from": "default"}
    await cluster.serve(annotations=notes)
    there = {"status": {"loadBalancer": {"ingress": [{"ip": "127.255.255.254"}]}}}
    await cluster.patch(SERVICES, "web", there, "shop", subresource="status")
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("127.255.255.254",)
        text = "127.255.255.254; 127.255.255.254 is excluded by default"
        assert await cluster.allocated() == ("True", "AddressKept", text)
