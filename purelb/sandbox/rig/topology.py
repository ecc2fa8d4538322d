# SPDX-License-Identifier: Apache-2.0
"""Which namespaces, links and addresses a sandbox has: a plan, made before anything exists.

One LAN (172.30.1.0/24, fd00:30:1::/64) joins the nodes and the client; one management network (10.254.0.0/24) joins nodes and hub, so that the API and
the LAN fail independently. Every pod range is routed to its node: over the LAN between nodes, over the management network from the hub. Pods, the
allocator and the backends, have a namespace and an address of their own, because two listeners on one port cannot share a node's.

Not here yet: more than one subnet, a router, a second interface per node. Asking for them is refused by the command that takes the option.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAN4 = IPv4Network("172.30.1.0/24")
LAN6 = IPv6Network("fd00:30:1::/64")
MANAGEMENT = IPv4Network("10.254.0.0/24")
HUB_MANAGEMENT = IPv4Address("10.254.0.254")
ROUTER4, ROUTER6 = (
    IPv4Address("172.30.1.254"),
    IPv6Address("fd00:30:1::254"),
)  # the LAN's gateway; nothing lies behind it
CLIENT4, CLIENT6 = IPv4Address("172.30.1.100"), IPv6Address("fd00:30:1::100")
POOL4 = "172.30.1.200-172.30.1.250"
POOL6 = "fd00:30:1::200-fd00:30:1::250"
# Nodes have .1 to .99 of each network; the largest sandbox that fits.
NODES_MAX = 99


class NodePlace(msgspec.Struct, frozen=True, gc=False):
    """One node: its addresses on the LAN and the management network, and the ranges of its pods."""

    name: str
    lan4: IPv4Address
    lan6: IPv6Address
    management: IPv4Address
    pods4: IPv4Network
    pods6: IPv6Network

    @property
    def gateway4(self) -> IPv4Address:
        return self.pods4[1]

    @property
    def gateway6(self) -> IPv6Address:
        return self.pods6[1]


class PodPlace(msgspec.Struct, frozen=True, gc=False):
    """One pod with a network namespace of its own."""

    name: str
    node: str
    ip4: IPv4Address
    ip6: IPv6Address


class Topology(msgspec.Struct, frozen=True):
    nodes: tuple[NodePlace, ...]
    pods: tuple[PodPlace, ...]

    def node(self, name: str) -> NodePlace:
        return next(place for place in self.nodes if place.name == name)

    def pod(self, name: str) -> PodPlace:
        return next(place for place in self.pods if place.name == name)


def plan(*, nodes: int, pods: Sequence[tuple[str, str]] = ()) -> Topology:
    """Place `nodes` nodes, n1 first, and the given (pod, node) pairs; a pod's address is the next free one of its node's range."""
    if not 1 <= nodes <= NODES_MAX:
        raise ValueError(f"{nodes} nodes: a sandbox has 1 to {NODES_MAX}")
    places = tuple(_node(number) for number in range(1, nodes + 1))
    by_name: Mapping[str, NodePlace] = {place.name: place for place in places}
    taken = dict.fromkeys(by_name, 1)  # .1 is the node itself
    placed: list[PodPlace] = []
    for name, node in pods:
        taken[node] += 1
        home = by_name[node]
        placed.append(PodPlace(name, node, home.pods4[taken[node]], home.pods6[taken[node]]))
    return Topology(places, tuple(placed))


def _node(number: int) -> NodePlace:
    return NodePlace(
        name=f"n{number}",
        lan4=LAN4[number],
        # Written as people count (fd00:30:1::12 is node 12).
        lan6=IPv6Address(f"fd00:30:1::{number}"),
        management=MANAGEMENT[number],
        pods4=IPv4Network(f"10.244.{number}.0/24"),
        pods6=IPv6Network(f"fd00:244:{number}::/64"),
    )
