# SPDX-License-Identifier: Apache-2.0
"""The steps between the ledger and the sources outside the cluster: asking, taking in what was answered, giving back.

An answer is looked at before anything is made of it; what cannot be used goes back if it is ours, and another one is asked for a few
times. What the Service that asked no longer wants goes back too, whatever happened to it meanwhile. A source that does not answer
changes no published address: what is held is kept whatever the source says, and giving back is tried until it is confirmed.
"""

import logging
from collections.abc import Mapping
from typing import Final, assert_never

from msgspec.structs import replace

from purelb.allocator import refusals as because
from purelb.allocator.claims import Source
from purelb.allocator.keys import ServiceKey, StatusDue
from purelb.allocator.occasions import HOUR, occasion
from purelb.allocator.ranges import Address, ip_text
from purelb.allocator.refusals import Refusal, with_waits
from purelb.allocator.sources.answers import Taken, check, problems
from purelb.allocator.sources.ask import Ask, Asked
from purelb.allocator.sources.loans import ADOPT_EVERY, ASK_AGAIN, AWAY_CAP, AWAY_FIRST, USAGE_EVERY, Loan, Loans
from purelb.allocator.sources.source import Adopted, Answer, Call, Granted, Held, Usage, source_text
from purelb.allocator.state import Hands, State
from purelb.allocator.waits import GroupsChange, PoolHasRoom, Wait
from purelb.api import events as rules
from purelb.api import reasons
from purelb.api.groups import Group
from purelb.api.kinds import SERVICE_GROUPS
from purelb.api.messages import shown
from purelb.api.pieces import LOOKS, Pieces
from purelb.kube.failures import failure
from purelb.kube.model import ObjectReference
from purelb.kube.queue import INITIAL
from purelb.net.ranges import Family, family_of, parse_address

log: Final = logging.getLogger(__name__)

_FAMILIES: Final[tuple[Family, ...]] = (4, 6)


def configure(state: State, hands: Hands, now: float) -> Pieces[None]:
    """The groups were read: sources come and go, and what came from them is known by the ledger."""
    loans = state.loans
    before = {name: lender.group for name, lender in loans.lenders.items()}
    loans.configure(state.groups.elsewhere, now)
    for number, (address, claim) in enumerate(state.ledger.claims.items() if loans.lenders else ()):
        if not number % LOOKS:
            yield
        if claim.entry is not None and claim.entry.group in loans.lenders and address not in loans.book:
            service, holder = next(iter(claim.holders.items()))
            loans.book[address] = Loan(claim.entry.group, Held(service, holder.uid, ip_text(address)))
    for name, lender in loans.lenders.items():
        if before.get(name) != lender.group:
            loans.changed(name)
    due(state, hands, now)


def due(state: State, hands: Hands, now: float) -> None:
    """Make the calls whose time has come."""
    loans = state.loans
    for name, lender in loans.lenders.items():
        if lender.adopting is None and lender.adopt_due <= now:
            held = tuple(loan.held for loan in loans.book.values() if loan.group == name)
            call = loans.depart(lender.group, "adopt", claims=held)
            lender.adopting = call.ticket
            hands.call(call)
        if lender.counting is None and lender.usage_due <= now and lender.refusal is None:
            call = loans.depart(lender.group, "usage")
            lender.counting = call.ticket
            hands.call(call)
    for back in loans.due(now):
        known = loans.lenders.get(back.loan.group)
        if known is None:
            loans.returned(back)
            continue
        call = loans.depart(known.group, "release", held=back.loan.held)
        back.ticket = call.ticket
        hands.call(call)


def ask(state: State, hands: Hands, asked: Asked, now: float) -> None:
    """Ask a source for what a Service lacks, unless it is asked for that Service already."""
    loans, service = state.loans, asked.ask.service
    lender = state.loans.lenders.get(asked.group)
    busy = any(back.ticket is not None and back.loan.held.service == service for back in loans.returning.values())
    if lender is None or busy or loans.asking(service) is not None:
        return
    call = loans.depart(lender.group, "allocate", ask=asked.ask)
    loans.asked(service, call.ticket, now)
    hands.call(call)


def settled(state: State, hands: Hands, key: ServiceKey, refusal: Refusal | None, now: float) -> None:
    """The Service was decided: what it lacks is asked for; what was given and is not held goes back."""
    if refusal is not None and refusal.ask is not None:
        ask(state, hands, refusal.ask, now)
        return
    unused = [
        (address, loan)
        for address, loan in state.loans.decided(key)
        if (claim := state.ledger.claims.get(address)) is None or key not in claim.holders
    ]
    for address, loan in unused:
        state.loans.give_back(loan, address, now)
    if unused:
        due(state, hands, now)
        if refusal is not None:  # what was given did not fit: perhaps another one does
            hands.later(key, 1.0, priority=INITIAL)


def freed(state: State, hands: Hands, now: float) -> None:
    """Addresses that nobody holds any more go back, once their quarantine is over."""
    loans, ledger = state.loans, state.ledger
    idle, loans.idle = loans.idle, []
    for address in idle:
        loan = loans.book.get(address)
        if loan is None or address in ledger.claims or address in ledger.quarantine:
            continue
        if address not in loans.granted(loan.held.service):
            loans.give_back(loan, address, now)
    due(state, hands, now)


def answered(state: State, hands: Hands, ticket: int, now: float) -> None:
    """Take in what a source said."""
    landed = state.loans.land(ticket)
    if landed is None:
        return  # it was answered before
    call, answer = landed
    if isinstance(answer, Refusal) and answer.reason not in reasons.ALLOCATED_REASONS:
        answer = because.ipam_unavailable(source_text(call.group), shown(answer.text))
    match call.verb:
        case "allocate":
            assert call.ask is not None  # noqa: S101 - so it was made
            _allocated(state, hands, call, call.ask, answer, now)
        case "release":
            _released(state, hands, call, answer, now)
        case "adopt":
            _adopted(state, hands, call, answer, now)
        case "usage":
            lender = state.loans.lenders.get(call.group.name)
            if lender is not None and lender.counting == ticket:
                lender.counting, lender.usage_due = None, now + USAGE_EVERY
                if isinstance(answer, Usage):  # else the last numbers stand
                    lender.usage = Usage(_numbers(answer.in_use), _numbers(answer.size))
                    hands.soon(StatusDue(call.group.namespace, call.group.name), priority=INITIAL)
        case _:
            assert_never(call.verb)
    due(state, hands, now)


def _numbers(told: Mapping[Family, int]) -> Mapping[Family, int]:
    """What can be a number of addresses; the rest is unknown."""
    known = ((family, told.get(family)) for family in _FAMILIES)
    return {family: number for family, number in known if type(number) is int and number >= 0}


def _allocated(state: State, hands: Hands, call: Call, asked: Ask, answer: Answer, now: float) -> None:
    loans, key, group = state.loans, asked.service, call.group
    loans.answered(key, call.ticket)
    service = state.service(key)
    hands.soon(key)
    if isinstance(answer, Refusal):
        families = asked.families or tuple(dict.fromkeys(address[0] for address in asked.addresses))
        waits: tuple[Wait, ...] = (
            *(PoolHasRoom(group.name, family) for family in families),
            GroupsChange(answer.reason),
        )
        loans.refuse(group.name, asked, with_waits(answer, waits), now)
        return
    if not isinstance(answer, Granted):
        return
    checked = check(
        asked,
        answer,
        parents=group.netbox.parents or () if group.netbox is not None else (),
        taken=lambda address: _taken(state, asked, address),
    )
    wanted = service is not None and service.metadata.uid == asked.uid
    for address, grant in checked.good:
        loan = Loan(group.name, Held(key, asked.uid, grant.ip, grant.reference))
        if wanted:
            loans.grant(key, address, loan)
        else:
            loans.book[address] = loan
            loans.give_back(loan, address, now)
    for bad in checked.bad:
        if bad.ours:
            loans.give_back(Loan(group.name, Held(key, asked.uid, bad.grant.ip, bad.grant.reference)), None, now)
    if checked.bad:
        told = failure(problems(checked.bad), kind=reasons.IPAM_MISCONFIGURED)
        fields = {"code": "sourceLied", "service": str(key), "group": group.name, **told}
        log.info("%s gave what cannot be used: %s", source_text(group), problems(checked.bad), extra=fields)
    if not checked.good and wanted:
        again = loans.bad(key, (bad.grant.ip for bad in checked.bad)) if checked.bad else False
        if not again:
            said = problems(checked.bad) or "it gave no address"
            refusal = because.ipam_misconfigured(source_text(group), said)
            loans.refuse(group.name, asked, refusal, now)


def _taken(state: State, asked: Ask, address: Address) -> Taken | None:
    """Why a well-formed address cannot be given to the Service that asked."""
    ledger, key = state.ledger, asked.service
    claim = ledger.claims.get(address)
    for other in claim.holders if claim is not None else ():
        if other != key:
            return Taken(f"is held by {other}", ours=False)
    if (known := state.loans.taken(key, asked.uid, address)) is not None:
        return Taken(known, ours=False)
    own = Source("published", str(key))
    if any(source != own for source in ledger.reserved.get(address, ())):
        return Taken("is reserved in this cluster", ours=True)
    if (place := ledger.pools.where(address)) is not None:
        return Taken(f"lies in the pool of {place.entry.group}", ours=True)
    return None


def _released(state: State, hands: Hands, call: Call, answer: Answer, now: float) -> None:
    loans = state.loans
    back = loans.back(call.ticket)
    if back is None:
        return
    hands.soon(back.loan.held.service, priority=INITIAL)  # it may have waited to ask
    if answer is not None:
        back.ticket, back.tries = None, back.tries + 1
        back.due = now + min(ASK_AGAIN, AWAY_FIRST * 2.0 ** min(back.tries, 30))
        told = failure(_error(answer), kind=_kind(answer), attempt=back.tries, retry_in=back.due - now)
        fields = {"code": "returnFailed", "group": back.loan.group, "ips": shown(back.loan.held.ip), **told}
        log.info("%s was not given back", shown(back.loan.held.ip), extra=fields)
        return
    loans.returned(back)
    fields = {"code": "addressReturned", "group": back.loan.group, "ips": shown(back.loan.held.ip)}
    log.info("%s was given back to %s", shown(back.loan.held.ip), source_text(call.group), extra=fields)
    if back.address is not None:
        for service in state.waiting.wake(PoolHasRoom(back.loan.group, back.address[0])):
            loans.ask_again(service)
            hands.soon(service, priority=INITIAL)


def _adopted(state: State, hands: Hands, call: Call, answer: Answer, now: float) -> None:
    lender, group = state.loans.lenders.get(call.group.name), call.group
    if lender is None or lender.adopting != call.ticket:
        return  # the group is another one by now
    lender.adopting = None
    hands.soon(StatusDue(group.namespace, group.name), priority=INITIAL)
    if not isinstance(answer, Adopted):
        lender.trouble = answer if isinstance(answer, Refusal) else None
        if lender.refusal is not None and lender.trouble is not None:
            lender.refusal = with_waits(lender.trouble, (GroupsChange(reasons.IPAM_UNAVAILABLE),))
        lender.adopt_due = now + min(AWAY_CAP, AWAY_FIRST * 2.0 ** min(lender.tries, 30))
        lender.tries += 1
        told = failure(_error(answer), kind=_kind(answer), attempt=lender.tries, retry_in=lender.adopt_due - now)
        fields = {"code": "adoptFailed", "group": group.name, **told}
        log.info("%s did not say what it holds for us", source_text(group), extra=fields)
        _wake_all(state, hands)  # so that they say why
        return
    lender.trouble, lender.tries, lender.adopt_due = None, 0, now + ADOPT_EVERY
    _note_references(state.loans, group, answer)
    fields = {
        "code": "sourceAdopted",
        "group": group.name,
        "confirmed": len(answer.confirmed),
        "leftOver": len(answer.left_over),
        "conflicting": len(answer.conflicting),
        "orphaned": len(answer.orphaned),
    }
    log.info("%s was asked what it holds for us", source_text(group), extra=fields)
    for held in answer.conflicting[:10]:
        event = occasion(rules.OWNERSHIP_LOST, f"{shown(held.ip)} of {held.service} is somebody else's", "ServiceGroup")
        if event is not None and state.once.new(f"{group.name} {held.ip}", event.reason, "", now, again_after=HOUR):
            hands.tell(_reference(state, group), event)
    if lender.refusal is not None:
        lender.refusal, lender.usage_due = None, now
        _wake_all(state, hands)


def _error(answer: Answer) -> str | None:
    return answer.text if isinstance(answer, Refusal) else None


def _kind(answer: Answer) -> str | None:
    return answer.reason if isinstance(answer, Refusal) else None


def _note_references(loans: Loans, group: Group, answer: Adopted) -> None:
    for held in answer.confirmed:
        found = parse_address(held.ip)
        address = None if found is None else (family_of(found), int(found))
        known = loans.book.get(address) if address is not None else None
        if address is not None and known is not None and known.group == group.name:
            loans.book[address] = replace(known, held=replace(known.held, ip=held.ip, reference=held.reference))


def _wake_all(state: State, hands: Hands) -> None:
    for service in state.waiting.wake(GroupsChange(reasons.IPAM_UNAVAILABLE)):
        hands.soon(service, priority=INITIAL)


def _reference(state: State, group: Group) -> ObjectReference:
    stored = state.stores.groups.get(f"{group.namespace}/{group.name}")
    return ObjectReference(
        api_version=SERVICE_GROUPS.api_version,
        kind=SERVICE_GROUPS.kind,
        namespace=group.namespace,
        name=group.name,
        uid=stored.metadata.uid if stored is not None else group.uid,
    )
