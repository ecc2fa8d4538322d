# SPDX-License-Identifier: Apache-2.0
"""Annotations: what users may write, what only we write, and that printing is canonical."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.api import annotations as words
from purelb.api.annotations import AllocatedWish, Announcing, Malformed
from purelb.net.ranges import IPAddress

v4s = st.integers(0, 2**32 - 1).map(IPv4Address)
v6s = st.integers(0, 2**128 - 1).map(IPv6Address).filter(lambda ip: ip.ipv4_mapped is None)
ips: st.SearchStrategy[IPAddress] = v4s | v6s
labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
interfaces = st.text("abcdefgh0123456789.,@", min_size=1, max_size=15)
wishes = st.builds(
    AllocatedWish,
    st.none() | labels,
    st.lists(ips, max_size=4, unique=True).map(tuple),
    st.none() | st.booleans(),
)


def malformed(text: str) -> Malformed:
    found = words.parse_addresses(text)
    assert isinstance(found, Malformed), found
    return found


def test_addresses_are_trimmed_and_keep_their_order() -> None:
    assert words.parse_addresses(" 192.0.2.1 , 2001:db8::1 ") == (
        IPv4Address("192.0.2.1"),
        IPv6Address("2001:db8::1"),
    )


def test_a_mapped_address_is_taken_as_ipv4_and_duplicates_collapse() -> None:
    assert words.parse_addresses("::ffff:192.0.2.1,192.0.2.1,,192.0.2.2") == (
        IPv4Address("192.0.2.1"),
        IPv4Address("192.0.2.2"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1/32",
        "fe80::1%eth0",
        ",".join(["192.0.2.1"] * 65),
        "," * 1_000_000,
        ", ,",
        "192.0.2.1;rm -rf",
        "192.0.2.1\0",
        "\0",
        "\x1b[2J" * 100,
        "010.0.0.1",
    ],
)
def test_what_are_no_addresses_is_refused_with_the_annotation_named_and_the_text_cleaned(text: str) -> None:
    answer = malformed(text).text
    assert answer.startswith("purelb.io/addresses: ")
    assert answer.isprintable()
    assert len(answer) < 256


def test_a_field_is_named_like_an_annotation() -> None:
    found = words.parse_addresses("x", where=words.LOAD_BALANCER_IP)
    assert isinstance(found, Malformed)
    assert found.text == 'spec.loadBalancerIP: no address in "x"'


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("192.0.2.300", "no address"),
        ("192.0.2.010", "a leading zero"),
        ("00.0.2.1", "a leading zero"),
        ("192.0.2.1/32", "a prefix where an address belongs"),
        ("192.0.2.1-192.0.2.9", "a range where an address belongs"),
        ("fe80::1%eth0", "an address with a zone"),
        ("192.0.2.1 192.0.2.2", "no comma between addresses"),
        ("192.0.2.1;2001:db8::1", "no comma between addresses"),
        ("192.0.2.1;rm -rf", "no address"),
        ("192.0.2.1 x", "no address"),
        ("1.2.3", "no address"),
    ],
)
def test_what_is_no_address_is_told_by_what_is_wrong_with_it(written: str, problem: str) -> None:
    assert malformed(f"192.0.2.7, {written}").text == f'purelb.io/addresses: {problem} in "{written}"'


@given(st.text(max_size=100) | st.text("0123456789.,:af %/", max_size=100))
def test_no_text_makes_a_reader_raise(text: str) -> None:
    found = words.parse_addresses(text)
    if not isinstance(found, Malformed):
        assert words.parse_addresses(words.print_addresses(found)) == found
    for entry in words.parse_announcing(text):
        assert words.parse_announcing(words.print_announcing([entry])) == (entry,)
    wish = words.parse_wish(text)
    assert wish is None or words.print_wish(wish) == text
    assert words.parse_per_ingress(text, ingresses=2) is None or text.strip()


@pytest.mark.parametrize(
    ("annotations", "there"),
    [({}, False), ({"a": "false"}, False), ({"a": " false "}, False), ({"a": ""}, True), ({"a": "no"}, True)],
)
def test_presence_is_the_meaning_and_only_false_counts_as_absent(annotations: dict[str, str], there: bool) -> None:
    assert words.present(annotations, "a") is there


def test_a_value_is_trimmed_and_empty_is_absent_and_too_long_is_refused() -> None:
    assert words.value({"a": " x "}, "a") == "x"
    assert words.value({"a": " \t"}, "a") is None
    assert words.value({}, "a") is None
    assert isinstance(words.value({"a": "x" * 4097}, "a"), Malformed)


@pytest.mark.parametrize("name", [words.MULTI_POOL, words.RE_EVALUATE])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *((text, True) for text in ("true", " true ", "True", "TRUE", "t", "T", "1")),
        *((text, False) for text in ("false", "\tfalse\n", "False", "FALSE", "f", "F", "0")),
        *((text, None) for text in ("", " ", None)),
    ],
)
def test_true_and_false_are_read_in_every_spelling_of_go(name: str, written: str | None, meant: bool | None) -> None:
    assert words.truth({} if written is None else {name: written}, name) is meant


@pytest.mark.parametrize("written", ["yes", "nein", "on", "tRUE", "tru\u0435", "01", "true,", "true false", "x" * 5000])
def test_a_word_that_is_neither_true_nor_false_is_refused_with_the_annotation_named(written: str) -> None:
    found = words.truth({words.MULTI_POOL: written}, words.MULTI_POOL)
    assert isinstance(found, Malformed)
    assert found.text.startswith("purelb.io/multi-pool: ")
    assert len(found.text) < 256


def test_a_sharing_key_has_up_to_253_characters_without_white_space() -> None:
    assert words.sharing_key({}) is None
    assert words.sharing_key({words.ALLOW_SHARED_IP: " web "}) == "web"
    assert words.sharing_key({words.ALLOW_SHARED_IP: "x" * 253}) == "x" * 253
    assert isinstance(words.sharing_key({words.ALLOW_SHARED_IP: "x" * 254}), Malformed)
    assert isinstance(words.sharing_key({words.ALLOW_SHARED_IP: "a b"}), Malformed)


def test_announcing_entries_that_do_not_parse_are_dropped_and_interfaces_may_hold_commas() -> None:
    assert words.parse_announcing("n1,eth0 n2,a,b,192.0.2.1 x,y,zz n3,eth0,fe80::1%eth0 ,eth0,192.0.2.2") == (
        Announcing("n2", "a,b", IPv4Address("192.0.2.1")),
    )


@given(st.lists(st.builds(Announcing, labels, interfaces, ips), max_size=12))
def test_announcing_entries_are_read_back_and_their_text_does_not_depend_on_their_order(made: list[Announcing]) -> None:
    text = words.print_announcing(made)
    assert set(words.parse_announcing(text)) == set(made)
    assert words.print_announcing(reversed(made)) == text
    assert words.print_announcing(words.parse_announcing(text)) == text


def test_announcing_entries_are_sorted_by_number_and_cut_at_32() -> None:
    made = [Announcing("n", "eth0", IPv4Address(number)) for number in range(40, 0, -1)]
    entries = words.print_announcing(made).split()
    assert len(entries) == 32
    assert [entry.rpartition(",")[2] for entry in entries[:2]] == ["0.0.0.1", "0.0.0.2"]
    assert entries[9].endswith("0.0.0.10")


def test_one_name_stands_for_every_ingress_and_several_are_one_for_each() -> None:
    assert words.print_per_ingress(["a", "a"]) == "a"
    assert words.print_per_ingress(["a", "b", "a"]) == "a, b, a"
    assert words.parse_per_ingress("a", ingresses=2) == ("a", "a")
    assert words.parse_per_ingress("a, b", ingresses=2) == ("a", "b")
    assert words.parse_per_ingress("a, b", ingresses=3) is None
    assert words.parse_per_ingress("", ingresses=1) is None


@given(st.lists(labels, min_size=1, max_size=5))
def test_names_per_ingress_are_read_back(names: list[str]) -> None:
    assert words.parse_per_ingress(words.print_per_ingress(names), ingresses=len(names)) == tuple(names)


@given(wishes)
def test_a_recorded_wish_is_read_back(wish: AllocatedWish) -> None:
    text = words.print_wish(wish)
    assert words.parse_wish(text) == wish


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        (AllocatedWish(), "any"),
        (AllocatedWish(group="web"), "group=web"),
        (
            AllocatedWish("web", (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")), True),
            "group=web addresses=192.0.2.1,2001:db8::1 multi-pool=true",
        ),
        (AllocatedWish(multi_pool=False), "multi-pool=false"),
    ],
)
def test_a_recorded_wish_has_one_canonical_text(wish: AllocatedWish, text: str) -> None:
    assert words.print_wish(wish) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ANY",
        " any",
        "group=",
        "addresses=192.0.2.1 group=a",
        "group=a  multi-pool=true",
        "addresses=x",
        "multi-pool=1",
    ],
)
def test_a_recorded_wish_that_somebody_edited_counts_as_not_recorded(text: str) -> None:
    assert words.parse_wish(text) is None


def test_the_names_of_users_and_ours_are_different_and_have_our_prefix() -> None:
    names = (*words.USERS, *words.OURS, words.DRAIN)
    assert len(set(names)) == len(names)
    assert all(name.startswith(words.PREFIX) for name in names)
