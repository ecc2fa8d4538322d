# SPDX-License-Identifier: Apache-2.0
"""To which group an address in use belongs, and how it is announced, also when no accepted group contains it any more.

Such a *stray* address keeps the group it came from on paper: nothing that was announced goes away, and nothing is changed for good,
because somebody edited or deleted a group. What the group was is noted in the claim when it goes, and read from the Service's own
annotations when a term begins. Where nobody wrote it down it is unknown, and unknown is not local.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from purelb.allocator.claims import NOWHERE, Origin
from purelb.allocator.groups import Groups
from purelb.allocator.ledger import Ledger
from purelb.allocator.ranges import Address
from purelb.api.groups import Group

LOCAL: Final = "local"


class Home(Struct, frozen=True, gc=False):
    """Where an address belongs. `name` also where the group is refused now, `excluded_by` where it is written but not handed out.

    `kind` is how it is announced, `local` or `remote`; empty when it is stray and nobody wrote that down. `origin`: what was noted
    in its claim.
    """

    group: Group | None
    name: str | None
    kind: str
    excluded_by: str | None
    origin: Origin

    @property
    def is_local(self) -> bool:
        """Whether one node should answer for it; so it is where nobody wrote it down."""
        return self.kind in {LOCAL, ""}

    @property
    def off_subnet(self) -> bool:
        """Whether nodes off its subnet may have it on their dummy interface; of a stray nobody says that they may not."""
        return self.group is None or self.group.off_subnet == "Dummy"

    @property
    def skip_ipv6_dad(self) -> bool:
        """Of the group, or as it was noted."""
        return self.origin.skip_ipv6_dad if self.group is None else self.group.skip_ipv6_dad


def home_of(address: Address, *, ledger: Ledger, groups: Groups) -> Home:
    """Where an address belongs: to the accepted group that contains it, else to the one it came from. Found in one look."""
    claim = ledger.claims.get(address)
    origin = NOWHERE if claim is None else claim.origin
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


def kinds_of(addresses: Iterable[Address], *, ledger: Ledger, groups: Groups) -> tuple[str, ...]:
    """How each of some addresses is announced."""
    return tuple(home_of(address, ledger=ledger, groups=groups).kind for address in addresses)
