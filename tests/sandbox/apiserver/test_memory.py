# SPDX-License-Identifier: Apache-2.0
"""The server in memory under our own client and informer, on virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.errors import Conflict, Expired, TransportError, Unauthorized
from purelb.kube.informer import Informer
from purelb.kube.model import Service
from purelb.kube.resources import SERVICES
from purelb.kube.transport import Request
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.faults import Answer, CutStream, Delay, Expire, LoseAnswer, Older, Rule
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.virtual_clock import VirtualClock

WEB = {"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}


class World:
    def __init__(self, **settings: Any) -> None:
        self.clock = VirtualClock(chance=0.5)
        self.core = ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC), **settings)
        self.transport = MemoryTransport(self.core, clock=self.clock)
        self.client = self.client_with(None)

    def client_with(self, token: str | None) -> ApiClient:
        access = fixed_access("http://memory", token=token)
        return ApiClient(access, user_agent="test", clock=self.clock, transport=self.transport)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with made.client:
        yield made


async def test_our_client_creates_reads_patches_and_deletes(world: World) -> None:
    made = await world.client.create(SERVICES, WEB, namespace="default")
    body = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    rv = made.metadata.resource_version
    after = await world.client.patch(
        SERVICES, "web", body, kind=PatchType.MERGE, namespace="default", subresource="status", rv=rv
    )
    with pytest.raises(Conflict):
        await world.client.patch(
            SERVICES, "web", body, kind=PatchType.MERGE, namespace="default", subresource="status", rv=rv
        )
    assert isinstance(after, Service)
    assert await world.client.get(SERVICES, "web", namespace="default") == after
    await world.client.delete(SERVICES, "web", namespace="default")
    pages = [page async for page in world.client.list_pages(SERVICES)]
    assert [one.metadata.name for page in pages for one in page.objects] == ["kubernetes"]


async def test_our_informer_follows_through_cuts_expiry_and_errors(world: World) -> None:
    informer = Informer(world.client, SERVICES)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(informer.run())
        await world.clock.run_until(lambda: informer.synced)
        for number in range(12):
            effect = CutStream(after_frames=number % 3, clean=bool(number % 2)) if number % 4 else Answer(code=503)
            world.core.faults.add(Rule(effect=effect, verb="watch", count=1))
            body = WEB | {"metadata": {"name": f"s{number}"}}
            await world.client.create(SERVICES, body, namespace="default")
            if number == 6:
                world.core.compact()
            await world.clock.advance(61.0)
        expected = {"default/kubernetes", *(f"default/s{number}" for number in range(12))}
        await world.clock.run_until(lambda: set(informer.store.keys()) == expected)
        await world.client.delete(SERVICES, "s3", namespace="default")
        await world.clock.run_until(lambda: "default/s3" not in set(informer.store.keys()))
        running.cancel()
    assert world.core.due(0.0) is None, "no watch is left open"


async def test_a_delay_passes_on_the_given_clock_and_a_lost_answer_is_a_broken_connection(world: World) -> None:
    world.core.faults.add(Rule(effect=Delay(seconds=4.0), verb="get", count=1))
    start = world.clock.now()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(world.client.get(SERVICES, "kubernetes", namespace="default"))
        await world.clock.run_until(reading.done)
    assert world.clock.now() == start + 4.0
    world.core.faults.add(Rule(effect=LoseAnswer(), verb="create", count=1))
    with pytest.raises(TransportError):
        await world.client.create(SERVICES, WEB, namespace="default")
    made = await world.client.get(SERVICES, "web", namespace="default")
    assert made.metadata.name == "web", "it was carried out"


async def test_tokens_are_looked_at_in_memory_too(world: World) -> None:
    good = world.core.tokens.issue(namespace="default", account="a")
    async with world.client_with(good) as allowed:
        await allowed.get(SERVICES, "kubernetes", namespace="default")
    async with world.client_with("odd") as refused:
        with pytest.raises(Unauthorized):
            await refused.get(SERVICES, "kubernetes", namespace="default")


async def test_a_watch_of_a_forgotten_revision_is_expired_for_our_client(world: World) -> None:
    world.core.compact()
    await world.client.create(SERVICES, WEB, namespace="default")
    world.core.compact()
    request = Request(method="GET", target="/api/v1/services?watch=true&resourceVersion=1")
    async with world.transport.stream(request) as stream:
        [frame] = [msgspec.json.decode(chunk) async for chunk in stream]
    assert (frame["type"], frame["object"]["code"]) == ("ERROR", 410)
    assert issubclass(Expired, Exception)


@pytest.mark.parametrize("opened_at", [0.1, 1.1, 9.2, 9.3, 33.3])
async def test_a_watch_brings_its_bookmark_at_the_minute_whatever_the_clock_reads(
    world: World, opened_at: float
) -> None:
    """(9.2 + 60 + 1000) - 1000 is less than 9.2 + 60: whoever waits for the one must not be told that it is not time yet."""
    await world.clock.advance(opened_at)
    target = f"/api/v1/services?watch=true&allowWatchBookmarks=true&resourceVersion={world.core.revision}"
    async with world.transport.stream(Request(method="GET", target=target)) as stream:
        await world.client.create(SERVICES, WEB, namespace="default")
        assert b"ADDED" in await stream.__aiter__().__anext__()

        async def read() -> bytes:
            return await stream.__aiter__().__anext__()

        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read())
            await world.clock.advance(60.001)
            assert b"BOOKMARK" in reading.result()


@pytest.mark.parametrize("watch_list", ["on", "off", "ignore"])
async def test_our_informer_is_in_step_with_servers_of_each_age(watch_list: str) -> None:
    world = World(watch_list=watch_list)
    async with world.client:
        informer = Informer(world.client, SERVICES)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(informer.run())
            await world.clock.run_until(lambda: informer.synced)
            assert world.clock.now() - 1000.0 < (60.0 if watch_list == "ignore" else 5.0)
            await world.client.create(SERVICES, WEB, namespace="default")
            await world.clock.run_until(lambda: set(informer.store.keys()) == {"default/kubernetes", "default/web"})
            await world.clock.advance(400.0)
            assert set(informer.store.keys()) == {"default/kubernetes", "default/web"}
            running.cancel()


async def test_our_informer_does_not_go_back_with_a_server_that_is_behind(world: World) -> None:
    """After a cut it asks for what it has seen; a server that has not seen that yet says so, and is asked again."""
    informer = Informer(world.client, SERVICES)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(informer.run())
        await world.clock.run_until(lambda: informer.synced)
        world.core.faults.add(Rule(effect=Older(revisions=1), verb="list", count=2))
        await world.client.create(SERVICES, WEB, namespace="default")
        await world.clock.run_until(lambda: "default/web" in set(informer.store.keys()))
        world.core.compact()
        world.core.faults.add(Rule(effect=Expire(), verb="watch", count=1))
        for _ in range(20):
            await world.clock.advance(30.0)
            assert "default/web" in set(informer.store.keys())
        running.cancel()
