# SPDX-License-Identifier: Apache-2.0
"""Range text and the arithmetic of address intervals.

    ranges  = item *( "," item )            blanks around items and around "-" are ignored
    item    = address / cidr / address "-" address

Rule 1: nothing here iterates over addresses. An interval is two integers, and size, containment, overlap and difference are
computed from bounds, so that an IPv6 /64 costs what a single address costs.
Rule 2: readers answer a value and never raise; what they refuse is `Unreadable` with the offending item.
Rule 3: written order is kept where it means something (`Ranges`, `subtract`); `union` is the function that sorts.
Rejected: `ipaddress.summarize_address_range` and sets of networks, which turn one range into a hundred prefixes.
Not promised: that addresses are sensible to hand out (multicast, loopback); the spec has no such rule.
"""

from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from msgspec import Struct

from purelb.net.quoting import quoted

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
Family = Literal[4, 6]

# A group whose addresses fall into more pieces than this is refused: the ledger keeps each piece in memory.
INTERVALS_MAX = 8192

# Items read between two stops, each of some five microseconds.
ITEMS_AT_ONCE = 32

BITS: dict[Family, int] = {4: 32, 6: 128}
_OCTETS = {str(octet): octet for octet in range(256)}

# What `\s` matches in the pattern that admission applies (RE2), and nothing else.
_BLANKS = " \t\n\r\f\v"


class Interval(Struct, frozen=True, gc=False, order=True):
    """The addresses from `low` to `high`, both included, of one family."""

    family: Family
    low: int
    high: int

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    @property
    def first(self) -> IPAddress:
        return address(self.family, self.low)

    @property
    def last(self) -> IPAddress:
        return address(self.family, self.high)


class Item(Struct, frozen=True, gc=False):
    """One item of range text. `prefix_length` is set when it was written as a CIDR; it then starts at the address as written."""

    interval: Interval
    prefix_length: int | None = None


class Ranges(Struct, frozen=True):
    """Range text as read: one family, at least one item, in written order. Items may cover the same addresses."""

    family: Family
    items: tuple[Item, ...]

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """One interval per item, in written order, not merged."""
        return tuple(item.interval for item in self.items)


class Unreadable(Struct, frozen=True):
    """Why text was refused. `item` is the offending item as written (foreign text: show it through `text`)."""

    item: str
    problem: str

    @property
    def text(self) -> str:
        """The offending item quoted, then the rule and the remedy; safe to put into a message."""
        return f"{quoted(self.item)} {self.problem}"


class Holes:
    """What is to be taken away from many intervals, put in order once. The holes may overlap and need no order."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        self._holes = union(intervals)
        self._ends = [(hole.family, hole.high) for hole in self._holes]

    def left_of(self, interval: Interval) -> Iterator[Interval]:
        """The parts of the interval that no hole takes, ascending. Each costs O(1) after the first look, which is O(log n)."""
        low = interval.low
        # The first hole that ends at or after our start; those before it cannot touch us.
        for index in range(bisect_right(self._ends, (interval.family, low - 1)), len(self._holes)):
            hole = self._holes[index]
            if hole.family != interval.family or hole.low > interval.high or low > interval.high:
                break
            if hole.low > low:
                yield Interval(interval.family, low, hole.low - 1)
            low = max(low, hole.high + 1)
        if low <= interval.high:
            yield Interval(interval.family, low, interval.high)


class TooMany(Struct, frozen=True):
    """More intervals than `limit`. The rest was not computed."""

    limit: int


def address(family: Family, number: int) -> IPAddress:
    """The address of `family` with this integer value."""
    return IPv4Address(number) if family == 4 else IPv6Address(number)


def family_of(subject: IPAddress | IPNetwork) -> Family:
    """4 or 6."""
    return 4 if subject.version == 4 else 6


def interval_of(network: IPNetwork) -> Interval:
    """All addresses of a network, its first and last included."""
    return Interval(family_of(network), int(network.network_address), int(network.broadcast_address))


def parse_address(text: str) -> IPAddress | None:
    """Dotted IPv4 without leading zeros, or IPv6 without zone and not IPv4-mapped; anything else is None. Blanks are not ignored."""
    if len(text) > 45 or not text.isascii():
        return None
    try:
        if ":" not in text:
            return IPv4Address(text)
        found = IPv6Address(text)
    except AddressValueError:
        return None
    return None if found.scope_id is not None or found.ipv4_mapped is not None else found


def parse_bounds(text: str) -> tuple[Family, int] | None:
    """Family and value of what `parse_address` reads. Most of what a status holds is IPv4, and read here faster."""
    if len(text) <= 15 and text.count(".") == 3:
        one, two, three, four = text.split(".")
        try:
            return 4, _OCTETS[one] << 24 | _OCTETS[two] << 16 | _OCTETS[three] << 8 | _OCTETS[four]
        except KeyError:
            pass  # no octets: the end of an IPv6 address can look like that as well
    found = parse_address(text)
    return None if found is None else (family_of(found), int(found))


def print_bounds(family: Family, value: int) -> str:
    """The canonical text of an address."""
    if family == 4:
        return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    return str(IPv6Address(value))


def parse_prefix_length(text: str, family: Family) -> int | None:
    """A decimal prefix length without sign or leading zero that the family has; else None."""
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or (text[0] == "0" and text != "0"):
        return None
    length = int(text)
    return length if length <= BITS[family] else None


def parse_ranges(text: str, *, family: Family | None = None, subnet: IPNetwork | None = None) -> Ranges | Unreadable:
    """Read range text. `family` None takes that of the first item; every item must lie inside `subnet` when it is given.

    Source: spec of the API, section 2.4. Never raises, whatever the text.
    """
    reading = reading_ranges(text, family=family, subnet=subnet)
    while True:
        try:
            next(reading)
        except StopIteration as ended:
            answer: Ranges | Unreadable = ended.value
            return answer


def reading_ranges(
    text: str, *, family: Family | None = None, subnet: IPNetwork | None = None
) -> Generator[None, None, Ranges | Unreadable]:
    """The same in pieces: it stops after every few items, for who must not be held by a text of thousands."""
    if not text.strip(_BLANKS):
        return Unreadable(text, "holds no address: write for example 192.0.2.10-192.0.2.19 or 2001:db8::10")
    pieces = text.split(",", INTERVALS_MAX)
    if len(pieces) > INTERVALS_MAX:
        return Unreadable(text, f"has more than {INTERVALS_MAX} items: write them as fewer, larger ranges")
    inside = None if subnet is None else interval_of(subnet)
    items: list[Item] = []
    for number, piece in enumerate(pieces, start=1):
        item = _parse_item(piece.strip(_BLANKS))
        if isinstance(item, Unreadable):
            return item
        found = item.interval
        if family is None:
            family = found.family
        elif found.family != family:
            what = "mixed with other items" if items else "in a place"
            return Unreadable(
                piece.strip(_BLANKS), f"is IPv{found.family} {what} of IPv{family}: keep the families apart"
            )
        if inside is not None and not _within(found, inside):
            return Unreadable(piece.strip(_BLANKS), f"is not inside the subnet {subnet}")
        items.append(item)
        if not number % ITEMS_AT_ONCE:
            yield
    assert family is not None  # noqa: S101 - split answers at least one piece, and each has a family
    return Ranges(family, tuple(items))


def print_ranges(ranges: Ranges) -> str:
    """Canonical text: items in written order, joined by a comma without blanks. `parse_ranges` reads it back to an equal value."""
    return ",".join(print_item(item) for item in ranges.items)


def print_item(item: Item) -> str:
    """Canonical text of one item: `A`, `A-B`, or `A/N` when it was written as a CIDR."""
    if item.prefix_length is not None:
        return f"{item.interval.first}/{item.prefix_length}"
    return print_interval(item.interval)


def print_interval(interval: Interval) -> str:
    """`A` for one address, else `A-B`."""
    return str(interval.first) if interval.low == interval.high else f"{interval.first}-{interval.last}"


def union(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The same addresses as sorted, disjoint intervals that do not touch. Families may be mixed; IPv4 sorts first."""
    merged: list[Interval] = []
    for interval in sorted(intervals):
        last = merged[-1] if merged else None
        if last is None or last.family != interval.family or interval.low > last.high + 1:
            merged.append(interval)
        elif interval.high > last.high:
            merged[-1] = Interval(last.family, last.low, interval.high)
    return tuple(merged)


def joined(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The same addresses in the same order, where an interval that continues the one before it becomes part of it."""
    result: list[Interval] = []
    for interval in intervals:
        last = result[-1] if result else None
        if last is not None and last.family == interval.family and last.high + 1 == interval.low:
            result[-1] = Interval(last.family, last.low, interval.high)
        else:
            result.append(interval)
    return tuple(result)


def subtract(intervals: Iterable[Interval], holes: Iterable[Interval]) -> tuple[Interval, ...]:
    """What is left of each interval, in the given order, ascending inside each. Holes may overlap and need no order."""
    known = Holes(holes)
    return tuple(part for interval in intervals for part in known.left_of(interval))


def overlap(left: Iterable[Interval], right: Iterable[Interval]) -> tuple[Interval, ...]:
    """The addresses in both, as sorted disjoint intervals."""
    merged, other = union(left), union(right)
    return tuple(_overlap(merged, other))


def size(intervals: Iterable[Interval]) -> int:
    """Number of distinct addresses; intervals may overlap. Exact, of any magnitude."""
    return sum(interval.size for interval in union(intervals))


def contains(intervals: Sequence[Interval], wanted: IPAddress) -> bool:
    """Whether `wanted` lies in one of `intervals`, which must be sorted and disjoint (as `union` answers): O(log n)."""
    family, number = family_of(wanted), int(wanted)
    position = bisect_right(intervals, (family, number), key=lambda interval: (interval.family, interval.low))
    if position == 0:
        return False
    before = intervals[position - 1]
    return before.family == family and before.low <= number <= before.high


def overlaps(intervals: Sequence[Interval], wanted: Interval) -> bool:
    """Whether an address of `wanted` lies in one of `intervals`, which must be sorted and disjoint: O(log n)."""
    position = bisect_right(intervals, (wanted.family, wanted.high), key=lambda each: (each.family, each.low))
    return (
        position > 0 and intervals[position - 1].family == wanted.family and intervals[position - 1].high >= wanted.low
    )


def first_and_last(ranges: Ranges, *, subnet: IPNetwork) -> tuple[Interval, ...]:
    """The single addresses that `excludeFirstLast` leaves out at the ends of networks.

    IPv4: the first and last of `subnet` and of each item written as a CIDR. IPv6: the first of `subnet` (the subnet-router
    anycast address). The addresses ending in .0 and .255 are not among them: see `without_buggy`.
    """
    whole = interval_of(subnet)
    if ranges.family == 6:
        return (Interval(6, whole.low, whole.low),)
    ends = {whole.low, whole.high}
    for item in ranges.items:
        if item.prefix_length is not None:
            block = 1 << (32 - item.prefix_length)
            ends |= {item.interval.low & -block, item.interval.high}
    return tuple(Interval(4, number, number) for number in sorted(ends))


def without_buggy(intervals: Iterable[Interval], *, limit: int = INTERVALS_MAX) -> tuple[Interval, ...] | TooMany:
    """IPv4 intervals without the addresses ending in .0 and .255, in the given order.

    Stops as soon as the result would have more than `limit` pieces, so that a /8 costs no more than `limit` steps.
    """
    left: list[Interval] = []
    for interval in intervals:
        if interval.family != 4:
            left.append(interval)
            continue
        for block in range(interval.low & ~0xFF, interval.high + 1, 256):
            low, high = max(interval.low, block + 1), min(interval.high, block + 254)
            if low <= high:
                left.append(Interval(4, low, high))
            if len(left) > limit:
                return TooMany(limit)
    return TooMany(limit) if len(left) > limit else tuple(left)


def _parse_item(text: str) -> Item | Unreadable:
    if not text:
        return Unreadable(text, "is empty: remove the comma that has nothing beside it")
    if "/" in text:
        return _parse_cidr(text)
    low_text, dash, high_text = text.partition("-")
    low = parse_address(low_text.rstrip(_BLANKS))
    high = parse_address(high_text.lstrip(_BLANKS)) if dash else low
    if low is None or high is None:
        return Unreadable(
            text, "is not an address, a CIDR or a range A-B (no leading zeros, no zone, no IPv4-mapped IPv6)"
        )
    if low.version != high.version:
        return Unreadable(text, "begins and ends in different families")
    if int(low) > int(high):
        return Unreadable(text, "ends before it starts: swap the two addresses")
    return Item(Interval(family_of(low), int(low), int(high)))


def _parse_cidr(text: str) -> Item | Unreadable:
    start_text, _, length_text = text.partition("/")
    start = parse_address(start_text)
    if start is None:
        return Unreadable(text, "is not a CIDR: what stands before the slash is not an address")
    family = family_of(start)
    length = parse_prefix_length(length_text, family)
    if length is None:
        return Unreadable(text, f"is not a CIDR: what stands after the slash is not a number from 0 to {BITS[family]}")
    number = int(start)
    block = 1 << (BITS[family] - length)
    return Item(Interval(family, number, number | (block - 1)), length)


def _within(inner: Interval, outer: Interval) -> bool:
    return inner.family == outer.family and outer.low <= inner.low and inner.high <= outer.high


def _overlap(left: Sequence[Interval], right: Sequence[Interval]) -> Iterator[Interval]:
    i = j = 0
    while i < len(left) and j < len(right):
        a, b = left[i], right[j]
        if a.family == b.family and max(a.low, b.low) <= min(a.high, b.high):
            yield Interval(a.family, max(a.low, b.low), min(a.high, b.high))
        if (a.family, a.high) <= (b.family, b.high):
            i += 1
        else:
            j += 1
