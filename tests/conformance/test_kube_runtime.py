# SPDX-License-Identifier: Apache-2.0
"""purelb.kube against the real API server: what its own tests ask of a stand-in, asked of the original once more.

Few and broad on purpose: a store equals the server, through paging, an outage and what happened meanwhile; a stale write is
a conflict; of two electors one leads and hands over; an Event is read back as it was written.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from hack.api import inside
from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.elector import Elector, Term
from purelb.kube.informer import Informer
from purelb.kube.lease import Timing
from purelb.kube.model import ObjectReference
from purelb.kube.order import Conflicted, Target, Write, WriteResult, Written
from purelb.kube.recorder import Recorder
from purelb.kube.resources import CONFIG_MAPS, SERVICES
from purelb.kube.writer import Writer
from tests.conformance.test_server_facts import service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from hack.api import Api
    from hack.control_plane import ControlPlane

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def client_of(control_plane: ControlPlane) -> AsyncIterator[ApiClient]:
    """Our client, from the kubeconfig, with its sockets where the server is. It leaves none behind."""
    with inside(control_plane.netns):
        access = await load_access(kubeconfig=control_plane.kubeconfig)
        async with ApiClient(access, user_agent="purelb-conformance", clock=SystemClock()) as client:
            yield client
        # TLS says goodbye in its own time, and the loop may not end before.
        await until("its sockets are closed", lambda: open_transports() == [] or open_transports())


def open_transports() -> list[str]:
    """The loop's transports that still have a socket."""
    gc.collect()
    transports = [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Transport)]
    sockets = [(transport, transport.get_extra_info("socket")) for transport in transports]
    return [repr(transport) for transport, sock in sockets if sock is not None and sock.fileno() != -1]


async def until(what: str, probe: Callable[[], object], *, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while (seen := probe()) is not True:
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}; last seen: {seen!r}"
        await asyncio.sleep(0.02)


async def beside(work: Coroutine[Any, Any, object], body: Callable[[], Awaitable[None]]) -> None:
    """Run `work` as long as `body` takes."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        await body()
        task.cancel()


async def test_a_list_in_pages_is_the_list(control_plane: ControlPlane, admin: Api, furnished: str) -> None:
    namespace = furnished
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for number in range(7):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{number}"}, "data": {"n": str(number)}}
        admin.post(path, body).ok()
    async with client_of(control_plane) as client:
        pages = [page async for page in client.list_pages(CONFIG_MAPS, namespace=namespace, limit=3)]
    names = [item.metadata.name for page in pages for item in page.objects]
    assert names == [item["metadata"]["name"] for item in admin.get(path).ok()["items"]]
    assert len(pages) > 2
    assert len({page.rv for page in pages}) == 1


async def test_a_store_equals_the_server_through_changes_and_an_outage(
    control_plane: ControlPlane, admin: Api, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"

    def versions() -> dict[str, str]:
        items = admin.get(path).ok()["items"]
        return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}

    async with client_of(control_plane) as client:
        informer = Informer(client, SERVICES, namespace=namespace)

        def stored() -> dict[str, str]:
            return {item.metadata.name: item.metadata.resource_version for item in informer.store.values()}

        async def body() -> None:
            admin.post(path, service("a")).ok()
            admin.post(path, service("b")).ok()
            await until("it is synced", lambda: informer.synced)
            admin.patch(f"{path}/a", {"metadata": {"labels": {"x": "y"}}}).ok()
            admin.delete(f"{path}/b").ok()
            admin.post(path, service("c")).ok()
            await until("the store follows", lambda: stored() == versions() or stored())
            control_plane.kill_api_server()
            control_plane.start_api_server()
            admin.post(path, service("d")).ok()
            admin.delete(f"{path}/a").ok()
            await until("the store follows after the outage", lambda: stored() == versions() or stored())
            assert set(stored()) == {"c", "d"}

        await beside(informer.run(), body)


async def test_a_status_write_with_the_newest_version_lands_and_with_an_older_one_is_a_conflict(
    control_plane: ControlPlane, admin: Api, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    old = admin.post(path, service("web")).ok()["metadata"]["resourceVersion"]
    new = admin.patch(f"{path}/web", {"metadata": {"labels": {"x": "y"}}}).ok()["metadata"]["resourceVersion"]
    results: list[WriteResult] = []
    async with client_of(control_plane) as client:
        writer = Writer(client, clock=client.clock)

        async def body() -> None:
            for rv in (old, new):
                writer.submit(
                    Write(
                        target=Target(SERVICES, namespace, "web"),
                        verb="patch",
                        subresource="status",
                        body=b'{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}',
                        rv=rv,
                        reply=results.append,
                    )
                )
            await until("both have a result", lambda: len(results) == 2 or results)

        await beside(writer.run(), body)
    first, second = results
    assert isinstance(first, Conflicted)
    assert isinstance(second, Written)
    assert admin.get(f"{path}/web").ok()["metadata"]["resourceVersion"] == second.rv


async def test_of_two_electors_one_leads_and_the_other_follows_at_once_when_it_ends(
    control_plane: ControlPlane, namespace: str
) -> None:
    leading: list[str] = []
    order: list[str] = []

    async def candidate(client: ApiClient, identity: str) -> None:
        elector = Elector(
            client, namespace=namespace, name="one", identity=identity, clock=client.clock, timing=Timing(15, 10, 2)
        )

        async def term(_: Term) -> None:
            leading.append(identity)
            order.append(identity)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                leading.remove(identity)

        await elector.lead(term)

    async with client_of(control_plane) as client, asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(candidate(client, name)) for name in ("one", "two")}
        await until("one leads", lambda: len(leading) == 1 or leading)
        (first,) = leading
        (second,) = set(tasks) - {first}
        tasks[first].cancel()
        # a clean end gives the lease back: the next one need not wait until it has run out, but for its turn to look
        await until("the other leads", lambda: leading == [second] or leading)
        tasks[second].cancel()
    assert order == [first, second]


async def test_an_event_is_read_back_as_it_was_written(control_plane: ControlPlane, admin: Api, namespace: str) -> None:
    made = admin.post(f"/api/v1/namespaces/{namespace}/services", service("web")).ok()
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    async with client_of(control_plane) as client:
        about = await client.get(SERVICES, "web", namespace=namespace)
        recorder = Recorder(client, controller="purelb-conformance", instance="test", clock=client.clock)

        def told() -> list[Any]:
            """Ours: the controllers have Events of their own to tell."""
            items = admin.get(path).ok()["items"]
            return [item for item in items if item["reportingController"] == "purelb-conformance"]

        async def body() -> None:
            reference = ObjectReference(
                api_version="v1", kind="Service", namespace=namespace, name="web", uid=about.metadata.uid
            )
            recorder.event(reference, type="Normal", reason="AddressAssigned", action="Allocate", note="192.0.2.1")
            await until("it is there", lambda: len(told()) == 1)

        await beside(recorder.run(), body)
    (event,) = told()
    assert (event["type"], event["reason"], event["action"], event["note"]) == (
        "Normal",
        "AddressAssigned",
        "Allocate",
        "192.0.2.1",
    )
    assert event["regarding"]["uid"] == made["metadata"]["uid"]
