# SPDX-License-Identifier: Apache-2.0
"""The pools of a `local` or `remote` group, read into entries. One idea: from range text to the addresses that may be handed out.

Order of entries per family: `v4pools`, then `v4pool`, then the legacy entry; IPv6 likewise. Addresses go to the item that names them
first; a later item loses them, with a warning. Everything is computed on the bounds of intervals.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from itertools import count
from typing import Final

from msgspec import Struct

from purelb.api import rules
from purelb.api.kinds import AGGREGATION_TEXT, ClusterPools, LocalPools, PoolEntry
from purelb.api.pieces import CHANGES, LOOKS, Pieces
from purelb.net.cover import Cover
from purelb.net.quoting import quoted, shown
from purelb.net.ranges import (
    BITS,
    INTERVALS_MAX,
    Family,
    Holes,
    Interval,
    IPAddress,
    IPNetwork,
    Ranges,
    TooMany,
    Unreadable,
    contains,
    family_of,
    first_and_last,
    interval_of,
    joined,
    overlaps,
    print_item,
    reading_ranges,
    size,
    union,
    without_buggy,
)
from purelb.net.subnets import parse_subnet

ENTRIES_MAX: Final = 256
EXCLUDES_MAX: Final = 256

# Addresses that no node announces, whatever a pool says: of this host, of one link, of groups, of everybody (RFC 6890). Handing
# one out would take it from its Service for ever, so they are excluded as if the operator had written it.
_USELESS: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/32",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "::1/128",
        "fe80::/10",
        "ff00::/8",
    )
)

# Further overlaps are counted in the last warning; a condition has 1024 characters.
_WARNINGS_MAX: Final = 8


class Entry(Struct, frozen=True):
    """One pool of a group.

    `intervals`: effective, disjoint, in written order (ascending inside an item); may be empty.
    `excluded`: what exclusions took away, sorted and disjoint.
    `covered`: both, sorted and disjoint: what belongs to this entry at all. `left_out`: how many addresses are excluded.
    `pool`: the text as written. `prefix_length`: on the dummy interface.
    """

    family: Family
    pool: str
    subnet: IPNetwork
    prefix_length: int
    intervals: tuple[Interval, ...]
    excluded: tuple[Interval, ...]
    covered: tuple[Interval, ...]
    left_out: int = 0

    @property
    def size(self) -> int:
        """Number of addresses that may be handed out."""
        return sum(interval.size for interval in self.intervals)

    def holds(self, address: IPAddress) -> bool:
        """Whether the address belongs to this entry, excluded or not: O(log n)."""
        return contains(self.covered, address)


class Pools(Struct, frozen=True):
    """The entries of a group in their order, IPv4 before IPv6, and warnings about items that lost addresses.

    `useless`: those of the warnings that tell which addresses are left out because they can serve nobody.
    """

    entries: tuple[Entry, ...]
    warnings: tuple[str, ...] = ()
    useless: tuple[str, ...] = ()


def reading_pools(written: ClusterPools) -> Pieces[Pools | str]:
    """The entries, or what is wrong as a sentence that quotes the offending item. Never raises.

    In pieces: a text that was stored before admission bounded it may have thousands of items.
    """
    problem = rules.pools_problem(written)
    slots = _slots(written) if problem is None else problem
    if isinstance(slots, str):
        return slots
    if len(slots) > ENTRIES_MAX:
        return f"{len(slots)} entries are more than {ENTRIES_MAX}: merge some"
    covers: dict[Family, Cover] = {4: Cover(4), 6: Cover(6)}
    entries: list[Entry] = []
    losers: list[str] = []
    useless: list[str] = []
    pieces = items = 0
    for slot in slots:
        entry = yield from _reading(slot, covers, losers, useless)
        if isinstance(entry, str):
            return entry
        entries.append(entry)
        items += entry.pool.count(",") + 1
        pieces += len(entry.intervals)
        if pieces > INTERVALS_MAX or items > INTERVALS_MAX:
            return _too_many(INTERVALS_MAX)
    return Pools(tuple(entries), (*_warnings(losers), *useless[:_WARNINGS_MAX]), useless=tuple(useless[:_WARNINGS_MAX]))


class _Slot(Struct, frozen=True):
    name: str
    family: Family | None
    entry: PoolEntry


def _slots(written: ClusterPools) -> tuple[_Slot, ...] | str:
    slots = [_Slot(f"v4pools[{i}]", 4, entry) for i, entry in enumerate(written.v4pools or ())]
    slots += [_Slot("v4pool", 4, entry) for entry in (written.v4pool,) if entry is not None]
    six = [_Slot(f"v6pools[{i}]", 6, entry) for i, entry in enumerate(written.v6pools or ())]
    six += [_Slot("v6pool", 6, entry) for entry in (written.v6pool,) if entry is not None]
    if isinstance(written, LocalPools) and (written.pool or written.subnet):
        legacy = PoolEntry(pool=written.pool, subnet=written.subnet, aggregation=written.aggregation)
        subnet = parse_subnet(written.subnet)
        if isinstance(subnet, Unreadable):
            return f"subnet: {subnet.text}"
        family = family_of(subnet)
        if slots if family == 4 else six:
            return f"pool: there are IPv{family} entries already: move {quoted(written.pool)} to v{family}pools"
        (slots if family == 4 else six).append(_Slot("pool", family, legacy))
    return (*slots, *six)


def _reading(slot: _Slot, covers: dict[Family, Cover], losers: list[str], useless: list[str]) -> Pieces[Entry | str]:
    written = slot.entry
    subnet = parse_subnet(written.subnet, family=slot.family)
    if isinstance(subnet, Unreadable):
        return f"{slot.name}.subnet: {subnet.text}"
    family = family_of(subnet)
    ranges = yield from reading_ranges(written.pool, family=family, subnet=subnet)
    if isinstance(ranges, Unreadable):
        return f"{slot.name}.pool: {ranges.text}"
    length = _prefix_length(written.aggregation, subnet, family)
    if length is None:
        return f"{slot.name}.aggregation: {quoted(written.aggregation)} is not a prefix length of 8 to {BITS[family]}"
    yield
    mine: list[Interval] = []
    for number, item in enumerate(ranges.items, start=1):
        fresh = covers[family].add(item.interval)
        if size(fresh) != item.interval.size:
            losers.append(f"{slot.name}: {print_item(item)}")
        mine += fresh
        if not number % CHANGES:
            yield
    holes = yield from _holes(slot, ranges, subnet, family)
    if isinstance(holes, str):
        return holes
    yield
    left = (yield from _without(mine, holes)) if holes else mine
    covered = union(mine)
    yield
    near = [network for network in _USELESS if network.version == family and overlaps(covered, interval_of(network))]
    lost = yield from _among(near, left)
    if lost:
        useless += [f"{slot.name}: addresses of {network} can serve nobody and are left out" for network in lost]
        left = yield from _without(left, map(interval_of, lost))
    if written.exclude_first_last:
        thinned = yield from _thinned(left)
        if isinstance(thinned, TooMany):
            return _too_many(thinned.limit)
        left = thinned
    intervals = joined(left)
    yield
    excluded = (yield from _without(covered, intervals)) if left is not mine else ()
    return Entry(
        family=family,
        pool=written.pool,
        subnet=subnet,
        prefix_length=length,
        intervals=intervals,
        excluded=tuple(excluded),
        covered=covered,
        left_out=size(excluded),
    )


def _without(intervals: Iterable[Interval], holes: Iterable[Interval]) -> Pieces[list[Interval]]:
    """What the holes leave of each interval."""
    known, left, steps = Holes(holes), list[Interval](), count(1)
    yield
    for interval in intervals:
        for part in known.left_of(interval):
            left.append(part)
            if not next(steps) % LOOKS:
                yield
        if not next(steps) % LOOKS:
            yield
    return left


def _thinned(intervals: Sequence[Interval]) -> Pieces[list[Interval] | TooMany]:
    """Without the addresses that end in .0 and .255."""
    left: list[Interval] = []
    for at in range(0, len(intervals), LOOKS):
        found = without_buggy(intervals[at : at + LOOKS])
        if isinstance(found, TooMany):
            return found
        left += found
        if len(left) > INTERVALS_MAX:
            return TooMany(INTERVALS_MAX)
        yield
    return left


def _among(networks: Iterable[IPNetwork], intervals: Sequence[Interval]) -> Pieces[list[IPNetwork]]:
    """The networks that have addresses in common with the intervals."""
    found: list[IPNetwork] = []
    for network in networks:
        low, high = int(network.network_address), int(network.broadcast_address)
        for number, mine in enumerate(intervals, start=1):
            if mine.low <= high and low <= mine.high:
                found.append(network)
                break
            if not number % LOOKS:
                yield
    return found


def _holes(slot: _Slot, ranges: Ranges, subnet: IPNetwork, family: Family) -> Pieces[list[Interval] | str]:
    excludes = slot.entry.exclude or ()
    if len(excludes) > EXCLUDES_MAX:
        return f"{slot.name}.exclude: {len(excludes)} items are more than {EXCLUDES_MAX}"
    holes: list[Interval] = []
    for position, text in enumerate(excludes):
        excluded = yield from reading_ranges(text, family=family)
        if isinstance(excluded, Unreadable):
            return f"{slot.name}.exclude[{position}]: {excluded.text}"
        yield
        holes += excluded.intervals
        if len(holes) > INTERVALS_MAX:
            return f"{slot.name}.exclude: more than {INTERVALS_MAX} items: write fewer, larger ranges"
    if slot.entry.exclude_first_last:
        holes += first_and_last(ranges, subnet=subnet)
    return holes


def _prefix_length(text: str, subnet: IPNetwork, family: Family) -> int | None:
    found = AGGREGATION_TEXT.fullmatch(text)
    if found is None:
        return None
    if not found["length"]:
        return subnet.prefixlen
    length = int(found["length"])
    return length if length <= BITS[family] else None


def unreachable_on_link(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Warnings about addresses that the link has a use of its own for: of IPv4 the broadcast address of a subnet, of IPv6 the
    subnet-router anycast address (RFC 4291, 2.6.1; none on a /127, RFC 6164). Nothing is taken away: an entry says what may be handed out.
    """
    told: list[str] = []
    for entry in entries:
        subnet = entry.subnet
        if subnet.prefixlen > BITS[entry.family] - 2:
            continue
        if entry.family == 4:
            address, why = (
                subnet.broadcast_address,
                f"the broadcast address of {subnet}, which no host on the link reaches",
            )
        else:
            address, why = (
                subnet.network_address,
                f"the subnet-router anycast address of {subnet}, for which routers on the link answer",
            )
        if entry.holds(address) and not contains(entry.excluded, address):
            told.append(f"{address} is {why}: exclude it, or set excludeFirstLast")
    return tuple(told[:_WARNINGS_MAX])


def _too_many(limit: int) -> str:
    return f"more than {limit} intervals are left after exclusions: write fewer, larger ranges or exclude less"


def _warnings(losers: Sequence[str]) -> tuple[str, ...]:
    told = [f"{shown(item)} covers addresses of an earlier item and loses them" for item in losers[:_WARNINGS_MAX]]
    if len(losers) > _WARNINGS_MAX:
        told.append(f"{len(losers) - _WARNINGS_MAX} further items lose addresses to earlier ones")
    return tuple(told)
