# SPDX-License-Identifier: Apache-2.0
"""What must be true of a ledger at rest between two steps, counted again from its claims alone.

This file knows nothing of how the ledger keeps its promises. Tests call it after every step. Each broken promise is one sentence;
none is the normal answer. A running allocator recounts one group a minute.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger
from purelb.allocator.ranges import ip_text
from purelb.allocator.sharing import clash
from purelb.api.pieces import CHANGES, LOOKS, Pieces, at_once

if TYPE_CHECKING:
    from purelb.allocator.atlas import EntryId
    from purelb.net.ranges import Family


def broken(ledger: Ledger) -> Iterator[str]:
    """The promises the ledger breaks."""
    yield from _holders_may_share(ledger)
    yield from _records_and_claims_agree(ledger)
    yield from _bindings(ledger)
    yield from recount(ledger)


def _holders_may_share(ledger: Ledger) -> Iterator[str]:
    for address, claim in ledger.claims.items():
        if not claim.holders:
            yield f"I3: the claim of {ip_text(address)} has no holder"
        if claim.contested:
            continue
        staying = [(key, holder) for key, holder in claim.holders.items() if holder.state != "leaving"]
        for (one, a), (two, b) in combinations(staying, 2):
            if (why := clash(a.facts, b.facts)) is not None:
                yield f"I2: {one} and {two} hold {ip_text(address)}: {why}"

    contested = sum(1 for claim in ledger.claims.values() if claim.contested)
    if contested != ledger.index.contested:
        yield f"I3: {contested} claims are contested, {ledger.index.contested} are counted"


def _records_and_claims_agree(ledger: Ledger) -> Iterator[str]:
    for service, record in ledger.records.items():
        named = (*record.addresses, *record.leaving)
        if not named or len(set(named)) != len(named):
            yield f"I3: the record of {service} is empty or names an address twice: {named}"
        for address in named:
            claim = ledger.claims.get(address)
            holder = None if claim is None else claim.holders.get(service)
            if holder is None:
                yield f"I3: {service} has {ip_text(address)} in its record but not in the claims"
            elif holder.uid != record.uid:
                yield f"I7: {ip_text(address)} is held by another uid than that of {service}"
            elif (holder.state == "leaving") != (address in record.leaving):
                yield f"I3: {service} on {ip_text(address)} is {holder.state}, its record says otherwise"
    for address, claim in ledger.claims.items():
        for service in claim.holders:
            known = ledger.records.get(service)
            if known is None or address not in (*known.addresses, *known.leaving):
                yield f"I3: {ip_text(address)} is claimed by {service}, whose record does not know it"
        if address in ledger.quarantine:
            yield f"I5: {ip_text(address)} is claimed and quarantined"


def _bindings(ledger: Ledger) -> Iterator[str]:
    keyed: dict[tuple[str, Family, str], set[int]] = {}
    for (family, number), claim in ledger.claims.items():
        for holder in claim.holders.values():
            if claim.entry is not None and holder.facts.key is not None and holder.state != "leaving":
                keyed.setdefault((claim.entry.group, family, holder.facts.key), set()).add(number)
    for (group, family, key), numbers in keyed.items():
        bound = ledger.index.bound(group, family, key)
        if bound is None or bound[1] not in numbers:
            yield f"I4: {key} in {group} is bound to {bound}, held on {sorted(numbers)}"
    for group, family, key in ledger.index.bindings():
        if (group, family, key) not in keyed:
            yield f"I4: {key} is bound in {group}, but nobody has it"


def recount(ledger: Ledger, *, only: str | None = None) -> tuple[str, ...]:
    """The numbers that differ from a recount; of one group, or of all."""
    return at_once(recounting(ledger, only=only))


def recounting(ledger: Ledger, *, only: str | None = None) -> Pieces[tuple[str, ...]]:
    """The same in pieces. The ledger must stay as it is meanwhile."""
    wrong: list[str] = []
    claimed: Counter[EntryId] = Counter()
    users: Counter[tuple[str, str, Family]] = Counter()
    strays: Counter[tuple[str, Family]] = Counter()
    excluded: Counter[tuple[str, Family]] = Counter()
    for number, (address, claim) in enumerate(ledger.claims.items()):
        if not number % CHANGES:
            yield
        entry, origin = ledger.attribution(address, claim.origin), claim.origin.group
        if entry != claim.entry:
            wrong.append(f"I3: {ip_text(address)} is attributed to {claim.entry}, but lies in {entry}")
        if claim.entry is not None:
            claimed[claim.entry] += 1
        place = ledger.pools.where(address)
        home = entry or (place.entry if place is not None else None)
        if home is not None:
            for namespace in {key.namespace for key in claim.holders}:
                users[home.group, namespace, address[0]] += 1
            if entry is None:
                excluded[home.group, address[0]] += 1
        if origin and ledger.pools.entry_of(address) is None:
            strays[origin, address[0]] += 1
    for (group, family), count in strays.items():
        if ledger.index.strays(group, family) != count:
            wrong.append(f"I3: {count} addresses came from {group}, {ledger.index.strays(group, family)} are counted")
    for group, family in {*excluded, *((entry.group, entry.family) for entry in ledger.pools.entries())}:
        if ledger.index.excluded(group, family) != excluded[group, family]:
            wrong.append(
                f"I3: {group} excludes {excluded[group, family]} IPv{family} addresses in use, and counts others"
            )
    for number, (place_of_use, count) in enumerate(users.items()):
        if not number % LOOKS:
            yield
        if ledger.index.used_by_namespace(place_of_use[0], place_of_use[1], place_of_use[2]) != count:
            wrong.append(f"I3: {place_of_use} should count {count}")
    wrong += (
        f"I3: {place} is counted, but nobody is there" for place in ledger.index.places_of_use() if place not in users
    )
    for entry in ledger.pools.entries():
        if only is not None and entry.group != only:
            continue
        use = ledger.pools.usage_of(entry)
        if use.free + use.claimed + use.quarantined + use.reserved != use.size:
            wrong.append(f"I5: {entry}: {use} does not add up")
        if use.claimed != claimed[entry]:
            wrong.append(f"I3: {entry} counts {use.claimed} claims, there are {claimed[entry]}")
    return tuple(wrong)


def waiting_for_nothing(ledger: Ledger, outstanding: frozenset[ServiceKey]) -> Iterator[str]:
    """I6: who is `publishing` or `leaving` has a write or a deadline outstanding."""
    for service, record in ledger.records.items():
        states = {ledger.claims[a].holders[service].state for a in (*record.addresses, *record.leaving)}
        if states - {"held"} and service not in outstanding:
            yield f"I6: {service} is {sorted(states)} and nothing is on its way"
