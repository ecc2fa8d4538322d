# SPDX-License-Identifier: Apache-2.0
"""Whether what a source gave can be handed on: foreign input, looked at before anything is made of it. Pure.

What cannot be used is named with the reason, so that the operator reads what the source did. Nothing here knows the ledger; whether
somebody has the address already is asked through `taken`.
"""

from collections.abc import Callable, Iterable
from ipaddress import ip_address

from msgspec import Struct

from purelb.allocator.ranges import Address, ip_text
from purelb.allocator.refusals import family_text
from purelb.allocator.sources.ask import Ask
from purelb.allocator.sources.source import Grant, Granted
from purelb.api.messages import shown
from purelb.net.quoting import quoted
from purelb.net.ranges import Interval, Unreadable, contains, family_of, parse_address, parse_ranges, union

GRANTS_MAX = 128  # beyond that an answer is not read: nobody asks for more than 64 addresses


class Bad(Struct, frozen=True, gc=False):
    """A grant that cannot be used. `ours`: it may be given back; somebody else's address is left alone."""

    grant: Grant
    problem: str
    ours: bool = True


class Taken(Struct, frozen=True, gc=False):
    """Why an address cannot be had. `ours` False: another Service of ours has it, so it must not be given back."""

    problem: str
    ours: bool


class Checked(Struct, frozen=True, gc=False):
    """What can be used, in the order asked for, and what cannot."""

    good: tuple[tuple[Address, Grant], ...]
    bad: tuple[Bad, ...]


def check(ask: Ask, granted: Granted, *, parents: Iterable[str], taken: Callable[[Address], Taken | None]) -> Checked:
    """Sort an answer. `taken` says why the asking Service cannot have an address that is well-formed, None when it can."""
    inside = union(tuple(interval for text in parents for interval in _parent(text)))
    good: dict[Address, Grant] = {}
    bad: list[Bad] = []
    for grant in granted.grants[:GRANTS_MAX]:
        found = parse_address(grant.ip)
        address = None if found is None else (family_of(found), int(found))
        if address is None or found is None:
            bad.append(Bad(grant, f"{quoted(grant.ip)} is no address"))
        elif (problem := _nowhere(address)) is not None:
            bad.append(Bad(grant, f"{ip_text(address)} is {problem}"))
        elif (known := taken(address)) is not None:
            bad.append(Bad(grant, f"{ip_text(address)} {known.problem}", ours=known.ours))
        elif inside and not contains(inside, found):
            bad.append(Bad(grant, f"{ip_text(address)} is in none of the parents"))
        elif address in good:
            bad.append(Bad(grant, f"{ip_text(address)} was given twice", ours=False))
        elif (problem := _not_asked_for(ask, address, good)) is not None:
            bad.append(Bad(grant, f"{ip_text(address)} {problem}"))
        else:
            good[address] = grant
    return Checked(tuple(good.items()), tuple(bad))


def _not_asked_for(ask: Ask, address: Address, good: Iterable[Address]) -> str | None:
    if ask.addresses:
        return None if address in ask.addresses else "was not asked for"
    if address[0] not in ask.families:
        return f"is {family_text(address[0])}, which was not asked for"
    return "is more than was asked for" if any(other[0] == address[0] for other in good) else None


def _nowhere(address: Address) -> str | None:
    """Why no node could answer for an address."""
    found = ip_address(ip_text(address))
    if found.is_multicast:
        return "a multicast address"
    if found.is_unspecified or found.is_loopback or found.is_link_local or ip_text(address) == "255.255.255.255":
        return "no unicast address that could be reached"
    return None


def _parent(text: str) -> tuple[Interval, ...]:
    found = parse_ranges(text)
    return () if isinstance(found, Unreadable) else found.intervals


def problems(bad: Iterable[Bad]) -> str:
    """What was wrong, for a message."""
    return "; ".join(shown(each.problem) for each in bad)
