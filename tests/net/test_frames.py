# SPDX-License-Identifier: Apache-2.0
"""Frames: golden bytes, building and parsing as mirrors, and what is not believed."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.net import frames
from purelb.net.frames import Advertisement, Arp, Claimed, Solicitation

MAC = bytes.fromhex("02000000000a")
PEER = bytes.fromhex("02000000000b")
V4, V6 = IPv4Address("192.168.1.240"), IPv6Address("fd00::f0")
LINK_LOCAL = IPv6Address("fe80::ff:fe00:a")

BUILT = {
    "arp-request": frames.arp_request(V4, mac=MAC),
    "arp-reply": frames.arp_reply(V4, mac=MAC),
    "advertisement": frames.advertisement(V6, mac=MAC, link_local=LINK_LOCAL),
    "arp-probe": frames.arp_probe(V4, mac=MAC),
    "solicitation-probe": frames.solicitation_probe(V6, mac=MAC),
}


def golden() -> dict[str, bytes]:
    lines = (Path(__file__).parent / "frames.txt").read_text().splitlines()
    named = (line.split(maxsplit=1) for line in lines if not line.startswith("#"))
    return {name: bytes.fromhex(text) for name, text in named}


macs = st.binary(min_size=6, max_size=6)
v4s = st.integers(1, 2**32 - 1).map(IPv4Address)
v6s = st.integers(1, 2**128 - 1).map(IPv6Address)


@pytest.mark.parametrize("name", BUILT)
def test_a_frame_has_the_golden_bytes(name: str) -> None:
    assert BUILT[name].hex() == golden()[name].hex()


def test_no_golden_vector_is_forgotten() -> None:
    assert set(golden()) == set(BUILT)


def test_the_lengths_are_those_of_the_specification() -> None:
    assert [len(frame) for frame in golden().values()] == [42, 42, 86, 42, 78]


def test_one_send_is_request_and_reply_for_ipv4_and_one_advertisement_for_ipv6() -> None:
    assert frames.announcement(V4, mac=MAC) == (BUILT["arp-request"], BUILT["arp-reply"])
    assert frames.announcement(V6, mac=MAC, link_local=LINK_LOCAL) == (BUILT["advertisement"],)


def test_an_advertisement_comes_from_the_vip_when_the_interface_has_no_link_local_address() -> None:
    seen = frames.parse(frames.advertisement(V6, mac=MAC))
    assert isinstance(seen, Advertisement)
    assert (seen.source, seen.target, seen.router, seen.solicited, seen.override) == (V6, V6, False, False, True)


@pytest.mark.parametrize("vip", [V4, V6], ids=["arp", "ndp"])
def test_a_poke_is_a_probe_to_one_mac(vip: IPv4Address | IPv6Address) -> None:
    poke, everybody = frames.probe(vip, mac=MAC, to=PEER), frames.probe(vip, mac=MAC)
    assert poke[:6] == PEER
    assert poke[6:] == everybody[6:]


@given(v4s, macs)
def test_parsing_arp_mirrors_building_it(vip: IPv4Address, mac: bytes) -> None:
    nobody, everybody = bytes(6), b"\xff" * 6
    assert frames.parse(frames.arp_request(vip, mac=mac)) == Arp(mac, everybody, 1, mac, vip, nobody, vip)
    assert frames.parse(frames.arp_reply(vip, mac=mac)) == Arp(mac, everybody, 2, mac, vip, everybody, vip)
    assert frames.parse(frames.arp_probe(vip, mac=mac)) == Arp(mac, everybody, 1, mac, IPv4Address(0), nobody, vip)


@given(v6s, macs, v6s)
def test_parsing_ndp_mirrors_building_it(vip: IPv6Address, mac: bytes, source: IPv6Address) -> None:
    assert frames.parse(frames.advertisement(vip, mac=mac, link_local=source)) == Advertisement(
        source_mac=mac,
        destination_mac=bytes.fromhex("333300000001"),
        source=source,
        target=vip,
        target_mac=mac,
        router=False,
        solicited=False,
        override=True,
    )
    asked = frames.parse(frames.solicitation_probe(vip, mac=mac))
    assert isinstance(asked, Solicitation)
    assert (asked.source_mac, asked.source, asked.target) == (mac, IPv6Address(0), vip)


@given(st.binary(max_size=120))
def test_no_frame_makes_the_parser_raise(noise: bytes) -> None:
    assert frames.parse(noise) is None or len(noise) >= 42


@given(st.sampled_from(sorted(BUILT)), st.data())
def test_a_truncated_frame_is_nothing(name: str, data: st.DataObject) -> None:
    whole = BUILT[name]
    assert frames.parse(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


@pytest.mark.parametrize("name", BUILT)
def test_padding_of_the_driver_is_ignored(name: str) -> None:
    assert frames.parse(BUILT[name] + bytes(18)) == frames.parse(BUILT[name])


@given(st.sampled_from(["advertisement", "solicitation-probe"]), st.data())
def test_a_flipped_bit_in_an_ndp_packet_is_not_believed(name: str, data: st.DataObject) -> None:
    frame = bytearray(BUILT[name])
    # From the payload length on: version and flow label in front of it are not covered by the checksum.
    position = data.draw(st.integers(18, len(frame) - 1))
    frame[position] ^= 1 << data.draw(st.integers(0, 7))
    assert frames.parse(bytes(frame)) is None


@pytest.mark.parametrize(
    ("offset", "value"),
    [(15, 6), (16, 0x86), (18, 8), (19, 16)],
    ids=["hardware type", "protocol type", "hardware length", "protocol length"],
)
def test_arp_of_a_foreign_type_is_nothing(offset: int, value: int) -> None:
    frame = bytearray(BUILT["arp-reply"])
    frame[offset] = value
    assert frames.parse(bytes(frame)) is None


def test_an_advertisement_that_came_through_a_router_is_nothing() -> None:
    frame = bytearray(BUILT["advertisement"])
    frame[21] = 254
    assert frames.parse(bytes(frame)) is None


@pytest.mark.parametrize("name", ["arp-request", "arp-reply"])
def test_a_gratuitous_arp_claims_its_address_unasked(name: str) -> None:
    assert frames.claimed(BUILT[name], own=frozenset({PEER})) == Claimed(V4, MAC, solicited=False)


def test_an_answer_to_a_probe_claims_its_address_when_asked() -> None:
    answer = bytearray(BUILT["arp-reply"])
    answer[32:42] = PEER + IPv4Address("0.0.0.0").packed
    assert frames.claimed(bytes(answer), own=frozenset({PEER})) == Claimed(V4, MAC, solicited=True)


def test_an_advertisement_claims_its_target() -> None:
    assert frames.claimed(BUILT["advertisement"], own=frozenset()) == Claimed(V6, MAC, solicited=False)


@pytest.mark.parametrize("name", ["arp-probe", "solicitation-probe"])
def test_a_question_claims_nothing(name: str) -> None:
    assert frames.claimed(BUILT[name], own=frozenset()) is None


@pytest.mark.parametrize("name", BUILT)
def test_our_own_voice_claims_nothing(name: str) -> None:
    assert frames.claimed(BUILT[name], own=frozenset({MAC})) is None


def test_an_advertisement_without_the_option_is_at_the_mac_it_came_from() -> None:
    body = bytes.fromhex("8800000020000000") + V6.packed
    total = frames.checksum(LINK_LOCAL, IPv6Address("ff02::1"), body)
    header = bytes.fromhex("6000000000183aff") + LINK_LOCAL.packed + IPv6Address("ff02::1").packed
    frame = (
        bytes.fromhex("333300000001") + MAC + bytes.fromhex("86dd") + header + body[:2] + total.to_bytes(2) + body[4:]
    )
    assert frames.claimed(frame, own=frozenset()) == Claimed(V6, MAC, solicited=False)
