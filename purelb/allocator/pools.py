# SPDX-License-Identifier: Apache-2.0
"""How full each pool entry is: what is free, what is next, and how many addresses are in which category.

An index of the ledger, which alone calls `move`. It knows no Services: an address is free, claimed, quarantined or reserved, and the
numbers of an entry always add up to its size. When groups are edited, what stays in its entry is carried over; the ledger frees
what goes to another one before that, and moves it again afterwards.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct

from purelb.allocator.atlas import Atlas, EntryId, Place
from purelb.allocator.ranges import Address, FreeSet, Layout
from purelb.api.pieces import LOOKS, Pieces
from purelb.net.ranges import Family

Category = Literal["free", "claimed", "quarantined", "reserved"]


class Usage(Struct, frozen=True, gc=False):
    """Numbers of distinct addresses."""

    size: int = 0
    free: int = 0
    claimed: int = 0
    quarantined: int = 0
    reserved: int = 0


class _Entry(Struct):
    layout: Layout
    free: FreeSet
    claimed: int = 0
    quarantined: int = 0
    reserved: int = 0


def _continued(known: _Entry | None, layout: Layout) -> Pieces[_Entry]:
    """An entry with what is not free in it, by runs and not by address."""
    if known is None:
        return _Entry(layout, FreeSet(layout.size))
    if known.layout == layout:
        return known
    used: list[tuple[int, int]] = []
    for number, taken in enumerate(known.free.taken(known.layout.size)):
        if not number % LOOKS:
            yield
        for bounds in known.layout.addresses_of(*taken):
            used += layout.numbers_of(*bounds)
    yield
    free = FreeSet.without(layout.size, used)
    return _Entry(layout, free, known.claimed, known.quarantined, known.reserved)


_NONE: Final = frozenset[str]()


class Pools:
    def __init__(self) -> None:
        self._atlas = Atlas(())
        self._entries: dict[EntryId, _Entry] = {}
        self._of_group: dict[tuple[str, Family], tuple[EntryId, ...]] = {}
        self._other_reservations: set[str] = set()

    def configuring(self, entries: Mapping[EntryId, Layout], atlas: Atlas) -> Pieces[None]:
        """Go on with these entries, in pieces. What other entries hand out now than before must be free meanwhile."""
        found: dict[EntryId, _Entry] = {}
        of_group: dict[tuple[str, Family], list[EntryId]] = {}
        for entry in sorted(entries):
            found[entry] = yield from _continued(self._entries.get(entry), entries[entry])
            of_group.setdefault((entry.group, entry.family), []).append(entry)
            yield
        self._atlas, self._entries = atlas, found
        self._of_group = {place: tuple(mine) for place, mine in of_group.items()}

    def moving(self, atlas: Atlas) -> Pieces[Mapping[Family, tuple[tuple[int, int], ...]]]:
        """Which addresses other entries have under `atlas`, or have otherwise: sorted bounds by family."""
        return self._atlas.moving(atlas)

    def where(self, address: Address) -> Place | None:
        """Which accepted group mentions an address."""
        return self._atlas.where(address)

    def entry_of(self, address: Address) -> EntryId | None:
        """The entry that hands out an address."""
        place = self._atlas.where(address)
        return None if place is None or place.excluded else place.entry

    def entries(self) -> Iterable[EntryId]:
        """All entries of all accepted groups."""
        return self._entries.keys()

    def entries_of(self, group: str, family: Family) -> tuple[EntryId, ...]:
        """The entries of a group in the order they are used."""
        return self._of_group.get((group, family), ())

    def lowest(self, entry: EntryId) -> Address | None:
        """The address the entry would hand out next."""
        found = self._entries[entry]
        number = found.free.lowest()
        return None if number is None else (entry.family, found.layout.address_at(number))

    def has_free(self, group: str, family: Family) -> bool:
        """Whether anything is free in a family of a group."""
        return any(self._entries[entry].free.count for entry in self.entries_of(group, family))

    def is_free_in(self, entry: EntryId) -> bool:
        """Whether anything is free in an entry; nothing is in one that no accepted group has."""
        found = self._entries.get(entry)
        return found is not None and found.free.count > 0

    def usage_of(self, entry: EntryId) -> Usage:
        """The numbers of one entry."""
        e = self._entries[entry]
        return Usage(e.layout.size, e.free.count, e.claimed, e.quarantined, e.reserved)

    def usage(self, group: str, family: Family) -> Usage:
        """The numbers of a group, O(entries)."""
        size = free = claimed = quarantined = reserved = 0
        for entry in self.entries_of(group, family):
            e = self._entries[entry]
            size += e.layout.size
            free += e.free.count
            claimed += e.claimed
            quarantined += e.quarantined
            reserved += e.reserved
        return Usage(size, free, claimed, quarantined, reserved)

    def other_reservations(self) -> frozenset[str]:
        """The groups in which another number of addresses was reserved since this was last asked."""
        if not self._other_reservations:
            return _NONE
        found, self._other_reservations = frozenset(self._other_reservations), set()
        return found

    def move(self, address: Address, before: Category, after: Category) -> None:
        """An address changed its category; one that no entry hands out counts nowhere."""
        entry = self.entry_of(address) if before != after else None
        if entry is None:
            return
        found = self._entries[entry]
        if "reserved" in {before, after}:
            self._other_reservations.add(entry.group)
        number = found.layout.number_of(address[1])
        assert number is not None  # noqa: S101 - the atlas was made from the layouts
        if before == "free":
            found.free.take(number)
        else:
            setattr(found, before, getattr(found, before) - 1)
        if after == "free":
            found.free.give(number)
        else:
            setattr(found, after, getattr(found, after) + 1)
