# SPDX-License-Identifier: Apache-2.0
"""Who holds which address: the allocator's only truth, and the indices over it.

`claims` is the truth; records, `index` (bindings, usage) and `pools` (the free sets) follow from it, and `_put` and `_drop` alone
write them. A change goes through `commit` (what was planned), `confirm` (what the API server is known to say) or `release` (the Service is
gone). Planning reads, and changes nothing; committing what was planned on the present state cannot fail.

An address that leaves a Service stays claimed as `leaving` until a status without it is known, so it never becomes free while
a published status that we know of contains it. A claim outlives its group: without one it is stray, and stays with its holder.

Rejected: parallel dicts of addresses, ports and keys that every caller keeps in step; awaiting a source in the middle.
Not promised: that the holders of a *contested* claim may share. They were found like that, or one of them changed under it.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain

from msgspec.structs import replace

from purelb.allocator.atlas import Atlas, EntryId
from purelb.allocator.claims import NOWHERE, Claim, Contest, Holder, Origin, Plan, Record, Source
from purelb.allocator.indices import Indices
from purelb.allocator.keys import ServiceKey
from purelb.allocator.pools import Category, Pools
from purelb.allocator.quarantine import Quarantine
from purelb.allocator.ranges import Address, Layout
from purelb.allocator.sharing import Facts, Port
from purelb.api.pieces import CHANGES, LOOKS, Pieces, at_once
from purelb.net.ranges import Family


class Ledger:
    def __init__(self) -> None:
        self.claims: dict[Address, Claim] = {}
        self.records: dict[ServiceKey, Record] = {}
        self.quarantine = Quarantine()
        self.reserved: dict[Address, tuple[Source, ...]] = {}
        self.pools = Pools()
        self._delays: Mapping[str, float] = {}
        self.index = Indices()
        self._elsewhere: Collection[str] = ()
        self._by_source: dict[Source, tuple[Address, ...]] = {}

    # Reading

    def attribution(self, address: Address, origin: Origin) -> EntryId | None:
        """Where an address counts: the entry that hands it out, else the group whose source gave it."""
        entry = self.pools.entry_of(address)
        if entry is None and origin.group in self._elsewhere:
            return EntryId(origin.group, address[0], 0)
        return entry

    def counted_in(self, address: Address) -> str:
        """The group among whose addresses one counts, in use or not: the one that hands it out or lent it, else the one that excludes it."""
        claim = self.claims.get(address)
        entry = self.pools.entry_of(address) if claim is None else claim.entry
        if entry is not None:
            return entry.group
        place = self.pools.where(address)
        return "" if place is None else place.entry.group

    def quarantined_for(self, service: ServiceKey, group: str, family: Family) -> Address | None:
        """The address of a group that is kept back for a Service of this namespace and name, lowest first."""
        for address in self.quarantine.of(service):
            entry = self.pools.entry_of(address)
            if entry is not None and entry.group == group and entry.family == family and address not in self.reserved:
                return address
        return None

    def published(self, service: ServiceKey) -> tuple[Address, ...]:
        """What a Service holds, or leaves, that is known to have stood in its status."""
        record = self.records.get(service)
        named = (*record.addresses, *record.leaving) if record is not None else ()
        return tuple(address for address in named if self.claims[address].holders[service].published)

    def standing(self, service: ServiceKey, asked: int) -> tuple[Address, ...]:
        """What a Service holds, for whoever decides for the wish of this fingerprint.

        What was decided for another one and is not known to be published binds nobody: then it holds what is, if that was to be left.
        """
        record = self.records.get(service)
        if record is None:
            return ()
        if not record.leaving or record.asked == asked:
            return record.addresses
        seen = self.published(service)
        return seen or record.addresses

    def on_its_way(self, service: ServiceKey) -> Iterator[Address]:
        """What a Service is about to leave or to get, and nobody else holds: the first to be given to it again."""
        record = self.records.get(service)
        for address in (*record.leaving, *record.addresses) if record is not None else ():
            holders = self.claims[address].holders
            if holders[service].state != "held" and len(holders) == 1 and address not in self.reserved:
                yield address

    def on_lan(self, address: Address) -> bool:
        """Whether the address is left to another host on the LAN."""
        sources = self.reserved.get(address)
        return sources is not None and any(source.kind == "LAN" for source in sources)

    def category(self, address: Address) -> Category:
        """What an address is, whether a group contains it or not."""
        if address in self.claims:
            return "claimed"
        if address in self.quarantine:
            return "quarantined"
        return "reserved" if address in self.reserved else "free"

    # Changing

    def configure(
        self,
        entries: Mapping[EntryId, Layout],
        atlas: Atlas,
        *,
        reuse_delays: Mapping[str, float] | None = None,
        elsewhere: Collection[str] = (),
    ) -> tuple[Address, ...]:
        """Take over what the accepted groups say. No claim is lost: it is attributed anew, or becomes stray.

        Costs what moves and not what is held; answers the addresses in use that were attributed anew, or are excluded by another group. `elsewhere` are the groups whose
        addresses a source gives: theirs is what came from them and lies in no pool.
        """
        return at_once(self.configuring(entries, atlas, reuse_delays=reuse_delays, elsewhere=elsewhere))

    def configuring(
        self,
        entries: Mapping[EntryId, Layout],
        atlas: Atlas,
        *,
        reuse_delays: Mapping[str, float] | None = None,
        elsewhere: Collection[str] = (),
    ) -> Pieces[tuple[Address, ...]]:
        """The same in pieces. Whoever looks in between sees addresses that count nowhere; nobody may decide then."""
        moved = yield from self._moving(atlas, elsewhere)
        for number, address in enumerate(moved):
            if not number % CHANGES:
                yield
            self.pools.move(address, self.category(address), "free")
            if (claim := self.claims.get(address)) is not None:
                self._stray(claim, address, -1)
                self.index.all_left(claim, address, group=self.counted_in(address))
        yield from self.pools.configuring(entries, atlas)
        self._delays = reuse_delays or {}
        self._elsewhere = elsewhere
        for number, address in enumerate(moved):
            if not number % CHANGES:
                yield
            self._account(address, "free")
            if (claim := self.claims.get(address)) is not None:
                claim.entry = self.attribution(address, claim.origin)
                self._stray(claim, address, 1)
                self.index.all_entered(claim, address, group=self.counted_in(address))
        yield from self._shorten()
        return tuple(address for address in moved if address in self.claims)

    def _moving(self, atlas: Atlas, elsewhere: Collection[str]) -> Pieces[tuple[Address, ...]]:
        """The known addresses that have another place under `atlas`, or that a source gave whose group came or went."""
        found: dict[Address, None] = {}
        for family, bounds in (yield from self.pools.moving(atlas)).items():
            if bounds:
                lows, highs = [low for low, _ in bounds], [high for _, high in bounds]
                least, most = lows[0], highs[-1]
                for number, a in enumerate(chain(self.claims, self.quarantine, self.reserved)):
                    if not number % LOOKS:
                        yield
                    if a[0] == family and least <= a[1] <= most and a[1] <= highs[bisect_right(lows, a[1]) - 1]:
                        found[a] = None
        if other := {*self._elsewhere} ^ {*elsewhere}:
            for number, (address, claim) in enumerate(self.claims.items()):
                if not number % LOOKS:
                    yield
                if claim.origin.group in other:
                    found[address] = None
        return tuple(found)

    def _shorten(self) -> Pieces[None]:
        """What is kept back is kept no longer than its group says now: who shortens `reuseDelay` means the present ones too."""
        for number, address in enumerate(tuple(self.quarantine)):
            if not number % LOOKS:
                yield
            entry, noted = self.pools.entry_of(address), self.quarantine.group_of(address)
            group = entry.group if entry is not None else noted
            if entry is not None or noted in self._elsewhere:
                self.quarantine.shorten(address, self._delays.get(group, 0.0), by=group)

    def reserve(self, source: Source, addresses: Iterable[Address]) -> tuple[Address, ...]:
        """Replace what a source keeps from being handed out; answers the addresses it no longer reserves."""
        wanted, had = tuple(dict.fromkeys(addresses)), self._by_source.get(source, ())
        if wanted == had:
            return ()
        if wanted:
            self._by_source[source] = wanted
        else:
            self._by_source.pop(source, None)
        before_that, from_now_on = frozenset(had), frozenset(wanted)  # a hostile report names thousands
        for address in wanted:
            if address not in before_that:
                before = self.category(address)
                self.reserved[address] = (*self.reserved.get(address, ()), source)
                self._account(address, before)
        if not had:
            return ()
        gone = tuple(address for address in had if address not in from_now_on)
        for address in gone:
            before = self.category(address)
            left = tuple(other for other in self.reserved[address] if other != source)
            if left:
                self.reserved[address] = left
            else:
                del self.reserved[address]
            self._account(address, before)
        return gone

    def commit(self, plan: Plan) -> None:
        """Make the plan true. New addresses are `publishing`, dropped ones `leaving`, until `confirm`."""
        record = self.records.get(plan.service) or Record(plan.uid, plan.created)
        contests, origins = dict(plan.contests), dict(plan.origins)
        for address in plan.addresses:
            before = self._holder(address, plan.service)
            contest = contests.get(address, "")
            if before is None:
                found = Holder(plan.uid, plan.facts, "publishing", contest=contest)
                self._put(address, plan.service, found, origin=origins.get(address, NOWHERE))
            elif before.state == "leaving":  # it comes back before its going was known
                self._put(address, plan.service, replace(before, facts=plan.facts, state="publishing", contest=contest))
            elif before.facts != plan.facts or before.contest != contest:
                self._put(address, plan.service, replace(before, facts=plan.facts, contest=contest))
        leaving = [address for address in (*record.leaving, *record.addresses) if address not in plan.addresses]
        for address in leaving:
            holder = self._holder(address, plan.service)
            if holder is not None and holder.state != "leaving":
                self._put(address, plan.service, replace(holder, state="leaving", contest=""))
        if plan.addresses or leaving:
            self.records[plan.service] = Record(
                plan.uid, plan.created, plan.addresses, tuple(leaving), plan.wish, plan.asked
            )
        else:
            self.records.pop(plan.service, None)

    def learn(
        self,
        service: ServiceKey,
        *,
        uid: str,
        created: str,
        address: Address,
        facts: Facts,
        contest: Contest = "",
        origin: Origin = NOWHERE,
    ) -> None:
        """Take an address of a published status as it is, whatever groups, drain or quota say."""
        record = self.records.get(service) or Record(uid, created)
        self._put(address, service, Holder(uid, facts, "held", published=True, contest=contest), origin=origin)
        if origin is not NOWHERE and self.claims[address].origin == NOWHERE:
            self.trace(address, origin)
        self.records[service] = replace(record, addresses=(*record.addresses, address))

    def trace(self, address: Address, origin: Origin) -> None:
        """Note where an address in use came from, for when no accepted group contains it."""
        claim = self.claims[address]
        self._stray(claim, address, -1)
        claim.origin = origin
        if (entry := self.attribution(address, origin)) != claim.entry:
            self.index.all_left(claim, address, group=self.counted_in(address))
            claim.entry = entry
            self.index.all_entered(claim, address, group=self.counted_in(address))
        self._stray(claim, address, 1)

    def contest(self, service: ServiceKey, address: Address, why: Contest) -> None:
        """Mark a holder as the one that has to go from an address."""
        holder = self._holder(address, service)
        if holder is not None:
            self._put(address, service, replace(holder, contest=why))

    def foresee(self, service: ServiceKey, *, key: str | None, ports: frozenset[Port]) -> tuple[Address, ...]:
        """A Service asks for another sharing key or more ports by now, and is not decided yet. Answers where that changes something.

        Where it is alone nobody joins it by the old key, and nobody takes a port of it who did not have that already.
        """
        record = self.records.get(service)
        changed: list[Address] = []
        for address in record.addresses if record is not None else ():
            holders = self.claims[address].holders
            before = facts = holders[service].facts
            if len(holders) == 1 and facts.key not in {None, key}:
                facts = replace(facts, key=None)
            if facts.key is not None and (more := ports - facts.ports):
                taken = (other.facts.ports for who, other in holders.items() if who != service)
                facts = replace(facts, ports=facts.ports | more.difference(*taken))
            if facts != before:
                self._put(address, service, replace(holders[service], facts=facts))
                changed.append(address)
        return tuple(changed)

    def confirm(self, service: ServiceKey, published: frozenset[Address], now: float) -> tuple[Address, ...]:
        """A status of the Service is known. Answers the addresses that are no longer its own."""
        record = self.records.get(service)
        if record is None:
            return ()
        for address in record.addresses:
            holder = self._holder(address, service)
            if holder is not None and holder.state == "publishing" and address in published:
                self._put(address, service, replace(holder, state="held", published=True))
        gone = tuple([address for address in record.leaving if address not in published])
        if gone:
            self._keep(service, replace(record, leaving=tuple(a for a in record.leaving if a in published)))
            for address in gone:
                self._drop(address, service, now)
        return gone

    def release(self, service: ServiceKey, now: float) -> tuple[Address, ...]:
        """The Service is gone, and its status with it. Answers the addresses that were its own."""
        record = self.records.pop(service, None)
        if record is None:
            return ()
        gone = (*record.addresses, *record.leaving)
        for address in gone:
            self._drop(address, service, now)
        return gone

    def expire(self, now: float, *, most: int | None = None) -> tuple[Address, ...]:
        """End the quarantines that are due, at most so many of them; answers their addresses."""
        ended = self.quarantine.due(now, most=most)
        for address in ended:
            before = self.category(address)
            self.quarantine.drop(address)
            self._account(address, before)
        return ended

    # The only writers of the indices

    def _keep(self, service: ServiceKey, record: Record) -> None:
        if record.addresses or record.leaving:
            self.records[service] = record
        else:
            del self.records[service]

    def _holder(self, address: Address, service: ServiceKey) -> Holder | None:
        claim = self.claims.get(address)
        return None if claim is None else claim.holders.get(service)

    def _put(self, address: Address, service: ServiceKey, holder: Holder, *, origin: Origin = NOWHERE) -> None:
        claim = self.claims.get(address)
        if claim is None:
            before = self.category(address)
            claim = self.claims[address] = Claim(self.attribution(address, origin), {}, origin)
            self._stray(claim, address, 1)
            self.quarantine.drop(address)
            self._account(address, before)
        old = claim.holders.get(service)
        self.index.contest(address, (1 if holder.contest else 0) - (1 if old is not None and old.contest else 0))
        if old is not None:
            if old.facts.key == holder.facts.key and (old.state == "leaving") == (holder.state == "leaving"):
                claim.holders[service] = holder  # nothing that an index knows has changed, so neither has its order
                return
            self.index.left(claim, address, service, old, group=self.counted_in(address))
        claim.holders[service] = holder
        self.index.entered(claim, address, service, holder, group=self.counted_in(address))

    def _drop(self, address: Address, service: ServiceKey, now: float) -> None:
        claim = self.claims[address]
        holder = claim.holders[service]
        self.index.left(claim, address, service, holder, group=self.counted_in(address))
        self.index.contest(address, -1 if holder.contest else 0)
        del claim.holders[service]
        if claim.holders:
            return
        before = self.category(address)
        self._stray(claim, address, -1)
        del self.claims[address]
        group = claim.entry.group if claim.entry is not None else ""
        delay = self._delays.get(group, 0.0)
        if holder.published and delay > 0:
            self.quarantine.add(address, service, group=group, since=now, until=now + delay)
        self._account(address, before)

    def _stray(self, claim: Claim, address: Address, by: int) -> None:
        self.index.strayed(claim, address, by, elsewhere=self._elsewhere)
        if claim.entry is None and (group := self.counted_in(address)):
            self.index.exclude(group, address[0], by)

    def _account(self, address: Address, before: Category) -> None:
        self.pools.move(address, before, self.category(address))
