# SPDX-License-Identifier: Apache-2.0
"""What must be true of the theatre's world: of the ledger after each step, of the statuses at each write of ours.

Each promise that is not kept is one sentence. Nothing here knows how it is kept: the ledger is compared with what the allocator has
seen, and statuses with what their users asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.allocator.audit import broken, waiting_for_nothing
from purelb.allocator.keys import ServiceKey
from purelb.allocator.observed import conditions_of, published
from purelb.allocator.ranges import ip_text
from purelb.allocator.serving import Rules, effective_local
from purelb.allocator.sharing import clash
from purelb.allocator.wish import rough_wish
from purelb.api import annotations as words
from purelb.api import reasons

if TYPE_CHECKING:
    from collections.abc import Iterator

    from purelb.allocator.ranges import Address
    from purelb.kube.model import Service
    from tests.allocator.theatre import Theatre


def after_a_step(world: Theatre) -> Iterator[str]:
    """I1 to I9, as far as the allocator can know."""
    state, services = world.state, world.feed("services").store
    asked = frozenset(key for key in (*world.ready, *world.delayed) if isinstance(key, ServiceKey))
    busy = asked | state.flights.outstanding
    yield from broken(state.ledger)
    yield from waiting_for_nothing(state.ledger, busy)
    for key, record in state.ledger.records.items():
        found = services.get(str(key))
        if key in busy:
            continue
        if found is None or found.metadata.uid != record.uid:
            yield f"I7: {key} is gone and holds {record.addresses}"
        elif not found.metadata.deletion_timestamp and record.addresses != published(found):
            yield f"I8: {key} holds {record.addresses} and shows {published(found)}"
    for found in services.values():
        key = ServiceKey(found.metadata.namespace, found.metadata.name)
        for address in published(found) if key not in busy else ():
            if state.ledger.category(address) == "free":
                yield f"I9: {ip_text(address)} stands in the status of {key} and is free"


def of_a_write(world: Theatre, before: Service, after: Service, settled: frozenset[tuple[str, str]]) -> Iterator[str]:
    """A live address goes only because its own user asked, and comes only where nobody has it who may not share it.

    `settled` are the versions of the Services that the allocator had seen and decided when it made the write.

    What somebody wrote into a status by hand is nobody's; of two who were published with one address by two leaders the younger goes.
    """
    uid, mine = after.metadata.uid, set(published(after))
    spoiled = world.by_hand.get(uid, set())
    for other in world.there["services"].values():
        both = (
            mine
            & set(published(other)) - set(published(before)) - world.by_hand.get(other.metadata.uid, set()) - spoiled
        )
        if other.metadata.uid != uid and both and (name(other), other.metadata.resource_version) in settled:
            yield from _may_share(world, before, other, both)
    for address in set(published(before)) - mine - spoiled:
        since = world.shown.get(uid, {}).get(address, world.time)
        asked = world.touched.get(uid, -1.0) >= since or _waits_to_move(before)
        if not asked and not world.state.ledger.on_lan(address) and not _in_conflict(world, after):
            yield f"{name(before)} lost {ip_text(address)}, and its user did not ask"
    if not mine & spoiled:
        world.by_hand.pop(uid, None)


def name(service: Service) -> str:
    return f"{service.metadata.namespace}/{service.metadata.name}"


def _waits_to_move(service: Service) -> bool:
    """Whether its user asked for something else before, and it keeps what it has until that can be given."""
    return any(
        c.type == reasons.ALLOCATED and c.status == "False" and "; keeps " in c.message for c in conditions_of(service)
    )


def _in_conflict(world: Theatre, service: Service) -> bool:
    told = {(service.metadata.name, reasons.ADDRESS_CONFLICT)}
    return not told.isdisjoint(world.told) or any(c.reason == reasons.ADDRESS_CONFLICT for c in conditions_of(service))


def _may_share(world: Theatre, one: Service, other: Service, both: set[Address]) -> Iterator[str]:
    """Two statuses get an address in common: as far as the allocator could know, they may share it."""
    store = world.feed("services").store
    facts = []
    for service in (one, other):
        seen = store.get(name(service))
        if seen is None or (seen.spec, _theirs(seen)) != (service.spec, _theirs(service)):
            return  # it cannot know yet
        wish = rough_wish(service)
        facts.append(wish.facts(local=effective_local(wish, (), Rules())))
    claims, key = world.state.ledger.claims, ServiceKey(other.metadata.namespace, other.metadata.name)
    claimed = [claims[address] for address in both if address in claims]
    leaving = any(key in claim.holders and claim.holders[key].state == "leaving" for claim in claimed)
    if clash(*facts) is not None and not leaving and not any(claim.contested for claim in claimed):
        yield f"{name(one)} and {name(other)} both show {[ip_text(a) for a in both]}: {clash(*facts)}"


def _theirs(service: Service) -> dict[str, str]:
    """The annotations that are not ours."""
    return {key: value for key, value in (service.metadata.annotations or {}).items() if key not in words.OURS}
