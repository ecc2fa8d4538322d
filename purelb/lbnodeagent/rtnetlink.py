# SPDX-License-Identifier: Apache-2.0
"""rtnetlink as bytes: what dumps and events say, and the messages that change addresses and links. No socket, no clock.

Why not pyroute2: importing it costs 12 MiB and, at the moment the first link is made, 290 ms of the loop; a dump of 5,000
addresses costs 300 ms; its sockets hide ENOBUFS. We need six messages of a format that has not changed in twenty years, and
the namespace tests hold every one of them to the kernel.

Rule: a message that is cut, of another family or of a type we do not read is None, never an exception. Bytes of an address
message are encoded once per (address, attributes); only the sequence number differs when it is sent again.
Sources: rtnetlink(7), linux/if_addr.h, linux/if_link.h, linux/inetdevice.h.
"""

from __future__ import annotations

import errno
import struct
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from purelb.lbnodeagent.host import TAG, Address, DeleteAddress, Interface, Route, SetAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from purelb.net.ranges import IPAddress, IPNetwork

ERROR, DONE = 2, 3
NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400
INTERRUPTED: Final = 0x10
"""Of a dump: what it describes changed while it was made."""

GROUP_LINK, GROUP_ADDR4, GROUP_ADDR6 = 0x1, 0x10, 0x100
GROUP_ROUTE4, GROUP_ROUTE6 = 0x40, 0x400

_FOREVER: Final = 0xFFFFFFFF
_MAIN, _UNICAST = 254, 1
_AF_INET, _AF_INET6 = 2, 10
_UP, _LOOPBACK = 0x1, 0x8

_PROMOTE_SECONDARIES: Final = 20

_HEADER: Final = struct.Struct("=IHHII")
_ATTR: Final = struct.Struct("=HH")
_IFADDR: Final = struct.Struct("=BBBBI")
_IFINFO: Final = struct.Struct("=BxHiII")
_RTMSG: Final = struct.Struct("=BBBBBBBBI")
_CACHE: Final = struct.Struct("=IIII")
_NEXTHOP: Final = struct.Struct("=HBBi")


class Message(Struct, frozen=True, gc=False):
    """One netlink message. `body` begins after the header."""

    type: int
    flags: int
    sequence: int
    body: bytes

    @property
    def error(self) -> str | None:
        """Of an ERROR: the errno's symbol, None for an acknowledgement."""
        (code,) = struct.unpack_from("=i", self.body) if len(self.body) >= 4 else (0,)
        return symbol(-code) if code else None


def symbol(code: int) -> str:
    """The name of an errno; of two names the one that manuals use."""
    return "EOPNOTSUPP" if code == errno.EOPNOTSUPP else errno.errorcode.get(code, str(code))


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram; what follows a cut one is dropped."""
    at = 0
    while at + 16 <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        if length < 16 or at + length > len(data):
            return
        yield Message(kind, flags, sequence, data[at + 16 : at + length])
        at += (length + 3) & ~3


def dump_request(kind: int, *, family: int, sequence: int) -> bytes:
    """Ask for everything of a kind (GETLINK, GETADDR, GETROUTE)."""
    body = {GETLINK: _IFINFO.pack(family, 0, 0, 0, 0), GETADDR: _IFADDR.pack(family, 0, 0, 0, 0)}.get(
        kind, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    )
    return _HEADER.pack(16 + len(body), kind, REQUEST | DUMP, sequence, 0) + body


def link_options(ifindex: int, *, alias: str, sequence: int) -> bytes:
    """Our alias, promote_secondaries on and IPv6 address generation `none`, for a link that we made."""
    inet = _attribute(1, _attribute(_PROMOTE_SECONDARIES, struct.pack("=I", 1)))
    inet6 = _attribute(8, bytes((1,)))
    options = _attribute(26, _attribute(_AF_INET, inet) + _attribute(_AF_INET6, inet6))
    body = _IFINFO.pack(0, 0, ifindex, 0, 0) + _attribute(20, alias.encode()) + options
    return _HEADER.pack(16 + len(body), NEWLINK, REQUEST | ACK, sequence, 0) + body


def make_link(name: str, *, kind: str, sequence: int) -> bytes:
    """A new link of a kind, down: what it should be is said before it is up."""
    body = (
        _IFINFO.pack(0, 0, 0, 0, 0)
        + _attribute(3, name.encode() + b"\0")
        + _attribute(18, _attribute(1, kind.encode()))
    )
    return _HEADER.pack(16 + len(body), NEWLINK, REQUEST | ACK | CREATE | EXCL, sequence, 0) + body


def remove_link(ifindex: int, *, sequence: int) -> bytes:
    body = _IFINFO.pack(0, 0, ifindex, 0, 0)
    return _HEADER.pack(16 + len(body), DELLINK, REQUEST | ACK, sequence, 0) + body


def set_up(ifindex: int, *, sequence: int) -> bytes:
    body = _IFINFO.pack(0, 0, ifindex, _UP, _UP)
    return _HEADER.pack(16 + len(body), NEWLINK, REQUEST | ACK, sequence, 0) + body


def address_message(op: SetAddress | DeleteAddress, sequence: int) -> bytes:
    """The message of an operation, asking for an acknowledgement."""
    whole = _encoded(op)
    return whole[:8] + struct.pack("=I", sequence) + whole[12:]


@lru_cache(maxsize=16_384)
def _encoded(op: SetAddress | DeleteAddress) -> bytes:
    packed = op.ip.packed
    attributes = _attribute(2, packed) + _attribute(1, packed)
    flags = 0
    if isinstance(op, SetAddress):
        flags = op.flags
        valid = _FOREVER if op.valid_s is None else op.valid_s
        preferred = _FOREVER if op.preferred_s is None else op.preferred_s
        attributes += _attribute(6, _CACHE.pack(preferred, valid, 0, 0)) + _attribute(8, struct.pack("=I", flags))
        if op.priority:
            attributes += _attribute(9, struct.pack("=I", op.priority))
        attributes += _attribute(11, bytes((TAG,)))
        how = CREATE | EXCL if op.verb == "add" else REPLACE
        kind = NEWADDR
    else:
        how, kind = 0, DELADDR
    family = _AF_INET if op.ip.version == 4 else _AF_INET6
    body = _IFADDR.pack(family, op.prefixlen, flags & 0xFF, 0, op.ifindex) + attributes
    return _HEADER.pack(16 + len(body), kind, REQUEST | ACK | how, 0, 0) + body


def read_address(message: Message, now: float) -> Address | None:
    """An address of a NEWADDR or DELADDR; its lifetime as instants after `now`."""
    body = message.body
    if len(body) < _IFADDR.size:
        return None
    family, prefixlen, flags, scope, ifindex = _IFADDR.unpack_from(body)
    found = _attributes(body, _IFADDR.size)
    packed = found.get(2) or found.get(1)
    ip = _ip(family, packed)
    if ip is None:
        return None
    if (wide := found.get(8)) is not None and len(wide) == 4:
        flags = int.from_bytes(wide, "little" if _LITTLE else "big")
    ends_at = preferred_until = None
    if (cache := found.get(6)) is not None and len(cache) >= 8:
        preferred, valid = struct.unpack_from("=II", cache)
        ends_at = None if valid == _FOREVER else now + valid
        preferred_until = None if preferred == _FOREVER else now + preferred
    proto, priority = found.get(11), found.get(9)
    return Address(
        ip=ip,
        prefixlen=prefixlen,
        ifindex=ifindex,
        flags=flags,
        scope=scope,
        proto=proto[0] if proto else None,
        priority=struct.unpack("=I", priority)[0] if priority and len(priority) == 4 else 0,
        ends_at=ends_at,
        preferred_until=preferred_until,
    )


def read_link(message: Message) -> Interface | None:
    """An interface of a NEWLINK or DELLINK."""
    body = message.body
    if len(body) < _IFINFO.size:
        return None
    family, _, index, flags, _ = _IFINFO.unpack_from(body)
    found = _attributes(body, _IFINFO.size)
    name = found.get(3)
    if family != 0 or name is None:  # bridges tell about their ports under a family of their own
        return None
    carrier = found.get(33)
    info = _attributes(found.get(18, b""))
    configuration = _attributes(_attributes(found.get(26, b"")).get(_AF_INET, b"")).get(1, b"")
    at = 4 * (_PROMOTE_SECONDARIES - 1)
    promotes = struct.unpack_from("=I", configuration, at)[0] if len(configuration) >= at + 4 else 0
    return Interface(
        index=index,
        name=_text(name),
        up=bool(flags & _UP),
        carrier=bool(carrier[0]) if carrier else bool(flags & _UP),
        mac=bytes(found.get(1, b"")),
        kind=_text(info.get(1, b"")),
        alias=_text(found.get(20, b"")),
        loopback=bool(flags & _LOOPBACK),
        promotes=bool(promotes),
    )


def read_route(message: Message) -> Route | None:
    """A default or an on-link unicast route of table main. All others are told by their header alone, and are None."""
    body = message.body
    if len(body) < _RTMSG.size:
        return None
    family, length, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(body)
    if table != _MAIN or kind != _UNICAST or family not in {_AF_INET, _AF_INET6}:
        return None
    found = _attributes(body, _RTMSG.size)
    if length and 5 in found:
        return None  # through a gateway, and not the default
    hops, gateways = _hops(family, found)
    if not hops:
        return None
    network: IPNetwork | None = None
    if length:
        target = _ip(family, found.get(1))
        if target is None:
            return None
        network = (
            IPv4Network((int(target), length), strict=False)
            if family == _AF_INET
            else IPv6Network((int(target), length), strict=False)
        )
    metric = found.get(6)
    return Route(
        family=4 if family == _AF_INET else 6,
        network=network,
        hops=tuple(hops),
        gateways=tuple(gateways),
        metric=struct.unpack("=I", metric)[0] if metric and len(metric) == 4 else 0,
        protocol=protocol,
    )


def _hops(family: int, found: dict[int, bytes]) -> tuple[list[int], list[IPAddress]]:
    hops: list[int] = []
    gateways: list[IPAddress] = []
    if (device := found.get(4)) is not None and len(device) == 4:
        hops.append(struct.unpack("=i", device)[0])
        if (gateway := _ip(family, found.get(5))) is not None:
            gateways.append(gateway)
    several, at = found.get(9, b""), 0
    while at + _NEXTHOP.size <= len(several):
        length, _, _, device_index = _NEXTHOP.unpack_from(several, at)
        if length < _NEXTHOP.size:
            break
        hops.append(device_index)
        gateway = _ip(family, _attributes(several[at : at + length], _NEXTHOP.size).get(5))
        if gateway is not None:
            gateways.append(gateway)
        at += (length + 3) & ~3
    return hops, gateways


_LITTLE: Final = struct.pack("=H", 1) == b"\x01\x00"


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTR.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _attributes(body: bytes, at: int = 0) -> dict[int, bytes]:
    """Attributes by type, the flags of the type removed; what follows a cut one is dropped."""
    found: dict[int, bytes] = {}
    while at + 4 <= len(body):
        length, kind = _ATTR.unpack_from(body, at)
        if length < 4 or at + length > len(body):
            break
        found[kind & 0x3FFF] = body[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def _ip(family: int, packed: bytes | None) -> IPAddress | None:
    if packed is None:
        return None
    if family == _AF_INET and len(packed) == 4:
        return IPv4Address(packed)
    if family == _AF_INET6 and len(packed) == 16:
        return IPv6Address(packed)
    return None


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")
