# SPDX-License-Identifier: Apache-2.0
"""The small ones: durations, names of leases, the bound of messages."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.api import leases
from purelb.api.durations import parse_duration, print_duration
from purelb.api.messages import MESSAGE_MAX, cut, shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0.0), ("500ms", 0.5), ("1m30s", 90.0), ("1.5h", 5400.0), ("168h", 604800.0), ("1s1s", 2.0)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "-1s", "1d", "1s ", "s", ".5s", "1us", "٣s", "1s" * 20])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert parse_duration(text) is None


@given(st.integers(0, 10**12))
def test_a_duration_is_printed_so_that_it_is_read_back(milliseconds: int) -> None:
    text = print_duration(milliseconds / 1000)
    assert parse_duration(text) == milliseconds / 1000
    assert print_duration(milliseconds / 1000) == text


@given(st.text(max_size=40))
def test_no_text_makes_the_reader_of_durations_raise(text: str) -> None:
    found = parse_duration(text)
    assert found is None or found >= 0.0


@pytest.mark.parametrize(
    ("subnet", "digits"), [("192.168.1.0/24", "d01a825c13"), ("fd00::/64", "ccb44c2b8f")], ids=["IPv4", "IPv6"]
)
def test_the_label_of_a_subnet_is_the_golden_one(subnet: str, digits: str) -> None:
    assert leases.subnet_label(ip_network(subnet)) == f"subnet.purelb.io/{digits}"


def test_the_lease_of_a_node_is_named_after_it_and_no_other_lease_is() -> None:
    assert leases.node_of_lease(leases.node_lease("n1")) == "n1"
    assert leases.node_of_lease(leases.ALLOCATOR_LEASE) is None
    assert leases.node_of_lease(leases.NODE_LEASE_PREFIX) is None


def test_objects_of_ours_carry_name_and_component() -> None:
    assert leases.labels(leases.ALLOCATOR) == {
        "app.kubernetes.io/name": "purelb",
        "app.kubernetes.io/component": "allocator",
    }


def test_a_message_about_300_groups_is_cut_at_its_bound_and_stays_text() -> None:
    message = cut("; ".join(f"grüppe-{number}: PoolExhausted" for number in range(300)))
    assert len(message) == MESSAGE_MAX
    assert message.endswith(" ...")
    assert message.encode().decode() == message


def test_what_a_message_has_to_end_in_is_not_cut_off() -> None:
    message = cut("x" * 2000, tail="; keeps 192.0.2.7")
    assert len(message) == MESSAGE_MAX
    assert message.endswith("x ...; keeps 192.0.2.7")
    assert cut("short", tail="; keeps 192.0.2.7") == "short; keeps 192.0.2.7"
    assert cut("short", tail="y" * 2000).endswith("y ..."), "a tail that is too long is text like any other"


@given(st.text(max_size=2000), st.text(max_size=2000))
def test_a_message_with_a_tail_never_exceeds_its_bound(text: str, tail: str) -> None:
    assert len(cut(text, tail=tail)) <= MESSAGE_MAX


@given(st.text(max_size=2000))
def test_a_message_never_exceeds_its_bound_and_a_short_one_is_left_alone(text: str) -> None:
    message = cut(text)
    assert len(message) <= MESSAGE_MAX
    assert message == text or len(text) > MESSAGE_MAX


@given(st.text(st.characters(), max_size=300))
def test_foreign_text_is_shown_without_anything_that_moves_a_cursor(text: str) -> None:
    assert len(shown(text)) <= 128
    assert not any(char in "\x1b\r\n\x00\u202e\u2028" for char in shown(text))
    shown(text).encode()


def test_foreign_text_of_128_characters_is_shown_whole_and_a_longer_one_is_cut_to_that() -> None:
    assert shown("x" * 128) == "x" * 128
    assert shown("x" * 129) == "x" * 125 + "..."
