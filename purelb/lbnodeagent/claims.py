# SPDX-License-Identifier: Apache-2.0
"""Which Services ask for which address, and what they ask: pool first, then subnet.

A Service is ours when it is a LoadBalancer that carries the allocator's brand and an ingress address; its class is not looked
at. Everything else claims nothing, so a Service that leaves scope, or an address that leaves ingress, ends its claim. An
address that several Services carry is one claim, kept while one of them claims it.

`asks` reads one Service; `claim_of` joins what several ask of one address. Neither depends on the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from purelb.api import annotations as notes
from purelb.api.words import Announce
from purelb.kube import model
from purelb.net.ranges import BITS, IPAddress, family_of, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from purelb.api.groups import Group

Healthy = Callable[[str, int], frozenset[str] | None]
"""Nodes with a healthy endpoint of a Service (`ns/name`) in a family; None while that is not known."""

_BROADCAST: Final = IPv4Address("255.255.255.255")


class Ask(Struct, frozen=True, kw_only=True):
    """What one Service asks for one of its addresses."""

    service: str
    ip: IPAddress
    announce: Announce
    prefixlen: int
    off_subnet_dummy: bool = False
    local_policy: bool = False
    affinity: bool = False
    preferred: str | None = None
    holders: frozenset[str] = frozenset()


class Unfit(Struct, frozen=True):
    """An address that nobody may announce."""

    service: str
    ip: IPAddress

    @property
    def text(self) -> str:
        return f"{self.ip} cannot be announced"


class Claim(Struct, frozen=True, kw_only=True):
    """One address and everything election and placement need to know about who wants it.

    `healthy_for_all`, `healthy_for_any`: nodes with endpoints of every, of any, Service with externalTrafficPolicy Local;
    None when no Service has it. `endpoints_unknown`: they are needed and not known yet, so nothing can be decided.
    """

    ip: IPAddress
    announce: Announce
    services: tuple[str, ...]
    prefixlen: int = 32
    off_subnet_dummy: bool = False
    healthy_for_all: frozenset[str] | None = None
    healthy_for_any: frozenset[str] | None = None
    affinity: frozenset[str] | None = None
    preferred: str | None = None
    holders: frozenset[str] = frozenset()
    endpoints_unknown: bool = False
    disputed: bool = False
    """Its Services disagree on local or remote: local wins."""


def asks(service: model.Service, groups: Mapping[str, Group]) -> tuple[tuple[Ask, ...], tuple[Unfit, ...]]:
    """What `service` asks for, one entry for each address. `groups`: those that can be used, by name."""
    spec, status = service.spec, service.status
    written = model.annotations(service)
    if spec is None or spec.type != "LoadBalancer" or written.get(notes.ALLOCATED_BY, "").strip() != notes.BRAND:
        return (), ()
    ingress = (status.load_balancer.ingress if status and status.load_balancer else None) or ()
    names = notes.parse_per_ingress(written.get(notes.ALLOCATED_FROM, ""), ingresses=len(ingress))
    types = notes.parse_per_ingress(written.get(notes.POOL_TYPE, ""), ingresses=len(ingress))
    key = model.key(service)
    preferred = notes.value(written, notes.PREFERRED_NODE)
    found: dict[IPAddress, Ask] = {}
    unfit: dict[IPAddress, Unfit] = {}
    for index, entry in enumerate(ingress):
        ip = None if entry.ip_mode == "Proxy" else parse_ingress(entry.ip)
        if ip is None or ip in found or ip in unfit:
            continue
        if not announceable(ip):
            unfit[ip] = Unfit(key, ip)
            continue
        group = _group(ip, names[index] if names else None, types[index] if types else None, groups)
        found[ip] = Ask(
            service=key,
            ip=ip,
            announce=_announce(group, types[index] if types else None),
            prefixlen=group.prefix_length(ip) if group else BITS[family_of(ip)],
            off_subnet_dummy=group is not None and group.off_subnet == "Dummy",
            local_policy=spec.external_traffic_policy == "Local",
            affinity=written.get(notes.NODE_AFFINITY, "").strip() == notes.SERVICE_ENDPOINTS,
            preferred=preferred if isinstance(preferred, str) else None,
            holders=frozenset(
                entry.node
                for entry in notes.parse_announcing(written.get(notes.announcing_name(family_of(ip)), ""))
                if entry.ip == ip
            ),
        )
    return tuple(found.values()), tuple(unfit.values())


def parse_ingress(text: str) -> IPAddress | None:
    """Ingress text, strictly: no zone; an IPv4-mapped address becomes IPv4; anything else is None."""
    found = parse_address(text)
    if found is not None or ":" not in text or "%" in text:
        return found
    try:
        return IPv6Address(text).ipv4_mapped
    except ValueError:
        return None


def announceable(ip: IPAddress) -> bool:
    """Whether an address can be anybody's VIP at all."""
    return not (ip.is_unspecified or ip.is_loopback or ip.is_multicast or ip.is_link_local or ip == _BROADCAST)


def _group(ip: IPAddress, name: str | None, pool_type: str | None, groups: Mapping[str, Group]) -> Group | None:
    """The named group; without a name the one that contains the address. A name that is gone is nobody's successor."""
    if name is not None and (found := groups.get(name)) is not None:
        return found
    if pool_type is not None:
        return None
    return next((groups[other] for other in sorted(groups) if groups[other].entry_of(ip) is not None), None)


def _announce(group: Group | None, pool_type: str | None) -> Announce:
    if group is not None:
        return group.announce
    return "remote" if pool_type == "remote" else "local"


def claim_of(ip: IPAddress, asked: Iterable[Ask], healthy: Healthy) -> Claim | None:
    """What all Services together ask of `ip`; None when none does."""
    by_service = sorted(asked, key=lambda ask: ask.service)
    if not by_service:
        return None
    local = [ask for ask in by_service if ask.announce == "local"]
    leading = local[0] if local else by_service[0]
    family = family_of(ip)
    policy = [healthy(ask.service, family) for ask in by_service if ask.local_policy]
    affinity = [healthy(ask.service, family) for ask in by_service if ask.affinity]
    preferred = {ask.preferred for ask in by_service} - {None}
    known = [nodes for nodes in policy if nodes is not None]
    liked = [nodes for nodes in affinity if nodes is not None]
    return Claim(
        ip=ip,
        announce=leading.announce,
        services=tuple(ask.service for ask in by_service),
        prefixlen=leading.prefixlen,
        off_subnet_dummy=leading.off_subnet_dummy,
        healthy_for_all=frozenset.intersection(*known) if known else None,
        healthy_for_any=frozenset.union(*known) if known else None,
        affinity=frozenset.intersection(*liked) if liked else None,
        preferred=preferred.pop() if len(preferred) == 1 else None,
        holders=frozenset.union(*(ask.holders for ask in by_service)),
        endpoints_unknown=len(known) < len(policy) or len(liked) < len(affinity),
        disputed=0 < len(local) < len(by_service),
    )
