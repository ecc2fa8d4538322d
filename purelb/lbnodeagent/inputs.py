# SPDX-License-Identifier: Apache-2.0
"""The stores that the owner reads, and how a change in each becomes a key on its queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.api import leases
from purelb.api.kinds import LB_NODE_AGENTS, SERVICE_GROUPS
from purelb.kube import model
from purelb.kube.informer import Informer, InformerSet, enqueue
from purelb.kube.queue import LIVE, URGENT
from purelb.kube.resources import ENDPOINT_SLICES, LEASES, NODES, SERVICES
from purelb.lbnodeagent import keys
from purelb.lbnodeagent.endpoints import SERVICE_NAME
from purelb.lbnodeagent.slimming import slim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from purelb.api.kinds import LBNodeAgent, ServiceGroup
    from purelb.kube.client import ApiClient
    from purelb.kube.queue import WorkQueue


class _Urgent:
    """What a peer says of itself (that it drains, what it offers) goes before a thousand Services that changed."""

    def __init__(self, queue: WorkQueue[keys.Key]) -> None:
        self._queue = queue

    def add(self, key: keys.Key, *, priority: int = LIVE) -> None:
        self._queue.add(key, priority=URGENT if priority == LIVE else priority)


class Inputs:
    """Informers of everything the agent reads. Leases decide exclusively, so their first list is a quorum read.

    Slices are not among `informers`: they are watched only once some claim needs them.
    """

    def __init__(
        self, client: ApiClient, queue: WorkQueue[keys.Key], *, node: str, namespace: str, scope: str = "install"
    ) -> None:
        own = namespace if scope == "install" else None
        self.informers = InformerSet(client)
        self.services: Informer[model.Service] = self.informers.add(Informer(client, SERVICES, transform=slim))
        self.groups: Informer[ServiceGroup] = self.informers.add(Informer(client, SERVICE_GROUPS, namespace=own))
        self.agents: Informer[LBNodeAgent] = self.informers.add(Informer(client, LB_NODE_AGENTS, namespace=own))
        self.nodes: Informer[model.Node] = self.informers.add(Informer(client, NODES, fields=f"metadata.name={node}"))
        self.leases: Informer[model.Lease] = self.informers.add(
            Informer(
                client,
                LEASES,
                namespace=namespace,
                labels=f"{leases.COMPONENT_LABEL}={leases.LBNODEAGENT}",
                consistent=True,
            )
        )
        self.slices: Informer[model.EndpointSlice] = Informer(
            client, ENDPOINT_SLICES, labels=SERVICE_NAME, indices={SERVICE_NAME: _service_of}
        )
        self.services.add_handler(enqueue(queue, lambda service: (keys.Svc(model.key(service)),)))
        self.groups.add_handler(enqueue(queue, lambda _: (keys.Config(),)))
        self.agents.add_handler(enqueue(queue, lambda _: (keys.Config(),)))
        self.nodes.add_handler(enqueue(queue, lambda _: (keys.Config(),)))
        self.leases.add_handler(enqueue(_Urgent(queue), _peer))
        self.slices.add_handler(enqueue(queue, lambda part: tuple(keys.Endpoints(name) for name in _service_of(part))))

    @property
    def synced(self) -> bool:
        return self.informers.synced

    def laggards(self) -> Iterator[tuple[str, str]]:
        """What is not synced yet, and its last error."""
        for informer in self.informers:
            if not informer.synced:
                yield informer.resource.name, informer.last_error


def _peer(lease: model.Lease) -> tuple[keys.Key, ...]:
    node = leases.node_of_lease(lease.metadata.name)
    return (keys.Peer(node),) if node is not None else ()


def _service_of(part: model.EndpointSlice) -> tuple[str, ...]:
    name = model.labels(part).get(SERVICE_NAME)
    return (f"{part.metadata.namespace}/{name}",) if name else ()
