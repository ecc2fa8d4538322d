# SPDX-License-Identifier: Apache-2.0
"""Addresses that are somebody else's, whatever the pools say: of nodes, their gateways, Services inside the cluster, other controllers."""

from collections.abc import Iterable

from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger, Source
from purelb.allocator.observed import cluster_ips, published
from purelb.allocator.ranges import Address
from purelb.api.kinds import LBNodeStatus
from purelb.kube.model import Node, Service
from purelb.net.ranges import family_of, parse_address

_NODE_ADDRESSES = frozenset({"InternalIP", "ExternalIP"})


def of_service(ledger: Ledger, key: ServiceKey, service: Service | None, *, ours: bool) -> tuple[Address, ...]:
    """Reserve the cluster IPs of a Service, and its ingress when we did not give it. Answers what is reserved no longer."""
    name = str(key)
    inside = cluster_ips(service) if service is not None else ()
    ended = ledger.reserve(Source("cluster IP", name), inside)
    foreign = published(service) if service is not None and not ours else ()
    return (*ended, *ledger.reserve(Source("published", name), foreign))


def of_node(ledger: Ledger, name: str, node: Node | None, report: LBNodeStatus | None) -> tuple[Address, ...]:
    """Reserve what a Node and its agent's report say is the node's own, and its gateways."""
    own = [
        entry.address
        for entry in ((node.status.addresses or ()) if node is not None and node.status is not None else ())
        if entry.type in _NODE_ADDRESSES
    ]
    gateways: list[str] = []
    for interface in (report.status.interfaces or ()) if report is not None and report.status is not None else ():
        own += interface.addresses or ()
        gateways += interface.gateways or ()
    ended = ledger.reserve(Source("node", name), _addresses(own))
    return (*ended, *ledger.reserve(Source("gateway", name), _addresses(gateways)))


def _addresses(texts: Iterable[str]) -> tuple[Address, ...]:
    found = (parse_address(text.partition("/")[0]) for text in texts)
    return tuple(dict.fromkeys((family_of(ip), int(ip)) for ip in found if ip is not None))
