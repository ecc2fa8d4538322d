# SPDX-License-Identifier: Apache-2.0
"""What is in the cluster before any pod runs: our kinds, the install namespace, the accounts, the nodes, one LBNodeAgent.

Everything is created, or merged into what exists. The LBNodeAgent says which kind of link this kernel makes for a dummy interface; on a kernel that has
`dummy` it says nothing, as a cluster would. Rights are not granted, because the sandbox's API server does not enforce them: `make conformance` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from purelb.api.crds import all_definitions
from purelb.api.kinds import LB_NODE_AGENTS
from purelb.kube.model import PartialObject
from purelb.kube.resources import CRDS, NAMESPACES, Resource
from purelb.sandbox.cluster import objects
from purelb.sandbox.cluster.kubelet import join_node, put
from purelb.sandbox.cluster.programs import INSTALL_NAMESPACE, SYSTEM_NAMESPACE

if TYPE_CHECKING:
    from purelb.kube.client import ApiClient
    from purelb.sandbox.rig.topology import Topology

SERVICE_ACCOUNTS: Final = Resource(
    group="", version="v1", plural="serviceaccounts", kind="ServiceAccount", namespaced=True, type=PartialObject
)
ACCOUNTS: Final = (
    (INSTALL_NAMESPACE, "allocator"),
    (INSTALL_NAMESPACE, "lbnodeagent"),
    (SYSTEM_NAMESPACE, "proxy"),
)


async def install(client: ApiClient, topology: Topology, *, dummy_kind: str | None) -> None:
    """Put all of it there. Raises KubeError if the server refuses any of it."""
    await put(client, NAMESPACES, objects.namespace(INSTALL_NAMESPACE))
    for namespace, name in ACCOUNTS:
        await put(client, SERVICE_ACCOUNTS, objects.service_account(name, namespace=namespace))
    for definition in all_definitions().values():
        await put(client, CRDS, definition)
    for place in topology.nodes:
        await join_node(client, place)
    await put(client, LB_NODE_AGENTS, _node_agent(dummy_kind))


def _node_agent(dummy_kind: str | None) -> objects.Body:
    kind = {} if dummy_kind in {None, "dummy"} else {"dummyKind": dummy_kind}
    return {
        "apiVersion": LB_NODE_AGENTS.api_version,
        "kind": LB_NODE_AGENTS.kind,
        "metadata": {"name": "default", "namespace": INSTALL_NAMESPACE},
        "spec": {"local": kind},
    }
