# SPDX-License-Identifier: Apache-2.0
"""A second opinion: pyroute2 reads what we write, and we read what it writes.

The agent packs its messages itself (docs/adr/0001); the library that it does without must not see it differently.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from purelb.lbnodeagent import rtnetlink
from purelb.lbnodeagent.host import NODAD, NOPREFIXROUTE, PRIORITY, TAG, DeleteAddress, SetAddress

ips = st.one_of(st.integers(1, 2**32 - 1).map(ip_address), st.integers(2**64, 2**128 - 1).map(ip_address))
seconds = st.one_of(st.none(), st.integers(1, 2**31))


def decoded(kind: type[Any], data: bytes) -> Any:
    message = kind(data)
    message.decode()
    return message


def encoded(kind: type[Any], number: int, **fields: Any) -> rtnetlink.Message:
    message = kind()
    attributes = fields.pop("attrs")
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message["header"]["type"] = number
    message.encode()
    (read,) = rtnetlink.messages(bytes(message.data))
    return read


@given(
    verb=st.sampled_from(["add", "renew"]),
    ip=ips,
    valid_s=seconds,
    preferred_s=seconds,
    flags=st.sampled_from([0, NOPREFIXROUTE, NODAD, NOPREFIXROUTE | NODAD]),
    priority=st.sampled_from([0, PRIORITY]),
    ifindex=st.integers(1, 2**31 - 1),
)
def test_pyroute2_reads_our_address_as_we_meant_it(
    verb: Any, ip: Any, valid_s: int | None, preferred_s: int | None, flags: int, priority: int, ifindex: int
) -> None:
    op = SetAddress(
        verb=verb,
        ip=ip,
        prefixlen=ip.max_prefixlen,
        ifindex=ifindex,
        flags=flags,
        valid_s=valid_s,
        preferred_s=preferred_s,
        priority=priority,
    )
    seen = decoded(ifaddrmsg, rtnetlink.address_message(op, 7))
    assert (seen["header"]["type"], seen["header"]["sequence_number"]) == (rtnetlink.NEWADDR, 7)
    assert (seen["index"], seen["prefixlen"]) == (ifindex, ip.max_prefixlen)
    assert ip_address(seen.get_attr("IFA_LOCAL")) == ip_address(seen.get_attr("IFA_ADDRESS")) == ip
    assert seen.get_attr("IFA_FLAGS") == flags
    assert seen.get_attr("IFA_PROTO") == TAG
    assert (seen.get_attr("IFA_RT_PRIORITY") or 0) == priority
    lifetime = seen.get_attr("IFA_CACHEINFO")
    assert lifetime["ifa_valid"] == (0xFFFFFFFF if valid_s is None else valid_s)
    assert lifetime["ifa_preferred"] == (0xFFFFFFFF if preferred_s is None else preferred_s)


@given(ip=ips, ifindex=st.integers(1, 2**31 - 1))
def test_pyroute2_reads_our_deletion_as_we_meant_it(ip: Any, ifindex: int) -> None:
    op = DeleteAddress(ip=ip, prefixlen=ip.max_prefixlen, ifindex=ifindex)
    seen = decoded(ifaddrmsg, rtnetlink.address_message(op, 8))
    assert seen["header"]["type"] == rtnetlink.DELADDR
    assert (seen["index"], seen["prefixlen"], ip_address(seen.get_attr("IFA_LOCAL"))) == (ifindex, ip.max_prefixlen, ip)


@given(ip=ips, valid=st.integers(0, 2**31), proto=st.integers(1, 255), flags=st.integers(0, 0xFFF))
def test_we_read_an_address_of_pyroute2_as_it_meant_it(ip: Any, valid: int, proto: int, flags: int) -> None:
    lifetime = {"ifa_preferred": 0, "ifa_valid": valid, "cstamp": 0, "tstamp": 0}
    attributes = [
        ("IFA_ADDRESS", str(ip)),
        ("IFA_LOCAL", str(ip)),
        ("IFA_FLAGS", flags),
        ("IFA_PROTO", proto),
        ("IFA_CACHEINFO", lifetime),
    ]
    family = 2 if ip.version == 4 else 10
    message = encoded(ifaddrmsg, rtnetlink.NEWADDR, family=family, prefixlen=24, index=3, attrs=attributes)
    seen = rtnetlink.read_address(message, now=100.0)
    assert seen is not None
    assert (seen.ip, seen.prefixlen, seen.ifindex, seen.flags, seen.proto) == (ip, 24, 3, flags, proto)
    assert seen.ends_at == 100.0 + valid


def test_we_read_a_link_of_pyroute2_as_it_meant_it() -> None:
    attributes = [("IFLA_IFNAME", "eth0"), ("IFLA_ADDRESS", "02:00:00:00:00:0a"), ("IFLA_CARRIER", 1)]
    seen = rtnetlink.read_link(encoded(ifinfmsg, rtnetlink.NEWLINK, index=4, flags=1, attrs=attributes))
    assert seen is not None
    assert (seen.name, seen.index, seen.mac) == ("eth0", 4, bytes.fromhex("02000000000a"))
    assert (seen.up, seen.carrier, seen.loopback) == (True, True, False)


@pytest.mark.parametrize(("version", "gateway"), [(4, "192.0.2.254"), (6, "2001:db8::fe")], ids=["IPv4", "IPv6"])
def test_we_read_a_default_route_of_pyroute2_as_it_meant_it(version: int, gateway: str) -> None:
    attributes = [("RTA_OIF", 5), ("RTA_GATEWAY", gateway), ("RTA_PRIORITY", 100)]
    family = 2 if version == 4 else 10
    message = encoded(rtmsg, rtnetlink.NEWROUTE, family=family, table=254, type=1, proto=3, attrs=attributes)
    seen = rtnetlink.read_route(message)
    assert seen is not None
    assert (seen.family, seen.network, seen.hops, seen.metric) == (version, None, (5,), 100)
    assert seen.gateways == (ip_address(gateway),)


def test_pyroute2_reads_the_link_we_make() -> None:
    seen = decoded(ifinfmsg, rtnetlink.make_link("kube-lb0", kind="dummy", sequence=1))
    assert seen.get_attr("IFLA_IFNAME") == "kube-lb0"
    assert seen.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "dummy"
    assert struct.unpack_from("=I", rtnetlink.make_link("kube-lb0", kind="dummy", sequence=1), 8) == (1,)
