# SPDX-License-Identifier: Apache-2.0
"""What one node reports, read into values: which addresses it answers for, and for which Services; which it withholds, and why.

A report is foreign input. What does not parse is dropped, what lies beyond the bounds of LBNodeStatus was not written by an agent of
ours and is not read, and a reason or a message is kept as it came: whoever tells it says it in our words. A list of Services that is
missing or full says nothing about who is not in it. A full report has thousands of addresses, so it is read in pieces.

Not decided here: whether the node lives, and what follows for a Service.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from purelb.allocator.ranges import Address
from purelb.api.kinds import NodeReport
from purelb.api.pieces import CHANGES, Pieces
from purelb.net.ranges import family_of, parse_address

# The bounds that admission keeps.
_ANNOUNCED_MAX: Final = 4096
_REMOTE_MAX: Final = 1024
_WITHHELD_MAX: Final = 1024
_SERVICES_MAX: Final = 64


class Entry(Struct, frozen=True, gc=False):
    """One address on one interface. `services` None: not known, because the list was cut off or the agent just began."""

    interface: str
    services: frozenset[str] | None

    def is_for(self, service: str | None) -> bool:
        """Whether it may be for this Service; None asks for any."""
        return service is None or self.services is None or service in self.services


class Withheld(Struct, frozen=True, gc=False):
    """Why an address is not announced here. `services` as in `Entry`."""

    reason: str
    message: str
    services: frozenset[str] | None

    def is_for(self, service: str | None) -> bool:
        """Whether it may be about this Service; None asks for any."""
        return service is None or self.services is None or service in self.services


class Report(Struct, frozen=True):
    """`remote`: what stands on the dummy interface. `cut_off`: there is more of it than is listed."""

    announced: Mapping[Address, tuple[Entry, ...]]
    remote: frozenset[Address]
    cut_off: bool
    withheld: Mapping[Address, Withheld]

    def addresses(self) -> frozenset[Address]:
        """All it mentions."""
        return frozenset((*self.announced, *self.remote, *self.withheld))

    def about(self, address: Address) -> object:
        """What it says of an address, to be compared with what another says."""
        return self.announced.get(address), address in self.remote, self.withheld.get(address)


NOTHING: Final = Report({}, frozenset(), False, {})


def reading(report: NodeReport) -> Pieces[Report]:
    """Read a report, in pieces."""
    announced: dict[Address, tuple[Entry, ...]] = {}
    for number, entry in enumerate((report.announced or ())[:_ANNOUNCED_MAX]):
        if not number % CHANGES:
            yield
        if (address := _address(entry.ip)) is not None and entry.interface:
            announced[address] = (*announced.get(address, ()), Entry(entry.interface, _whose(entry.services)))
    remote = report.remote
    listed = (remote.addresses or ())[:_REMOTE_MAX] if remote is not None else ()
    stands: set[Address] = set()
    for number, text in enumerate(listed):
        if not number % CHANGES:
            yield
        if (address := _address(text.partition("/")[0])) is not None:
            stands.add(address)
    withheld: dict[Address, Withheld] = {}
    for number, refused in enumerate((report.withheld or ())[:_WITHHELD_MAX]):
        if not number % CHANGES:
            yield
        if (address := _address(refused.ip)) is not None:
            withheld[address] = Withheld(refused.reason, refused.message, _whose(refused.services))
    return Report(announced, frozenset(stands), remote is not None and remote.count > len(listed), withheld)


def _whose(services: tuple[str, ...] | None) -> frozenset[str] | None:
    """The Services a row of a report is for; None when nobody wrote them down, or not all."""
    return frozenset(services) if services and len(services) < _SERVICES_MAX else None


def _address(text: str) -> Address | None:
    found = parse_address(text)
    return None if found is None else (family_of(found), int(found))
