# SPDX-License-Identifier: Apache-2.0
"""Whether one group can serve one family, and whether one requested address can be given: a look, not a change.

The checks stand in the order in which their reasons are told. A sharing key that stands for an address of the group is an
obligation: its Services use that address or none. What the asking Service itself holds never stands in its way.
"""

from collections.abc import Iterable

from msgspec import Struct

from purelb.allocator import refusals as because
from purelb.allocator.attribution import LOCAL
from purelb.allocator.groups import Candidates, Groups
from purelb.allocator.ledger import Ledger
from purelb.allocator.ranges import Address, EntryId, Place
from purelb.allocator.refusals import Refusal
from purelb.allocator.sharing import Facts, clash, ports_in_common
from purelb.allocator.wish import Wish
from purelb.api import reasons
from purelb.api.groups import Group
from purelb.net.ranges import Family


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

    def __init__(self, wish: Wish, *, ledger: Ledger, groups: Groups, rules: Rules) -> None:
        self.wish = wish
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
            if key is not None and self._ledger.bound(group, family, key) is not None
        )
        return self._groups.candidates(
            namespace=self.wish.service.namespace, named=self.wish.group, labels=self.wish.labels, bound=bound
        )

    def is_bound(self, group: Group, families: Iterable[Family]) -> bool:
        """Whether the sharing key stands for an address of the group that others hold."""
        return any(self._bound(group, family) is not None for family in families)

    def home(self, addresses: tuple[Address, ...]) -> Group | Refusal | None:
        """The group of the first of some addresses; why not, when it came from one that does not contain it any more."""
        if not addresses:
            return None
        group = self._groups.holding(self._ledger.pools.where(addresses[0]))
        claim = self._ledger.claims.get(addresses[0])
        if group is not None or claim is None or not claim.origin.group:
            return group
        return self._groups.named(claim.origin.group, self.wish.service.namespace)

    def could_be_given(self, address: Address) -> bool:
        """Whether a held address could be given to its Service today."""
        wish = self.wish
        group = self._groups.holding(self._ledger.pools.where(address))
        if group is None or group.drain or self._groups.denial(group, wish.service.namespace) is not None:
            return False
        if wish.addresses:  # a family without a request is filled from the group of the first request
            asked = [a for a in wish.addresses if a[0] == address[0]]
            return address in asked if asked else group == self.home(wish.addresses)
        if wish.group is not None:
            return wish.group == group.name
        candidates = self.candidates()
        return not isinstance(candidates, Refusal) and group in candidates.groups

    def serve(self, group: Group, family: Family) -> Address | Refusal:
        """The address the group would give, or why it gives none."""
        answer = self._serve(group, family)
        return because.in_group(answer, group.name) if isinstance(answer, Refusal) else answer

    def _serve(self, group: Group, family: Family) -> Address | Refusal:
        if group.drain:
            return because.group_draining(group.name)
        entries = self._ledger.pools.entries_of(group.name, family)
        if not entries:
            return because.family_unavailable(group.name, family)
        bound = self._bound(group, family)
        if bound is not None:
            return self._join(bound, group) or self._within_quota(bound, group) or bound
        if (mine := self._ledger.quarantined_for(self.wish.service, group.name, family)) is not None:
            return self._within_quota(mine, group) or mine
        for entry in self._in_turn(group, entries):
            if (found := self._ledger.pools.lowest(entry)) is not None:
                return self._within_quota(found, group) or found
        use = self._ledger.pools.usage(group.name, family)
        return because.pool_exhausted(
            group.name, family, used=use.claimed, size=use.size, quarantined=use.quarantined, reserved=use.reserved
        )

    def request(self, address: Address, wanted: tuple[Family, ...]) -> Refusal | None:
        """Why a requested address that the Service does not hold cannot be given; None when it can."""
        place = self._ledger.pools.where(address)
        if place is None:
            return because.not_in_any_pool(address)
        group = self._groups.accepted[place.entry.group]
        refusal = self._request(address, wanted, group, place)
        return None if refusal is None else because.in_group(refusal, group.name)

    def _request(self, address: Address, wanted: tuple[Family, ...], group: Group, place: Place) -> Refusal | None:
        wish = self.wish
        if (denied := self._groups.denial(group, wish.service.namespace)) is not None:
            return denied
        if group.drain:
            return because.group_draining(group.name)
        if place.excluded:
            return because.excluded(address, group.name)
        sources = [s for s in self._ledger.reserved.get(address, ()) if s.name != str(wish.service)]
        if sources:
            return because.reserved(address, sources[0].kind, sources[0].name)
        if address[0] not in wanted:
            return because.family_mismatch(address, wanted)
        held_back = self._ledger.quarantine.kept_for(address)
        if held_back is not None and held_back[1] != wish.service:
            return because.quarantined(address, held_back[1], held_back[0])
        if (refusal := self._join(address, group)) is not None:
            return refusal
        bound = self._bound(group, address[0])
        if bound is not None and bound != address:
            return because.key_bound(wish.sharing_key or "", bound, address)
        return self._within_quota(address, group)

    def _facts(self, group: Group) -> Facts:
        return self.wish.facts(local=effective_local(self.wish, (group.announce,), self._rules))

    def _bound(self, group: Group, family: Family) -> Address | None:
        """The address the key stands for, unless nobody but the asking Service made it so."""
        key = self.wish.sharing_key
        bound = None if key is None else self._ledger.bound(group.name, family, key)
        if bound is None or set(self._ledger.claims[bound].holders) == {self.wish.service}:
            return None
        return bound

    def _join(self, address: Address, group: Group) -> Refusal | None:
        claim = self._ledger.claims.get(address)
        if claim is None:
            return None
        facts = self._facts(group)
        for key, holder in claim.holders.items():
            if key == self.wish.service:
                continue
            if (reason := clash(facts, holder.facts)) is not None:
                return because.sharing(reason, address, key, ports=ports_in_common(facts, holder.facts))
            if claim.contested:
                return because.sharing(reasons.SHARING_KEY_MISMATCH, address, key)
        return None

    def _within_quota(self, address: Address, group: Group) -> Refusal | None:
        if group.quota_per_namespace is None:
            return None
        namespace, family = self.wish.service.namespace, address[0]
        claim = self._ledger.claims.get(address)
        if claim is not None and any(key.namespace == namespace for key in claim.holders):
            return None
        held = self._ledger.used_by_namespace(group.name, namespace, family) - self._own(group, family)
        if held < group.quota_per_namespace:
            return None
        return because.quota_exceeded(group.name, namespace, held, group.quota_per_namespace, family)

    def _own(self, group: Group, family: Family) -> int:
        """Addresses that only the asking Service makes its namespace use."""
        record = self._ledger.records.get(self.wish.service)
        count = 0
        for address in (*record.addresses, *record.leaving) if record is not None else ():
            claim = self._ledger.claims[address]
            if address[0] == family and claim.entry is not None and claim.entry.group == group.name:
                others = (key for key in claim.holders if key != self.wish.service)
                count += not any(key.namespace == self.wish.service.namespace for key in others)
        return count

    def _in_turn(self, group: Group, entries: tuple[EntryId, ...]) -> tuple[EntryId, ...]:
        if not group.balance_pools or self.wish.sharing_key is not None:
            return entries
        return tuple(sorted(entries, key=lambda entry: (self._ledger.pools.usage_of(entry).claimed, entry.index)))
