# SPDX-License-Identifier: Apache-2.0
"""Initial states as the real API server streams them: what is asked, what ends them, and what it refuses."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from hack.api import inside
from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.errors import Invalid
from purelb.kube.informer import Informer
from purelb.kube.resources import CONFIG_MAPS, SERVICES
from purelb.kube.transport import AiohttpTransport, ByteStream, Request, Response
from tests.conformance.streams import Streams
from tests.conformance.test_kube_runtime import beside, open_transports, until
from tests.conformance.test_server_facts import service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hack.api import Api
    from hack.control_plane import ControlPlane

pytestmark = pytest.mark.timeout(120)


class Listening:
    """The real transport, and what went over it."""

    def __init__(self, inner: AiohttpTransport) -> None:
        self._inner = inner
        self.asked: list[str] = []
        self.streams = Streams()

    async def exchange(self, request: Request) -> Response:
        self.asked.append(request.target)
        return await self._inner.exchange(request)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:
        self.asked.append(request.target)
        async with self.streams.follow(self._inner.stream(request)) as body:
            yield body


@asynccontextmanager
async def listening(control_plane: ControlPlane) -> AsyncIterator[tuple[ApiClient, Listening]]:
    with inside(control_plane.netns):
        access = await load_access(kubeconfig=control_plane.kubeconfig)
        async with AiohttpTransport(access.server) as inner:
            transport = Listening(inner)
            yield ApiClient(access, user_agent="conformance", clock=SystemClock(), transport=transport), transport
        await until("its sockets are closed", lambda: open_transports() == [] or open_transports())


async def test_everything_comes_on_one_stream_that_goes_on(
    control_plane: ControlPlane, admin: Api, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    for name in "ab":
        admin.post(path, service(name)).ok()
    async with listening(control_plane) as (client, transport):
        informer = Informer(client, SERVICES, namespace=namespace)

        async def body() -> None:
            await until("it is synced", lambda: informer.synced)
            assert informer.store.keys() == (f"{namespace}/a", f"{namespace}/b")
            admin.post(path, service("c")).ok()
            await until("the watch goes on", lambda: len(informer.store) == 3 or informer.store.keys())

        await beside(informer.run(), body)
        version, stream, *more = transport.asked
        assert len(more) == transport.streams.ended, "only what the server ended is asked for again"
    assert version == "/version"
    assert "sendInitialEvents=true&resourceVersionMatch=NotOlderThan" in stream
    assert "resourceVersion=" not in stream.replace("resourceVersionMatch=", "")


async def test_an_empty_collection_and_one_of_metadata_sync_as_well(
    control_plane: ControlPlane, admin: Api, furnished: str
) -> None:
    namespace = furnished
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    before = len(admin.get(path).ok()["items"])
    async with listening(control_plane) as (client, transport):
        maps = Informer(client, CONFIG_MAPS, namespace=namespace)
        empty = Informer(client, SERVICES, namespace=namespace, labels="nobody=has-it")

        async def body() -> None:
            await until("they are synced", lambda: maps.synced and empty.synced)
            assert (len(maps.store), len(empty.store)) == (before, 0)
            admin.post(path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}}).ok()
            await until("the watch goes on", lambda: f"{namespace}/m" in maps.store)

        async def both() -> None:
            await beside(empty.run(), body)

        await beside(maps.run(), both)
        assert transport.asked.count("/version") == 1
        assert len(transport.asked) == 3 + transport.streams.ended


async def test_an_audit_in_pages_finds_nothing_and_the_watch_goes_on(
    control_plane: ControlPlane, admin: Api, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    admin.post(path, service("a")).ok()
    async with listening(control_plane) as (client, transport):
        informer = Informer(client, SERVICES, namespace=namespace, audit=1.0)

        async def body() -> None:
            await until("it was audited twice", lambda: len([t for t in transport.asked if "limit=" in t]) >= 2)
            admin.post(path, service("b")).ok()
            await until("the watch goes on", lambda: len(informer.store) == 2)

        await beside(informer.run(), body)
        assert informer.last_error == ""


async def test_an_initial_state_without_a_match_is_refused(control_plane: ControlPlane, namespace: str) -> None:
    async with listening(control_plane) as (client, _):
        target = f"/api/v1/namespaces/{namespace}/services"
        query = (("watch", "true"), ("sendInitialEvents", "true"), ("timeoutSeconds", "1"))
        with pytest.raises(Invalid):
            await client.raw("GET", target, query=query)
