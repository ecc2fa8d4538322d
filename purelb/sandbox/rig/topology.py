# SPDX-License-Identifier: Apache-2.0
"""Which namespaces, links and addresses a sandbox has: a plan, made before anything exists. Pure.

A LAN per subnet (172.30.S.0/24, fd00:30:S::/64) joins its nodes; the client lives in the first. Where there are several, a router has .254 in each and is
everybody's way to the others; where there is one, nobody has .254, and nothing lies behind it. A management network (10.254.0.0/24, or fd00:254::/64
where the nodes have no IPv4) joins nodes and hub, so that the API and the LAN fail independently; with a single interface per node the API is on the LANs.

Every pod range is routed to its node: between nodes over the LAN they share, else by the router, from the hub over the management network. Pods, the
allocator and the backends, have a namespace and an address of their own, because two listeners on one port cannot share a node's.

A link that a neighbour remembers has a MAC address made of what it is, not of what it is called. Not here: daemons that tell the router of routed addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from purelb.net.ranges import IPAddress, IPNetwork

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Family = Literal["dual", "ipv4", "ipv6"]
VERSIONS: Final[Mapping[Family, tuple[Literal[4, 6], ...]]] = {"dual": (4, 6), "ipv4": (4,), "ipv6": (6,)}
# Nodes have .1 to .99 of each network; the largest sandbox that fits.
NODES_MAX: Final = 99
CLIENT, ROUTER, HUB = 100, 254, 254
POOL: Final = (200, 250)


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a person asks for. `nics`: interfaces of a node, the second one in the next subnet. `single_nic`: the API is on the LAN."""

    nodes: int = 3
    subnets: int = 1
    family: Family = "dual"
    nics: int = 1
    single_nic: bool = False


def problem(shape: Shape) -> str | None:
    """Why there is no sandbox of this shape, with what there is."""
    if not 1 <= shape.nodes <= NODES_MAX:
        return f"--nodes {shape.nodes}: 1 to {NODES_MAX}"
    if shape.subnets < 1:
        return f"--subnets {shape.subnets}: 1 or more"
    if shape.subnets > shape.nodes:
        return f"--subnets {shape.subnets}: {shape.nodes} nodes leave a subnet without one; use --nodes {shape.subnets}"
    if shape.nics not in {1, 2}:
        return f"--nics {shape.nics}: 1 or 2"
    if shape.nics == 2 and shape.subnets == 1:
        return "--nics 2: the second interface is in the next subnet, and there is none; use --subnets 2"
    return None


class Subnet(msgspec.Struct, frozen=True, gc=False):
    """One LAN: a bridge of the hub, with a network of each family."""

    number: int
    networks: tuple[IPNetwork, ...]

    @property
    def bridge(self) -> str:
        return f"lan{self.number}"

    def at(self, host: int) -> tuple[IPAddress, ...]:
        """A host's addresses, those of IPv6 written as people count: host 12 of subnet 1 is fd00:30:1::12."""
        return tuple(_host(network, host) for network in self.networks)

    @property
    def pools(self) -> tuple[str, ...]:
        """What Services may have of it, a range of each family."""
        first, last = map(self.at, POOL)
        return tuple(f"{low}-{high}" for low, high in zip(first, last, strict=True))


class Nic(msgspec.Struct, frozen=True, gc=False):
    """A node's interface on a LAN."""

    link: str
    subnet: Subnet
    addresses: tuple[IPAddress, ...]
    mac: str


class Cable(msgspec.Struct, frozen=True, gc=False):
    """From a node's link to a bridge of the hub. `port`: its end there."""

    port: str
    bridge: str
    network: Literal["lan", "api"]


class NodePlace(msgspec.Struct, frozen=True):
    """One node. `management` None: it reaches the API over its LAN. `pods`: the ranges of its pods, one of each family."""

    name: str
    number: int
    nics: tuple[Nic, ...]
    management: IPAddress | None
    pods: tuple[IPNetwork, ...]

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Those of its first interface, which the cluster knows it by."""
        return self.nics[0].addresses

    @property
    def gateways(self) -> tuple[IPAddress, ...]:
        """Its addresses towards its pods."""
        return tuple(network[1] for network in self.pods)

    @property
    def own(self) -> tuple[IPAddress, ...]:
        """Every address it was built with."""
        lan = (address for nic in self.nics for address in nic.addresses)
        return (*lan, *self.gateways, *(() if self.management is None else (self.management,)))

    @property
    def cables(self) -> tuple[Cable, ...]:
        lan = tuple(Cable(f"{self.name}-{nic.link}", nic.subnet.bridge, "lan") for nic in self.nics)
        return lan if self.management is None else (*lan, Cable(f"{self.name}-api0", "mgmt0", "api"))


class PodPlace(msgspec.Struct, frozen=True, gc=False):
    """One pod with a network namespace of its own."""

    name: str
    node: str
    number: int
    addresses: tuple[IPAddress, ...]


class Topology(msgspec.Struct, frozen=True):
    """`api`: the hub's address, where the API server listens for nodes and pods."""

    shape: Shape
    subnets: tuple[Subnet, ...]
    api: IPAddress
    nodes: tuple[NodePlace, ...]
    pods: tuple[PodPlace, ...]

    def node(self, name: str) -> NodePlace:
        return next(place for place in self.nodes if place.name == name)

    def pod(self, name: str) -> PodPlace:
        return next(place for place in self.pods if place.name == name)

    @property
    def client(self) -> tuple[IPAddress, ...]:
        return self.subnets[0].at(CLIENT)

    @property
    def routed(self) -> bool:
        """Whether there is a router."""
        return len(self.subnets) > 1

    @property
    def management(self) -> IPNetwork:
        return _management(self.shape)

    def hops(self, node: NodePlace, other: NodePlace) -> Iterator[tuple[IPNetwork, IPAddress]]:
        """By which neighbour a node reaches another's pods: itself where they share a LAN, else the router."""
        shared = {nic.subnet.number for nic in node.nics}
        direct = next((nic.addresses for nic in other.nics if nic.subnet.number in shared), None)
        yield from zip(other.pods, direct or node.nics[0].subnet.at(ROUTER), strict=True)


def plan(shape: Shape, *, pods: Sequence[tuple[str, str]] = ()) -> Topology:
    """Place the nodes, n1 first, in the subnets one after the other, and the given (pod, node) pairs; a pod's address is the next free
    one of its node's range. Raises ValueError with `problem`'s words.
    """
    if (why := problem(shape)) is not None:
        raise ValueError(why)
    subnets = tuple(
        Subnet(number, tuple(_lan(version, number) for version in VERSIONS[shape.family]))
        for number in range(1, shape.subnets + 1)
    )
    places = tuple(_node(number, shape, subnets) for number in range(1, shape.nodes + 1))
    return Topology(shape, subnets, _host(_management(shape), HUB), places, tuple(_pods(pods, places)))


def mac(*parts: int) -> str:
    """A MAC address, locally administered, of four numbers."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x00, *parts))


def lan_mac(subnet: Subnet, host: int) -> str:
    """That of a host on a LAN; host 0 is the bridge."""
    return mac(172, 30, subnet.number, host)


def management_mac(host: int) -> str:
    return mac(10, 254, 0, host)


def _pods(wanted: Iterable[tuple[str, str]], places: Iterable[NodePlace]) -> Iterator[PodPlace]:
    by_name = {place.name: place for place in places}
    taken = dict.fromkeys(by_name, 1)  # .1 is the node itself
    for name, node in wanted:
        taken[node] += 1
        yield PodPlace(name, node, taken[node], tuple(network[taken[node]] for network in by_name[node].pods))


def _node(number: int, shape: Shape, subnets: Sequence[Subnet]) -> NodePlace:
    homes = [subnets[(number - 1 + which) % len(subnets)] for which in range(shape.nics)]
    return NodePlace(
        name=f"n{number}",
        number=number,
        nics=tuple(
            Nic(f"eth{which}", subnet, subnet.at(number), lan_mac(subnet, number)) for which, subnet in enumerate(homes)
        ),
        management=None if shape.single_nic else _host(_management(shape), number),
        pods=tuple(_pod_range(version, number) for version in VERSIONS[shape.family]),
    )


def _lan(version: Literal[4, 6], number: int) -> IPNetwork:
    return IPv4Network(f"172.30.{number}.0/24") if version == 4 else IPv6Network(f"fd00:30:{number}::/64")


def _pod_range(version: Literal[4, 6], number: int) -> IPNetwork:
    return IPv4Network(f"10.244.{number}.0/24") if version == 4 else IPv6Network(f"fd00:244:{number}::/64")


def _management(shape: Shape) -> IPNetwork:
    return IPv4Network("10.254.0.0/24") if 4 in VERSIONS[shape.family] else IPv6Network("fd00:254::/64")


def _host(network: IPNetwork, host: int) -> IPAddress:
    if isinstance(network, IPv4Network):
        return IPv4Address(int(network.network_address) + host)
    return IPv6Address(f"{network.network_address}{host}")  # the network ends in ::
