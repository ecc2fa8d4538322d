# SPDX-License-Identifier: Apache-2.0
"""Which interfaces serve local VIPs and which subnets the node advertises, both from one call on one dump.

Invariant: an interface exists for a VIP if and only if an advertised subnet contains it. Our own addresses never make a
subnet and never keep one alive. A missing interface or default route is not an error: that family, or that name, has
nothing to offer. Order counts: the first interface with a subnet serves it; a second one with the same subnet is reported.

A host prefix (DHCPv6 /128, cloud /32) takes the longest on-link route without gateway that contains it: such nodes would
never be candidates otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, get_args

from msgspec import Struct

from purelb.api.words import DummyKind
from purelb.lbnodeagent.host import (
    DADFAILED,
    DEPRECATED,
    PROTO_BOOT,
    PROTO_DHCP,
    PROTO_KERNEL,
    PROTO_RA,
    PROTO_STATIC,
    SCOPE_GLOBAL,
    TEMPORARY,
    TENTATIVE,
    Address,
    Interface,
    KernelState,
    Route,
)
from purelb.net.ranges import BITS, IPAddress, IPNetwork, family_of
from purelb.net.subnets import SUBNETS_MAX, advertised, network_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from re import Pattern

IPVS_INTERFACE: Final = "kube-ipvs0"
_ON_LINK: Final = frozenset({PROTO_KERNEL, PROTO_RA, PROTO_STATIC, PROTO_DHCP, PROTO_BOOT})
_DUMMIES: Final = frozenset(get_args(DummyKind))
_UNSETTLED: Final = TENTATIVE | DADFAILED | DEPRECATED | TEMPORARY


class LocalLink(Struct, frozen=True, gc=False, kw_only=True):
    """An interface for local VIPs. `networks`: the advertised ones that this interface serves."""

    interface: Interface
    role: Literal["local", "extra"]
    networks: tuple[IPNetwork, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    gateways: tuple[IPAddress, ...] = ()
    link_local: IPAddress | None = None


class Layout(Struct, frozen=True, kw_only=True):
    """The node as election, `desired` and the report see it."""

    links: tuple[LocalLink, ...] = ()
    subnets: tuple[IPNetwork, ...] = ()
    """Advertised: network form, each once, sorted as text."""
    dummy: Interface | None = None
    cut: tuple[IPNetwork, ...] = ()
    """Subnets beyond the bound: not advertised, and no interface either."""
    missing: tuple[str, ...] = ()
    """Listed interfaces that do not exist."""
    shared: tuple[str, ...] = ()
    """Interfaces with a subnet that an earlier one serves."""
    own: Mapping[IPAddress, str] = {}
    """Every untagged address with its interface, those of kube-ipvs0 excepted."""

    def place(self, ip: IPAddress) -> LocalLink | None:
        """The interface that answers for a local VIP."""
        for link in self.links:
            if any(network.version == ip.version and ip in network for network in link.networks):
                return link
        return None

    def own_interface(self, ip: IPAddress) -> str | None:
        """The interface on which `ip` is an address of the node itself."""
        return self.own.get(ip)


def matches_any(main: Pattern[str], interfaces: Iterable[Interface], *, dummy: str) -> bool:
    """Whether an expression chooses any interface there is."""
    return any(main.search(interface.name) for interface in _matchable(interfaces, dummy))


def not_for_dummy(name: str, state: KernelState) -> str | None:
    """Why the interface of a name cannot carry non-local addresses; None when it can, or is not there and will be made.

    Taken as that, an interface of the node would offer no subnet any more, and all its VIPs would be withdrawn.
    """
    found = next((interface for interface in state.interfaces if interface.name == name), None)
    if found is None:
        return None
    if any(route.network is None and found.index in route.hops for route in state.routes):
        return "is the interface of the default route"
    if found.kind in _DUMMIES or found.loopback:
        return None
    own = next((a for a in state.addresses if a.ifindex == found.index and not a.ours and _eligible(a)), None)
    if own is not None:
        return f"carries {own.ip}, an address of the node"
    return None if found.kind else "is a network card of the node"


def layout(
    state: KernelState,
    *,
    main: Pattern[str] | None,
    extra: tuple[str, ...],
    dummy: str,
    usable: Callable[[Interface], bool] = lambda interface: interface.up and interface.carrier,
) -> Layout:
    """Interfaces in order and what they advertise. `main` None: the interface of the default route, per family.

    `usable` says whether an interface may advertise now; one that may not keeps its place and offers nothing.
    """
    by_name = {interface.name: interface for interface in state.interfaces}
    chosen = _chosen(state, main=main, extra=extra, dummy=dummy)
    untagged = [address for address in state.addresses if not address.ours]
    per_link = [
        (interface, role, _networks(interface, untagged, state.routes, families) if usable(interface) else ())
        for interface, role, families in chosen
    ]
    everything = advertised(network for _, _, networks in per_link for network in networks)
    kept = everything[:SUBNETS_MAX]
    taken: set[IPNetwork] = set()
    links: list[LocalLink] = []
    shared: list[str] = []
    for interface, role, networks in per_link:
        serves = tuple(network for network in advertised(networks) if network in kept and network not in taken)
        if any(network in taken for network in networks):
            shared.append(interface.name)
        taken.update(serves)
        links.append(_link(interface, role, serves, untagged, state.routes))
    ipvs = by_name.get(IPVS_INTERFACE)
    names = {interface.index: interface.name for interface in state.interfaces}
    return Layout(
        links=tuple(links),
        subnets=kept,
        dummy=by_name.get(dummy),
        cut=everything[SUBNETS_MAX:],
        missing=tuple(name for name in extra if name not in by_name),
        shared=tuple(shared),
        own={
            address.ip: names.get(address.ifindex, str(address.ifindex))
            for address in untagged
            if ipvs is None or address.ifindex != ipvs.index
        },
    )


_BOTH: Final = frozenset({4, 6})


def _chosen(
    state: KernelState, *, main: Pattern[str] | None, extra: tuple[str, ...], dummy: str
) -> list[tuple[Interface, Literal["local", "extra"], frozenset[int]]]:
    """Each interface once, in order of preference, with the families whose subnets it offers."""
    eligible = _matchable(state.interfaces, dummy)
    chosen: dict[int, tuple[Interface, Literal["local", "extra"], frozenset[int]]] = {}
    if main is None:
        by_index = {interface.index: interface for interface in state.interfaces}
        for family in (4, 6):
            index = _default_interface(state.routes, family, by_index)
            found = None if index is None else by_index.get(index)
            if found is not None and found in eligible:
                families = chosen[found.index][2] if found.index in chosen else frozenset[int]()
                chosen[found.index] = (found, "local", families | {family})
    else:
        for interface in eligible:
            if main.search(interface.name):
                chosen[interface.index] = (interface, "local", _BOTH)
    for name in extra:  # lo is allowed here, and only here
        for interface in state.interfaces:
            if interface.name == name and name not in {dummy, IPVS_INTERFACE}:
                role = chosen[interface.index][1] if interface.index in chosen else "extra"
                chosen[interface.index] = (interface, role, _BOTH)
    return list(chosen.values())


def _matchable(interfaces: Iterable[Interface], dummy: str) -> list[Interface]:
    """Those that an expression may choose, by name."""
    return [
        interface
        for interface in sorted(interfaces, key=lambda interface: interface.name)
        if not interface.loopback and interface.name not in {dummy, IPVS_INTERFACE}
    ]


def _default_interface(routes: Iterable[Route], family: int, by_index: dict[int, Interface]) -> int | None:
    """Lowest metric, then lowest ifindex; of a multipath route the hop whose interface name sorts first."""
    candidates = [
        (route.metric, min(route.hops, key=lambda hop: by_index[hop].name if hop in by_index else "~"))
        for route in routes
        if route.family == family and route.network is None and route.hops
    ]
    return min(candidates)[1] if candidates else None


def _eligible(address: Address) -> bool:
    if address.ip.is_link_local or address.ip.is_multicast or address.ip.is_unspecified:
        return False
    if address.ip.version == 4:
        return address.scope == SCOPE_GLOBAL
    return address.flags & _UNSETTLED == 0


def _networks(
    interface: Interface, untagged: Iterable[Address], routes: Iterable[Route], families: frozenset[int]
) -> tuple[IPNetwork, ...]:
    found: list[IPNetwork] = []
    for address in untagged:
        if address.ifindex != interface.index or address.ip.version not in families or not _eligible(address):
            continue
        if address.prefixlen < BITS[family_of(address.ip)]:
            found.append(network_of(address.ip, address.prefixlen))
        elif (network := _on_link(address, routes)) is not None:
            found.append(network)
    return tuple(found)


def _on_link(address: Address, routes: Iterable[Route]) -> IPNetwork | None:
    """For a host prefix: the longest route without gateway on that interface that contains it and is longer than nothing."""
    around = [
        route.network
        for route in routes
        if route.network is not None
        and not route.gateways
        and route.hops == (address.ifindex,)
        and route.protocol in _ON_LINK
        and route.network.version == address.ip.version
        and route.network.prefixlen < route.network.max_prefixlen
        and address.ip in route.network
    ]
    return max(around, key=lambda network: network.prefixlen, default=None)


def _link(
    interface: Interface,
    role: Literal["local", "extra"],
    networks: tuple[IPNetwork, ...],
    untagged: Iterable[Address],
    routes: Iterable[Route],
) -> LocalLink:
    mine = [address for address in untagged if address.ifindex == interface.index]
    gateways = {
        gateway
        for route in routes
        if route.network is None and interface.index in route.hops
        for gateway in route.gateways
    }
    return LocalLink(
        interface=interface,
        role=role,
        networks=networks,
        addresses=tuple(sorted((a.ip for a in mine if not a.ip.is_link_local), key=lambda ip: (ip.version, int(ip)))),
        gateways=tuple(sorted(gateways, key=lambda ip: (ip.version, int(ip)))),
        link_local=next(
            (a.ip for a in mine if a.ip.version == 6 and a.ip.is_link_local and not a.flags & TENTATIVE), None
        ),
    )
