# SPDX-License-Identifier: Apache-2.0
"""Addresses that another host on the LAN turned out to have: which of ours may move away from them, and for how long they are left.

An address that was chosen for its Service, is young and was never announced has no clients yet: the Service gets another one, and
this one is handed to nobody for ten minutes. A requested or once announced address never moves; its condition says who answers. A
Service moves at most three times an hour, and no more than 1024 addresses are left alone, so whoever answers for everything on a
LAN cannot empty the pools. Forgets with the term: a restart finds the other host again.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from purelb.allocator.announcements import Announcements
from purelb.allocator.claims import Source
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger
from purelb.allocator.ranges import Address, ip_text

YOUNG_FOR: Final = 60.0
LEFT_FOR: Final = 600.0
MOVES: Final = 3
WITHIN: Final = 3600.0
LEFT_MAX: Final = 1024


class _Given(Struct, frozen=True, gc=False):
    service: ServiceKey
    at: float


class Taken:
    def __init__(self) -> None:
        self._young: dict[Address, _Given] = {}  # oldest first
        self._left_until: dict[Address, float] = {}  # soonest first
        self._moves: dict[ServiceKey, deque[float]] = {}

    def given(self, service: ServiceKey, addresses: Iterable[Address], now: float) -> None:
        """Addresses were chosen for a Service that asked for none in particular."""
        while self._young and now >= next(iter(self._young.values())).at + YOUNG_FOR:
            del self._young[next(iter(self._young))]
        for address in addresses:
            self._young.pop(address, None)
            self._young[address] = _Given(service, now)

    def concerns(self, address: Address) -> bool:
        """Whether it matters here that somebody answers for the address."""
        return address in self._young or address in self._left_until

    def stays(self, address: Address) -> bool:
        """A node answers for the address, or its user insists on it. Answers whether it was to be left alone, which ends now."""
        self._young.pop(address, None)
        return self._left_until.pop(address, None) is not None

    def may_move(self, service: ServiceKey, address: Address, now: float) -> bool:
        """Whether the address was chosen for the Service, lately, and was not announced since."""
        given = self._young.get(address)
        return given is not None and given.service == service and now < given.at + YOUNG_FOR

    def take(self, service: ServiceKey, address: Address, now: float) -> bool:
        """Another host has an address that may move. Answers whether it is left to that host: not too often, not too many."""
        moves = self._moves.setdefault(service, deque(maxlen=MOVES))
        often = len(moves) == MOVES and now < moves[0] + WITHIN
        if often or len(self._left_until) >= LEFT_MAX:
            return False
        moves.append(now)
        self._young.pop(address, None)
        self._left_until[address] = now + LEFT_FOR
        return True

    def due(self, now: float) -> tuple[Address, ...]:
        """The addresses that were left alone for long enough."""
        ended = tuple(address for address, until in self._left_until.items() if now >= until)
        for address in ended:
            del self._left_until[address]
        return ended

    def deadline(self) -> float | None:
        """When the first of them is."""
        return next(iter(self._left_until.values()), None)

    def forget(self, service: ServiceKey) -> None:
        """The Service is gone."""
        self._moves.pop(service, None)


def on_lan(address: Address) -> Source:
    """The mark in the ledger of an address that is left to another host."""
    return Source("LAN", ip_text(address))


def leave_to_others(
    taken: Taken,
    service: ServiceKey,
    *,
    ledger: Ledger,
    announcements: Announcements,
    now: float,
) -> tuple[tuple[Address, str], ...]:
    """Mark what the Service should leave to another host; the next plan moves it. Answers the addresses and who says so.

    An address that it shares stays: its key binds the others to it as well.
    """
    record = ledger.records.get(service)
    found: list[tuple[Address, str]] = []
    for address in record.addresses if record is not None else ():
        if len(ledger.claims[address].holders) > 1:
            continue
        if not taken.may_move(service, address, now):
            continue
        said = announcements.duplicate(address, service=str(service))
        if said is not None and taken.take(service, address, now):
            ledger.reserve(on_lan(address), (address,))
            found.append((address, said))
    return tuple(found)
