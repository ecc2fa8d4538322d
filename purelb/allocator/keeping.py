# SPDX-License-Identifier: Apache-2.0
"""What of its addresses a Service may keep: its own present facts, and those of whoever else is on each of them. Changes nothing.

Who did not change keeps a shared address. Whoever makes sharing impossible by its own edit has to go when there is an address for it,
and at once if it takes a port of somebody else. Who has to go is in nobody's way any more: a third one is judged by those who stay.

Not known here is where to go (`planning.py`), and who changed while nobody led (`learning.py`): for that, what was learnt is marked.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from purelb.allocator import refusals as because
from purelb.allocator.attribution import kinds_of
from purelb.allocator.claims import Contest, Holder
from purelb.allocator.groups import Groups
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import Refusal
from purelb.allocator.serving import Rules, effective_local
from purelb.allocator.sharing import Clash, Crowd, Facts, clash, ports_in_common
from purelb.allocator.wish import Wish

_Clash = tuple[Clash, ServiceKey, Holder]  # why they may not share, with whom


class Mine(Struct, frozen=True, gc=False):
    """Held addresses by what the Service's own present facts do to them."""

    kept: tuple[Address, ...] = ()
    contests: tuple[tuple[Address, Contest], ...] = ()
    movable: tuple[Address, ...] = ()
    objections: tuple[tuple[Address, Refusal], ...] = ()

    @property
    def objection(self) -> Refusal | None:
        """What is wrong with the first of them."""
        return self.objections[0][1] if self.objections else None

    def staying(self, addresses: Collection[Address]) -> "Mine":
        """The same, of what stays: the others were moved away from."""
        contests = tuple((a, contest) for a, contest in self.contests if a in addresses)
        return Mine(self.kept, contests, objections=tuple((a, why) for a, why in self.objections if a in addresses))


def mine_of(
    wish: Wish, *, ledger: Ledger, groups: Groups, rules: Rules, standing: tuple[Address, ...] | None = None
) -> Mine:
    """Sort the held addresses: kept, kept in spite of a contest, to be moved away from; the rest is lost."""
    record = ledger.records.get(wish.service)
    if record is None or record.uid != wish.uid:
        return Mine()
    if standing is None:
        standing = ledger.standing(wish.service, wish.asked) if record.leaving else record.addresses
    local = wish.local_policy and effective_local(wish, kinds_of(standing, ledger=ledger, groups=groups), rules)
    facts = wish.facts(local=local)
    kept: list[Address] = []
    movable: list[Address] = []
    contests: list[tuple[Address, Contest]] = []
    objections: list[tuple[Address, Refusal]] = []
    for address in standing:
        holders = ledger.claims[address].holders
        own = holders[wish.service]
        staying = movable if ledger.on_lan(address) and address not in wish.addresses else kept
        if own.facts == facts and not own.contest and own.state != "leaving":  # who leaves, others did not look at
            staying.append(address)
            continue
        clashes: list[_Clash] = [
            (reason, key, other)
            for key, other in holders.items()
            if key != wish.service and other.state != "leaving" and (reason := clash(facts, other.facts)) is not None
        ]
        clashes = _in_the_way(wish, facts, clashes, holders, ledger)
        if not clashes:
            staying.append(address)
            continue
        reason, key, other = clashes[0]
        blameless = own.contest in {"", "learnt"} and own.state != "leaving" and _as_before(own.facts, facts, clashes)
        if blameless or (own.contest == "learnt" and own.facts == facts):
            staying.append(address)
            if own.contest:
                contests.append((address, "learnt"))
                objections.append((address, because.address_conflict(address, key)))
            continue
        if own.contest == "taken":  # an older Service turned out to have it
            objections.append((address, because.address_conflict(address, key)))
            continue
        common, has_key, local = ports_in_common(facts, other.facts), other.facts.key is not None, other.facts.local
        objections.append((address, because.sharing(reason, address, key, ports=common, has_key=has_key, local=local)))
        if any(reason == "SharingPortClash" or not facts.ports.isdisjoint(o.facts.ports) for reason, _, o in clashes):
            continue  # its change disturbs somebody else's live traffic: lost at once
        contests.append((address, "changed"))
        (kept if address in wish.addresses else movable).append(address)
    return Mine(tuple(kept), tuple(contests), tuple(movable), tuple(objections))


def _in_the_way(
    wish: Wish, facts: Facts, clashes: list[_Clash], holders: Mapping[ServiceKey, Holder], ledger: Ledger
) -> list[_Clash]:
    """Who has to go is in nobody's way, as long as its ports are its own: those who stay are.

    Of those who were learnt and of whom nobody has told anybody to go, the older stay: that does not depend on who is asked first.
    """
    staying = [row for row in clashes if not row[2].contest or not facts.ports.isdisjoint(row[2].facts.ports)]
    if staying or all(other.contest != "learnt" for _, _, other in clashes):
        return staying
    learnt = sorted((ledger.records[key].created, key) for key, other in holders.items() if other.contest == "learnt")
    if holders[wish.service].contest == "learnt":
        learnt = learnt[: learnt.index((ledger.records[wish.service].created, wish.service))]
    crowd = Crowd(other.facts for other in holders.values() if not other.contest and other.state != "leaving")
    stay: set[ServiceKey] = set()
    for _, key in learnt:
        if not crowd.clashes(holders[key].facts):
            crowd.add(holders[key].facts)
            stay.add(key)
    return [row for row in clashes if row[1] in stay]


def _as_before(was: Facts, facts: Facts, clashes: Iterable[_Clash]) -> bool:
    """Whether all of it stood in the way before: then somebody else's change did, and its own took no port of theirs."""
    return all(
        clash(was, other.facts) is not None and facts.ports.isdisjoint(other.facts.ports) for _, _, other in clashes
    )
