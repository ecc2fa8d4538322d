# SPDX-License-Identifier: Apache-2.0
"""To which group an address in use belongs, and how it is announced, also when no accepted group contains it any more.

Such a *stray* address keeps the group it came from on paper: nothing that was announced goes away, and nothing is changed for good,
because somebody edited or deleted a group. What the group was is noted in the claim when it goes, and read from the Service's own
annotations when a term begins. Where nobody wrote it down it is unknown, and unknown is not local.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from purelb.allocator.claims import Origin
from purelb.allocator.groups import Groups
from purelb.allocator.ledger import Ledger
from purelb.allocator.ranges import Address
from purelb.api.groups import Group

LOCAL: Final = "local"


class Home(Struct, frozen=True, gc=False):
    """All that the functions of this file say of one address in use. `skip_ipv6_dad` as well: of the group, or as it was noted."""

    group: Group | None
    name: str | None
    kind: str
    excluded_by: str | None
    origin: Origin

    @property
    def skip_ipv6_dad(self) -> bool:
        return self.origin.skip_ipv6_dad if self.group is None else self.group.skip_ipv6_dad


def home_of(address: Address, *, ledger: Ledger, groups: Groups) -> Home:
    """Where an address in use belongs, found in one look."""
    origin = ledger.claims[address].origin
    place = ledger.pools.where(address)
    group = groups.holding(place)
    if group is not None:
        return Home(group, group.name, group.announce, None, origin)
    lent = groups.elsewhere.get(origin.group)
    name = origin.group if lent is not None or origin.group in groups.refused else None
    excluded = place.entry.group if place is not None and place.excluded else None
    return Home(lent, name, origin.announce if lent is None else lent.announce, excluded, origin)


def origin_of(group: Group) -> Origin:
    """What is remembered of a group when an address is left without one."""
    return Origin(group.name, group.announce, group.skip_ipv6_dad)


def name_of(address: Address, *, ledger: Ledger, groups: Groups) -> str | None:
    """The group an address belongs to: the accepted one that contains it, or the one it came from, which is refused now."""
    name = groups.name_at(address)
    claim = ledger.claims.get(address) if name is None else None
    if claim is not None and (claim.origin.group in groups.elsewhere or claim.origin.group in groups.refused):
        return claim.origin.group
    return name


def group_of(address: Address, *, ledger: Ledger, groups: Groups) -> Group | None:
    """The accepted group an address belongs to: the one that contains it, or the one whose source gave it."""
    group = groups.holding(ledger.pools.where(address))
    claim = ledger.claims.get(address) if group is None else None
    return groups.elsewhere.get(claim.origin.group) if claim is not None else group


def kind_of(address: Address, *, ledger: Ledger, groups: Groups) -> str:
    """How an address is announced: `local` or `remote`; empty when it is stray and nobody wrote it down."""
    group = group_of(address, ledger=ledger, groups=groups)
    if group is not None:
        return group.announce
    claim = ledger.claims.get(address)
    return claim.origin.announce if claim is not None else ""


def kinds_of(addresses: Iterable[Address], *, ledger: Ledger, groups: Groups) -> tuple[str, ...]:
    """How each of some addresses is announced."""
    return tuple(kind_of(address, ledger=ledger, groups=groups) for address in addresses)
