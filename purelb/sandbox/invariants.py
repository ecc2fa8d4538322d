# SPDX-License-Identifier: Apache-2.0
"""What must hold in a cluster, knowing nothing of how it is kept.

Each check takes plain facts, what the API says and what the kernels say, and answers the broken promises as sentences, empty when all is well. Demo,
rig tests and end-to-end tests call them; none imports the code that is judged. Ids are those of the specification: S1, S8.

Not here yet: the checks that need a history or virtual time; they come with the simulator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations
from typing import Final

import msgspec

ALLOW_SHARED: Final = "purelb.io/allow-shared-ip"


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """One Service of type LoadBalancer, as the API shows it. `ports`: (protocol, number); `local_policy`: externalTrafficPolicy is Local."""

    name: str
    namespace: str = "default"
    addresses: tuple[str, ...] = ()
    sharing_key: str = ""
    ports: frozenset[tuple[str, int]] = frozenset()
    selector: Mapping[str, str] = {}
    local_policy: bool = False

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


def no_address_is_given_twice(services: Iterable[Published]) -> tuple[str, ...]:
    """S1: no address is in the status of two Services unless the sharing rules allow it."""
    holders: dict[str, list[Published]] = defaultdict(list)
    for service in services:
        for address in service.addresses:
            holders[address].append(service)
    return tuple(
        f"{address} is in the status of {one.key} and {other.key}: {why}"
        for address, sharers in sorted(holders.items())
        for one, other in combinations(sharers, 2)
        if (why := _may_not_share(one, other))
    )


def _may_not_share(one: Published, other: Published) -> str:
    if not one.sharing_key or one.sharing_key != other.sharing_key:
        return "they have no sharing key in common"
    if common := one.ports & other.ports:
        protocol, number = min(common)
        return f"both use {protocol}/{number}"
    if (one.local_policy or other.local_policy) and (one.namespace, one.selector) != (other.namespace, other.selector):
        return "one keeps its traffic local and they select different Pods"
    return ""


def every_address_has_one_holder(
    services: Iterable[Published], holders: Mapping[str, Collection[str]]
) -> tuple[str, ...]:
    """S8, for local addresses: each published address is on exactly one node's interface, and no other address is on any.

    `holders`: the nodes whose kernels have an address. Own and link-local addresses of the nodes are not in it.
    """
    owners = {address: service.key for service in services for address in service.addresses}
    broken = []
    for address, owner in sorted(owners.items()):
        nodes = sorted(set(holders.get(address, ())))
        if not nodes:
            broken.append(f"{address} of {owner} is on no node")
        elif len(nodes) > 1:
            broken.append(f"{address} of {owner} is on {len(nodes)} nodes at once: {', '.join(nodes)}")
    broken += [
        f"{address} is on {', '.join(sorted(set(nodes)))} and belongs to no Service"
        for address, nodes in sorted(holders.items())
        if nodes and address not in owners
    ]
    return tuple(broken)
