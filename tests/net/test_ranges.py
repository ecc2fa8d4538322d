# SPDX-License-Identifier: Apache-2.0
"""Range text and interval arithmetic, against the slow and obvious model: sets of integers."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from purelb.net import ranges
from purelb.net.cover import Cover
from purelb.net.ranges import Family, Interval, IPNetwork, Item, Ranges, TooMany, Unreadable, parse_ranges, print_ranges


def read(text: str, *, family: Family | None = None, subnet: IPNetwork | None = None) -> Ranges:
    found = parse_ranges(text, family=family, subnet=subnet)
    assert isinstance(found, Ranges), found
    return found


def numbers(intervals: Iterable[Interval]) -> list[int]:
    return [number for interval in intervals for number in range(interval.low, interval.high + 1)]


def addresses(text: str) -> list[str]:
    return [str(IPv4Address(number)) for number in numbers(read(text).intervals)]


@st.composite
def small(draw: st.DrawFn) -> Interval:
    low = draw(st.integers(0, 60))
    return Interval(4, low, low + draw(st.integers(0, 12)))


@st.composite
def items(draw: st.DrawFn, family: Family) -> Item:
    bits = ranges.BITS[family]
    # IPv4-mapped addresses are refused, and Interval ends may meet them only by being huge.
    low = draw(st.integers(0, 2**bits - 1).filter(lambda n: family == 4 or n >> 32 != 0xFFFF))
    match draw(st.sampled_from(["address", "cidr", "range"])):
        case "address":
            return Item(Interval(family, low, low))
        case "cidr":
            length = draw(st.integers(0, bits))
            return Item(Interval(family, low, low | ((1 << (bits - length)) - 1)), length)
        case _:
            high = draw(st.integers(low, 2**bits - 1).filter(lambda n: family == 4 or n >> 32 != 0xFFFF))
            return Item(Interval(family, low, high))


def written(family: Family) -> st.SearchStrategy[Ranges]:
    return st.lists(items(family), min_size=1, max_size=6).map(lambda made: Ranges(family, tuple(made)))


texts = written(4) | written(6)
smalls = st.lists(small(), max_size=8)


def test_items_are_read_in_the_written_order() -> None:
    assert addresses("192.0.2.10-192.0.2.12, 192.0.2.20,192.0.2.32/30") == [
        "192.0.2.10",
        "192.0.2.11",
        "192.0.2.12",
        "192.0.2.20",
        "192.0.2.32",
        "192.0.2.33",
        "192.0.2.34",
        "192.0.2.35",
    ]


def test_blanks_around_items_and_dashes_are_ignored() -> None:
    assert read(" 192.0.2.1 - 192.0.2.3 ,\t192.0.2.9\n") == read("192.0.2.1-192.0.2.3,192.0.2.9")


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("192.0.2.1,", ""),
        ("", ""),
        ("1.1.1.foo-1.1.1.2", "1.1.1.foo-1.1.1.2"),
        ("192.0.2.9-192.0.2.1", "192.0.2.9-192.0.2.1"),
        ("192.0.2.1-2001:db8::1", "192.0.2.1-2001:db8::1"),
        ("192.0.2.7, 2001:db8::1", "2001:db8::1"),
        ("010.0.0.1", "010.0.0.1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("192.0.2.1-192.0.2.2-192.0.2.3", "192.0.2.1-192.0.2.2-192.0.2.3"),
        ("192.0.2.0/33", "192.0.2.0/33"),
        ("192.0.2.0/024", "192.0.2.0/024"),
        ("192.0.2.0/255.255.255.0", "192.0.2.0/255.255.255.0"),
        ("192.0.2.0/", "192.0.2.0/"),
        ("192.0.2.٣", "192.0.2.٣"),
        ("192.0.2", "192.0.2"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_item_quoted(text: str, item: str) -> None:
    refused = parse_ranges(text)
    assert isinstance(refused, Unreadable)
    assert refused.item == item
    assert refused.text.isprintable()
    if item.isascii():
        assert refused.text.startswith(f'"{item}" ')


def test_the_wrong_family_and_an_item_outside_the_subnet_are_refused() -> None:
    assert isinstance(parse_ranges("2001:db8::1", family=4), Unreadable)
    outside = parse_ranges("192.0.2.1,198.51.100.0/30", subnet=IPv4Network("192.0.2.0/24"))
    assert outside == Unreadable("198.51.100.0/30", "is not inside the subnet 192.0.2.0/24")
    assert isinstance(parse_ranges("192.0.2.250-192.0.3.1", subnet=IPv4Network("192.0.2.0/24")), Unreadable)


def test_foreign_text_is_shown_cut_and_without_control_characters() -> None:
    refused = parse_ranges("\x1b[31m\u202e" + "x" * 5000)
    assert isinstance(refused, Unreadable)
    assert refused.text.isprintable()
    assert len(refused.text) < 300


@pytest.mark.parametrize(
    ("text", "size"),
    [("2001:db8::1/112", 65535), ("1.1.1.1/32", 1), ("10.0.0.0/8", 2**24), ("2001:db8::/64", 2**64), ("::/0", 2**128)],
)
def test_a_size_is_exact_and_costs_no_more_for_a_large_range(text: str, size: int) -> None:
    assert ranges.size(read(text).intervals) == size


def test_a_cidr_starts_at_the_address_as_written() -> None:
    (interval,) = read("192.0.2.5/29").intervals
    assert (str(interval.first), str(interval.last)) == ("192.0.2.5", "192.0.2.7")


def test_more_items_than_the_limit_are_refused_and_not_read() -> None:
    assert isinstance(parse_ranges("192.0.2.1," * 9000), Unreadable)


@given(texts)
def test_printing_and_reading_back_gives_the_same_ranges(made: Ranges) -> None:
    text = print_ranges(made)
    again = read(text)
    # A range of one address has no other text than the address; everything else is equal as it stands.
    assert again == made
    assert print_ranges(again) == text


@given(st.text(max_size=80) | st.text(alphabet="0123456789abcf:./-,% ", max_size=80))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    found = parse_ranges(text)
    if isinstance(found, Ranges):
        assert read(print_ranges(found)) == found
    else:
        assert found.text.isprintable()


@given(smalls)
def test_a_union_is_sorted_disjoint_apart_and_has_the_same_addresses(made: list[Interval]) -> None:
    merged = ranges.union(made)
    assert set(numbers(merged)) == set(numbers(made))
    assert all(before.high + 1 < after.low for before, after in pairwise(merged))


@given(smalls)
def test_the_size_is_the_number_of_distinct_addresses(made: list[Interval]) -> None:
    assert ranges.size(made) == len(set(numbers(made)))


@given(smalls, smalls)
def test_a_difference_keeps_the_order_and_takes_only_the_holes(made: list[Interval], holes: list[Interval]) -> None:
    gone = set(numbers(holes))
    assert numbers(ranges.subtract(made, holes)) == [number for number in numbers(made) if number not in gone]


@given(smalls, smalls)
def test_an_overlap_is_what_both_have_whichever_is_named_first(left: list[Interval], right: list[Interval]) -> None:
    both = ranges.overlap(left, right)
    assert set(numbers(both)) == set(numbers(left)) & set(numbers(right))
    assert both == ranges.overlap(right, left)


@given(smalls, st.integers(0, 80))
def test_containment_agrees_with_the_enumerated_addresses(made: list[Interval], number: int) -> None:
    assert ranges.contains(ranges.union(made), IPv4Address(number)) == (number in numbers(made))


@given(smalls, smalls)
def test_who_asks_whether_ranges_meet_is_told_what_enumerating_would_tell(
    made: list[Interval], other: list[Interval]
) -> None:
    for wanted in other:
        both = set(numbers(made)) & set(numbers([wanted]))
        assert ranges.overlaps(ranges.union(made), wanted) == bool(both)


@given(texts)
def test_reading_a_text_in_pieces_stops_after_few_items(made: Ranges) -> None:
    text = ",".join([print_ranges(made)] * 100)
    reading = ranges.reading_ranges(text)
    stops = sum(1 for _ in reading)
    assert stops == 100 * len(made.items) // ranges.ITEMS_AT_ONCE


def test_families_never_meet() -> None:
    four, six = Interval(4, 1, 5), Interval(6, 1, 5)
    assert ranges.union([six, four]) == (four, six)
    assert ranges.overlap([four], [six]) == ()
    assert ranges.subtract([four], [six]) == (four,)
    assert not ranges.overlaps([four], six)
    assert not ranges.overlaps([six], four)
    assert ranges.size([four, six]) == 10


@given(smalls)
def test_joining_changes_neither_addresses_nor_their_order(made: list[Interval]) -> None:
    assert numbers(ranges.joined(made)) == numbers(made)


@given(smalls)
def test_of_several_intervals_the_first_to_name_an_address_gets_it(made: list[Interval]) -> None:
    cover, taken = Cover(4), set[int]()
    for interval in made:
        fresh = numbers(cover.add(interval))
        assert fresh == [number for number in range(interval.low, interval.high + 1) if number not in taken]
        taken.update(fresh)


@given(smalls)
def test_without_buggy_addresses_nothing_ends_in_0_or_255_and_nothing_else_is_missing(made: list[Interval]) -> None:
    wide = [Interval(4, interval.low * 37, interval.high * 41) for interval in made]
    left = ranges.without_buggy(wide)
    assert not isinstance(left, TooMany)
    assert numbers(left) == [number for number in numbers(wide) if number % 256 not in {0, 255}]


def test_too_many_intervals_are_noticed_without_computing_them_all() -> None:
    assert ranges.without_buggy([Interval(4, 0, 2**32 - 1)]) == TooMany(ranges.INTERVALS_MAX)
    assert not isinstance(ranges.without_buggy([Interval(4, 0, 256 * 8192 - 1)]), TooMany)


def test_the_first_and_last_addresses_are_those_of_the_subnet_and_of_each_cidr() -> None:
    four = ranges.first_and_last(read("10.0.0.64/26,10.0.0.5-10.0.0.9"), subnet=IPv4Network("10.0.0.0/24"))
    assert [str(single.first) for single in four] == ["10.0.0.0", "10.0.0.64", "10.0.0.127", "10.0.0.255"]
    six = ranges.first_and_last(read("2001:db8::/120"), subnet=IPv6Network("2001:db8::/64"))
    assert [str(single.first) for single in six] == ["2001:db8::"]


nearly = st.lists(
    st.one_of(st.integers(0, 300).map(str), st.text("0123456789 a+-_\u0663\xb2", max_size=4)), min_size=3, max_size=5
)
texts = st.one_of(
    st.ip_addresses().map(str), nearly.map(".".join), st.text("0123456789.:abcdef%", max_size=20), st.text(max_size=20)
)


@given(texts)
@example("192.0.2.01")
@example("192.0.2.00")
@example("192.0.2.256")
@example("192.0.2.0001")
@example("192.0.2")
@example("192.0.2.1.")
@example("192.0.2.1.1")
@example("192.0.2.+1")
@example("192.0.2.\u0661")
@example("::ffff:192.0.2.1")
@example("::192.0.2.1")
@example("::1.2.3.4")
def test_the_fast_reading_of_an_address_reads_what_the_slow_one_does(text: str) -> None:
    slow = ranges.parse_address(text)
    assert ranges.parse_bounds(text) == (None if slow is None else (ranges.family_of(slow), int(slow)))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**128 - 1))
def test_the_fast_text_of_an_address_is_its_canonical_one(four: int, six: int) -> None:
    assert ranges.print_bounds(4, four) == str(IPv4Address(four))
    assert ranges.print_bounds(6, six) == str(IPv6Address(six))
