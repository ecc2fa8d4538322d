# SPDX-License-Identifier: Apache-2.0
"""What the agent may ask of the API server, and why. The client refuses the rest; RBAC is made from the same rows."""

from typing import Final

from purelb.api.words import GROUP
from purelb.kube.resources import Access

_READ: Final = ("get", "list", "watch")


def access(namespace: str, *, scope: str = "install") -> tuple[Access, ...]:
    """The rows of an agent whose install namespace is `namespace`."""
    return (
        Access(resource="services", verbs=_READ, reason="know what to announce here"),
        Access(
            group="discovery.k8s.io",
            resource="endpointslices",
            verbs=_READ,
            reason="know which nodes have endpoints, for externalTrafficPolicy Local and node affinity",
        ),
        Access(resource="nodes", verbs=_READ, reason="read labels, taints and conditions of the own Node"),
        Access(group=GROUP, resource="servicegroups", verbs=_READ, reason="know how an address is announced"),
        Access(group=GROUP, resource="lbnodeagents", verbs=_READ, reason="read the configuration of this node"),
        Access(
            group="events.k8s.io",
            resource="events",
            verbs=("create", "patch"),
            namespaces=None if scope == "all" else (namespace,),
            reason="say what is wrong with an LBNodeAgent",
        ),
        Access(
            group="coordination.k8s.io",
            resource="leases",
            verbs=("get", "list", "watch", "create", "patch", "delete"),
            namespaces=(namespace,),
            reason="keep and watch membership",
        ),
        Access(
            group=GROUP,
            resource="lbnodestatuses",
            verbs=("get", "create", "patch"),
            namespaces=(namespace,),
            reason="report what this node announces; deleted with its Node by the garbage collector",
        ),
    )
