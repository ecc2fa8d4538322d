# SPDX-License-Identifier: Apache-2.0
"""What is published is taken as it is: how a term rebuilds its ledger from the API.

Services are learnt oldest first. Drain, exclusions, quota, fences and selectors have no say: a live address survives every change of
configuration. Two Services on one address that may not share it: with no port in common both stay and the address is contested;
with a port in common the older keeps it, and the younger is decided again without it.

Whose edit it was that made sharing impossible is in no spec. But who was told of it before says so still: where that is true, it is the
one that has to go, and the other one hears nothing.
"""

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from purelb.allocator.claims import NOWHERE, Contest, Origin, Plan
from purelb.allocator.groups import Groups
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger
from purelb.allocator.observed import age, branded, condition, noted_origins, published, says_we_gave
from purelb.allocator.ranges import Address, ip_text
from purelb.allocator.refusals import address_conflict
from purelb.allocator.serving import Rules, effective_local
from purelb.allocator.sharing import Crowd, Facts, clash
from purelb.allocator.wish import Wish, rough_wish
from purelb.api import reasons
from purelb.kube.model import Service

_NOT_ALONE: Final = frozenset(
    {reasons.IN_USE, reasons.SHARING_KEY_MISMATCH, reasons.SHARING_POLICY_MISMATCH, reasons.ADDRESS_CONFLICT}
)
_NO_CONTEST: Final[Contest] = ""


class Conflict(Struct, frozen=True, gc=False):
    """A published address that its Service cannot have: an older one has it, and a port in common."""

    service: ServiceKey
    address: Address
    older: ServiceKey

    @property
    def text(self) -> str:
        """The message of `AddressConflict`."""
        return address_conflict(self.address, self.older).text


class Late(Struct, frozen=True, gc=False):
    """What came to light with a published address: who cannot have it, and who else has to be decided again."""

    conflicts: tuple[Conflict, ...]
    asked_again: tuple[ServiceKey, ...]


def learn_all(services: Iterable[Service], *, ledger: Ledger, groups: Groups, rules: Rules) -> tuple[Conflict, ...]:
    """Learn the published addresses of some Services, oldest first."""
    found: list[Conflict] = []
    for service in sorted(services, key=age):
        found += learn(service, ledger=ledger, groups=groups, rules=rules)
    return tuple(found)


def learn(
    service: Service,
    *,
    ledger: Ledger,
    groups: Groups,
    rules: Rules,
    in_spite_of: frozenset[ServiceKey] = frozenset(),
) -> tuple[Conflict, ...]:
    """Learn the published addresses of one Service that the ledger knows nothing of."""
    addresses = published(service)
    if not addresses:
        return ()
    wish = rough_wish(service)
    facts, origins = _as_published(service, wish, addresses, ledger=ledger, groups=groups, rules=rules)
    conflicts: list[Conflict] = []
    for address, origin in zip(addresses, origins, strict=True):
        contest = _contest(ledger, address, facts, in_spite_of)
        if isinstance(contest, ServiceKey):
            conflicts.append(Conflict(wish.service, address, contest))
        else:
            ledger.learn(
                wish.service,
                uid=wish.uid,
                created=wish.created,
                address=address,
                facts=facts,
                contest=contest,
                origin=origin,
            )
    return tuple(conflicts)


def blame(ledger: Ledger, address: Address, service_of: Callable[[ServiceKey], Service | None]) -> None:
    """Of those on a contested address that was learnt, who has to go: whoever was told so, if what it was told is true now.

    It goes on from where it was: it stays until there is an address for it. Who was told nothing stays if it can, by age; then
    whoever was told `AddressConflict`, and last whoever was told to go. Who has to go is in nobody's way.
    """
    holders = {key: holder for key, holder in ledger.claims[address].holders.items() if holder.state != "leaving"}
    told = {key: why for key in holders if (why := _told(service_of(key)))}
    if not told:
        return  # it is as learnt, by age
    everybody, staying = Crowd(holder.facts for holder in holders.values()), Crowd()
    ranked: tuple[list[ServiceKey], ...] = ([], [], [])
    for key, holder in holders.items():  # in the order in which they were learnt: by age
        why = told.get(key, "")
        true = why in everybody.clashes(holder.facts, member=True)
        ranked[2 if true else int(why == reasons.ADDRESS_CONFLICT)].append(key)
    for rank, keys in enumerate(ranked):
        for key in keys:
            holder, contest = holders[key], _NO_CONTEST
            if staying.clashes(holder.facts):
                contest = "changed" if rank == len(ranked) - 1 else "learnt"
            else:
                staying.add(holder.facts)
            if contest != holder.contest:
                ledger.contest(key, address, contest)


def _told(service: Service | None) -> str:
    """Why the Service may not stay where it is, in the words of its condition: of one of its own addresses, which it keeps."""
    told = condition(service, reasons.ALLOCATED) if service is not None else None
    if service is None or told is None or told.status == "True" or told.reason not in _NOT_ALONE:
        return ""
    named = told.message.partition(" ")[0]
    own = says_we_gave(service) and any(named == ip_text(address) for address in published(service))
    return told.reason if own else ""


def learn_late(service: Service, *, ledger: Ledger, groups: Groups, rules: Rules) -> Late:
    """A published address of ours shows up after the ledger gave it to somebody: a former leader's write arrived late.

    The same rule as at the start of a term, whoever came first now: with a port in common the younger has to go, without one the
    address is contested and the younger would have to.
    """
    me, key = age(service), ServiceKey(service.metadata.namespace, service.metadata.name)
    addresses = published(service)
    facts, _ = _as_published(service, rough_wish(service), addresses, ledger=ledger, groups=groups, rules=rules)
    moved: list[Conflict] = []
    younger: dict[ServiceKey, None] = {}
    for address in addresses:
        claim = ledger.claims.get(address)
        holders = claim.holders if claim is not None else {}
        others = [other for other, holder in holders.items() if other != key and clash(facts, holder.facts) is not None]
        after = [other for other in others if (ledger.records[other].created, other.namespace, other.name) > me]
        in_common = {other for other in others if not facts.ports.isdisjoint(holders[other].facts.ports)}
        if not in_common.issubset(after):
            continue  # an older one has it
        younger.update(dict.fromkeys(after))
        for other in after:
            if holders[other].state == "leaving":
                continue  # it goes of itself
            ledger.contest(other, address, "taken" if other in in_common else "learnt")
            if other in in_common:
                moved.append(Conflict(other, address, key))
    conflicts = learn(service, ledger=ledger, groups=groups, rules=rules, in_spite_of=frozenset(younger))
    return Late((*conflicts, *moved), tuple(younger))


def left_behind(service: Service, *, ledger: Ledger) -> tuple[Address, ...]:
    """What of the ingress of a branded Service, which is not ours, was given by us: all of it if our condition says so, else what lies in
    a pool or is claimed.

    The brand comes along when a manifest is copied, and proves nothing of what another controller published.
    """
    if not branded(service):
        return ()
    there = published(service)
    if says_we_gave(service):
        return there
    return tuple(address for address in there if ledger.pools.where(address) is not None or address in ledger.claims)


def learn_leaving(service: Service, *, ledger: Ledger, groups: Groups, rules: Rules) -> None:
    """Learn a Service that carries our brand but is no longer ours: what we gave it stays claimed until it is cleaned."""
    if left_behind(service, ledger=ledger) != published(service):
        return  # what of it is ours goes when it is looked at
    learn(service, ledger=ledger, groups=groups, rules=rules)
    wish = rough_wish(service)
    if wish.service in ledger.records:
        ledger.commit(Plan(wish.service, wish.uid, wish.created, (), wish.facts(local=False)))


def _as_published(
    service: Service, wish: Wish, addresses: tuple[Address, ...], *, ledger: Ledger, groups: Groups, rules: Rules
) -> tuple[Facts, tuple[Origin, ...]]:
    """What decides about sharing, as the Service is on these addresses, and what is noted of where they came from."""
    holding = [groups.holding(ledger.pools.where(address)) for address in addresses]
    origins = noted_origins(service, addresses) if None in holding else (NOWHERE,) * len(addresses)
    kinds = (origin.announce if g is None else g.announce for g, origin in zip(holding, origins, strict=True))
    return wish.facts(local=effective_local(wish, kinds, rules)), origins


def _contest(ledger: Ledger, address: Address, facts: Facts, but: frozenset[ServiceKey]) -> Contest | ServiceKey:
    """How the address is taken: freely, contested, or not at all, for the older Service has it. Who is contested has to go itself."""
    claim = ledger.claims.get(address)
    contest: Contest = ""
    for key, holder in claim.holders.items() if claim is not None else ():
        if key not in but and clash(facts, holder.facts) is not None:
            if not facts.ports.isdisjoint(holder.facts.ports):
                return key
            if not holder.contest:
                contest = "learnt"
    return contest
