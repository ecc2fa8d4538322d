# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address

from purelb.sandbox.rig.holders import Holder, Holders

VIP = ip_address("192.0.2.1")


def test_two_nodes_may_be_seen_with_one_address_and_the_history_says_when() -> None:
    holders = Holders()
    holders.seen(VIP, Holder("n1", "eth0"), present=True, at=1.0)
    holders.seen(VIP, Holder("n2", "eth0"), present=True, at=2.0)
    assert holders.now() == {"192.0.2.1": (Holder("n1", "eth0"), Holder("n2", "eth0"))}
    holders.seen(VIP, Holder("n1", "eth0"), present=False, at=3.0)
    assert [(move.at, move.holder.node, move.gained) for move in holders.history(since=2.0)] == [
        (2.0, "n2", True),
        (3.0, "n1", False),
    ]


def test_hearing_the_same_again_is_no_move() -> None:
    holders = Holders()
    for at in (1.0, 2.0):
        holders.seen(VIP, Holder("n1", "eth0"), present=True, at=at)
    assert len(holders.history()) == 1


def test_a_dump_of_one_node_says_nothing_about_another() -> None:
    holders = Holders()
    holders.seen(VIP, Holder("n1", "eth0"), present=True, at=1.0)
    holders.replace("n2", frozenset(), at=2.0)
    assert VIP.compressed in holders.now()
    holders.replace("n1", frozenset(), at=3.0)
    assert holders.now() == {}
