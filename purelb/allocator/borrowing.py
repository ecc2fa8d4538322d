# SPDX-License-Identifier: Apache-2.0
"""Addresses of a group whose source stands outside the cluster: what the ledger can say at once, and what has to be asked for. Pure.

A plan never waits. What a source has given for the Service is there to be used like a free address; what was refused is a refusal; and
what is not known makes the plan a refusal that carries the question. A sharing key that is bound inside the group is served from the
ledger, and its source is not asked.
"""

from collections.abc import Collection
from typing import Protocol

from purelb.allocator import multipool
from purelb.allocator import refusals as because
from purelb.allocator.multipool import Filled
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import Refusal
from purelb.allocator.sources.ask import Ask, Asked
from purelb.allocator.sources.loans import Loans
from purelb.allocator.sources.source import source_text
from purelb.allocator.wish import Wish
from purelb.api.groups import Group
from purelb.net.ranges import Family


class Borrower(Protocol):
    """One Service asking the present ledger and groups (`serving.Asker`)."""

    wish: Wish
    loans: Loans

    def wants_several(self, group: Group) -> bool: ...
    def bound(self, group: Group, family: Family) -> Address | None: ...
    def join(self, address: Address, group: Group) -> Refusal | None: ...
    def on_its_way(self, group: Group, family: Family) -> Address | None: ...
    def kept_back(self, group: Group, family: Family) -> Address | None: ...
    def is_used(self, address: Address, group: Group) -> bool: ...
    def reserved(self, address: Address) -> Refusal | None: ...
    def within_quota(self, address: Address, group: Group, *, taken: Collection[Address] = ()) -> Refusal | None: ...


def borrow(asker: Borrower, group: Group, families: tuple[Family, ...]) -> dict[Family, Filled | Refusal]:
    """What the group gives of each family now."""
    found: dict[Family, Filled | Refusal] = {}
    for family in families:
        answer = _at_once(asker, group, family)
        if answer is not None:
            found[family] = because.in_group(answer, group.name) if isinstance(answer, Refusal) else Filled((answer,))
    lacking = tuple(family for family in families if family not in found)
    if not lacking:
        return found
    answer_to_all = _look(asker, group, _ask(asker, families=lacking))
    for family in lacking:
        if isinstance(answer_to_all, Refusal):
            found[family] = answer_to_all
            continue
        given = next((address for address in answer_to_all if address[0] == family), None)
        if given is None:
            still = _ask(asker, families=tuple(f for f in lacking if all(a[0] != f for a in answer_to_all)))
            found[family] = _alone(asker, group, still)
        else:
            unfit = asker.reserved(given) or asker.join(given, group)
            found[family] = Filled((given,)) if unfit is None else because.in_group(unfit, group.name)
    return found


def request(
    asker: Borrower, group: Group, address: Address, wanted: tuple[Family, ...], *, taken: Collection[Address]
) -> Refusal | None:
    """Why an address that the Service asks of this very group cannot be given; None when it was."""
    if group.drain:
        return because.group_draining(group.name, deleted=group.deleted)
    if (refusal := asker.reserved(address)) is not None:
        return refusal
    if address[0] not in wanted:
        return because.family_mismatch(address, wanted)
    if (refusal := asker.join(address, group)) is not None:
        return refusal
    bound = asker.bound(group, address[0])
    if bound is not None and bound != address:
        return because.key_bound(asker.wish.sharing_key or "", bound, address)
    if (refusal := asker.within_quota(address, group, taken=taken)) is not None:
        return refusal
    if asker.is_used(address, group):  # shared, or its own: nobody has to be asked
        return None
    missing = tuple(a for a in asker.wish.addresses if not asker.is_used(a, group))
    answer = _look(asker, group, _ask(asker, addresses=missing))
    return answer if isinstance(answer, Refusal) else None


def _alone(asker: Borrower, group: Group, ask: Ask) -> Refusal:
    """A family that did not come with the others is asked for by itself."""
    answer = _look(asker, group, ask)
    return answer if isinstance(answer, Refusal) else because.family_unavailable(group.name, ask.families[0])


def _at_once(asker: Borrower, group: Group, family: Family) -> Address | Refusal | None:
    if group.drain:
        return because.group_draining(group.name, deleted=group.deleted)
    if asker.wants_several(group) and (refusal := multipool.refused(group, asker.wish.sharing_key)) is not None:
        return refusal
    bound = asker.bound(group, family)
    if bound is not None:
        return asker.join(bound, group) or asker.within_quota(bound, group) or bound
    if (refusal := asker.within_quota((family, -1), group)) is not None:  # whichever it will be, it is one more
        return refusal
    return asker.on_its_way(group, family) or asker.kept_back(group, family)


def _ask(asker: Borrower, *, families: tuple[Family, ...] = (), addresses: tuple[Address, ...] = ()) -> Ask:
    wish = asker.wish
    avoid = asker.loans.avoided(wish.service)
    return Ask(wish.service, wish.uid, families, addresses, wish.sharing_key, avoid)


def _look(asker: Borrower, group: Group, ask: Ask) -> Collection[Address] | Refusal:
    answer = asker.loans.look(group, ask)
    if answer is None:
        answer = because.ipam_pending(source_text(group), Asked(group.name, ask))
    return because.in_group(answer, group.name) if isinstance(answer, Refusal) else tuple(answer)
