# SPDX-License-Identifier: Apache-2.0
"""What the Events of a Service say is true of it at the time at which they say it."""

from __future__ import annotations

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL


async def test_an_address_that_changes_soon_after_it_was_given_is_told_by_an_event_of_its_own() -> None:
    cluster = Cluster()
    async with cluster.admin:
        await cluster.prepare()
        await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
        async with cluster.allocator():
            await cluster.serve()
            await cluster.clock.advance(30.0)
            wanted = {"metadata": {"annotations": {"purelb.io/addresses": "192.0.2.12"}}}
            await cluster.patch(SERVICES, "web", wanted, "shop")
            await cluster.clock.advance(30.0)
            assert await cluster.addresses() == ("192.0.2.12",)
            told = [note for name, reason, note in await cluster.events() if reason == "AddressAssigned"]
            assert told == ["192.0.2.10 from default", "192.0.2.12 from default"]
