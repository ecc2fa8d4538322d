# SPDX-License-Identifier: Apache-2.0
"""Frames on a real link: those of the specification arrive byte for byte, and only claims of others are heard."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest

from purelb.lbnodeagent.host import Seen
from purelb.lbnodeagent.wire import PacketWire
from purelb.net import frames
from tests.netns.conftest import run

pytestmark = pytest.mark.netns

OURS = bytes.fromhex("02000000000a")
THEIRS = bytes.fromhex("02000000000b")
V4 = IPv4Address("192.168.1.240")
V6 = IPv6Address("fd00::f0")


class Peer:
    """The other end of the cable."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind(("wire0", 3))
        self.socket.setblocking(False)

    async def heard(self, count: int) -> list[bytes]:
        found: list[bytes] = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            while len(found) < count:
                frame = await loop.sock_recv(self.socket, 2048)
                # The kernel speaks as well: it asks for duplicates of its own address up to a second after the link came up.
                if frame[6:12] == OURS and (V4.packed in frame or V6.packed in frame):
                    found.append(frame)
        return found


async def heard(wire: PacketWire, count: int) -> list[Seen]:
    found: list[Seen] = []
    async with asyncio.timeout(20):
        async for seen in wire.frames():
            found.append(seen)
            if len(found) == count:
                return found
    return found


async def test_announcements_arrive_byte_for_byte(lan: str) -> None:
    wire, peer = PacketWire(), Peer()
    index = socket.if_nametoindex(lan)
    try:
        wire.use({index: OURS})
        link_local = IPv6Address("fe80::ff:fe00:a")
        sent = [*frames.announcement(V4, mac=OURS), *frames.announcement(V6, mac=OURS, link_local=link_local)]
        for frame in sent:
            assert wire.send(index, frame) is None
        received = await peer.heard(3)
    finally:
        wire.close()
        peer.socket.close()
    assert received == sent
    assert received[0].hex() == ("ffffffffffff02000000000a0806000108000604000102000000000ac0a801f0000000000000c0a801f0")
    assert received[2].hex() == (
        "33330000000102000000000a86dd60000000"
        "00203aff"
        "fe80000000000000000000fffe00000a"
        "ff020000000000000000000000000001"
        "8800591a20000000"
        "fd0000000000000000000000000000f0"
        "020102000000000a"
    )


async def test_what_others_claim_is_heard_and_nothing_else(lan: str) -> None:
    wire, peer = PacketWire(), Peer()
    index = socket.if_nametoindex(lan)
    try:
        wire.use({index: OURS})
        noise = [
            frames.arp_probe(V4, mac=THEIRS),
            frames.solicitation_probe(V6, mac=THEIRS),
            frames.arp_reply(V4, mac=OURS),  # our own voice, looped back
            frames.arp_request(V4, mac=THEIRS)[:30],
            b"\xff" * 12 + b"\x08\x00" + b"noise" * 20,
        ]
        for frame in (*noise, *frames.announcement(V4, mac=THEIRS), *frames.announcement(V6, mac=THEIRS)):
            peer.socket.send(frame)
        wire.send(index, frames.arp_request(V4, mac=OURS))
        found = await heard(wire, 3)
    finally:
        wire.close()
        peer.socket.close()
    assert found == [Seen(index, V4, THEIRS, False), Seen(index, V4, THEIRS, False), Seen(index, V6, THEIRS, False)]


async def test_an_interface_that_is_not_used_or_gone_sends_nothing_and_says_why(lan: str) -> None:
    wire = PacketWire()
    index = socket.if_nametoindex(lan)
    frame = frames.arp_request(V4, mac=OURS)
    try:
        assert wire.send(index, frame) == "ENODEV"
        wire.use({index: OURS, 9999: OURS})
        assert wire.send(index, frame) is None
        run("ip", "link", "set", lan, "down")
        assert wire.send(index, frame) == "ENETDOWN"
        run("ip", "link", "set", lan, "up")
        assert wire.send(index, frame) is None
        run("ip", "link", "delete", lan)
        assert wire.send(index, frame) in {"ENXIO", "ENODEV", "ENETDOWN"}
        wire.use({})
        assert wire.send(index, frame) == "ENODEV"
    finally:
        wire.close()
