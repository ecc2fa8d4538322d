# SPDX-License-Identifier: Apache-2.0
"""Bytes of rtnetlink: whatever arrives is read or dropped, and what we send is encoded once."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from purelb.lbnodeagent import rtnetlink
from purelb.lbnodeagent.host import NODAD, NOPREFIXROUTE, PRIORITY, TAG, DeleteAddress, SetAddress

ips = st.one_of(st.integers(0, 2**32 - 1).map(ip_address), st.integers(2**64, 2**128 - 1).map(ip_address))


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_fail(data: bytes) -> None:
    for message in rtnetlink.messages(data):
        rtnetlink.read_address(message, 0.0)
        rtnetlink.read_link(message)
        rtnetlink.read_route(message)
        _ = message.error


@given(
    st.sampled_from([rtnetlink.NEWADDR, rtnetlink.NEWLINK, rtnetlink.NEWROUTE]),
    st.integers(0, 255),
    st.binary(max_size=120),
)
def test_no_attributes_make_reading_fail(kind: int, family: int, rest: bytes) -> None:
    body = bytes((family,)) + rest
    whole = struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body
    for message in rtnetlink.messages(whole):
        rtnetlink.read_address(message, 0.0)
        rtnetlink.read_link(message)
        rtnetlink.read_route(message)


@given(ips, st.integers(1, 2**31 - 1), st.integers(1, 2**32 - 2), st.integers(1, 2**31), st.integers(1, 2**31))
def test_an_address_reads_back_as_it_was_written(ip: object, ifindex: int, valid: int, first: int, second: int) -> None:
    address = ip_address(str(ip))
    op = SetAddress(
        verb="add",
        ip=address,
        prefixlen=address.max_prefixlen,
        ifindex=ifindex,
        flags=NOPREFIXROUTE | NODAD,
        valid_s=valid,
        preferred_s=0,
        priority=PRIORITY,
    )
    one, other = rtnetlink.address_message(op, first), rtnetlink.address_message(op, second)
    assert one[:8] + one[12:] == other[:8] + other[12:]
    (message,) = rtnetlink.messages(one)
    assert (message.type, message.sequence) == (rtnetlink.NEWADDR, first)
    found = rtnetlink.read_address(message, 100.0)
    assert found is not None
    assert (found.ip, found.prefixlen, found.ifindex) == (address, address.max_prefixlen, ifindex)
    assert (found.flags, found.proto, found.priority) == (NOPREFIXROUTE | NODAD, TAG, PRIORITY)
    assert (found.ends_at, found.preferred_until) == (100.0 + valid, 100.0)


def test_a_deletion_names_the_address_and_asks_for_an_acknowledgement() -> None:
    op = DeleteAddress(ip=ip_address("192.0.2.10"), prefixlen=32, ifindex=2)
    (message,) = rtnetlink.messages(rtnetlink.address_message(op, 7))
    assert (message.type, message.flags) == (rtnetlink.DELADDR, rtnetlink.REQUEST | rtnetlink.ACK)


def test_an_acknowledgement_is_no_error_and_an_errno_has_the_name_that_manuals_use() -> None:
    def answer(code: int) -> rtnetlink.Message:
        return rtnetlink.Message(rtnetlink.ERROR, 0, 1, struct.pack("=i", code))

    assert answer(0).error is None
    assert (answer(-17).error, answer(-95).error, answer(-4095).error) == ("EEXIST", "EOPNOTSUPP", "4095")
