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


async def test_who_corrects_a_mistake_by_another_is_told_of_the_other_at_once() -> None:
    cluster = Cluster()
    async with cluster.admin:
        await cluster.prepare()
        await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
        async with cluster.allocator():
            await cluster.serve(annotations={"purelb.io/service-group": "nowhere"})
            await cluster.clock.advance(1.0)
            for name in ("elsewhere", "anywhere"):
                edit = {"metadata": {"annotations": {"purelb.io/service-group": name}}}
                await cluster.patch(SERVICES, "web", edit, "shop")
                await cluster.clock.advance(1.0)
                told = await cluster.says()
                assert told.message == f'ServiceGroup "{name}" does not exist in namespace {INSTALL}'
            writes = cluster.status_writes()
            for number in range(5):
                await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"n": str(number)}}}, "shop")
                await cluster.clock.advance(1.0)
            assert cluster.status_writes() == writes, "an edit that gives no other answer is answered by nothing"


async def test_a_message_that_others_change_waits_for_a_minute() -> None:
    cluster = Cluster()
    async with cluster.admin:
        await cluster.prepare()
        await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.10-192.0.2.11"), INSTALL)
        async with cluster.allocator():
            for name in ("first", "second", "web"):
                await cluster.serve(name)
                await cluster.clock.advance(1.0)
            shrunk = {"spec": {"local": {"v4pool": {"pool": "192.0.2.10"}}}}
            await cluster.patch(SERVICE_GROUPS, "default", shrunk, INSTALL)
            await cluster.clock.advance(30.0)
            waiting = await cluster.says()
            assert waiting.message == "default: 2 of 2 IPv4 addresses in use"
            await cluster.clock.advance(31.0)
            waiting = await cluster.says()
            assert waiting.message == "default: 1 of 1 IPv4 addresses in use"
