# SPDX-License-Identifier: Apache-2.0
"""What the nodes report, folded per address: who answers for it, who withholds it and why.

A report counts while its node's lease is alive; who is alive is told from outside (`alive`), because it is judged on our own clock.
`fold` turns what is known of a Service's addresses into annotation values and the condition `purelb.io/Announced`.

Of nodes that may be alive or not (`unsure`) only what the Service says already is believed: nothing becomes announced by their reports, and
nothing that is announced ceases to be.

Damping: announced is told at once; that an address is missing only after it was missing for 2 s, so that a move between two
nodes is one change and not three. Reports are foreign input: an address that nobody holds is looked up by nobody, and what does
not parse is dropped. Rejected: scanning reports per Service; a failover of 1000 addresses would cost a million looks.
"""

from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address
from typing import Final, Literal

from msgspec import Struct

from purelb.allocator.publish import Said
from purelb.allocator.ranges import Address, ip_text
from purelb.api import annotations as words
from purelb.api import reasons
from purelb.api.kinds import NodeReport
from purelb.api.messages import cut, shown
from purelb.api.pieces import CHANGES, LOOKS, Pieces
from purelb.net.ranges import IPNetwork, family_of, interval_of, parse_address

MISSING_FOR: Final = 2.0
TWICE_FOR: Final = 15.0

# The bounds of LBNodeStatus: admission keeps them, so what lies beyond was not written by an agent of ours.
_ANNOUNCED_MAX: Final = 4096
_REMOTE_MAX: Final = 1024
_WITHHELD_MAX: Final = 1024
_SERVICES_MAX: Final = 64

# The reasons whose message names the address it is about.
_OF_AN_ADDRESS: Final = frozenset({reasons.AWAITING_NODE, reasons.NO_NODE_IN_SUBNET, reasons.DUPLICATE_ON_LAN})


class Announcer(Struct, frozen=True, gc=False, order=True):
    node: str
    interface: str


class Withholding(Struct, frozen=True, gc=False, order=True):
    node: str
    reason: str
    message: str


class _Entry(Struct, frozen=True, gc=False):
    """One address on one interface. `services` None: not known, because the list was cut off or the agent just began."""

    interface: str
    services: frozenset[str] | None

    def is_for(self, service: str | None) -> bool:
        return service is None or self.services is None or service in self.services


class _Withheld(Struct, frozen=True, gc=False):
    reason: str
    message: str
    services: frozenset[str] | None

    def is_for(self, service: str) -> bool:
        return self.services is None or service in self.services


class _Report(Struct, frozen=True):
    announced: Mapping[Address, tuple[_Entry, ...]]
    remote: frozenset[Address]
    cut_off: bool
    withheld: Mapping[Address, _Withheld]

    def addresses(self) -> frozenset[Address]:
        return frozenset((*self.announced, *self.remote, *self.withheld))


class Wanted(Struct, frozen=True, gc=False):
    """An address of a Service. `local`: one node should answer for it. `off_subnet`: it may stand on dummy interfaces instead."""

    address: Address
    local: bool
    off_subnet: bool = False


class Folded(Struct, frozen=True, gc=False):
    """What a Service should say. `due`: when to fold again although nothing changed."""

    announcing: Mapping[int, str | None]
    said: Said | None
    due: float | None = None


class Announcements:
    def __init__(self) -> None:
        self._reports: dict[str, _Report] = {}
        self._nodes: dict[Address, set[str]] = {}  # who mentions an address
        self._cut_off: set[str] = set()  # whose report does not list all it has
        self._alive: frozenset[str] = frozenset()
        self._unsure: frozenset[str] = frozenset()
        self._subnets: dict[str, tuple[IPNetwork, ...]] = {}
        self._lost_at: dict[Address, float] = {}
        self._twice_at: dict[Address, float] = {}

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
        """The subnets of each of these nodes."""
        return self._subnets

    def reported(self, node: str, report: NodeReport | None, now: float) -> Pieces[frozenset[Address]]:
        """A node's newest report, None when it is gone. Answers the addresses of which something changed."""
        old, new = self._reports.get(node), None if report is None else (yield from _reading(report))
        yield
        self._cut_off.discard(node)
        if new is None:
            self._reports.pop(node, None)
        else:
            self._reports[node] = new
            if new.cut_off:
                self._cut_off.add(node)
        before = old.addresses() if old is not None else frozenset()
        after = new.addresses() if new is not None else frozenset()
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
            if _of(old, address) != _of(new, address):
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

    @property
    def cut_off(self) -> Literal["", "unsure", "alive"]:
        """Whether a node has more remote addresses than its report can list, and which: then it counts as having any."""
        if not self._cut_off.isdisjoint(self._alive):
            return "alive"
        return "" if self._cut_off.isdisjoint(self._unsure) else "unsure"

    def withheld(self) -> frozenset[Address]:
        """The addresses that a node withholds that lives, or may live."""
        counted = self._alive | self._unsure
        return frozenset(a for node, report in self._reports.items() if node in counted for a in report.withheld)

    def look_again(self, addresses: Collection[Address], now: float) -> Pieces[None]:
        """Addresses that no report lists may stand somewhere else, or nowhere, than before."""
        yield from self._note(addresses, now)

    def announcers(self, address: Address, *, service: str | None = None) -> tuple[Announcer, ...]:
        """The counted nodes that answer for an address on a real interface, sorted; with `service`, those that do so for it.

        A report may still list an address for the Service that had it before. Told to the next one, that node would be
        its holder, for whom every other node waits; and while no allocator runs, nobody would take it back.
        """
        found = [
            Announcer(node, entry.interface)
            for node in self._nodes.get(address, ())
            if node in self._alive
            for entry in self._reports[node].announced.get(address, ())
            if entry.is_for(service)
        ]
        return tuple(sorted(found))

    def stands(self, address: Address) -> bool:
        """Whether a counted node has the address on its dummy interface."""
        if any(node in self._alive and address in self._reports[node].remote for node in self._nodes.get(address, ())):
            return True
        return any(node in self._alive and address not in self._reports[node].withheld for node in self._cut_off)

    def duplicate(self, address: Address, *, service: str) -> str | None:
        """Who answers for the address of a Service on the LAN instead of a node, by the word of the first node."""
        said = sorted(
            (node, found.message)
            for node, found in self._withholding(address)
            if found.reason == reasons.DUPLICATE_ON_LAN and found.is_for(service)
        )
        return None if not said else shown(said[0][1]) or f"another host answers for {ip_text(address)}"

    def fold(
        self, wanted: Collection[Wanted], said: Said | None, *, service: str, noted: Mapping[str, str], now: float
    ) -> Folded:
        """The annotations and the condition for the addresses of a Service; `said` and `noted` are what it says now."""
        if not wanted:
            gone = Said(False, reasons.NOT_ALLOCATED, "no address") if said is not None else None
            return Folded({4: None, 6: None}, gone)
        entries: dict[int, list[words.Announcing]] = {4: [], 6: []}
        texts: list[str] = []
        standing: list[Address] = []
        missing: Said | None = None
        twice: Said | None = None
        due: list[float] = []
        for each in wanted:
            ip = ip_text(each.address)
            found = self.announcers(each.address, service=service) if each.local else ()
            if self._unsure and each.local:
                found = self._as_noted(each.address, ip, found, service=service, noted=noted)
            if found:
                entries[each.address[0]] += (words.Announcing(one.node, one.interface, ip_address(ip)) for one in found)
                texts += (f"{ip} by {one.node} on {one.interface}" for one in found)
                nodes = tuple(dict.fromkeys(one.node for one in found))
                if len(nodes) > 1:
                    since = self._twice_at.get(each.address, now)
                    if now >= since + TWICE_FOR or _said_twice(said, ip):
                        twice = twice or Said(True, reasons.ANNOUNCED_TWICE, f"{ip} by {nodes[0]} and {nodes[1]}")
                    else:
                        due.append(since + TWICE_FOR)
            elif (not each.local or each.off_subnet) and (
                self.stands(each.address) or self._as_said(each.address, ip, said)
            ):
                standing.append(each.address)
            else:
                lost = self._missing_since(each.address, ip, said, now)
                if lost is not None and now < lost + MISSING_FOR and said is not None and said.status:
                    kept = {4: noted.get(words.ANNOUNCING_IPV4), 6: noted.get(words.ANNOUNCING_IPV6)}
                    return Folded(kept, said, lost + MISSING_FOR)
                missing = missing or self._why_not(each, said)
        values: Mapping[int, str | None] = {
            family: words.print_announcing(found) if found else None for family, found in entries.items()
        }
        if missing is None:
            if standing:
                texts.append(f"{', '.join(map(ip_text, standing))} on the dummy interface of the nodes")
            reason = reasons.ANNOUNCING_NON_LOCAL if len(standing) == len(wanted) else reasons.ANNOUNCING_LOCAL
            return Folded(values, twice or Said(True, reason, cut("; ".join(texts))), min(due, default=None))
        return Folded(values, missing, min(due, default=None))

    def _missing_since(self, address: Address, ip: str, said: Said | None, now: float) -> float | None:
        """When the address ceased to be announced. What a former leader saw announced counts as lost when we first look."""
        if address in self._lost_at or said is None or not said.status:
            return self._lost_at.get(address)
        if not _names(said, ip):
            return None  # it is new in this Service
        self._lost_at[address] = now
        return now

    def _as_noted(
        self, address: Address, ip: str, alive: tuple[Announcer, ...], *, service: str, noted: Mapping[str, str]
    ) -> tuple[Announcer, ...]:
        """Those `alive`, and the unsure nodes that are noted in the Service as its announcers and report it still.

        An address that is with a living node of which nothing is noted has moved there: it is that one's alone.
        """
        known = noted.get(words.ANNOUNCING_IPV4 if address[0] == 4 else words.ANNOUNCING_IPV6, "").split()
        if any(f"{one.node},{one.interface},{ip}" not in known for one in alive):
            return alive
        found = [
            Announcer(node, entry.interface)
            for node in self._nodes.get(address, ())
            if node in self._unsure
            for entry in self._reports[node].announced.get(address, ())
            if entry.is_for(service) and f"{node},{entry.interface},{ip}" in known
        ]
        return tuple(sorted((*alive, *found)))

    def _as_said(self, address: Address, ip: str, said: Said | None) -> bool:
        """Whether an unsure node has the address on its dummy interface, and the Service says that some node has it."""
        if not self._unsure or said is None or not said.status or not _names(said, ip):
            return False
        reports = (self._reports[node] for node in self._unsure if node in self._reports)
        return any(
            address in report.remote or (report.cut_off and address not in report.withheld) for report in reports
        )

    def _why_not(self, wanted: Wanted, said: Said | None) -> Said:
        address, ip = wanted.address, ip_text(wanted.address)
        if not self._alive and not self._unsure:
            return Said(False, reasons.NO_LIVE_AGENT, "no node agent is alive")
        withheld = sorted(Withholding(node, found.reason, found.message) for node, found in self._withholding(address))
        if withheld:
            return _withheld(ip, withheld[0])
        if self._unsure:  # why it is not announced is not known yet, so what is said of it stands
            known = said is not None and not said.status and said.reason != reasons.NOT_ALLOCATED
            if said is not None and known and (said.reason not in _OF_AN_ADDRESS or _names(said, ip)):
                return said
            return Said(False, reasons.AWAITING_NODE, f"no node has reported {ip} yet")
        if wanted.local and not wanted.off_subnet and not self._in_a_subnet(address):
            return Said(False, reasons.NO_NODE_IN_SUBNET, f"no live node advertises a subnet containing {ip}")
        return Said(False, reasons.AWAITING_NODE, f"no node has reported {ip} yet")

    def _withholding(self, address: Address) -> Iterator[tuple[str, _Withheld]]:
        for node in self._nodes.get(address, ()):
            if node in self._alive and (found := self._reports[node].withheld.get(address)) is not None:
                yield node, found

    def _in_a_subnet(self, address: Address) -> bool:
        return any(
            found.family == address[0] and found.low <= address[1] <= found.high
            for networks in self._subnets.values()
            for found in map(interval_of, networks)
        )

    def _note(self, changed: Collection[Address], now: float) -> Pieces[frozenset[Address]]:
        """Keep the moments that damping looks at; no more of them than there are addresses in reports."""
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


def _names(said: Said, ip: str) -> bool:
    """Whether the message names an address."""
    return not {ip, f"{ip},", f"{ip};", f"{ip}:"}.isdisjoint(said.message.split())


def _said_twice(said: Said | None, ip: str) -> bool:
    """Whether it is told already that two nodes answer for an address, be it by a leader before us."""
    return said is not None and said.reason == reasons.ANNOUNCED_TWICE and _names(said, ip)


def _of(report: _Report | None, address: Address) -> object:
    if report is None:
        return None, False, None
    return report.announced.get(address), address in report.remote, report.withheld.get(address)


def _reading(report: NodeReport) -> Pieces[_Report]:
    announced: dict[Address, tuple[_Entry, ...]] = {}
    for number, entry in enumerate((report.announced or ())[:_ANNOUNCED_MAX]):
        if not number % CHANGES:
            yield
        if (address := _address(entry.ip)) is not None and entry.interface:
            announced[address] = (*announced.get(address, ()), _Entry(entry.interface, _whose(entry.services)))
    remote = report.remote
    listed = (remote.addresses or ())[:_REMOTE_MAX] if remote is not None else ()
    stands: set[Address] = set()
    for number, text in enumerate(listed):
        if not number % CHANGES:
            yield
        if (address := _address(text.partition("/")[0])) is not None:
            stands.add(address)
    withheld: dict[Address, _Withheld] = {}
    for number, refused in enumerate((report.withheld or ())[:_WITHHELD_MAX]):
        if not number % CHANGES:
            yield
        if (address := _address(refused.ip)) is not None:
            withheld[address] = _Withheld(refused.reason, refused.message, _whose(refused.services))
    return _Report(announced, frozenset(stands), remote is not None and remote.count > len(listed), withheld)


def _whose(services: tuple[str, ...] | None) -> frozenset[str] | None:
    """The Services a row of a report is for; None when nobody wrote them down, or not all."""
    return frozenset(services) if services and len(services) < _SERVICES_MAX else None


def _address(text: str) -> Address | None:
    found = parse_address(text)
    return None if found is None else (family_of(found), int(found))


def _withheld(ip: str, found: Withholding) -> Said:
    """What an agent says, in our words where it gives only the reason. A reason we do not know is not repeated."""
    message = shown(found.message)
    match found.reason:
        case reasons.NO_LOCAL_ENDPOINT:
            text = "externalTrafficPolicy is Local and no eligible node has a ready endpoint"
        case reasons.DUPLICATE_ON_LAN:
            text = message or f"another host answers for {ip}"
        case reasons.NODE_UNFIT | reasons.ANNOUNCEMENT_FAILED:
            text = message if message.startswith(found.node) else f"{found.node}: {message}"
        case _:
            return Said(
                False, reasons.ANNOUNCEMENT_FAILED, cut(f"{found.node}: {shown(found.reason)} {message}".rstrip())
            )
    return Said(False, found.reason, cut(text))
