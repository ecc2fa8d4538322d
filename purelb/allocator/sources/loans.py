# SPDX-License-Identifier: Apache-2.0
"""What sources gave and were asked for, as far as this term knows. Pure; changed by the owner's steps alone.

An address is lent from the moment a source gave it until the source has confirmed to have it back. In between it is *granted* (given,
not yet decided), in the ledger, quarantined, or *returning*. One call per Service is on its way at a time. What a source refused is
remembered until it is worth asking again, so that a Service that is looked at often does not ask often.

Dropped with the term: what is on its way then is found by the next `adopt`. Bound: one row per address lent and per waiting Service.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from purelb.allocator import refusals as because
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import Refusal
from purelb.allocator.sources.ask import Ask
from purelb.allocator.sources.source import Answer, Call, Held, Usage, Verb, section_of, source_text
from purelb.api import reasons
from purelb.api.groups import Group

PENDING_AFTER: Final = 2.0  # so long a quick answer is waited for without a word
BAD_ANSWERS: Final = 5  # so often another address is asked for at once
ASK_AGAIN: Final = 300.0
AWAY_FIRST: Final = 1.0
AWAY_CAP: Final = 60.0
USAGE_EVERY: Final = 60.0
ADOPT_EVERY: Final = 600.0


class Loan(Struct, frozen=True, gc=False):
    """One address that a source gave."""

    group: str
    held: Held


class Refused(Struct, frozen=True, gc=False):
    """What a source answered to an ask, and until when that answer stands."""

    group: str
    subject: object
    refusal: Refusal
    until: float


class Return(Struct):
    """A loan on its way back. `ticket` while the source is told."""

    loan: Loan
    address: Address | None
    due: float
    tries: int = 0
    ticket: int | None = None


class Lender(Struct):
    """One group's source, as far as its answers tell. `refusal`: why nothing is asked of it yet; `trouble`: what its
    last answer to `adopt` said.
    """

    group: Group
    refusal: Refusal | None
    adopt_due: float
    usage_due: float
    since: float
    trouble: Refusal | None = None
    usage: Usage = Usage()
    tries: int = 0
    adopting: int | None = None
    counting: int | None = None


class Loans:
    def __init__(self) -> None:
        self.lenders: dict[str, Lender] = {}
        self.book: dict[Address, Loan] = {}
        self.idle: list[Address] = []  # freed by the step that runs: perhaps to be given back
        self.returning: dict[tuple[str, str], Return] = {}
        self.calls: dict[int, Call] = {}
        self._answers: dict[int, Answer] = {}
        self._tickets = 0
        self._granted: dict[ServiceKey, dict[Address, Loan]] = {}
        self._refused: dict[ServiceKey, Refused] = {}
        self._asking: dict[ServiceKey, tuple[int, float]] = {}
        self._avoid: dict[ServiceKey, set[str]] = {}
        self._failures: dict[ServiceKey, int] = {}

    def configure(self, groups: Mapping[str, Group], now: float) -> None:
        """Take over which groups have a source. One that is new, or is another than before, has to adopt first."""
        for name in self.lenders.keys() - groups.keys():
            del self.lenders[name]
        for name, group in groups.items():
            known = self.lenders.get(name)
            if known is None or section_of(known.group) != section_of(group):
                waits = because.ipam_unavailable(source_text(group), "it was not yet asked what it holds for us")
                self.lenders[name] = Lender(group, waits, now, now, now)
            else:
                known.group = group

    # Calls

    def depart(
        self,
        group: Group,
        verb: Verb,
        *,
        ask: Ask | None = None,
        held: Held | None = None,
        claims: tuple[Held, ...] = (),
    ) -> Call:
        """A call is about to be made; its answer will be found under its ticket."""
        self._tickets += 1
        call = self.calls[self._tickets] = Call(self._tickets, group, verb, ask, held, claims)
        return call

    def answer(self, ticket: int, answer: Answer) -> None:
        """A source has answered; called from its task, so nothing is decided here. Only the first answer counts."""
        if ticket in self.calls:
            self._answers.setdefault(ticket, answer)

    def land(self, ticket: int) -> tuple[Call, Answer] | None:
        """The call and its answer, once."""
        if ticket not in self._answers:
            return None
        return self.calls.pop(ticket), self._answers.pop(ticket)

    # What planning sees

    def look(self, group: Group, ask: Ask) -> Mapping[Address, Loan] | Refusal | None:
        """The addresses that were given for this, why there are none, or None: the source has to be asked."""
        lender = self.lenders.get(group.name)
        if lender is None or lender.refusal is not None:
            missing = because.ipam_unavailable(source_text(group), "it is not known yet")
            return missing if lender is None or lender.refusal is None else lender.refusal
        mine = {a: loan for a, loan in self.granted(ask.service).items() if loan.group == group.name}
        if ask.addresses:
            found = {a: mine[a] for a in ask.addresses if a in mine}
            if len(found) == len(ask.addresses):
                return found
        elif found := {a: loan for a, loan in mine.items() if a[0] in ask.families}:
            return found
        known = self._refused.get(ask.service)
        if known is not None and (known.group, known.subject) == (group.name, ask.subject):
            return known.refusal
        return None

    def is_starting(self, group: str) -> bool:
        """Whether the source of a group has yet to answer for the first time: nobody is sent elsewhere for that."""
        lender = self.lenders.get(group)
        return lender is not None and lender.refusal is not None and lender.trouble is None

    def granted(self, service: ServiceKey) -> Mapping[Address, Loan]:
        """What was given for a Service and is not decided yet."""
        return self._granted.get(service, {})

    def avoided(self, service: ServiceKey) -> frozenset[str]:
        """What a source gave for the Service and could not be used."""
        return frozenset(self._avoid.get(service, ()))

    def taken(self, service: ServiceKey, uid: str, address: Address) -> str | None:
        """Who has an address that a source gives to the Service, in words; None when nobody else has."""
        loan = self.book.get(address)
        if loan is None or (loan.held.service, loan.held.uid) == (service, uid):
            return None
        return f"was given to {loan.held.service} before"

    # What the steps do

    def asked(self, service: ServiceKey, ticket: int, now: float) -> None:
        """The source is asked now."""
        self._asking[service] = (ticket, now)

    def asking(self, service: ServiceKey) -> float | None:
        """Since when a source is asked for the Service, None when none is."""
        known = self._asking.get(service)
        return None if known is None else known[1]

    def says_so_at(self, service: ServiceKey, refusal: Refusal | None) -> float | None:
        """When a Service is told that it waits for an answer; None when it does not.

        The first answer to `adopt` is waited for in the same way: a restart is no reason to say something else for a moment.
        """
        if refusal is None:
            return None
        lender = self.lenders.get(refusal.group)
        if refusal.reason == reasons.IPAM_UNAVAILABLE and lender is not None and self.is_starting(refusal.group):
            return lender.since + PENDING_AFTER
        since = self.asking(service) if refusal.ask is not None else None
        return None if since is None else since + PENDING_AFTER

    def answered(self, service: ServiceKey, ticket: int) -> None:
        """The call is over, whatever it brought."""
        if self._asking.get(service, (None,))[0] == ticket:
            del self._asking[service]

    def grant(self, service: ServiceKey, address: Address, loan: Loan) -> None:
        """A source gave an address that can be used."""
        self.book[address] = loan
        self._granted.setdefault(service, {})[address] = loan
        self.returning.pop((loan.group, loan.held.ip), None)
        self._failures.pop(service, None)

    def bad(self, service: ServiceKey, ips: Iterable[str]) -> bool:
        """A source gave what cannot be used. Answers whether it is worth asking for another at once."""
        avoided = self._avoid.setdefault(service, set())
        avoided.update(ips)
        self._failures[service] = self._failures.get(service, 0) + 1
        return self._failures[service] < BAD_ANSWERS

    def refuse(self, group: str, ask: Ask, refusal: Refusal, now: float) -> None:
        """A source does not serve, and is not asked the same before `ask_again_at`."""
        delay = ASK_AGAIN
        if refusal.reason == reasons.IPAM_UNAVAILABLE:
            tries = self._failures.get(ask.service, 0)
            self._failures[ask.service] = tries + 1
            delay = min(AWAY_CAP, AWAY_FIRST * 2.0 ** min(tries, 30))
        self._refused[ask.service] = Refused(group, ask.subject, refusal, now + delay)

    def ask_again_at(self, service: ServiceKey) -> float | None:
        """Until when a refusal stands."""
        known = self._refused.get(service)
        return None if known is None else known.until

    def forgive(self, service: ServiceKey, now: float) -> None:
        """What was refused long enough ago may be asked again."""
        known = self._refused.get(service)
        if known is not None and now >= known.until:
            self.ask_again(service)

    def ask_again(self, service: ServiceKey) -> None:
        """Forget what was refused: something has changed."""
        if self._refused.pop(service, None) is not None:
            self._avoid.pop(service, None)

    def changed(self, group: str) -> None:
        """The group was edited: what its source refused may be asked again."""
        for service in [service for service, known in self._refused.items() if known.group == group]:
            self.ask_again(service)

    def decided(self, service: ServiceKey) -> tuple[tuple[Address, Loan], ...]:
        """The Service was decided with what was given; answers that, for whoever finds it unused to give it back."""
        self._avoid.pop(service, None)
        return tuple(self._granted.pop(service, {}).items())

    def forget(self, service: ServiceKey) -> None:
        """The Service is gone, or not ours; what was given for it is told by `decided`."""
        self._refused.pop(service, None)
        self._failures.pop(service, None)
        self._avoid.pop(service, None)

    def give_back(self, loan: Loan, address: Address | None, now: float) -> None:
        """The loan is to end. A source that is gone is told nothing."""
        if loan.group in self.lenders:
            self.returning.setdefault((loan.group, loan.held.ip), Return(loan, address, now))
        elif address is not None:
            self.book.pop(address, None)

    def is_returning(self, address: Address) -> bool:
        """Whether an address is on its way back."""
        loan = self.book.get(address)
        return loan is not None and (loan.group, loan.held.ip) in self.returning

    def returned(self, back: Return) -> None:
        """The source has it again."""
        self.returning.pop((back.loan.group, back.loan.held.ip), None)
        known = self.book.get(back.address) if back.address is not None else None
        if back.address is not None and known is not None and known.group == back.loan.group:
            del self.book[back.address]

    def due(self, now: float) -> Iterator[Return]:
        """What is to be given back now, to whoever sets its ticket: one call per Service, be it to ask or to give back."""
        busy = self._busy()
        for back in tuple(self.returning.values()):
            service = back.loan.held.service
            if back.ticket is None and back.due <= now and service not in busy:
                busy.add(service)
                yield back

    def _busy(self) -> set[ServiceKey]:
        """The Services about which a source is called at the moment."""
        told = (back.loan.held.service for back in self.returning.values() if back.ticket is not None)
        return {*self._asking, *told}

    def back(self, ticket: int) -> Return | None:
        """What is on its way back under a ticket."""
        return next((back for back in self.returning.values() if back.ticket == ticket), None)

    def deadline(self) -> float | None:
        """When something is due that no event brings about; never in the past once `due` was carried out."""
        busy = self._busy()
        ends = [back.due for back in self.returning.values() if back.loan.held.service not in busy]
        for lender in self.lenders.values():
            ends += [lender.adopt_due] if lender.adopting is None else []
            ends += [lender.usage_due] if lender.counting is None and lender.refusal is None else []
        return min(ends, default=None)
