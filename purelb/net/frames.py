# SPDX-License-Identifier: Apache-2.0
"""ARP and NDP as bytes: what an agent says about a VIP and what it hears.

Ethernet without VLAN tag; no padding (the driver pads); ICMPv6 checksums are ours. Built frames are golden vectors in tests/net/.
Rule 1: the source of an advertisement is the interface's link-local address when it has one, else the VIP.
Rule 2: an advertisement of ours sets override and clears solicited and router; hop limit is 255, and what arrives with another
hop limit came through a router and is dropped (RFC 4861, 7.1).
Rule 3: `parse` never raises; frames that are short, of a foreign hardware type or not ours to read are None.
Sources: RFC 826, RFC 5227 (probe), RFC 4861 4.3 and 4.4, RFC 2464 (multicast MAC).
"""

import struct
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from purelb.net.ranges import IPAddress

BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_SOLICITED_NODE = int(IPv6Address("ff02::1:ff00:0"))
_NOBODY = b"\0" * 6

_ETHERTYPE_ARP, _ETHERTYPE_IPV6 = 0x0806, 0x86DD
_ARP_HEAD = bytes.fromhex("0001080006 04".replace(" ", ""))  # Ethernet, IPv4, lengths 6 and 4
_REQUEST, _REPLY = 1, 2
_ICMPV6 = 58
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ROUTER, _SOLICITED, _OVERRIDE = 0x80000000, 0x40000000, 0x20000000
_TARGET_LINK_LAYER_ADDRESS = 2

_ETHERNET = 14
_ARP_LENGTH = _ETHERNET + 28
_ICMP_AT = _ETHERNET + 40
_NDP_LENGTH = _ICMP_AT + 24


class Arp(Struct, frozen=True, gc=False):
    """An ARP packet. `sender_mac` is the one in the packet, `source_mac` the one in the Ethernet header."""

    source_mac: bytes
    destination_mac: bytes
    operation: int
    sender_mac: bytes
    sender: IPv4Address
    target_mac: bytes
    target: IPv4Address


class Solicitation(Struct, frozen=True, gc=False):
    """An IPv6 neighbour solicitation; `source` is `::` in a probe."""

    source_mac: bytes
    destination_mac: bytes
    source: IPv6Address
    target: IPv6Address


class Advertisement(Struct, frozen=True, gc=False):
    """An IPv6 neighbour advertisement. `target_mac` is its option, or the Ethernet source when it has none."""

    source_mac: bytes
    destination_mac: bytes
    source: IPv6Address
    target: IPv6Address
    target_mac: bytes
    router: bool
    solicited: bool
    override: bool


class Claimed(Struct, frozen=True, gc=False):
    """Somebody said on the link that `ip` is at `mac`. `solicited`: as an answer to a question."""

    ip: IPAddress
    mac: bytes
    solicited: bool


def arp_request(vip: IPv4Address, *, mac: bytes) -> bytes:
    """A gratuitous ARP request: sender and target are the VIP."""
    return _arp(BROADCAST, mac, _REQUEST, vip, _NOBODY, vip)


def arp_reply(vip: IPv4Address, *, mac: bytes) -> bytes:
    """A gratuitous ARP reply to everybody."""
    return _arp(BROADCAST, mac, _REPLY, vip, BROADCAST, vip)


def arp_probe(vip: IPv4Address, *, mac: bytes, to: bytes = BROADCAST) -> bytes:
    """Ask who has the VIP, with sender 0.0.0.0 so that nobody learns an address of ours; `to` one MAC is a poke."""
    return _arp(to, mac, _REQUEST, IPv4Address(0), _NOBODY, vip)


def advertisement(vip: IPv6Address, *, mac: bytes, link_local: IPv6Address | None = None) -> bytes:
    """An unsolicited neighbour advertisement of the VIP to all nodes; from the VIP when the interface has no link-local address."""
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + vip.packed
    body += bytes((_TARGET_LINK_LAYER_ADDRESS, 1)) + mac
    return _icmp6(multicast_mac(_ALL_NODES), mac, link_local or vip, _ALL_NODES, body)


def solicitation_probe(vip: IPv6Address, *, mac: bytes, to: bytes | None = None) -> bytes:
    """Ask who has the VIP, from `::` and without our link-layer address; `to` one MAC is a poke."""
    group = IPv6Address(_SOLICITED_NODE | (int(vip) & 0xFFFFFF))
    body = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + vip.packed
    return _icmp6(multicast_mac(group) if to is None else to, mac, IPv6Address(0), group, body)


def probe(vip: IPAddress, *, mac: bytes, to: bytes | None = None) -> bytes:
    """The probe of the VIP's family: to everybody, or a poke to one MAC."""
    if isinstance(vip, IPv4Address):
        return arp_probe(vip, mac=mac, to=BROADCAST if to is None else to)
    return solicitation_probe(vip, mac=mac, to=to)


def announcement(vip: IPAddress, *, mac: bytes, link_local: IPv6Address | None = None) -> tuple[bytes, ...]:
    """One send: request and reply for IPv4, one advertisement for IPv6."""
    if isinstance(vip, IPv4Address):
        return arp_request(vip, mac=mac), arp_reply(vip, mac=mac)
    return (advertisement(vip, mac=mac, link_local=link_local),)


def multicast_mac(group: IPv6Address) -> bytes:
    """The Ethernet address of an IPv6 multicast group."""
    return b"\x33\x33" + group.packed[-4:]


def parse(frame: bytes) -> Arp | Solicitation | Advertisement | None:
    """Read an Ethernet frame; None for anything but a whole ARP, solicitation or advertisement. Trailing padding is ignored."""
    if len(frame) < _ARP_LENGTH:
        return None
    ethertype = int.from_bytes(frame[12:14])
    if ethertype == _ETHERTYPE_ARP:
        return _parse_arp(frame)
    if ethertype == _ETHERTYPE_IPV6:
        return _parse_icmp6(frame)
    return None


def claimed(frame: bytes, *, own: frozenset[bytes]) -> Claimed | None:
    """What the frame claims about who has an address: an ARP reply, a gratuitous ARP or an advertisement.

    None for everything else, for questions, and for frames from or about a MAC in `own`: those are our own voice.
    """
    match parse(frame):
        case Arp(source_mac=source, sender_mac=mac) if mac in own or source in own:
            return None
        case Arp(operation=operation, sender=sender, sender_mac=mac, target=target) if int(sender) and (
            operation == _REPLY or (operation == _REQUEST and sender == target)
        ):
            return Claimed(sender, mac, operation == _REPLY and sender != target)
        case Advertisement(source_mac=source, target_mac=mac, target=target, solicited=solicited):
            return None if mac in own or source in own else Claimed(target, mac, solicited)
        case _:
            return None


def checksum(source: IPv6Address, destination: IPv6Address, body: bytes) -> int:
    """The ICMPv6 checksum over the pseudo header and `body`; 0 when the checksum already in `body` is right (RFC 4443, 2.3)."""
    data = source.packed + destination.packed + struct.pack("!II", len(body), _ICMPV6) + body + b"\0" * (len(body) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _arp(to: bytes, mac: bytes, operation: int, sender: IPv4Address, target_mac: bytes, target: IPv4Address) -> bytes:
    head = to + mac + struct.pack("!H", _ETHERTYPE_ARP) + _ARP_HEAD + struct.pack("!H", operation)
    return head + mac + sender.packed + target_mac + target.packed


def _icmp6(to: bytes, mac: bytes, source: IPv6Address, destination: IPv6Address, body: bytes) -> bytes:
    total = checksum(source, destination, body)
    ethernet = to + mac + struct.pack("!H", _ETHERTYPE_IPV6)
    header = struct.pack("!IHBB", 0x60000000, len(body), _ICMPV6, 255) + source.packed + destination.packed
    return ethernet + header + body[:2] + total.to_bytes(2) + body[4:]


def _parse_arp(frame: bytes) -> Arp | None:
    if frame[14:20] != _ARP_HEAD:
        return None
    return Arp(
        source_mac=frame[6:12],
        destination_mac=frame[:6],
        operation=int.from_bytes(frame[20:22]),
        sender_mac=frame[22:28],
        sender=IPv4Address(frame[28:32]),
        target_mac=frame[32:38],
        target=IPv4Address(frame[38:42]),
    )


def _parse_icmp6(frame: bytes) -> Solicitation | Advertisement | None:
    if len(frame) < _NDP_LENGTH or frame[14] >> 4 != 6 or frame[20] != _ICMPV6 or frame[21] != 255:
        return None
    body = frame[_ICMP_AT : _ICMP_AT + int.from_bytes(frame[18:20])]
    source, destination = IPv6Address(frame[22:38]), IPv6Address(frame[38:54])
    if (
        len(body) != int.from_bytes(frame[18:20])
        or len(body) < 24
        or body[1] != 0
        or checksum(source, destination, body)
    ):
        return None
    target = IPv6Address(body[8:24])
    if body[0] == _SOLICITATION:
        return Solicitation(frame[6:12], frame[:6], source, target)
    if body[0] != _ADVERTISEMENT:
        return None
    flags = int.from_bytes(body[4:8])
    return Advertisement(
        source_mac=frame[6:12],
        destination_mac=frame[:6],
        source=source,
        target=target,
        target_mac=_link_layer_address(body[24:]) or frame[6:12],
        router=bool(flags & _ROUTER),
        solicited=bool(flags & _SOLICITED),
        override=bool(flags & _OVERRIDE),
    )


def _link_layer_address(options: bytes) -> bytes | None:
    while len(options) >= 8 and options[1]:
        if options[0] == _TARGET_LINK_LAYER_ADDRESS:
            return options[2:8]
        options = options[8 * options[1] :]
    return None
