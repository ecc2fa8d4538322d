# SPDX-License-Identifier: Apache-2.0
"""What is published is taken as it is: how a term rebuilds its ledger from the API.

Services are learnt oldest first. Drain, exclusions, quota, fences and selectors have no say: a live address survives every change of
configuration. Two Services on one address that may not share it: with no port in common both stay and the address is contested;
with a port in common the older keeps it, and the younger is decided again without it.
"""

from collections.abc import Iterable

from msgspec import Struct

from purelb.allocator.claims import NOWHERE, Contest, Plan
from purelb.allocator.groups import Groups
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger
from purelb.allocator.observed import age, noted_origins, published
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import address_conflict
from purelb.allocator.serving import Rules, effective_local
from purelb.allocator.sharing import Facts, clash
from purelb.allocator.wish import rough_wish
from purelb.kube.model import Service


class Conflict(Struct, frozen=True, gc=False):
    """A published address that its Service cannot have: an older one has it, and a port in common."""

    service: ServiceKey
    address: Address
    older: ServiceKey

    @property
    def text(self) -> str:
        """The message of `AddressConflict`."""
        return address_conflict(self.address, self.older).text


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
    holding = [groups.holding(ledger.pools.where(address)) for address in addresses]
    origins = noted_origins(service, addresses) if None in holding else (NOWHERE,) * len(addresses)
    kinds = (origin.announce if g is None else g.announce for g, origin in zip(holding, origins, strict=True))
    facts = wish.facts(local=effective_local(wish, kinds, rules))
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


def learn_late(
    service: Service, *, ledger: Ledger, groups: Groups, rules: Rules
) -> tuple[tuple[Conflict, ...], tuple[ServiceKey, ...]]:
    """A published address of ours shows up after the ledger gave it to somebody: a former leader's write arrived late.

    The same rule as at the start of a term. Answers what this Service cannot have, and who has to go because it is younger.
    """
    me, key = age(service), ServiceKey(service.metadata.namespace, service.metadata.name)
    facts = rough_wish(service).facts(local=False)
    moved: list[ServiceKey] = []
    for address in published(service):
        claim = ledger.claims.get(address)
        for other, holder in list(claim.holders.items()) if claim is not None else ():
            younger = (ledger.records[other].created, other.namespace, other.name) > me
            if other != key and younger and not facts.ports.isdisjoint(holder.facts.ports):
                ledger.contest(other, address, "taken")
                moved.append(other)
    conflicts = learn(service, ledger=ledger, groups=groups, rules=rules, in_spite_of=frozenset(moved))
    return conflicts, tuple(moved)


def learn_leaving(service: Service, *, ledger: Ledger, groups: Groups, rules: Rules) -> None:
    """Learn a Service that carries our brand but is no longer ours: what it has stays claimed until it is cleaned."""
    learn(service, ledger=ledger, groups=groups, rules=rules)
    wish = rough_wish(service)
    if wish.service in ledger.records:
        ledger.commit(Plan(wish.service, wish.uid, wish.created, (), wish.facts(local=False)))


def _contest(ledger: Ledger, address: Address, facts: Facts, but: frozenset[ServiceKey]) -> Contest | ServiceKey:
    """How the address is taken: freely, contested, or not at all, for the older Service has it."""
    claim = ledger.claims.get(address)
    contest: Contest = ""
    for key, holder in claim.holders.items() if claim is not None else ():
        if key not in but and clash(facts, holder.facts) is not None:
            if not facts.ports.isdisjoint(holder.facts.ports):
                return key
            contest = "learnt"
    return contest
