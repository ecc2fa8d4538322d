# SPDX-License-Identifier: Apache-2.0
"""What a Service says of its announcement: the annotations that list who announces it, and the condition `purelb.io/Announced`.

Of nodes that may be alive or not only what the Service says already is believed: nothing becomes announced by their reports, and
nothing that is announced ceases to be. So whoever restarts changes nothing until it knows.

Damping: announced is told at once; that an address is missing only after it was missing for 2 s, so that a move between two nodes is
one change and not three; that two nodes announce one address only after 15 s, because a move looks like that for a moment.
What an agent says of its reasons is told in our words where they say as much, and cut where they do not.
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Final

from msgspec import Struct

from purelb.allocator.announcements import MISSING_FOR, Announcements, Announcer, Withholding
from purelb.allocator.publish import Said
from purelb.allocator.ranges import Address, ip_text
from purelb.api import annotations as words
from purelb.api import reasons
from purelb.api.messages import cut, shown

TWICE_FOR: Final = 15.0

# The reasons whose message names the address it is about.
_OF_AN_ADDRESS: Final = frozenset({reasons.AWAITING_NODE, reasons.NO_NODE_IN_SUBNET, reasons.DUPLICATE_ON_LAN})


class Wanted(Struct, frozen=True, gc=False):
    """An address of a Service. `local`: one node should answer for it. `off_subnet`: it may stand on dummy interfaces instead."""

    address: Address
    local: bool
    off_subnet: bool = False


class Folded(Struct, frozen=True, gc=False):
    """What a Service should say. `due`: when to fold again although nothing changed. `concerned`: the addresses that `said` complains of."""

    announcing: Mapping[int, str | None]
    said: Said | None
    due: float | None = None
    concerned: tuple[Address, ...] = ()


def fold(
    seen: Announcements,
    wanted: Collection[Wanted],
    said: Said | None,
    *,
    service: str,
    noted: Mapping[str, str],
    now: float,
) -> Folded:
    """The annotations and the condition for the addresses of a Service; `said` and `noted` are what it says now."""
    if not wanted:
        gone = Said(False, reasons.NOT_ALLOCATED, "no address") if said is not None else None
        return Folded({4: None, 6: None}, gone)
    entries: dict[int, list[words.Announcing]] = {4: [], 6: []}
    texts: list[str] = []
    standing: list[str] = []
    missing: Said | None = None
    twice: Said | None = None
    due: float | None = None
    lacking: list[Address] = []
    doubled: list[Address] = []
    for each in wanted:
        ip = ip_text(each.address)
        found = _announcers(seen, each.address, ip, service=service, noted=noted) if each.local else ()
        if found:
            entries[each.address[0]] += (words.Announcing(one.node, one.interface, ip_address(ip)) for one in found)
            texts += (f"{ip} by {one.node} on {one.interface}" for one in found)
            nodes = tuple(dict.fromkeys(one.node for one in found))
            if len(nodes) > 1:
                told_at = seen.twice_since(each.address, now) + TWICE_FOR
                if now >= told_at or _said_twice(said, ip):
                    twice = twice or Said(True, reasons.ANNOUNCED_TWICE, f"{ip} by {nodes[0]} and {nodes[1]}")
                    doubled.append(each.address)
                else:
                    due = told_at if due is None else min(due, told_at)
        elif (not each.local or each.off_subnet) and _stands(seen, each.address, ip, said):
            standing.append(ip)
        else:
            lost = _missing_since(seen, each.address, ip, said, now)
            if lost is not None and now < lost + MISSING_FOR and said is not None and said.status:
                kept = {4: noted.get(words.ANNOUNCING_IPV4), 6: noted.get(words.ANNOUNCING_IPV6)}
                return Folded(kept, said, lost + MISSING_FOR)
            missing = missing or _why_not(seen, each, ip, said, service=service)
            lacking.append(each.address)
    values = {family: words.print_announcing(found) if found else None for family, found in entries.items()}
    if missing is not None:
        return Folded(values, missing, due, tuple(lacking))
    if standing:
        texts.append(f"{', '.join(standing)} on the dummy interface of the nodes")
    reason = reasons.ANNOUNCING_NON_LOCAL if len(standing) == len(wanted) else reasons.ANNOUNCING_LOCAL
    return Folded(values, twice or Said(True, reason, cut("; ".join(texts))), due, tuple(doubled))


def _announcers(
    seen: Announcements, address: Address, ip: str, *, service: str, noted: Mapping[str, str]
) -> tuple[Announcer, ...]:
    """The nodes that count, and the unsure ones that are noted in the Service as its announcers and report it still.

    An address that is with a living node of which nothing is noted has moved there: it is that one's alone.
    """
    alive = seen.announcers(address, service=service)
    if not seen.unsure:
        return alive
    known = noted.get(words.ANNOUNCING_IPV4 if address[0] == 4 else words.ANNOUNCING_IPV6, "").split()
    if any(f"{one.node},{one.interface},{ip}" not in known for one in alive):
        return alive
    unsure = seen.announcers(address, service=service, unsure=True)
    return tuple(sorted((*alive, *(one for one in unsure if f"{one.node},{one.interface},{ip}" in known))))


def _stands(seen: Announcements, address: Address, ip: str, said: Said | None) -> bool:
    """Whether a node has the address on its dummy interface; an unsure one only if the Service says that some node has it."""
    if seen.stands(address):
        return True
    return bool(seen.unsure) and said is not None and said.status and _names(said, ip) and seen.may_stand(address)


def _missing_since(seen: Announcements, address: Address, ip: str, said: Said | None, now: float) -> float | None:
    """When the address ceased to be announced. What a former leader saw announced counts as lost when we first look."""
    since = seen.missing_since(address)
    if since is not None or said is None or not said.status or not _names(said, ip):
        return since  # None: it is new in this Service
    seen.miss(address, now)
    return now


def _why_not(seen: Announcements, wanted: Wanted, ip: str, said: Said | None, *, service: str) -> Said:
    if not seen.alive and not seen.unsure:
        return Said(False, reasons.NO_LIVE_AGENT, "no node agent is alive")
    if withheld := seen.withholding(wanted.address, service=service):
        return _withheld(ip, withheld[0])
    if seen.unsure:  # why it is not announced is not known yet, so what is said of it stands
        known = said is not None and not said.status and said.reason != reasons.NOT_ALLOCATED
        if said is not None and known and (said.reason not in _OF_AN_ADDRESS or _names(said, ip)):
            return said
    elif wanted.local and not wanted.off_subnet and not seen.is_advertised(wanted.address):
        return Said(False, reasons.NO_NODE_IN_SUBNET, f"no live node advertises a subnet containing {ip}")
    return Said(False, reasons.AWAITING_NODE, f"no node has reported {ip} yet")


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


def _names(said: Said, ip: str) -> bool:
    """Whether the message names an address."""
    return not {ip, f"{ip},", f"{ip};", f"{ip}:"}.isdisjoint(said.message.split())


def _said_twice(said: Said | None, ip: str) -> bool:
    """Whether it is told already that two nodes answer for an address, be it by a leader before us."""
    return said is not None and said.reason == reasons.ANNOUNCED_TWICE and _names(said, ip)
