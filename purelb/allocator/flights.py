# SPDX-License-Identifier: Apache-2.0
"""Writes on their way, and what is known about the ones that ended without an answer. Pure: answers what to do, sends nothing.

One write per Service is in flight; a decision made meanwhile is submitted after its result. Every status write carries the version
it was decided on. So if one whose outcome is unknown was applied, it is the direct successor of that version: as soon as the store
shows another version, it shows the truth. Until then what the write took away is not free. What was to be told of such a write is kept
until then as well: a lost answer is no reason for somebody not to hear of an address.
"""

from typing import Literal

from msgspec import Struct

from purelb.allocator.keys import ServiceKey
from purelb.allocator.occasions import Occasion
from purelb.allocator.publish import Desired
from purelb.kube.writer import WriteResult, Written

Purpose = Literal["status", "policy", "group", "agent"]

REFUSED_FIRST = 1.0
REFUSED_CAP = 300.0
FAILED_CAP = 60.0
CONFLICT_WAIT = 0.25
CONFLICT_CAP = 5.0
UNSURE_FOR = 60.0
MAYBE_MOST = 4


class Flight(Struct, frozen=True, gc=False):
    """One write: what it was to make true, on which version, and what to tell when it did.

    `place` is that of a group or an agent whose status it is, `uid` that of the object. `ingress`: other addresses are published.
    """

    purpose: Purpose
    service: ServiceKey | None = None
    place: tuple[str, str] | None = None
    uid: str = ""
    rv: str = ""
    desired: Desired | None = None
    occasions: tuple[Occasion, ...] = ()
    adopted: bool = False
    ingress: bool = False
    sent_at: float = 0.0


class Unsure(Struct):
    """A write of unknown outcome, decided on version `rv`. `asked`: the object was read again and still has it.

    `reads`: how often it was asked for, `due` when the next time is.
    """

    rv: str
    since: float
    due: float
    asked: bool = False
    reads: int = 0


class Flights:
    def __init__(self) -> None:
        self._results: dict[int, tuple[WriteResult, float]] = {}
        self._flights: dict[int, Flight] = {}
        self._by_service: dict[ServiceKey, int] = {}
        self._asked: set[ServiceKey] = set()
        self._unsure: dict[ServiceKey, Unsure] = {}
        self._maybe: dict[ServiceKey, tuple[Flight, ...]] = {}
        self._failures: dict[ServiceKey, int] = {}
        self._numbers = 0

    def depart(self, flight: Flight) -> int:
        """A write is about to be submitted; its number, under which its answer will be found."""
        self._numbers += 1
        self._flights[self._numbers] = flight
        if flight.service is not None:
            self._by_service[flight.service] = self._numbers
        return self._numbers

    def answer(self, number: int, result: WriteResult, at: float) -> bool:
        """The writer has answered; called from its task, so nothing is decided here. Whether a turn of its Service came meanwhile."""
        flight = self._flights.get(number)
        if flight is None:
            return False
        self._results[number] = result, at
        return flight.service in self._asked

    def land(self, number: int) -> tuple[Flight, WriteResult, float] | None:
        """The flight, its answer and when that came, once. None when it was taken in already, or its Service has gone meanwhile."""
        answer = self._results.pop(number, None)
        flight = self._flights.pop(number, None)
        if flight is None or answer is None:
            return None
        if flight.service is not None and self._by_service.get(flight.service) == number:
            del self._by_service[flight.service]
        return flight, *answer

    def applied(self, service: ServiceKey) -> int | None:
        """The number of the Service's write that was applied, and that nobody has taken in yet."""
        number = self._by_service.get(service)
        answer = self._results.get(number) if number is not None else None
        return number if answer is not None and isinstance(answer[0], Written) else None

    @property
    def unlanded(self) -> tuple[int, ...]:
        """The numbers of all writes that were applied, and that nobody has taken in yet."""
        return tuple(number for number, (result, _) in self._results.items() if isinstance(result, Written))

    def aloft(self, service: ServiceKey) -> bool:
        """Whether a write of the Service is on its way."""
        return service in self._by_service

    def ask_after(self, service: ServiceKey) -> None:
        """A turn of the Service came while its write was on its way: it is to have another one."""
        self._asked.add(service)

    def asked_after(self, service: ServiceKey) -> bool:
        """Whether such a turn is due, once."""
        due = service in self._asked
        self._asked.discard(service)
        return due

    def forget(self, service: ServiceKey) -> None:
        """The Service is gone: the answer to a write still on its way means nothing."""
        self._asked.discard(service)
        number = self._by_service.pop(service, None)
        if number is not None:
            del self._flights[number]
            self._results.pop(number, None)
        self._unsure.pop(service, None)
        self._maybe.pop(service, None)
        self._failures.pop(service, None)

    def unknown(self, service: ServiceKey, flight: Flight, now: float) -> None:
        """A write may have been applied. Of several on one version at most one was; the oldest of equal ones is kept."""
        self._unsure[service] = Unsure(flight.rv, now, now + CONFLICT_WAIT)
        known = self._maybe.get(service, ())
        if all((other.rv, other.desired) != (flight.rv, flight.desired) for other in known):
            self._maybe[service] = (*known, flight)[-MAYBE_MOST:]

    def known(self, service: ServiceKey, rv: str) -> tuple[Flight, ...]:
        """The writes of unknown outcome, once: when the newest known version `rv` shows what became of them."""
        maybe = self._maybe.get(service, ())
        if not maybe or maybe[-1].rv == rv:
            return ()
        del self._maybe[service]
        return maybe

    def ask(self, unsure: Unsure, now: float) -> float:
        """The object is read again now; when to do so once more if there is no answer."""
        unsure.reads += 1
        unsure.due = now + min(FAILED_CAP, CONFLICT_WAIT * 2.0 ** min(unsure.reads, 30))
        return unsure.due

    def asked(self, service: ServiceKey) -> None:
        """The object was read again; nothing new was found."""
        if (unsure := self._unsure.get(service)) is not None:
            unsure.asked = True

    def unsure(self, service: ServiceKey, rv: str, now: float) -> Unsure | None:
        """What is still not known about the Service, whose newest known version is `rv`."""
        unsure = self._unsure.get(service)
        if unsure is not None and (unsure.rv != rv or now >= unsure.since + UNSURE_FOR):
            del self._unsure[service]
            return None
        return unsure

    def succeeded(self, service: ServiceKey) -> None:
        """A write was applied: whatever was unknown before is known now."""
        self._unsure.pop(service, None)
        self._maybe.pop(service, None)
        self._failures.pop(service, None)

    def delay(self, service: ServiceKey, *, first: float, cap: float) -> float:
        """How long to wait after one more failure in a row."""
        count = self._failures.get(service, 0)
        self._failures[service] = count + 1
        return min(cap, first * 2.0 ** min(count, 30))

    @property
    def outstanding(self) -> frozenset[ServiceKey]:
        """The Services with a write on its way, or one of unknown outcome."""
        return frozenset((*self._by_service, *self._unsure))
