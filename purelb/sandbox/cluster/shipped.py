# SPDX-License-Identifier: Apache-2.0
"""What is in the cluster before any pod runs: our kinds, the install namespace, accounts and roles, the nodes, one LBNodeAgent.

Everything is created, or merged into what exists. `manifests` is what deploy/ installs, without the workloads, whose processes the supervisor starts
itself: an installed package has no deploy/ to read, so a test compares them. Roles are stored for people and for kubectl; the sandbox's API server does not
enforce them, `make conformance` does. The LBNodeAgent says which kind of link this kernel makes for a dummy interface, and lists a second interface; on
a kernel that has `dummy` and nodes with one interface it says nothing, as a cluster would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from purelb.allocator.access import access as allocator_access
from purelb.api.crds import all_definitions
from purelb.api.kinds import LB_NODE_AGENTS
from purelb.api.roles import labels_of, people, roles
from purelb.kube.model import PartialObject
from purelb.kube.resources import CRDS, NAMESPACES, Resource
from purelb.lbnodeagent.access import access as lbnodeagent_access
from purelb.sandbox.cluster import objects
from purelb.sandbox.cluster.kubelet import join_node, put
from purelb.sandbox.cluster.programs import INSTALL_NAMESPACE, SYSTEM_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from purelb.kube.client import ApiClient
    from purelb.kube.resources import Access
    from purelb.sandbox.rig.topology import Topology

COMPONENTS: Final[Mapping[str, Callable[[str], Sequence[Access]]]] = {
    "allocator": allocator_access,
    "lbnodeagent": lbnodeagent_access,
}


def _plain(api_version: str, kind: str, *, namespaced: bool) -> Resource[PartialObject]:
    group, _, version = api_version.rpartition("/")
    return Resource(
        group=group, version=version, plural=f"{kind.lower()}s", kind=kind, namespaced=namespaced, type=PartialObject
    )


RBAC: Final = "rbac.authorization.k8s.io/v1"
RESOURCES: Final[Mapping[str, Resource[Any]]] = {
    "Namespace": NAMESPACES,
    "ServiceAccount": _plain("v1", "ServiceAccount", namespaced=True),
    "ClusterRole": _plain(RBAC, "ClusterRole", namespaced=False),
    "ClusterRoleBinding": _plain(RBAC, "ClusterRoleBinding", namespaced=False),
    "Role": _plain(RBAC, "Role", namespaced=True),
    "RoleBinding": _plain(RBAC, "RoleBinding", namespaced=True),
    "CustomResourceDefinition": CRDS,
}


def manifests() -> tuple[objects.Body, ...]:
    """The objects of deploy/ but its workloads, in the order in which they can be made."""
    return (
        objects.namespace(INSTALL_NAMESPACE, labels={"app.kubernetes.io/name": "purelb"}),
        *(objects.service_account(name, namespace=INSTALL_NAMESPACE, labels=labels_of(name)) for name in COMPONENTS),
        *(
            role
            for name, access in COMPONENTS.items()
            for role, _ in roles(name, access(INSTALL_NAMESPACE), namespace=INSTALL_NAMESPACE)
        ),
        *people(),
        *all_definitions().values(),
    )


async def install(client: ApiClient, topology: Topology, *, dummy_kind: str | None) -> None:
    """Put all of it there. Raises KubeError if the server refuses any of it."""
    for body in (*manifests(), objects.service_account("proxy", namespace=SYSTEM_NAMESPACE)):
        await put(client, RESOURCES[body["kind"]], body)
    for place in topology.nodes:
        await join_node(client, place)
    await put(client, LB_NODE_AGENTS, _node_agent(dummy_kind, further=[nic.link for nic in topology.nodes[0].nics[1:]]))


def _node_agent(dummy_kind: str | None, *, further: Sequence[str]) -> objects.Body:
    kind = {} if dummy_kind in {None, "dummy"} else {"dummyKind": dummy_kind}
    interfaces = {"interfaces": list(further)} if further else {}
    return {
        "apiVersion": LB_NODE_AGENTS.api_version,
        "kind": LB_NODE_AGENTS.kind,
        "metadata": {"name": "default", "namespace": INSTALL_NAMESPACE},
        "spec": {"local": {**kind, **interfaces}},
    }
