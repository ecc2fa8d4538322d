# SPDX-License-Identifier: Apache-2.0
"""A topology becomes links, addresses and routes.

Built once, before the supervisor's event loop runs, with pyroute2's synchronous IPRoute (which brings a loop of its own and refuses to share). The hub is
the namespace the caller lives in; every other one is made here and held by a descriptor. Nothing is ever taken down link by link: closing the descriptors
and ending the processes is the teardown, and the kernel does it.

Links that a neighbour remembers have fixed MAC addresses: a bridge would otherwise take a port's and change it when that port leaves, and a node that lost
power would come back as a stranger.

Sysctls are those an operator is asked for: forwarding on, loose return paths, one interface answers for its own addresses, secondaries promoted.
The router forwards and does nothing else.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from purelb.sandbox.rig.namespaces import inside, new_network
from purelb.sandbox.rig.topology import (
    CLIENT,
    HUB,
    ROUTER,
    NodePlace,
    PodPlace,
    Subnet,
    Topology,
    lan_mac,
    management_mac,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from purelb.net.ranges import IPAddress

IFA_F_NODAD = 0x02  # duplicate detection would hold every address back for more than a second
RT_SCOPE_LINK = 253  # a route whose far end is reached without a gateway, and may be one

NODE_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/arp_ignore": "1",
    "ipv4/conf/all/arp_announce": "2",
    "ipv4/conf/all/promote_secondaries": "1",
    "ipv4/conf/default/promote_secondaries": "1",
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/forwarding": "1",
}
HOST_SYSCTLS = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/default/accept_ra": "0",
}
ROUTER_SYSCTLS = {
    **HOST_SYSCTLS,
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/forwarding": "1",
}
# The hub's ports are cables: an IPv6 stack on each would only chatter.
HUB_SYSCTLS = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv6/conf/default/disable_ipv6": "1",
}


class Rig:
    """The namespaces of a sandbox by name: `n1`..., `client`, `router` and each pod; `hub` is where the supervisor lives.

    `networks` maps a name to the descriptor that keeps the namespace alive.
    """

    def __init__(self, topology: Topology, networks: dict[str, int]) -> None:
        self.topology = topology
        self.networks = networks

    def rooms(self, node: str) -> tuple[str, ...]:
        """The namespaces that are on a node: its own and its pods'."""
        return (node, *(pod.name for pod in self.topology.pods if pod.node == node))

    def close(self) -> None:
        """Let go of every namespace; each ends with its last process and socket."""
        for descriptor in self.networks.values():
            os.close(descriptor)
        self.networks = {}


class LinkKinds(msgspec.Struct, frozen=True):
    """Which link kinds this kernel makes; `dummy` names the one that stands in for a dummy interface, None if none does."""

    bridge: bool
    veth: bool
    dummy: str | None


def probe_kinds() -> LinkKinds:
    """Try each link kind in a scratch namespace; a kernel may lack modules and say nothing about it elsewhere."""
    scratch = new_network()
    try:
        with netlink(scratch) as ipr:
            bridge = _makes(ipr, "bridge")
            veth = _makes(ipr, "veth")
            dummy = next((kind for kind in ("dummy", "ifb") if _makes(ipr, kind)), None)
    finally:
        os.close(scratch)
    return LinkKinds(bridge=bridge, veth=veth, dummy=dummy)


def _makes(ipr: IPRoute, kind: str) -> bool:
    name = f"try-{kind}"
    extra = {"peer": {"ifname": f"{name}-b"}} if kind == "veth" else {}
    try:
        ipr.link("add", ifname=name, kind=kind, **extra)
    except NetlinkError:
        return False
    ipr.link("del", index=_index(ipr, name))
    return True


def hub_links(topology: Topology) -> frozenset[str]:
    """The names of all links that `build` makes in the hub: none of them may ever be seen outside."""
    ports = (cable.port for node in topology.nodes for cable in node.cables)
    routed = (f"router-{subnet.bridge}" for subnet in topology.subnets if topology.routed)
    return frozenset((*ports, *routed, "client-eth0", *bridges(topology)))


def bridges(topology: Topology) -> tuple[str, ...]:
    """The hub's bridges."""
    management = () if topology.shape.single_nic else ("mgmt0",)
    return (*(subnet.bridge for subnet in topology.subnets), *management)


def build(topology: Topology) -> Rig:
    """Make all of `topology` around the present network namespace, which becomes the hub."""
    networks = {name: new_network() for name in _names(topology)}
    rig = Rig(topology, networks)
    write_sysctls(HUB_SYSCTLS)
    with IPRoute() as hub:
        _up(hub, "lo")
        _bridges(hub, topology)
        for node in topology.nodes:
            join_node(hub, node, topology, networks)
            _way_to(hub, node, topology)
        if topology.routed:
            _join_router(hub, topology, networks["router"])
        _join_client(hub, topology, networks["client"])
    for pod in topology.pods:
        join_pod(pod, topology.node(pod.node), networks)
    return rig


def _names(topology: Topology) -> Iterator[str]:
    yield from (node.name for node in topology.nodes)
    yield "client"
    if topology.routed:
        yield "router"
    yield from (pod.name for pod in topology.pods)


def _bridges(hub: IPRoute, topology: Topology) -> None:
    """A bridge per network. The API's address is on the management's, or, where there is none, on every LAN's."""
    single = topology.shape.single_nic
    macs = {subnet.bridge: lan_mac(subnet, 0) for subnet in topology.subnets}
    for bridge in bridges(topology):
        own = macs.get(bridge) or management_mac(HUB)
        hub.link("add", ifname=bridge, kind="bridge", br_stp_state=0, br_mcast_snooping=0, address=own)
        _up(hub, bridge)
        if single or bridge == "mgmt0":
            if topology.api.version == 6:
                write_sysctls({f"ipv6/conf/{bridge}/disable_ipv6": "0"})
            _address(hub, bridge, topology.api, None if single else topology.management.prefixlen)


def _way_to(hub: IPRoute, node: NodePlace, topology: Topology) -> None:
    """How the hub, which asks programs whether they are ready, reaches a node and its pods: not over the LAN, where there is another way."""
    version = topology.api.version
    address = _of(version, node.addresses)
    if node.management is None:
        _on_link(hub, address, node.nics[0].subnet.bridge)
    else:
        hub.route("add", dst=_alone(address), gateway=str(node.management))
    by = node.management or address
    for network in node.pods:
        if network.version == version:
            hub.route("add", dst=str(network), gateway=str(by))


def _join_router(hub: IPRoute, topology: Topology, network: int) -> None:
    """The last address of every LAN, and the way to every node's pods."""
    with inside(network):
        write_sysctls(ROUTER_SYSCTLS)
    for subnet in topology.subnets:
        _cable(hub, f"router-{subnet.bridge}", subnet.bridge, subnet.bridge, network, address=lan_mac(subnet, ROUTER))
    with netlink(network) as ipr:
        _up(ipr, "lo")
        for subnet in topology.subnets:
            _up(ipr, subnet.bridge)
            _addresses(ipr, subnet.bridge, subnet, ROUTER)
        for node in topology.nodes:
            for pods, address in zip(node.pods, node.addresses, strict=True):
                ipr.route("add", dst=str(pods), gateway=str(address))


def _join_client(hub: IPRoute, topology: Topology, network: int) -> None:
    subnet = topology.subnets[0]
    _cable(hub, "client-eth0", "eth0", subnet.bridge, network, address=lan_mac(subnet, CLIENT))
    with inside(network):
        write_sysctls(HOST_SYSCTLS)
    with netlink(network) as client:
        _up(client, "lo")
        _up(client, "eth0")
        _addresses(client, "eth0", subnet, CLIENT)
        _default_by(client, subnet)


def join_node(hub: IPRoute, node: NodePlace, topology: Topology, networks: Mapping[str, int]) -> None:
    """Make a node of an empty namespace: cables to its networks, addresses, routes."""
    network = networks[node.name]
    with inside(network):
        write_sysctls(NODE_SYSCTLS)
    for nic in node.nics:
        _cable(hub, f"{node.name}-{nic.link}", nic.link, nic.subnet.bridge, network, address=nic.mac)
    if node.management is not None:
        _cable(hub, f"{node.name}-api0", "api0", "mgmt0", network, address=management_mac(node.number))
    with netlink(network) as ipr:
        _up(ipr, "lo")
        for nic in node.nics:
            _up(ipr, nic.link)
            _addresses(ipr, nic.link, nic.subnet, node.number)
        if node.management is not None:
            _up(ipr, "api0")
            _address(ipr, "api0", node.management, topology.management.prefixlen)
        else:
            _on_link(ipr, topology.api, node.nics[0].link)
        _default_by(ipr, node.nics[0].subnet)
        ipr.link("add", ifname="cni0", kind="bridge", br_stp_state=0, br_mcast_snooping=0)
        _up(ipr, "cni0")
        for gateway, pods in zip(node.gateways, node.pods, strict=True):
            _address(ipr, "cni0", gateway, pods.prefixlen)
        for other in topology.nodes:
            if other.name != node.name:
                for pods, by in topology.hops(node, other):
                    ipr.route("add", dst=str(pods), gateway=str(by))


def join_pod(pod: PodPlace, node: NodePlace, networks: Mapping[str, int]) -> None:
    """Make a pod of an empty namespace, on a node that has joined."""
    with inside(networks[pod.name]):
        write_sysctls(HOST_SYSCTLS)
    with netlink(networks[node.name]) as ipr:
        port = f"pod{pod.number}"
        peer = {"ifname": "eth0", "net_ns_fd": networks[pod.name]}
        ipr.link("add", ifname=port, kind="veth", peer=peer, master=_index(ipr, "cni0"))
        _up(ipr, port)
    with netlink(networks[pod.name]) as ipr:
        _up(ipr, "lo")
        _up(ipr, "eth0")
        for address, gateway, network in zip(pod.addresses, node.gateways, node.pods, strict=True):
            _address(ipr, "eth0", address, network.prefixlen)
            _route_everything(ipr, gateway)


def _cable(hub: IPRoute, port: str, link: str, bridge: str, network: int, *, address: str) -> None:
    """From a port of the hub's bridge to a link of another namespace."""
    peer = {"ifname": link, "net_ns_fd": network, "address": address}
    hub.link("add", ifname=port, kind="veth", peer=peer, master=_index(hub, bridge))
    _up(hub, port)


def _addresses(ipr: IPRoute, link: str, subnet: Subnet, host: int) -> None:
    for address, network in zip(subnet.at(host), subnet.networks, strict=True):
        _address(ipr, link, address, network.prefixlen)


def _address(ipr: IPRoute, link: str, address: IPAddress, prefix_bits: int | None) -> None:
    """`prefix_bits` None: the address alone."""
    flags = {"flags": IFA_F_NODAD} if address.version == 6 else {}
    bits = address.max_prefixlen if prefix_bits is None else prefix_bits
    ipr.addr("add", index=_index(ipr, link), address=str(address), prefixlen=bits, **flags)


def _default_by(ipr: IPRoute, subnet: Subnet) -> None:
    for gateway in subnet.at(ROUTER):
        _route_everything(ipr, gateway)


def _route_everything(ipr: IPRoute, gateway: IPAddress) -> None:
    ipr.route("add", dst="default" if gateway.version == 4 else "::/0", gateway=str(gateway))


def _on_link(ipr: IPRoute, address: IPAddress, link: str) -> None:
    scope = {"scope": RT_SCOPE_LINK} if address.version == 4 else {}
    ipr.route("add", dst=_alone(address), oif=_index(ipr, link), **scope)


def _alone(address: IPAddress) -> str:
    return f"{address}/{address.max_prefixlen}"


def _of(version: int, addresses: Iterable[IPAddress]) -> IPAddress:
    return next(address for address in addresses if address.version == version)


def _up(ipr: IPRoute, link: str) -> None:
    ipr.link("set", index=_index(ipr, link), state="up")


def _index(ipr: IPRoute, link: str) -> int:
    found: list[int] = ipr.link_lookup(ifname=link)
    return found[0]


@contextmanager
def netlink(network: int) -> Iterator[IPRoute]:
    """pyroute2's socket in a namespace. Not where an event loop runs: see `aside`."""
    with inside(network):
        ipr = IPRoute()  # its socket is opened here and stays in `network`
    try:
        yield ipr
    finally:
        ipr.close()


def write_sysctls(values: Mapping[str, str]) -> None:
    """Set keys below /proc/sys/net of the present network namespace."""
    for key, value in values.items():
        Path("/proc/sys/net", key).write_text(value, encoding="ascii")
