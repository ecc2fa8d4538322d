# SPDX-License-Identifier: Apache-2.0
"""A topology becomes links, addresses and routes.

Built once, before the supervisor's event loop runs, with pyroute2's synchronous IPRoute (which brings a loop of its own and refuses to share). The hub is
the namespace the caller lives in; every other one is made here and held by a descriptor. Nothing is ever taken down link by link: closing the descriptors
and ending the processes is the teardown, and the kernel does it.

Links that a neighbour remembers have fixed MAC addresses: a bridge would otherwise take a port's and change it when that port leaves, and a node that lost
power would come back as a stranger.

Sysctls are those an operator is asked for: forwarding on, loose return paths, one interface answers for its own addresses, secondaries promoted.
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
    CLIENT4,
    CLIENT6,
    HUB_MANAGEMENT,
    LAN4,
    LAN6,
    MANAGEMENT,
    ROUTER4,
    ROUTER6,
    NodePlace,
    PodPlace,
    Topology,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IFA_F_NODAD = 0x02  # duplicate detection would hold every address back for more than a second

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
# The hub's ports are cables: an IPv6 stack on each would only chatter.
HUB_SYSCTLS = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv6/conf/default/disable_ipv6": "1",
}


class Rig:
    """The namespaces of a sandbox by name: `n1`..., `client` and each pod; `hub` is where the supervisor lives.

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
    ports = (f"{node.name}-{link}" for node in topology.nodes for link in ("eth0", "api0"))
    return frozenset((*ports, "client-eth0", "lan1", "mgmt0"))


def build(topology: Topology) -> Rig:
    """Make all of `topology` around the present network namespace, which becomes the hub."""
    networks = {name: new_network() for name in _names(topology)}
    rig = Rig(topology, networks)
    write_sysctls(HUB_SYSCTLS)
    with IPRoute() as hub:
        _up(hub, "lo")
        for bridge in ("lan1", "mgmt0"):
            own = {"address": mac(HUB_MANAGEMENT if bridge == "mgmt0" else LAN4[0])}
            hub.link("add", ifname=bridge, kind="bridge", br_stp_state=0, br_mcast_snooping=0, **own)
            _up(hub, bridge)
        _address(hub, "mgmt0", HUB_MANAGEMENT, MANAGEMENT)
        for node in topology.nodes:
            join_node(hub, node, topology, networks)
            hub.route("add", dst=str(node.pods4), gateway=str(node.management))
            # Where its agent listens: the hub asks it whether it is ready, and must not depend on the LAN for that.
            hub.route("add", dst=f"{node.lan4}/32", gateway=str(node.management))
        _cable(hub, "client", "eth0", "lan1", networks["client"], address=mac(CLIENT4))
        with inside(networks["client"]):
            write_sysctls(HOST_SYSCTLS)
        with netlink(networks["client"]) as client:
            _up(client, "lo")
            _up(client, "eth0")
            _lan(client, CLIENT4, CLIENT6)
    for pod in topology.pods:
        join_pod(pod, topology.node(pod.node), networks)
    return rig


def mac(address: IPv4Address) -> str:
    """The MAC address of the link that has this address in the rig; locally administered."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x00, *address.packed))


def _names(topology: Topology) -> Iterator[str]:
    yield from (node.name for node in topology.nodes)
    yield "client"
    yield from (pod.name for pod in topology.pods)


def join_node(hub: IPRoute, node: NodePlace, topology: Topology, networks: Mapping[str, int]) -> None:
    """Make a node of an empty namespace: cables to both networks, addresses, routes."""
    network = networks[node.name]
    with inside(network):
        write_sysctls(NODE_SYSCTLS)
    _cable(hub, node.name, "eth0", "lan1", network, address=mac(node.lan4))
    _cable(hub, node.name, "api0", "mgmt0", network, address=mac(node.management))
    with netlink(network) as ipr:
        for link in ("lo", "eth0", "api0"):
            _up(ipr, link)
        _address(ipr, "api0", node.management, MANAGEMENT)
        _lan(ipr, node.lan4, node.lan6)
        ipr.link("add", ifname="cni0", kind="bridge", br_stp_state=0, br_mcast_snooping=0)
        _up(ipr, "cni0")
        _address(ipr, "cni0", node.gateway4, node.pods4)
        _address(ipr, "cni0", node.gateway6, node.pods6)
        for other in topology.nodes:
            if other.name != node.name:
                ipr.route("add", dst=str(other.pods4), gateway=str(other.lan4))
                ipr.route("add", dst=str(other.pods6), gateway=str(other.lan6))


def join_pod(pod: PodPlace, node: NodePlace, networks: Mapping[str, int]) -> None:
    """Make a pod of an empty namespace, on a node that has joined."""
    with inside(networks[pod.name]):
        write_sysctls(HOST_SYSCTLS)
    with netlink(networks[node.name]) as ipr:
        port = f"pod{int(pod.ip4) & 0xFF}"
        peer = {"ifname": "eth0", "net_ns_fd": networks[pod.name]}
        ipr.link("add", ifname=port, kind="veth", peer=peer, master=_index(ipr, "cni0"))
        _up(ipr, port)
    with netlink(networks[pod.name]) as ipr:
        _up(ipr, "lo")
        _up(ipr, "eth0")
        _address(ipr, "eth0", pod.ip4, node.pods4)
        _address(ipr, "eth0", pod.ip6, node.pods6)
        ipr.route("add", dst="default", gateway=str(node.gateway4))
        ipr.route("add", dst="::/0", gateway=str(node.gateway6))


def _lan(ipr: IPRoute, ip4: IPv4Address, ip6: IPv6Address) -> None:
    _address(ipr, "eth0", ip4, LAN4)
    _address(ipr, "eth0", ip6, LAN6)
    ipr.route("add", dst="default", gateway=str(ROUTER4))
    ipr.route("add", dst="::/0", gateway=str(ROUTER6))


def _cable(hub: IPRoute, owner: str, link: str, bridge: str, network: int, *, address: str) -> None:
    port = f"{owner}-{link}"
    peer = {"ifname": link, "net_ns_fd": network, "address": address}
    hub.link("add", ifname=port, kind="veth", peer=peer, master=_index(hub, bridge))
    _up(hub, port)


def _address(ipr: IPRoute, link: str, address: IPv4Address | IPv6Address, network: IPv4Network | IPv6Network) -> None:
    flags = {"flags": IFA_F_NODAD} if address.version == 6 else {}
    ipr.addr("add", index=_index(ipr, link), address=str(address), prefixlen=network.prefixlen, **flags)


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
