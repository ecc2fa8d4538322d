# SPDX-License-Identifier: Apache-2.0
"""What we believe the kernel has, how often we put something back, and what an interface event leaves."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from purelb.lbnodeagent.host import TAG, Address, DeleteAddress, Interface, KernelState, SetAddress
from purelb.lbnodeagent.present import Present
from purelb.lbnodeagent.repairs import Repairs

VIP = ip_address("192.0.2.10")
OURS = Address(ip=VIP, prefixlen=32, ifindex=2, proto=TAG, ends_at=120.0)
DELETE = DeleteAddress(ip=VIP, prefixlen=32, ifindex=2)
ADD = SetAddress(verb="add", ip=VIP, prefixlen=32, ifindex=2, flags=0, valid_s=20, preferred_s=20)


def loaded(*addresses: Address) -> Present:
    present = Present()
    present.load(KernelState(interfaces=(Interface(index=2, name="eth0", up=True, carrier=True),), addresses=addresses))
    return present


def test_the_echo_of_our_own_deletion_is_not_a_foreign_hand() -> None:
    present = loaded(OURS)
    present.done(DELETE, 100.0)
    assert present.at(VIP) == []
    assert present.removed(OURS) is None


def test_a_foreign_deletion_is_told_once() -> None:
    present = loaded(OURS)
    assert present.removed(OURS) == OURS
    assert present.removed(OURS) is None


def test_the_late_echo_of_an_add_that_was_undone_does_not_bring_it_back() -> None:
    present = loaded()
    present.done(ADD, 100.0)
    present.done(DELETE, 100.0)
    assert not present.added(OURS)
    assert present.removed(OURS) is None
    assert present.at(VIP) == []
    assert present.added(OURS)


def test_the_echo_of_our_own_add_is_no_news_and_a_changed_flag_is() -> None:
    present = loaded()
    present.done(ADD, 100.0)
    assert not present.added(replace(OURS, ends_at=119.5))
    assert present.added(replace(OURS, flags=0x200))
    assert present.added(replace(OURS, flags=0x200, ends_at=None))


def test_an_interface_that_is_gone_takes_its_addresses_along() -> None:
    present = loaded(OURS, replace(OURS, ifindex=3))
    present.link(Interface(index=2, name="eth0", up=True, carrier=True), gone=True)
    assert [address.ifindex for address in present.at(VIP)] == [3]
    assert present.interfaces == {}


def test_what_is_not_ours_is_what_layouts_are_made_from() -> None:
    theirs = Address(ip=ip_address("192.0.2.5"), prefixlen=24, ifindex=2)
    assert loaded(OURS, theirs).own_state().addresses == (theirs,)


steps = st.lists(
    st.tuples(st.sampled_from(["added", "removed", "add", "delete", "load"]), st.integers(0, 3), st.integers(2, 3)),
    max_size=30,
)


@given(steps)
def test_addresses_and_their_index_by_ip_always_agree(script: list[tuple[str, int, int]]) -> None:
    present = loaded()
    for verb, number, ifindex in script:
        ip = ip_address(0x0A000000 + number)
        address = Address(ip=ip, prefixlen=32, ifindex=ifindex, proto=TAG)
        match verb:
            case "added":
                present.added(address)
            case "removed":
                present.removed(address)
            case "add":
                present.done(replace(ADD, ip=ip, ifindex=ifindex), 0.0)
            case "delete":
                present.done(replace(DELETE, ip=ip, ifindex=ifindex), 0.0)
            case _:
                present.load(KernelState(addresses=(address,)))
        by_ip = [found.key for other in range(4) for found in present.at(ip_address(0x0A000000 + other))]
        assert sorted(by_ip, key=str) == sorted(present.addresses, key=str)


def test_five_repairs_a_minute_are_made_at_once_and_after_that_one_in_five_seconds() -> None:
    repairs = Repairs()
    assert [repairs.due(VIP, 100.0 + turn) for turn in range(5)] == [100.0, 101.0, 102.0, 103.0, 104.0]
    assert not repairs.fought_over(VIP, 104.0)
    assert repairs.due(VIP, 105.0) == 109.0
    assert repairs.fought_over(VIP, 105.0)
    assert repairs.due(VIP, 200.0) == 200.0
    repairs.forget_old(300.0)
    assert repairs.due(VIP, 300.0) == 300.0
