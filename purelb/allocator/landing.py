# SPDX-License-Identifier: Apache-2.0
"""What a write's answer does to the ledger, and who is woken by what became free.

Only an applied write, or an object that is known to be newer, makes an address free. A refused or failed write changes nothing:
claims stay, and the Service is decided again later. A write whose answer was lost is told of when a newer object shows what it wrote.

What an applied write is to be told of (log line, Event, counters) waits for the next turn of its Service, which every answer asks for. In
a burst that is when those who still have no address have been served, and all of it costs less when it is done in a row.
"""

import logging
from collections.abc import Iterable
from typing import Final, assert_never

from purelb.allocator import metrics, statuses
from purelb.allocator.attribution import home_of
from purelb.allocator.flights import CONFLICT_CAP, CONFLICT_WAIT, FAILED_CAP, REFUSED_CAP, REFUSED_FIRST, Flight
from purelb.allocator.keys import ServiceKey, StatusDue
from purelb.allocator.observed import condition, published
from purelb.allocator.occasions import HOUR, occasion
from purelb.allocator.publish import Desired, difference
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import ip_list
from purelb.allocator.state import Hands, Last, Postponed, State, Untold
from purelb.allocator.waits import AddressChanges, EntryHasRoom, PoolHasRoom, QuotaHasRoom
from purelb.api import annotations as words
from purelb.api import events as rules
from purelb.api import reasons
from purelb.api.pieces import Pieces
from purelb.kube.failures import failure
from purelb.kube.model import ObjectReference, Service, annotations
from purelb.kube.queue import INITIAL, LIVE
from purelb.kube.writer import (
    Cancelled,
    Conflicted,
    Exists,
    Failed,
    Fenced,
    Missing,
    Refused,
    Superseded,
    WriteResult,
    Written,
)

log: Final = logging.getLogger(__name__)

# So many decisions one release may cost, however many wait; few enough wait in most clusters to be told all of them.
TOLD_AGAIN: Final = 3


def land(state: State, hands: Hands, number: int, now: float, *, in_its_turn: bool = False) -> None:
    """Take in the answer to a write. `in_its_turn`: its Service has its turn already, and needs none for this."""
    landed = state.flights.land(number)
    if landed is None:
        return  # its Service has gone meanwhile
    flight, result, at = landed
    if flight.service is not None:
        _service_landed(state, hands, flight, flight.service, result, now, at=at, in_its_turn=in_its_turn)
    else:
        statuses.landed(state, hands, flight, result, now)


def _service_landed(
    state: State,
    hands: Hands,
    flight: Flight,
    key: ServiceKey,
    result: WriteResult,
    now: float,
    *,
    at: float,
    in_its_turn: bool,
) -> None:
    flights = state.flights
    asked = flights.asked_after(key)
    match result:
        case Written(obj=obj):
            flights.succeeded(key)
            state.tally.written(key)
            if isinstance(obj, Service):
                _applied(state, hands, flight, key, obj, now, at=at, answered=True)
            if in_its_turn:
                pass
            elif flight.desired is None:
                hands.soon(key)
            elif asked:
                hands.soon(key, priority=INITIAL)
            else:
                hands.afterwards(key)  # mostly there is nothing to do
        case Conflicted() | Exists():
            flights.unknown(key, flight, now)
            _unanswered(state, flight, key)
            delay = flights.delay(key, first=CONFLICT_WAIT, cap=CONFLICT_CAP)
            newest = state.service(key)
            if newest is not None and newest.metadata.resource_version != flight.rv:
                delay = min(delay, CONFLICT_WAIT)
            hands.later(key, delay, priority=priority_of(state, key))
        case Missing():
            # The informer says so too, and that releases what it held. Until then it is read again, ever later.
            flights.unknown(key, flight, now)
            delay = flights.delay(key, first=CONFLICT_WAIT, cap=CONFLICT_CAP)
            hands.later(key, delay, priority=priority_of(state, key))
        case Refused(status=status, attempts=attempts):
            if attempts > 1:  # what was refused is the repetition
                flights.unknown(key, flight, now)
            delay = flights.delay(key, first=REFUSED_FIRST, cap=REFUSED_CAP)
            if new := state.tally.refused(key, now):
                hands.sink.count(metrics.REJECTED, "", reasons.PUBLISH_REFUSED)
            log.log(
                logging.INFO if new else logging.DEBUG,
                "the API server refuses the write of %s: %s",
                key,
                status.message,
                extra={
                    "code": "publishRefused",
                    "service": str(key),
                    "reason": reasons.PUBLISH_REFUSED,
                    **failure(status.message, kind=status.reason or None, retry_in=delay),
                },
            )
            if asked:
                # What was refused may be corrected by now: its user does not wait for our patience.
                hands.soon(key, priority=priority_of(state, key))
            else:
                hands.later(key, delay, priority=priority_of(state, key))
        case Failed(error=error, attempts=attempts):
            flights.unknown(key, flight, now)
            _unanswered(state, flight, key)
            delay = flights.delay(key, first=CONFLICT_WAIT, cap=FAILED_CAP)
            told = failure(error, attempt=attempts, retry_in=delay, took=now - flight.sent_at)
            fields = {"code": "publishFailed", "service": str(key), **told}
            log.info("the write of %s got no answer", key, extra=fields)
            hands.later(key, delay, priority=priority_of(state, key))
        case Fenced():
            # The term is ending, or its lease was renewed after all: then nobody else would ask for the Service.
            flights.unknown(key, flight, now)
            delay = flights.delay(key, first=CONFLICT_WAIT, cap=FAILED_CAP)
            hands.later(key, delay, priority=priority_of(state, key))
        case Superseded() | Cancelled():
            pass  # the newer write answers, or the term is ending
        case _:
            assert_never(result)


def _unanswered(state: State, flight: Flight, key: ServiceKey) -> None:
    """The Service waits for an address that was decided, whether its write is refused or gets no answer."""
    record = state.ledger.records.get(key)
    if record is not None and not set(record.addresses) <= set(state.ledger.published(key)):
        state.tally.unwritten(key, flight.sent_at)


def priority_of(state: State, key: ServiceKey) -> int:
    """The priority of one more turn. Whoever waits has that of those who wait: else it would overtake, when it is woken, who was woken before it."""
    return INITIAL if key in state.waiting else LIVE


def find_out(state: State, hands: Hands, key: ServiceKey, service: Service, now: float) -> None:
    """The newest known object may show what became of a write whose answer was lost. At most one on a version was applied."""
    for flight in state.flights.known(key, service.metadata.resource_version):
        if flight.uid == service.metadata.uid and _shows(service, flight):
            state.flights.succeeded(key)
            state.tally.written(key)
            _applied(state, hands, flight, key, service, now, at=now, answered=False)
            return


def _shows(service: Service, flight: Flight) -> bool:
    """Whether an object shows what a write was to make true. Nobody else publishes the addresses that were chosen."""
    if flight.desired is None:
        return service.spec is not None and service.spec.external_traffic_policy == "Cluster"
    found = difference(service, flight.desired)
    return found.nothing or (flight.ingress and bool(flight.desired.addresses) and not found.ingress)


def _applied(
    state: State, hands: Hands, flight: Flight, key: ServiceKey, obj: Service, now: float, *, at: float, answered: bool
) -> None:
    """What a write made true `at` some time. `answered`: the object is the answer, so what it lacks the API server has dropped."""
    desired = flight.desired
    if flight.purpose == "policy" or desired is None:
        state.overrides.overridden(key, at)
        hands.sink.count(metrics.OVERRIDES)
        told = occasion(
            rules.LOCAL_OVERRIDE, "externalTrafficPolicy was set to Cluster: one node answers for the address"
        )
        if told is not None:
            hands.tell(reference(obj), told)
        return
    gone = state.ledger.confirm(key, frozenset(published(obj)), at)
    wake(state, hands, gone, namespace=key.namespace)
    lacking = answered and not difference(obj, desired).nothing
    rv = obj.metadata.resource_version
    state.last[key] = Last(
        fingerprint_of_desired(desired), at, stripped=(rv, whole(desired)) if lacking and rv else None
    )
    if lacking:
        fields = {"code": "writeStripped", "service": str(key)}
        log.info("the API server dropped a part of what was written to %s", key, extra=fields)
    state.untold.setdefault(key, []).append(Untold(flight, reference(obj), gone, at))
    for address in desired.addresses:
        note_use(state, hands, address, now)


def tell(state: State, hands: Hands, key: ServiceKey, now: float) -> None:
    """Tell of what became true of a Service since its last turn, with the time at which it did."""
    for untold in state.untold.pop(key, ()):
        _tell(state, hands, key, untold, ago=now - untold.at)
    if key in state.postponed:
        _tell_postponed(state, hands, key, now)


def tell_all(state: State, hands: Hands, now: float) -> Pieces[None]:
    """The term ends, and no Service has another turn. A write that was not applied is the next leader's to decide again."""
    for number in state.flights.unlanded:
        land(state, hands, number, now)
        yield
    for key in tuple(state.untold):
        tell(state, hands, key, now)
        yield


def _tell(state: State, hands: Hands, key: ServiceKey, untold: Untold, *, ago: float) -> None:
    flight, gone, then = untold.flight, untold.gone, untold.at
    desired = flight.desired
    for told in flight.occasions:
        if told.lasting:
            state.lasting.enter(key, told, then)
            continue
        if told.apart and not state.once.new(str(key), told.reason, told.note, then, again_after=0.0, apart=told.apart):
            due = (state.once.told_at(str(key), told.reason) or then) + told.apart
            state.postponed[key] = Postponed(told, due)
            continue
        if told.reason == rules.STATUS_RESTORED and not state.once.new(
            str(key), told.reason, "", then, again_after=HOUR
        ):
            continue
        if not told.silent:
            hands.tell(untold.regarding, told, ago=ago)
        if told.refused_by is not None and desired is not None:
            hands.sink.count(metrics.REJECTED, told.refused_by, told.reason)
            held = ip_list(desired.addresses)
            fields = {"code": "addressRefused", "service": str(key), "reason": told.reason, "ips": held, "ago": ago}
            log.info("%s is not moved: %s", key, told.note, extra=fields)
        if told.reason == reasons.ADDRESS_ASSIGNED and desired is not None:
            ips, took = ip_list(desired.addresses), then - flight.sent_at
            fields = {"code": "addressAssigned", "service": str(key), "ips": ips, "took": took, "ago": ago}
            log.info("%s has %s", key, told.note, extra=fields)
            source = source_label(state, desired.addresses)
            hands.sink.count(metrics.ALLOCATIONS, source, "assigned")
            for address in desired.addresses:
                group = state.groups.holding(state.ledger.pools.where(address))
                if group is not None and group.balance_pools:
                    hands.sink.count(metrics.BALANCED, group.name)
            if (pool := state.several.get(key)) is not None:
                hands.sink.count(metrics.MULTIPOOL, pool)
                if desired.allocated is not None and desired.allocated.reason == reasons.ADDRESS_ASSIGNED_PARTIALLY:
                    hands.sink.count(metrics.MULTIPOOL_PARTIAL, pool)
            if (waited := state.tally.served(key, then)) is not None:
                hands.sink.observe(metrics.TIME_TO_ADDRESS, waited, source)
    if flight.adopted:
        hands.sink.count(metrics.ALLOCATIONS, "local", "adopted")
    if gone:
        fields = {"code": "addressReleased", "service": str(key), "ips": ip_list(gone), "ago": ago}
        log.info("%s gave up %s", key, ip_list(gone), extra=fields)
        hands.sink.count(metrics.ALLOCATIONS, "local", "released")


def _tell_postponed(state: State, hands: Hands, key: ServiceKey, now: float) -> None:
    """What changed too soon after it was told is told a moment later, if it is so then and is not what was told last."""
    (told, due), service = state.postponed[key], state.service(key)
    found = condition(service, reasons.ANNOUNCED) if service is not None else None
    if service is None or found is None or (found.reason, found.message) != (told.reason, told.note):
        del state.postponed[key]
    elif now < due:
        hands.later(key, due - now, priority=INITIAL)
    else:
        del state.postponed[key]
        if state.once.new(str(key), told.reason, told.note, now, apart=told.apart):
            hands.tell(reference(service), told)


def wake(state: State, hands: Hands, freed: Iterable[Address], *, namespace: str = "") -> None:
    """Ask those again who wait for one of these addresses, or for any of its pool.

    `namespace`: of the Service that released them, empty where it was none. Where that leaves other numbers than the line was told
    (kept back, reserved no longer), its oldest are asked again as well, and the rest of a long line is not: their sentences follow
    when they are asked for another reason.
    """
    for address in freed:
        for service in state.waiting.wake(AddressChanges(address)):
            hands.soon(service, priority=INITIAL)
        place = state.ledger.pools.where(address)
        if (loan := state.loans.book.get(address)) is not None:
            _wake_for_loan(state, hands, address, loan.group, namespace)
            continue
        if place is None or place.excluded:
            for name, where in state.groups.refused.items():  # it may have been counted there
                hands.soon(StatusDue(where, name), priority=INITIAL)
        if place is None:
            continue
        group, family = place.entry.group, place.entry.family
        note_use(state, hands, address)
        room = state.ledger.pools.has_free(group, family)
        for wait in (PoolHasRoom(group, family), EntryHasRoom(place.entry)) if not place.excluded else ():
            for service in state.waiting.wake(wait) if room else ():
                hands.soon(service, priority=INITIAL)
            # Released to whoever waits, the numbers stay as they are; else what the line was told of them is not true any more.
            for service in state.waiting.oldest(wait, TOLD_AGAIN) if not (room and namespace) else ():
                hands.soon(service, priority=INITIAL)
        if namespace:
            for service in state.waiting.wake(QuotaHasRoom(group, namespace, family)):
                hands.soon(service, priority=INITIAL)


def note_use(state: State, hands: Hands, address: Address, now: float | None = None) -> None:
    """The numbers of the address's group changed: its status is due, at most once a second.

    With `now` no turn is asked for that could only find out that a second is not over yet.
    """
    group = home_of(address, ledger=state.ledger, groups=state.groups).group
    if group is None:
        return
    written_at = state.group_written_at.get((group.namespace, group.name))
    if now is None or written_at is None or now >= written_at + statuses.GROUP_APART:
        hands.soon(StatusDue(group.namespace, group.name), priority=INITIAL)
    else:
        hands.later(StatusDue(group.namespace, group.name), written_at + statuses.GROUP_APART - now)


def _wake_for_loan(state: State, hands: Hands, address: Address, name: str, namespace: str) -> None:
    """What a source gave is free again: it may go back, and only when it has is there room in the group."""
    state.loans.idle.append(address)
    group = state.groups.elsewhere.get(name)
    where = group.namespace if group is not None else state.groups.refused.get(name)
    if where is not None:
        hands.soon(StatusDue(where, name), priority=INITIAL)
    for service in state.waiting.wake(QuotaHasRoom(name, namespace, address[0])) if namespace else ():
        hands.soon(service, priority=INITIAL)


def source_label(state: State, addresses: Iterable[Address]) -> str:
    """Where addresses come from, for a metric: that of the first one."""
    for address in addresses:
        group = home_of(address, ledger=state.ledger, groups=state.groups).group
        return "local" if group is None or group.source == "cluster" else group.source
    return "local"


def reference(service: Service) -> ObjectReference:
    """The object of an Event."""
    meta = service.metadata
    return ObjectReference(api_version="v1", kind="Service", namespace=meta.namespace, name=meta.name, uid=meta.uid)


def fingerprint_of(service: Service) -> int:
    """Of what others could edit: the ingress and our annotations as they stand."""
    noted = annotations(service)
    return hash((published(service), tuple([noted.get(name) for name in words.OURS])))


def fingerprint_of_desired(desired: Desired) -> int:
    """The fingerprint of a Service that says exactly this."""
    values = dict(desired.annotations)
    return hash((desired.addresses, tuple([values.get(name) for name in words.OURS])))


def whole(desired: Desired) -> int:
    """A fingerprint of all that is wanted, conditions included."""
    return hash((desired.addresses, desired.annotations, desired.allocated, desired.announced))
