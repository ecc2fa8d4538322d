# SPDX-License-Identifier: Apache-2.0
"""What the ledger is made of: claims, who holds them and in which state, what a Service holds, and what it shall hold.

Values only. All are frozen but `Claim`, whose holders the ledger changes in place, because a shared address may have thousands.
"""

from typing import Literal

from msgspec import Struct

from purelb.allocator.atlas import EntryId
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import Refusal
from purelb.allocator.sharing import Facts

State = Literal["publishing", "held", "leaving"]
Contest = Literal["", "learnt", "changed", "taken"]
SourceKind = Literal["cluster IP", "published", "node", "interface", "gateway", "LAN"]


class Source(Struct, frozen=True, gc=False, order=True):
    """Who makes an address unfit to hand out: a Service's cluster IP, another controller's ingress, a node, a gateway, a stranger."""

    kind: SourceKind
    name: str


class Holder(Struct, frozen=True, gc=False):
    """One Service on one address. `contest`: it may not share with the others, and is the one that would have to go."""

    uid: str
    facts: Facts
    state: State
    published: bool = False
    contest: Contest = ""


class Origin(Struct, frozen=True, gc=False):
    """The group an address came from, and how that announced it; empty where nobody wrote it down."""

    group: str = ""
    announce: str = ""
    skip_ipv6_dad: bool = False


NOWHERE = Origin()


class Claim(Struct, gc=False):
    """One address in use. `entry` is None when no accepted group contains it; `origin` says then which one did."""

    entry: EntryId | None
    holders: dict[ServiceKey, Holder]
    origin: Origin = NOWHERE

    @property
    def contested(self) -> bool:
        return any(holder.contest for holder in self.holders.values())


class Record(Struct, frozen=True, gc=False):
    """What one Service holds: `addresses` in ingress order, `leaving` not yet known to be gone from its status.

    `wish`: the text of the wish that this was decided for, empty where it was learnt; `asked` a fingerprint of the whole wish.
    """

    uid: str
    created: str
    addresses: tuple[Address, ...] = ()
    leaving: tuple[Address, ...] = ()
    wish: str = ""
    asked: int = 0


class Plan(Struct, frozen=True, gc=False):
    """What a Service shall hold. `shortfall`: what it asked for besides, and why it does not get it.

    `origins` are those of addresses that a source gave; the others lie in the pools. `wish`, `asked`: what is answered, as in `Record`.
    """

    service: ServiceKey
    uid: str
    created: str
    addresses: tuple[Address, ...]
    facts: Facts
    wish: str = ""
    asked: int = 0
    contests: tuple[tuple[Address, Contest], ...] = ()
    shortfall: Refusal | None = None
    origins: tuple[tuple[Address, Origin], ...] = ()
