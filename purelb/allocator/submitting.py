# SPDX-License-Identifier: Apache-2.0
"""From what a Service should say to a write on its way, or to the finding that it says so already.

Rest is the rule: equal means no write, a server that keeps dropping a part is not asked again until something changes, and a message
that alone differs waits a minute. But who was refused and edits the Service is answered at once: the old message is about what is not
there any more. What another controller puts into the status again and again is put back ever later.
"""

from collections.abc import Iterable
from typing import Final

from purelb.allocator.flights import Flight
from purelb.allocator.keys import ServiceKey
from purelb.allocator.landing import fingerprint_of, fingerprint_of_desired, wake, whole
from purelb.allocator.observed import published
from purelb.allocator.occasions import Occasion, occasion, of_change
from purelb.allocator.publish import Desired, Difference, difference, patch
from purelb.allocator.ranges import Address
from purelb.allocator.state import PRIORITY_ALLOCATE, PRIORITY_FOLD, Hands, Last, State
from purelb.allocator.wish import rough_wish
from purelb.api import annotations as words
from purelb.api import events as rules
from purelb.api import reasons
from purelb.kube.model import Service, annotations
from purelb.kube.owner import After, Done, Outcome
from purelb.kube.resources import SERVICES

MESSAGE_APART: Final = 60.0


def submit(
    state: State,
    hands: Hands,
    key: ServiceKey,
    service: Service,
    desired: Desired,
    now: float,
    *,
    settled: bool,
    adopted: bool = False,
    more: Iterable[Occasion] = (),
    besides: Iterable[Occasion] = (),
    ours: tuple[Address, ...] | None = None,
) -> Outcome:
    """Write what the newest known object lacks. `settled`: no write of unknown outcome is left.

    `more` are Events about the wish, which belong to a new address and to one that is agreed anew; `besides` are those of whatever is
    written; `ours` is what was published, where the ledger does not know it.
    """
    found = difference(service, desired)
    wanted = fingerprint_of_desired(desired)
    last = state.last.get(key)
    if found.nothing:
        state.tally.written(key)
        if settled:
            gone = state.ledger.confirm(key, frozenset(published(service)), now)
            wake(state, hands, gone, namespace=key.namespace)
        if desired.allocated is None:
            state.last.pop(key, None)
        elif last is None or last.fingerprint != wanted:
            state.last[key] = Last(wanted, last.at if last is not None else float("-inf"))
        return Done()
    rv = service.metadata.resource_version
    if last is not None and last.stripped == (rv, whole(desired)):
        return Done()
    early = found.messages_only and last is not None and now < last.at + MESSAGE_APART
    if early and last is not None and state.refused_as.get(key) in {None, _asks(service)}:
        return After(last.at + MESSAGE_APART - now)
    restores = last is not None and last.fingerprint == wanted != fingerprint_of(service)
    if restores and (wait := state.restores.wait(key, now)) > 0:
        return After(wait)
    had, record = state.ledger.published(key) if ours is None else ours, state.ledger.records.get(key)
    occasions = list(of_change(service, desired, ours=had, adopted=adopted))
    if key in state.conflicts:  # it was told when that was found
        occasions = [told for told in occasions if told.reason != reasons.ADDRESS_CONFLICT]
    assigned = bool(occasions) and occasions[0].reason == reasons.ADDRESS_ASSIGNED
    if assigned or (not restores and _agreed_anew(service, found)):
        occasions += more
    occasions += besides
    if restores and last is not None:
        state.restores.restoring(key, now, applied=last.at)
        told = occasion(rules.STATUS_RESTORED, "ingress or annotations were edited and are put back")
        if told is not None:
            occasions.append(told)
    if desired.allocated is not None and not desired.allocated.status:
        state.refused_as[key] = _asks(service)
    else:
        state.refused_as.pop(key, None)
    flight = Flight(
        "status",
        service=key,
        uid=service.metadata.uid,
        rv=rv,
        desired=desired,
        occasions=tuple(occasions),
        adopted=adopted,
        ingress=found.ingress,
        sent_at=now,
    )
    hands.write(
        state.flights.depart(flight),
        SERVICES,
        namespace=key.namespace,
        name=key.name,
        body=patch(service, desired, found, now=hands.wall()),
        rv=rv,
        subresource="status",
        slot="status",
        priority=PRIORITY_ALLOCATE if found.ingress else PRIORITY_FOLD,
        patient=not had and not (record and record.leaving),  # nothing becomes free by it that somebody waits for
    )
    return Done()


def _agreed_anew(service: Service, found: Difference) -> bool:
    """Whether the write records another wish of its user. One that nobody had recorded is only taken over."""
    recorded = annotations(service).get(words.ALLOCATED_WISH)
    return recorded is not None and any(name == words.ALLOCATED_WISH and value for name, value in found.annotations)


def _asks(service: Service) -> int:
    """A fingerprint of what the user of a Service can have written to get another answer."""
    noted = frozenset(item for item in annotations(service).items() if item[0] not in words.OURS)
    return hash((rough_wish(service).asked, noted))
