# SPDX-License-Identifier: Apache-2.0
"""One address per pool entry: which entries a Service should have an address of, and which of them it can be given now.

An entry of a `local` group counts when a live node advertises a subnet that is or contains the entry's; an entry of a `remote` group
always counts. What a Service has it keeps, whatever happens to nodes, entries or the group's flag; what is missing is added as soon as
it can be. So this file only ever answers more addresses than are held, never fewer.

Rejected: sending a Service to the next group because one entry is full or has no node; one dead rack would then empty the spill-over
pool. A group serves a family when any of its entries does; the others are named in the condition.
"""

from collections.abc import Collection, Iterable
from typing import Protocol

from msgspec import Struct

from purelb.allocator import refusals as because
from purelb.allocator.atlas import EntryId
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import Refusal
from purelb.api.groups import Group
from purelb.net.ranges import Family, IPNetwork, interval_of


class Filled(Struct, frozen=True, gc=False):
    """Addresses of one family, in the order of the ingress. `shortfall`: why entries are missing, which `missing` names."""

    addresses: tuple[Address, ...]
    shortfall: Refusal | None = None
    missing: tuple[str, ...] = ()


class Place(Struct, frozen=True, gc=False):
    """One entry that hands out addresses, and the subnet they lie in."""

    entry: EntryId
    subnet: IPNetwork


class Shelf(Protocol):
    """What is asked of the group: the entries in their order, where an address lies, and one address of an entry."""

    def places(self, group: Group, family: Family) -> tuple[Place, ...]: ...
    def lies_in(self, address: Address) -> EntryId | None: ...
    def take(self, place: Place, group: Group, *, taken: Collection[Address]) -> Address | Refusal: ...


def is_active(subnet: IPNetwork, advertised: Iterable[IPNetwork]) -> bool:
    """Whether one of the advertised subnets is this one or contains it; networks are compared, not their text."""
    inner = interval_of(subnet)
    found = (interval_of(one) for one in advertised)
    return any(one.family == inner.family and one.low <= inner.low and inner.high <= one.high for one in found)


def refused(group: Group, sharing_key: str | None) -> Refusal | None:
    """With what else multi-pool cannot be combined; None when nothing speaks against it."""
    if sharing_key is not None:
        return because.multi_pool_refused(0)
    if group.balance_pools:
        return because.multi_pool_refused(1)
    return because.multi_pool_refused(2, source=group.source) if group.source != "cluster" else None


def fill(
    shelf: Shelf, group: Group, family: Family, *, held: tuple[Address, ...], advertised: Collection[IPNetwork]
) -> Filled | Refusal:
    """What is held of the family, and one address of each entry that lacks one. A refusal when that makes none at all."""
    places = shelf.places(group, family)
    if not places:
        return Filled(held) if held else because.family_unavailable(group.name, family)
    at = {lies: address for address in reversed(held) if (lies := shelf.lies_in(address)) is not None}
    found: list[Address] = []
    dark: list[IPNetwork] = []
    lacking: list[str] = []
    why: list[Refusal] = []
    for place in places:
        if (mine := at.get(place.entry)) is not None:
            found.append(mine)
            continue
        lacking.append(str(place.subnet))
        if group.drain:
            continue
        if group.announce == "local" and not is_active(place.subnet, advertised):
            dark.append(place.subnet)
            continue
        answer = shelf.take(place, group, taken={*held, *found})
        if isinstance(answer, Refusal):
            why.append(because.in_group(answer, group.name))
        else:
            lacking.pop()
            found.append(answer)
    found += (address for address in held if address not in found)  # of no entry, or the second one of an entry
    if not lacking:
        return Filled(tuple(found))
    if group.drain:
        why.append(because.group_draining(group.name, deleted=group.deleted))
    if dark:
        why.append(because.no_active_subnet(group.name, dark))
    shortfall = because.in_group(because.every_family(why, one_will_do=False), group.name)
    return Filled(tuple(found), shortfall, tuple(lacking)) if found else shortfall
