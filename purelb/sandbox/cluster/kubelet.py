# SPDX-License-Identifier: Apache-2.0
"""Tells the API server what the supervisor knows: nodes, pods, and the endpoints behind Services.

One task takes keys from a queue and makes the API agree with the present state, whatever happened before; a write that fails is tried again with a growing
delay. Another asks every program's /readyz. So an object that somebody deletes stays gone until its program changes, as with a static pod.

It awaits the API in its step, which a component's owner must not do: it decides nothing that could be overtaken, it repeats what is the case.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from purelb.kube.client import ApiClient, PatchType
from purelb.kube.errors import AlreadyExists, KubeError, NotFound
from purelb.kube.informer import Informer
from purelb.kube.queue import WorkQueue
from purelb.kube.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from purelb.sandbox.cluster import objects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from purelb.kube.clock import Clock
    from purelb.kube.model import KubeObject, LoadBalancerIngress, Service
    from purelb.kube.resources import Resource
    from purelb.sandbox.cluster.keeper import Keeper
    from purelb.sandbox.cluster.programs import Program
    from purelb.sandbox.rig.topology import NodePlace, Topology

PROBE_EVERY_STARTING_S: Final = 0.2
PROBE_EVERY_READY_S: Final = 2.0
PROBE_LIMIT_S: Final = 1.5

log = logging.getLogger(__name__)


class PodKey(msgspec.Struct, frozen=True):
    name: str


class ServiceKey(msgspec.Struct, frozen=True):
    namespace: str
    name: str


def now_text() -> str:
    """Wall time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def put(client: ApiClient, resource: Resource[Any], body: objects.Body) -> KubeObject:
    """Create the object, or merge-patch it when it exists; the answer is what is stored."""
    meta: Mapping[str, str] = body["metadata"]
    namespace = meta.get("namespace")
    try:
        stored: KubeObject = await client.create(resource, body, namespace=namespace)
    except AlreadyExists:
        stored = await client.patch(resource, meta["name"], body, kind=PatchType.MERGE, namespace=namespace)
    return stored


async def join_node(client: ApiClient, place: NodePlace) -> None:
    await put(client, NODES, objects.node(place))
    status = objects.node_status(place, at=now_text())
    await client.patch(NODES, place.name, status, kind=PatchType.MERGE, subresource="status")


class Kubelet:
    """`keepers` by pod name; the mapping may still be filled after construction, until `run`.

    `reaches_api`: a node that does not could not tell whether its pods are ready, so they are not asked.
    """

    def __init__(
        self,
        client: ApiClient,
        topology: Topology,
        keepers: Mapping[str, Keeper],
        *,
        clock: Clock,
        reaches_api: Callable[[str], bool],
    ) -> None:
        self._client = client
        self._topology = topology
        self._keepers = keepers
        self._reaches_api = reaches_api
        self._queue: WorkQueue[PodKey | ServiceKey] = WorkQueue(clock=clock)
        self._known: set[ServiceKey] = set()
        self.services = Informer(client, SERVICES)
        self.services.add_handler(self)
        self._written: dict[ServiceKey, tuple[objects.Body, ...]] = {}

    async def admit(self, program: Program) -> str:
        """Store the program's Pod; the answer is its uid."""
        return (await put(self._client, PODS, objects.pod(program))).metadata.uid

    def changed(self, program: Program) -> None:
        """A program started, ended, or became ready or not."""
        self._queue.add(PodKey(program.pod))
        for service in self._known:
            self._queue.add(service)

    def shown(self) -> tuple[Mapping[str, Any], ...]:
        """Every Service of type LoadBalancer with its addresses, for people."""
        return tuple(
            {
                "namespace": service.metadata.namespace,
                "name": service.metadata.name,
                "addresses": [entry.ip for entry in _ingress(service) if entry.ip],
                "ports": [f"{port.port}/{port.protocol}" for port in service.spec.ports or ()],
            }
            for service in self.services.store.values()
            if service.spec is not None and service.spec.type == "LoadBalancer"
        )

    # Handler of Services

    def added(self, obj: Service, initial: bool) -> None:  # noqa: ARG002, FBT001  as the protocol has it
        self._known.add(_service_key(obj))
        self._queue.add(_service_key(obj))

    def updated(self, old: Service, new: Service) -> None:  # noqa: ARG002  as the protocol has it
        self._queue.add(_service_key(new))

    def deleted(self, obj: Service, final: bool) -> None:  # noqa: ARG002, FBT001  as the protocol has it
        self._known.discard(_service_key(obj))
        self._queue.add(_service_key(obj))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.services.run(), name="kubelet:services")
            group.create_task(self._write(), name="kubelet:write")
            for keeper in self._keepers.values():
                if keeper.program.probe is not None:
                    group.create_task(self._probe(keeper), name=f"kubelet:probe:{keeper.program.pod}")

    async def _probe(self, keeper: Keeper) -> None:
        """Ask the program's /readyz for ever: often until it is ready, then now and then."""
        limit = aiohttp.ClientTimeout(total=PROBE_LIMIT_S)
        async with aiohttp.ClientSession(timeout=limit, connector=aiohttp.TCPConnector(force_close=True)) as session:
            while True:
                if keeper.state.running and self._reaches_api(keeper.program.node):
                    ready, reason = await _ask(session, keeper.program.probe or "")
                    if self._reaches_api(keeper.program.node):  # not cut meanwhile
                        keeper.probed(ready=ready, reason=reason)
                await asyncio.sleep(PROBE_EVERY_READY_S if keeper.state.ready else PROBE_EVERY_STARTING_S)

    async def _write(self) -> None:
        while True:
            wanted = await self._queue.get()
            try:
                match wanted:
                    case PodKey():
                        await self._write_pod(self._keepers[wanted.name])
                    case ServiceKey():
                        await self._write_slices(wanted)
            except KubeError as error:
                log.warning("cannot write %s: %s", wanted, error)
                self._queue.add_rate_limited(wanted)
            else:
                self._queue.forget(wanted)
            finally:
                self._queue.done(wanted)

    async def _write_pod(self, keeper: Keeper) -> None:
        program = keeper.program
        host = str(self._topology.node(program.node).addresses[0])
        status = objects.pod_status(program, keeper.state, host_ip=host, at=now_text())
        try:
            await self._patch_pod(program, status)
        except NotFound:
            await put(self._client, PODS, objects.pod(program))
            await self._patch_pod(program, status)

    async def _patch_pod(self, program: Program, status: objects.Body) -> None:
        await self._client.patch(
            PODS, program.pod, status, kind=PatchType.MERGE, namespace=program.namespace, subresource="status"
        )

    async def _write_slices(self, wanted: ServiceKey) -> None:
        service = self.services.store.get(f"{wanted.namespace}/{wanted.name}")
        ready = [(keeper.program, keeper.state.ready) for keeper in self._keepers.values()]
        desired = () if service is None else objects.slices(service, ready)
        before = self._written.get(wanted, ())
        if desired == before:
            return
        for body in desired:
            await put(self._client, ENDPOINT_SLICES, body)
        names = {body["metadata"]["name"] for body in desired}
        for body in before:
            if (name := body["metadata"]["name"]) not in names:
                await self._forget(wanted.namespace, name)
        self._written[wanted] = desired
        if not desired:
            del self._written[wanted]

    async def _forget(self, namespace: str, name: str) -> None:
        try:
            await self._client.delete(ENDPOINT_SLICES, name, namespace=namespace)
        except NotFound:
            log.debug("slice %s/%s was gone already", namespace, name)


def _ingress(service: Service) -> tuple[LoadBalancerIngress, ...]:
    status = service.status
    return () if status is None or status.load_balancer is None else status.load_balancer.ingress or ()


def _service_key(service: Service) -> ServiceKey:
    return ServiceKey(service.metadata.namespace, service.metadata.name)


async def _ask(session: aiohttp.ClientSession, url: str) -> tuple[bool, str]:
    """Whether it is ready, and if not what it said, or why it could not be asked."""
    try:
        async with session.get(url) as response:
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return False, f"not answering yet: {str(error) or type(error).__name__}"
    if response.status == 200:
        return True, ""
    return False, " ".join(text.split())[:300]
