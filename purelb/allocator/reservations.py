# SPDX-License-Identifier: Apache-2.0
"""Addresses that are somebody else's, whatever the pools say: of nodes, their gateways, Services inside the cluster, other controllers."""

from collections.abc import Iterable
from typing import Final

from purelb.allocator.claims import Source
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger
from purelb.allocator.observed import cluster_ips, published
from purelb.allocator.ranges import Address
from purelb.api.kinds import LBNodeStatus
from purelb.kube.model import Node, Service
from purelb.net.ranges import family_of, parse_address

# The bounds of LBNodeStatus: what lies beyond was not written by an agent of ours.
_INTERFACES_MAX: Final = 64
_ADDRESSES_MAX: Final = 64
_GATEWAYS_MAX: Final = 8

_NODE_ADDRESSES = frozenset({"InternalIP", "ExternalIP"})


def of_service(ledger: Ledger, key: ServiceKey, service: Service | None, *, ours: bool) -> tuple[Address, ...]:
    """Reserve the cluster IPs of a Service, and what of its ingress we did not give it. Answers what is reserved no longer.

    What somebody wrote into the status of one of `ours` is given to nobody either, until it stands there no more.
    """
    name = str(key)
    inside, there = (cluster_ips(service), published(service)) if service is not None else ((), ())
    ended = ledger.reserve(Source("cluster IP", name), inside)
    record = ledger.records.get(key) if ours and there else None
    mine = (*record.addresses, *record.leaving) if record is not None else ()
    foreign = tuple([address for address in there if address not in mine])
    return (*ended, *ledger.reserve(Source("published", name), foreign))


def of_node(ledger: Ledger, name: str, node: Node | None, report: LBNodeStatus | None) -> tuple[Address, ...]:
    """Reserve what a Node and its agent's report say is the node's own, and its gateways.

    What only stands on an interface may also have been left there by another load balancer that had it before us.
    """
    own = [
        entry.address
        for entry in ((node.status.addresses or ()) if node is not None and node.status is not None else ())
        if entry.type in _NODE_ADDRESSES
    ]
    there: list[str] = []
    gateways: list[str] = []
    interfaces = report.status.interfaces if report is not None and report.status is not None else ()
    for interface in (interfaces or ())[:_INTERFACES_MAX]:
        there += (interface.addresses or ())[:_ADDRESSES_MAX]
        gateways += (interface.gateways or ())[:_GATEWAYS_MAX]
    ended = ledger.reserve(Source("node", name), _addresses(own))
    ended = (*ended, *ledger.reserve(Source("interface", name), _addresses(there)))
    return (*ended, *ledger.reserve(Source("gateway", name), _addresses(gateways)))


def _addresses(texts: Iterable[str]) -> tuple[Address, ...]:
    found = (parse_address(text.partition("/")[0]) for text in texts)
    return tuple(dict.fromkeys((family_of(ip), int(ip)) for ip in found if ip is not None))
