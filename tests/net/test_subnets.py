# SPDX-License-Identifier: Apache-2.0
"""Subnets as text: canonical, sorted as text, each once; readers drop what does not parse."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.net import subnets
from purelb.net.ranges import IPNetwork, Unreadable

networks: st.SearchStrategy[IPNetwork] = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda made: IPv4Network(made, strict=False)),
    st.tuples(st.integers(0, 2**128 - 1).filter(lambda n: n >> 32 != 0xFFFF), st.integers(97, 128)).map(
        lambda made: IPv6Network(made, strict=False)
    ),
)


def test_a_list_is_sorted_as_text_and_has_each_network_once() -> None:
    made = [ip_network(text) for text in ("192.168.9.0/24", "192.168.10.0/24", "fd00::/64", "192.168.9.0/24")]
    assert subnets.print_subnets(made) == "192.168.10.0/24,192.168.9.0/24,fd00::/64"


def test_host_bits_are_masked_off() -> None:
    assert subnets.parse_subnet("192.0.2.77/24") == IPv4Network("192.0.2.0/24")
    assert subnets.network_of(IPv6Address("2001:db8::77"), 64) == IPv6Network("2001:db8::/64")
    assert subnets.network_of(IPv4Address("192.0.2.77"), 32) == IPv4Network("192.0.2.77/32")


@pytest.mark.parametrize("text", ["", "192.0.2.0", "192.0.2.0/33", "x/24", "192.0.2.0/24/24", "fe80::%eth0/64", "/24"])
def test_what_is_not_a_subnet_is_refused_with_the_text_quoted(text: str) -> None:
    refused = subnets.parse_subnet(text)
    assert isinstance(refused, Unreadable)
    assert refused.text.startswith(f'"{text}" ')


def test_a_subnet_of_the_other_family_is_refused() -> None:
    assert isinstance(subnets.parse_subnet("2001:db8::/64", family=4), Unreadable)


def test_a_reader_drops_what_does_not_parse_and_keeps_the_rest() -> None:
    assert subnets.parse_subnets("192.0.2.0/24,bogus,,2001:db8::/64,10.0.0.0/99") == (
        IPv4Network("192.0.2.0/24"),
        IPv6Network("2001:db8::/64"),
    )


def test_a_list_beyond_the_bound_is_cut() -> None:
    many = [IPv4Network((number << 8, 24)) for number in range(300)]
    text = subnets.print_subnets(many)
    assert text.count(",") + 1 == subnets.SUBNETS_MAX
    assert len(subnets.parse_subnets(",".join(map(str, many)))) == subnets.SUBNETS_MAX


@given(st.lists(networks, max_size=8))
def test_reading_what_was_printed_gives_the_same_networks(made: list[IPNetwork]) -> None:
    text = subnets.print_subnets(made)
    assert set(subnets.parse_subnets(text)) == set(made)
    assert subnets.print_subnets(subnets.parse_subnets(text)) == text


@given(st.text(max_size=60) | st.text(alphabet="0123456789abcdef:./,", max_size=60))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    found = subnets.parse_subnets(text)
    assert subnets.parse_subnets(subnets.print_subnets(found)) == found


def test_the_first_subnet_that_contains_an_address_is_named() -> None:
    listed = (IPv4Network("10.0.0.0/8"), IPv4Network("10.1.0.0/16"), IPv6Network("2001:db8::/64"))
    assert subnets.containing(listed, IPv4Address("10.1.2.3")) == listed[0]
    assert subnets.containing(listed, IPv6Address("2001:db8::1")) == listed[2]
    assert subnets.containing(listed, IPv4Address("192.0.2.1")) is None
