# SPDX-License-Identifier: Apache-2.0
"""Stories of one kernel, told message by message."""

from __future__ import annotations

from ipaddress import ip_address

from purelb.sandbox.rig.pictures import Held, Picture

VIP = ip_address("192.0.2.1")
NARROW, WIDE = Held(VIP, 32, 7), Held(VIP, 24, 7)


def with_link() -> Picture:
    picture = Picture()
    assert list(picture.link(7, "kube-lb0")) == []
    return picture


def test_an_address_is_there_until_its_last_prefix_length_is_gone() -> None:
    picture = with_link()
    assert list(picture.address(WIDE, present=True)) == [(VIP, "kube-lb0", True)]
    assert list(picture.address(NARROW, present=True)) == []
    assert list(picture.address(WIDE, present=False)) == []
    assert picture.have() == {(VIP, "kube-lb0")}
    assert list(picture.address(NARROW, present=False)) == [(VIP, "kube-lb0", False)]
    assert picture.have() == frozenset()


def test_what_was_said_already_is_no_change() -> None:
    picture = with_link()
    assert list(picture.address(NARROW, present=False)) == []
    assert len([*picture.address(NARROW, present=True), *picture.address(NARROW, present=True)]) == 1


def test_a_link_that_is_gone_takes_its_addresses_under_the_name_it_had() -> None:
    picture = with_link()
    list(picture.address(NARROW, present=True))
    assert list(picture.link_gone(7)) == [(VIP, "kube-lb0", False)]
    assert list(picture.address(NARROW, present=False)) == [], "the kernel may say it again"
    assert picture.have() == frozenset()


def test_an_address_that_goes_before_its_link_goes_under_the_name_it_came_with() -> None:
    picture = with_link()
    list(picture.address(NARROW, present=True))
    assert list(picture.address(NARROW, present=False)) == [(VIP, "kube-lb0", False)]
    assert list(picture.link_gone(7)) == []


def test_a_renamed_link_keeps_its_addresses_under_the_new_name() -> None:
    picture = with_link()
    list(picture.address(NARROW, present=True))
    assert list(picture.link(7, "ex0")) == [(VIP, "kube-lb0", False), (VIP, "ex0", True)]
    assert list(picture.link(7, "ex0")) == []
    assert picture.have() == {(VIP, "ex0")}


def test_a_dump_replaces_names_and_addresses() -> None:
    picture = with_link()
    list(picture.address(NARROW, present=True))
    picture.replace({9: "eth1"}, [Held(VIP, 24, 9)])
    assert picture.have() == {(VIP, "eth1")}
    assert list(picture.address(Held(VIP, 24, 9), present=False)) == [(VIP, "eth1", False)]
