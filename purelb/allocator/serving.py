# SPDX-License-Identifier: Apache-2.0
"""Whether one group can serve one family, and whether one requested address can be given: a look, not a change.

The checks stand in the order in which their reasons are told. A sharing key that stands for an address of the group is an
obligation: its Services use that address or none. What the asking Service itself holds never stands in its way.
"""

from collections.abc import Collection, Iterable

from msgspec import Struct

from purelb.allocator import multipool
from purelb.allocator import refusals as because
from purelb.allocator.atlas import EntryId, Place
from purelb.allocator.attribution import LOCAL, home_of
from purelb.allocator.borrowing import request as request_elsewhere
from purelb.allocator.claims import Source
from purelb.allocator.groups import Candidates, Groups
from purelb.allocator.ledger import Ledger
from purelb.allocator.multipool import Filled
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import Refusal
from purelb.allocator.sharing import Facts, clash, ports_in_common
from purelb.allocator.sources.loans import Loans
from purelb.allocator.waits import AddressChanges, GroupsChange
from purelb.allocator.wish import Wish
from purelb.api.groups import Group
from purelb.net.ranges import Family, IPNetwork


class Rules(Struct, frozen=True, gc=False):
    """Settings of the process that decide something here. `honor_local`: never override externalTrafficPolicy Local."""

    honor_local: bool = False


def effective_local(wish: Wish, kinds: Iterable[str], rules: Rules) -> bool:
    """Whether externalTrafficPolicy Local will stay: on a local address it is overridden unless somebody wants it.

    `kinds` say how each address is announced; one of which nobody knows it (empty) is no reason to override anything.
    """
    if not wish.local_policy:
        return False
    return wish.allow_local or rules.honor_local or all(kind != LOCAL for kind in kinds)


class Asker:
    """One Service asking the present ledger and groups. Made per decision, holds no state of its own."""

    def __init__(
        self,
        wish: Wish,
        *,
        ledger: Ledger,
        groups: Groups,
        rules: Rules,
        advertised: Collection[IPNetwork] = (),
        loans: Loans | None = None,
    ) -> None:
        self.wish = wish
        self.loans = loans or Loans()
        self._advertised = advertised
        self._ledger = ledger
        self._groups = groups
        self._rules = rules

    def candidates(self) -> Candidates | Refusal:
        """The groups to ask, in turn."""
        key = self.wish.sharing_key
        bound = frozenset(
            group
            for group in self._groups.accepted
            for family in self.wish.families
            if key is not None and self._ledger.index.bound(group, family, key) is not None
        )
        return self._groups.candidates(
            namespace=self.wish.service.namespace, named=self.wish.group, labels=self.wish.labels, bound=bound
        )

    def is_bound(self, group: Group, families: Iterable[Family]) -> bool:
        """Whether the sharing key stands for an address of the group that others hold."""
        return any(self.bound(group, family) is not None for family in families)

    def home(self, addresses: tuple[Address, ...]) -> Group | Refusal | None:
        """The group that contains the first of some addresses, or the one it came from; why not, when that is gone."""
        if addresses and self._elsewhere is not None and addresses == self.wish.addresses:
            return self._elsewhere
        for address in addresses:
            if (group := home_of(address, ledger=self._ledger, groups=self._groups).group) is not None:
                return group
        claim = self._ledger.claims.get(addresses[0]) if addresses else None
        if claim is None or not claim.origin.group:
            return None
        return self._groups.named(claim.origin.group, self.wish.service.namespace)

    @property
    def may_want_several(self) -> bool:
        """Whether it is worth asking for which group one address per entry is wanted."""
        return self._groups.several if self.wish.multi_pool is None else self.wish.multi_pool

    def wants_several(self, group: Group) -> bool:
        """Whether one address per entry of this group is wanted: the annotation decides, without one the group."""
        return group.multi_pool if self.wish.multi_pool is None else self.wish.multi_pool

    def denial(self, group: Group) -> Refusal | None:
        """Why the Service's namespace may not use the group (any more); None when it may."""
        return self._groups.denial(group, self.wish.service.namespace)

    def could_be_given(self, address: Address) -> bool:
        """Whether a held address could be given to its Service today."""
        wish = self.wish
        group = home_of(address, ledger=self._ledger, groups=self._groups).group
        if group is None or group.drain or self._groups.denial(group, wish.service.namespace) is not None:
            return False
        if any(source.kind != "interface" for source in self._others_of(address)):
            return False
        if wish.addresses:  # a family without a request is filled from the group of the first request
            asked = [a for a in wish.addresses if a[0] == address[0]]
            return address in asked if asked else group == self.home(wish.addresses)
        if wish.group is not None:
            return wish.group == group.name
        candidates = self.candidates()
        return not isinstance(candidates, Refusal) and group in candidates.groups

    def serve(self, group: Group, family: Family, *, held: tuple[Address, ...] = ()) -> Filled | Refusal:
        """The addresses of a family the group would give, or why it gives none. `held`: of that family, with multi-pool."""
        several = self.wants_several(group) and bool(held or self._ledger.pools.entries_of(group.name, family))
        if several and multipool.refused(group, self.wish.sharing_key) is None:
            return multipool.fill(self, group, family, held=held, advertised=self._advertised)
        answer = self._serve(group, family, several=several)
        return because.in_group(answer, group.name) if isinstance(answer, Refusal) else Filled((answer,))

    def on_its_way(self, group: Group, family: Family) -> Address | None:
        """An address of the group that the Service is about to leave or to get."""
        mine = self._ledger.on_its_way(self.wish.service)
        return next((a for a in mine if a[0] == family and self.is_used(a, group)), None)

    def kept_back(self, group: Group, family: Family) -> Address | None:
        """An address that a source gave before and that is kept back for this Service, lowest first."""
        for address in self._ledger.quarantine.of(self.wish.service):
            loan = self.loans.book.get(address)
            if loan is not None and loan.group == group.name and address[0] == family and not self.reserved(address):
                return address
        return None

    def is_used(self, address: Address, group: Group) -> bool:
        """Whether an address of the group is in use already, be it by the Service itself."""
        claim = self._ledger.claims.get(address)
        return claim is not None and claim.entry is not None and claim.entry.group == group.name

    def reserved(self, address: Address) -> Refusal | None:
        """Why nobody may have an address: it is a node's, a Service's or a stranger's. What stands in its own status a Service may have."""
        sources = self._others_of(address)
        return because.reserved(address, sources[0].kind, sources[0].name) if sources else None

    def _others_of(self, address: Address) -> list[Source]:
        own = Source("published", str(self.wish.service))
        return [source for source in self._ledger.reserved.get(address, ()) if source != own]

    @property
    def _elsewhere(self) -> Group | None:
        """The named group, if its addresses come from a source: then requests are made there."""
        return self._groups.elsewhere.get(self.wish.group) if self.wish.group is not None else None

    # What multi-pool asks of a group (`multipool.Shelf`)

    def places(self, group: Group, family: Family) -> tuple[multipool.Place, ...]:
        """The entries of a family that hand out addresses, in their order."""
        entries = (entry for entry in group.entries if entry.family == family)
        numbered = zip(self._ledger.pools.entries_of(group.name, family), entries, strict=True)
        return tuple(multipool.Place(found, entry.subnet) for found, entry in numbered if entry.intervals)

    def lies_in(self, address: Address) -> EntryId | None:
        """The entry an address lies in, excluded or not."""
        place = self._ledger.pools.where(address)
        return None if place is None else place.entry

    def take(self, place: multipool.Place, group: Group, *, taken: Collection[Address]) -> Address | Refusal:
        """The address of one entry that would be given next, beside others of the same plan."""
        pools, kept_back = self._ledger.pools, self._ledger.quarantine.of(self.wish.service)
        known = (*self._ledger.on_its_way(self.wish.service), *kept_back)
        mine = (a for a in known if pools.entry_of(a) == place.entry and a not in self._ledger.reserved)
        found = next((a for a in mine if a not in taken), None)
        one_more = found or (place.entry.family, -1)  # whichever it will be
        if (refusal := self.within_quota(one_more, group, taken=taken)) is not None:
            return refusal
        if (found := found or pools.lowest(place.entry)) is not None:
            return found
        use = pools.usage_of(place.entry)
        return because.entry_exhausted(
            place.entry,
            place.subnet,
            used=use.claimed,
            size=use.size,
            quarantined=use.quarantined,
            reserved=use.reserved,
        )

    def _serve(self, group: Group, family: Family, *, several: bool) -> Address | Refusal:
        if group.drain:
            return because.group_draining(group.name, deleted=group.deleted)
        entries = self._ledger.pools.entries_of(group.name, family)
        if not entries:
            return because.family_unavailable(group.name, family)
        if several and (refusal := multipool.refused(group, self.wish.sharing_key)) is not None:
            return refusal
        bound = self.bound(group, family)
        if bound is not None:
            return self.join(bound, group) or self.within_quota(bound, group) or bound
        if (mine := self.on_its_way(group, family)) is not None:
            return self.within_quota(mine, group) or mine
        if (mine := self._ledger.quarantined_for(self.wish.service, group.name, family)) is not None:
            return self.within_quota(mine, group) or mine
        if (refusal := self.within_quota((family, -1), group)) is not None:  # whichever it will be, it is one more
            return refusal
        for entry in self._in_turn(group, entries):
            if (found := self._ledger.pools.lowest(entry)) is not None:
                return found
        use = self._ledger.pools.usage(group.name, family)
        return because.pool_exhausted(
            group.name, family, used=use.claimed, size=use.size, quarantined=use.quarantined, reserved=use.reserved
        )

    def request(
        self, address: Address, wanted: tuple[Family, ...], *, taken: Collection[Address] = ()
    ) -> Refusal | None:
        """Why a requested address that the Service does not hold cannot be given, beside `taken`; None when it can.

        Whatever the reason, an edit of a group may give another one.
        """
        refusal = self._request_anywhere(address, wanted, taken)
        if refusal is None:
            return None
        return because.with_waits(refusal, (*refusal.waits, GroupsChange(refusal.reason)))

    def _request_anywhere(
        self, address: Address, wanted: tuple[Family, ...], taken: Collection[Address]
    ) -> Refusal | None:
        if (elsewhere := self._elsewhere) is not None:
            denied = self._groups.denial(elsewhere, self.wish.service.namespace)
            refusal = denied or request_elsewhere(self, elsewhere, address, wanted, taken=taken)
            return None if refusal is None else because.in_group(refusal, elsewhere.name)
        place = self._ledger.pools.where(address)
        if place is None:
            home = home_of(address, ledger=self._ledger, groups=self._groups)
            refused = self._groups.named(home.name, self.wish.service.namespace) if home.name is not None else None
            if not isinstance(refused, Refusal):
                return because.not_in_any_pool(address)
            return because.with_waits(refused, (*refused.waits, AddressChanges(address)))  # only its holder makes it so
        group = self._groups.accepted[place.entry.group]
        refusal = self._request(address, wanted, group, place, taken)
        return None if refusal is None else because.in_group(refusal, group.name)

    def _request(
        self, address: Address, wanted: tuple[Family, ...], group: Group, place: Place, taken: Collection[Address]
    ) -> Refusal | None:
        wish = self.wish
        if (denied := self._groups.denial(group, wish.service.namespace)) is not None:
            return because.for_address(denied, address, group.name)
        if group.drain:
            return because.group_draining(group.name, deleted=group.deleted)
        if place.excluded:
            return because.excluded(address, group.name)
        if (refusal := self.reserved(address)) is not None:
            return refusal
        if address[0] not in wanted:
            return because.family_mismatch(address, wanted)
        held_back = self._ledger.quarantine.kept_for(address)
        if held_back is not None and held_back[1] != wish.service:
            (until, former), (by, delay) = held_back, self._ledger.quarantine.delay_of(address)
            return because.quarantined(address, former, until, group=by, delay=delay)
        if (refusal := self.join(address, group)) is not None:
            return refusal
        bound = self.bound(group, address[0])
        if bound is not None and bound != address:
            return because.key_bound(wish.sharing_key or "", bound, address)
        return self.within_quota(address, group, taken=taken)

    def _facts(self, group: Group) -> Facts:
        return self.wish.facts(local=effective_local(self.wish, (group.announce,), self._rules))

    def bound(self, group: Group, family: Family) -> Address | None:
        """The address the key stands for, unless nobody but the asking Service made it so.

        Others may be on that address with no key or another one: then the asking one is contested there, and bound to nothing.
        """
        key, me = self.wish.sharing_key, self.wish.service
        for address in self._ledger.index.all_bound(group.name, family, key) if key is not None else ():
            holders = self._ledger.claims[address].holders.items()
            if any(who != me and held.facts.key == key and held.state != "leaving" for who, held in holders):
                return address
        return None

    def join(self, address: Address, group: Group) -> Refusal | None:
        """Why the Service may not share an address with those who hold it; a contested one is joined by nobody."""
        claim = self._ledger.claims.get(address)
        others = {key: it for key, it in claim.holders.items() if key != self.wish.service} if claim is not None else {}
        if claim is None or not others:
            return None
        facts = self._facts(group)
        for key, holder in others.items():
            if (reason := clash(facts, holder.facts)) is not None:
                common, has_key = ports_in_common(facts, holder.facts), holder.facts.key is not None
                local = holder.facts.local
                return because.sharing(reason, address, key, ports=common, has_key=has_key, local=local)
        goes = next((key for key, holder in claim.holders.items() if holder.contest), None)
        return because.contested(address, goes) if goes is not None else None

    def within_quota(self, address: Address, group: Group, *, taken: Collection[Address] = ()) -> Refusal | None:
        """Why one address more would be too many for the namespace, beside `taken`; None when it would not.

        Of several requested addresses none is given when they are too many together, and without a request each is given that
        comes before: so what the namespace holds is told with or without them.
        """
        limit = group.quota_per_namespace
        if limit is None:
            return None
        namespace, family = self.wish.service.namespace, address[0]
        claim = self._ledger.claims.get(address)
        if claim is not None and any(key.namespace == namespace for key in claim.holders):
            return None
        used = self._ledger.index.used_by_namespace(group.name, namespace, family)
        others = used - self._own(group, family)
        beside = self._new_among(taken, group, family)
        if others + beside < limit:
            return None
        if others >= limit:
            return because.quota_exceeded(group.name, namespace, used, limit, family)
        if address not in self.wish.addresses:
            return because.quota_exceeded(group.name, namespace, others + beside, limit, family)
        total = others + self._new_among(self.wish.addresses, group, family)
        return because.quota_exceeded(group.name, namespace, used, limit, family, total=total)

    def _new_among(self, addresses: Iterable[Address], group: Group, family: Family) -> int:
        """How many of some addresses are of the group and held by nobody else of the namespace."""
        return sum(1 for other in addresses if other[0] == family and self._alone_on(other, group))

    def _own(self, group: Group, family: Family) -> int:
        """Addresses that only the asking Service makes its namespace use."""
        record = self._ledger.records.get(self.wish.service)
        return 0 if record is None else self._new_among((*record.addresses, *record.leaving), group, family)

    def _alone_on(self, address: Address, group: Group) -> bool:
        """Whether an address of the group is used by nobody else of the namespace."""
        claim = self._ledger.claims.get(address)
        others = claim.holders if claim is not None else ()
        mine = (key != self.wish.service and key.namespace == self.wish.service.namespace for key in others)
        return self._ledger.counted_in(address) == group.name and not any(mine)

    def _in_turn(self, group: Group, entries: tuple[EntryId, ...]) -> tuple[EntryId, ...]:
        if not group.balance_pools or self.wish.sharing_key is not None:
            return entries
        return tuple(sorted(entries, key=lambda entry: (self._ledger.pools.usage_of(entry).claimed, entry.index)))
