# SPDX-License-Identifier: Apache-2.0
"""What the allocator may ask of the API server, and why. The client refuses anything else, and the RBAC rules are made from these rows."""

from collections.abc import Sequence

from purelb.api import leases
from purelb.api.words import GROUP
from purelb.kube.resources import Access

_READ = ("get", "list", "watch")


def access(install_namespace: str) -> Sequence[Access]:
    """The table, for an allocator installed in a namespace."""
    here = (install_namespace,)
    return (
        Access(resource="services", verbs=_READ, reason="know what to serve"),
        Access(
            resource="services",
            subresource="status",
            verbs=("patch",),
            reason="publish addresses, conditions and annotations in one write",
        ),
        Access(
            resource="services", verbs=("patch",), reason="override externalTrafficPolicy Local, and for nothing else"
        ),
        Access(group=GROUP, resource="servicegroups", verbs=_READ, reason="read the configuration"),
        Access(
            group=GROUP,
            resource="servicegroups",
            subresource="status",
            verbs=("patch",),
            reason="show usage and conditions of groups",
        ),
        Access(group=GROUP, resource="lbnodeagents", verbs=_READ, reason="know whose status to fold"),
        Access(
            group=GROUP,
            resource="lbnodeagents",
            subresource="status",
            verbs=("patch",),
            reason="show how many nodes use an LBNodeAgent, and what is wrong with it",
        ),
        Access(resource="nodes", verbs=_READ, reason="never hand out the address of a node"),
        Access(resource="namespaces", verbs=_READ, reason="evaluate namespace selectors"),
        Access(group="events.k8s.io", resource="events", verbs=("create", "patch"), reason="say why"),
        Access(
            group=GROUP,
            resource="lbnodestatuses",
            verbs=_READ,
            namespaces=here,
            reason="fold announcements into the Services",
        ),
        Access(
            group="coordination.k8s.io",
            resource="leases",
            verbs=_READ,
            namespaces=here,
            reason="know which nodes are alive, and who leads",
        ),
        Access(
            group="coordination.k8s.io",
            resource="leases",
            verbs=("create",),
            namespaces=here,
            reason="take leadership for the first time",
        ),
        Access(
            group="coordination.k8s.io",
            resource="leases",
            verbs=("patch",),
            namespaces=here,
            names=(leases.ALLOCATOR_LEASE,),
            reason="keep leadership",
        ),
    )
