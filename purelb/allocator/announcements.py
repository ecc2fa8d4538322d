# SPDX-License-Identifier: Apache-2.0
"""Who announces which address: the newest report of each node, by address, and since when an address is missing.

A report counts while its node's lease is alive; who is alive is told from outside (`lives`), because it is judged on our own clock.
Of the nodes that may be alive or not (`unsure`) the reports are kept as well; what is believed of them is for `folding.py` to say.

An address that nobody holds is looked up by nobody, so a report of addresses that are nobody's costs its own size and no more.
Rejected: scanning reports per Service; a failover of 1000 addresses would cost a million looks.
"""

from collections.abc import Collection, Mapping
from typing import Final, Literal

from msgspec import Struct

from purelb.allocator.nodereport import NOTHING, Report, reading
from purelb.allocator.ranges import Address, ip_text
from purelb.api import reasons
from purelb.api.kinds import NodeReport
from purelb.api.messages import shown
from purelb.api.pieces import CHANGES, LOOKS, Pieces
from purelb.net.ranges import IPNetwork, interval_of

# An address is told to be missing only after so long: a move between two nodes is one change then, and not three.
MISSING_FOR: Final = 2.0


class Announcer(Struct, frozen=True, gc=False, order=True):
    node: str
    interface: str


class Withholding(Struct, frozen=True, gc=False, order=True):
    node: str
    reason: str
    message: str


class Announcements:
    def __init__(self) -> None:
        self._reports: dict[str, Report] = {}
        self._nodes: dict[Address, set[str]] = {}  # who mentions an address
        self._cut_off: set[str] = set()  # whose report does not list all it has
        self._alive: frozenset[str] = frozenset()
        self._unsure: frozenset[str] = frozenset()
        self._subnets: dict[str, tuple[IPNetwork, ...]] = {}
        self._lost_at: dict[Address, float] = {}
        self._twice_at: dict[Address, float] = {}

    # Who lives

    @property
    def alive(self) -> frozenset[str]:
        """The nodes whose reports count."""
        return self._alive

    @property
    def unsure(self) -> frozenset[str]:
        """The nodes of which it is not known yet whether they live."""
        return self._unsure

    @property
    def advertised(self) -> Mapping[str, tuple[IPNetwork, ...]]:
        """The subnets of the nodes whose reports count."""
        return self._subnets

    @property
    def cut_off(self) -> Literal["", "unsure", "alive"]:
        """Whether a node has more remote addresses than its report can list, and which: then it counts as having any."""
        if not self._cut_off.isdisjoint(self._alive):
            return "alive"
        return "" if self._cut_off.isdisjoint(self._unsure) else "unsure"

    # Taking in

    def reported(self, node: str, report: NodeReport | None, now: float) -> Pieces[frozenset[Address]]:
        """A node's newest report, None when it is gone. Answers the addresses of which something changed."""
        old, new = self._reports.get(node), None if report is None else (yield from reading(report))
        yield
        self._cut_off.discard(node)
        if new is None:
            self._reports.pop(node, None)
        else:
            self._reports[node] = new
            if new.cut_off:
                self._cut_off.add(node)
        was, said = old or NOTHING, new or NOTHING
        before, after = was.addresses(), said.addresses()
        for number, address in enumerate(before - after):
            if not number % LOOKS:
                yield
            self._nodes[address].discard(node)
            if not self._nodes[address]:
                del self._nodes[address]
        for number, address in enumerate(after - before):
            if not number % LOOKS:
                yield
            self._nodes.setdefault(address, set()).add(node)
        changed: set[Address] = set()
        for number, address in enumerate(before | after):
            if not number % LOOKS:
                yield
            if was.about(address) != said.about(address):
                changed.add(address)
        if old is not None and new is not None and old.cut_off != new.cut_off:
            changed |= before | after
        if node not in self._alive and node not in self._unsure:
            return frozenset()
        return (yield from self._note(changed, now))

    def lives(
        self, alive: Mapping[str, tuple[IPNetwork, ...]], now: float, *, unsure: frozenset[str] = frozenset()
    ) -> Pieces[frozenset[Address]]:
        """The nodes whose leases are alive, and the subnets they advertise. Answers the addresses of which something changed.

        `unsure` are others, of which it is not known yet.
        """
        before, self._alive = self._alive, frozenset(alive)
        unsure_before, self._unsure = self._unsure, unsure
        self._subnets = dict(alive)
        changed: set[Address] = set()
        for node in (before ^ self._alive) | (unsure_before ^ unsure):
            if (report := self._reports.get(node)) is not None:
                changed |= report.addresses()
                yield
        return (yield from self._note(changed, now))

    def look_again(self, addresses: Collection[Address], now: float) -> Pieces[None]:
        """Addresses that no report lists may stand somewhere else, or nowhere, than before."""
        yield from self._note(addresses, now)

    # One address

    def announcers(
        self, address: Address, *, service: str | None = None, unsure: bool = False
    ) -> tuple[Announcer, ...]:
        """The counted nodes that answer for an address on a real interface, sorted; with `service`, those that do so for it.

        A report may still list an address for the Service that had it before. Told to the next one, that node would be
        its holder, for whom every other node waits; and while no allocator runs, nobody would take it back. `unsure` asks for the
        nodes that may live instead.
        """
        counted = self._unsure if unsure else self._alive
        found = [
            Announcer(node, entry.interface)
            for node in self._nodes.get(address, ())
            if node in counted
            for entry in self._reports[node].announced.get(address, ())
            if entry.is_for(service)
        ]
        return tuple(sorted(found))

    def stands(self, address: Address) -> bool:
        """Whether a counted node has the address on its dummy interface."""
        if any(node in self._alive and address in self._reports[node].remote for node in self._nodes.get(address, ())):
            return True
        return any(node in self._alive and address not in self._reports[node].withheld for node in self._cut_off)

    def may_stand(self, address: Address) -> bool:
        """Whether a node that may live has the address on its dummy interface."""
        reports = (self._reports[node] for node in self._unsure if node in self._reports)
        return any(
            address in report.remote or (report.cut_off and address not in report.withheld) for report in reports
        )

    def withholding(self, address: Address, *, service: str | None = None) -> tuple[Withholding, ...]:
        """The counted nodes that withhold an address, sorted; with `service`, those that do so from it."""
        found = [
            Withholding(node, withheld.reason, withheld.message)
            for node in self._nodes.get(address, ())
            if node in self._alive
            and (withheld := self._reports[node].withheld.get(address)) is not None
            and withheld.is_for(service)
        ]
        return tuple(sorted(found))

    def withheld(self) -> frozenset[Address]:
        """All addresses that a node withholds that lives, or may live."""
        counted = self._alive | self._unsure
        return frozenset(a for node, report in self._reports.items() if node in counted for a in report.withheld)

    def duplicate(self, address: Address, *, service: str) -> str | None:
        """Who answers for the address of a Service on the LAN instead of a node, by the word of the first node."""
        for found in self.withholding(address, service=service):
            if found.reason == reasons.DUPLICATE_ON_LAN:
                return shown(found.message) or f"another host answers for {ip_text(address)}"
        return None

    def is_advertised(self, address: Address) -> bool:
        """Whether a counted node advertises a subnet that contains the address."""
        return any(
            found.family == address[0] and found.low <= address[1] <= found.high
            for networks in self._subnets.values()
            for found in map(interval_of, networks)
        )

    # Since when

    def missing_since(self, address: Address) -> float | None:
        """When the address ceased to be announced; None when it is not known to have been."""
        return self._lost_at.get(address)

    def miss(self, address: Address, now: float) -> None:
        """It was announced before there were reports to see it in: it is missing from now on."""
        self._lost_at[address] = now

    def twice_since(self, address: Address, now: float) -> float:
        """Since when two nodes answer for an address for which two nodes answer."""
        return self._twice_at.get(address, now)

    def _note(self, changed: Collection[Address], now: float) -> Pieces[frozenset[Address]]:
        """Keep these moments; no more of them than there are addresses in reports."""
        for number, address in enumerate(changed):
            if not number % CHANGES:
                yield
            found = self.announcers(address)
            if found or self.stands(address):
                self._lost_at.pop(address, None)
            else:
                self._lost_at.setdefault(address, now)
            if len({one.node for one in found}) > 1:
                self._twice_at.setdefault(address, now)
            else:
                self._twice_at.pop(address, None)
        for address, at in list(self._lost_at.items()) if len(self._lost_at) > len(self._nodes) + 1024 else ():
            if now > at + MISSING_FOR:
                del self._lost_at[address]
        return frozenset(changed)
