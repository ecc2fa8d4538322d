# SPDX-License-Identifier: Apache-2.0
"""What the process sees of the cluster: one informer for each kind it reads. They run across terms, in the standby too.

Of Services it keeps what can matter here and nothing else of their annotations, which others write and which may be large.
"""

from typing import Any

from msgspec import Struct

from purelb.allocator.slimming import slim
from purelb.allocator.state import Stores
from purelb.api import leases
from purelb.api.kinds import LB_NODE_AGENTS, LB_NODE_STATUSES, SERVICE_GROUPS, LBNodeAgent, LBNodeStatus, ServiceGroup
from purelb.kube.client import ApiClient
from purelb.kube.informer import Informer
from purelb.kube.model import Lease, Namespace, Node, Service
from purelb.kube.resources import LEASES, NAMESPACES, NODES, SERVICES


class World(Struct, frozen=True):
    """The informers of the process."""

    services: Informer[Service]
    groups: Informer[ServiceGroup]
    agents: Informer[LBNodeAgent]
    namespaces: Informer[Namespace]
    nodes: Informer[Node]
    reports: Informer[LBNodeStatus]
    leases: Informer[Lease]

    @property
    def stores(self) -> Stores:
        return Stores(
            services=self.services.store,
            groups=self.groups.store,
            agents=self.agents.store,
            namespaces=self.namespaces.store,
            nodes=self.nodes.store,
            reports=self.reports.store,
            leases=self.leases.store,
        )

    def all(self) -> tuple[Informer[Any], ...]:
        """Every informer, in the order in which they are started."""
        return (self.services, self.groups, self.agents, self.namespaces, self.nodes, self.reports, self.leases)


def world_of(client: ApiClient, namespace: str) -> World:
    """The informers, not started. `namespace`: where we are installed.

    Among the leases of the nodes is that of the allocator: what is heard of its renewal proves that a node's would have been heard of.
    """
    return World(
        services=Informer(client, SERVICES, transform=slim),
        groups=Informer(client, SERVICE_GROUPS),
        agents=Informer(client, LB_NODE_AGENTS),
        namespaces=Informer(client, NAMESPACES),
        nodes=Informer(client, NODES),
        reports=Informer(client, LB_NODE_STATUSES, namespace=namespace),
        leases=Informer(
            client, LEASES, namespace=namespace, labels=leases.selector(leases.LBNODEAGENT, leases.ALLOCATOR)
        ),
    )
