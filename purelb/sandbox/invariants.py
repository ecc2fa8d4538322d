# SPDX-License-Identifier: Apache-2.0
"""What must hold in a cluster, knowing nothing of how it is kept.

Each check takes plain facts, what the API says and what the kernels say, and answers the broken promises as sentences, empty when all is well. Demo,
rig tests and end-to-end tests call them; none imports the code that is judged. Ids are those of the specification: S1 to S10.
A history is a sequence of `Sight`s in the order of time, one for each moment at which somebody looked; how long a state
lasted is the time to the next one. What happened between two looks is not known here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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


class Sight(msgspec.Struct, frozen=True):
    """Which nodes had which addresses at a moment, seconds on any clock."""

    at: float
    holders: Mapping[str, frozenset[str]]


def published_addresses_stay(before: Iterable[Published], after: Iterable[Published]) -> tuple[str, ...]:
    """S2, S5, while nobody asks for a change: who had addresses has exactly these. Services that came or went are no matter."""
    now = {service.key: service.addresses for service in after}
    return tuple(
        f"{service.key} had {_several(service.addresses)} and has {_several(now[service.key])}"
        for service in before
        if service.addresses and service.key in now and now[service.key] != service.addresses
    )


def nothing_moved(before: Mapping[str, Collection[str]], after: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """S5, S11: every address is where it was."""
    pairs = ((address, set(before.get(address, ())), set(after.get(address, ()))) for address in {*before, *after})
    return tuple(
        f"{address} was on {_several(sorted(was))} and is on {_several(sorted(is_))}"
        for address, was, is_ in sorted(pairs, key=lambda pair: pair[0])
        if was != is_
    )


def never_without_holder(history: Sequence[Sight], address: str, *, longer_than: float = 0.0) -> tuple[str, ...]:
    """S6: no time without anybody who answers lasts longer than this. Zero allows not even one look."""
    return tuple(
        f"{address} was on no node for {lasted:.3f} s from {since:.3f}"
        for since, lasted in _while(history, address, lambda nodes: not nodes)
        if lasted > longer_than or not longer_than
    )


def never_two_holders(history: Sequence[Sight], address: str, *, longer_than: float = 0.0) -> tuple[str, ...]:
    """S3: no time in which several nodes answer lasts longer than this. Zero allows not even one look."""
    return tuple(
        f"{address} was on several nodes for {lasted:.3f} s from {since:.3f}"
        for since, lasted in _while(history, address, lambda nodes: len(nodes) > 1)
        if lasted > longer_than or not longer_than
    )


def only_leases_are_written(writes: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """S10: at rest nothing is sent (method, path) but renewals of leases."""
    return tuple(
        f"{method} {path} was sent at rest"
        for method, path in writes
        if method not in {"PUT", "PATCH"} or "/leases/" not in path
    )


def no_agent_writes_a_service(writes: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """S4, of what agents send."""
    return tuple(f"an agent sent {method} {path}" for method, path in writes if "/services" in path)


def what_is_not_ours_is_untouched(before: Collection[object], after: Collection[object]) -> tuple[str, ...]:
    """S4: addresses without our tag on a node, in any form that can be compared and printed."""
    return (
        *(f"{one} was not ours and is gone" for one in before if one not in after),
        *(f"{one} is not ours and is new" for one in after if one not in before),
    )


def _while(
    history: Sequence[Sight], address: str, holds: Callable[[frozenset[str]], bool]
) -> Iterator[tuple[float, float]]:
    """Since when and for how long the nodes of `address` were as asked; the last sight has no length."""
    since: float | None = None
    for sight in history:
        if holds(sight.holders.get(address, frozenset())):
            since = sight.at if since is None else since
        elif since is not None:
            yield since, sight.at - since
            since = None
    if since is not None:
        yield since, history[-1].at - since


def _several(words: Collection[str]) -> str:
    return ", ".join(words) or "nothing"
