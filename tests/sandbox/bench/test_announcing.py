# SPDX-License-Identifier: Apache-2.0
"""The suite `announce` without a cluster: whose cable's other end may be taken, and which frames are claims."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

import pytest

from purelb.net import frames
from purelb.sandbox.bench import announcing
from purelb.sandbox.bench.announcing import Seen
from purelb.sandbox.bench.cable import NoCable, other_end
from purelb.sandbox.bench.overhearing import Overheard

if TYPE_CHECKING:
    from purelb.sandbox.bench.suites import Stage

MAC = bytes.fromhex("02000000000a")
VIP4, VIP6 = IPv4Address("172.30.16.1"), IPv6Address("fd00:30::1:0")


def interface(name: str, *addresses: str, peer: str | None = None) -> dict[str, Any]:
    """As `ip -json address show` says it; it names a peer only in the same namespace."""
    found: dict[str, Any] = {"ifname": name, "addr_info": [{"local": address} for address in addresses]}
    return found if peer is None else {**found, "link": peer}


def test_the_other_end_is_the_peer_of_the_interface_with_the_nodes_address() -> None:
    shown = [
        interface("lo", "127.0.0.1"),
        interface("a0", "10.0.0.1", peer="a1"),
        interface("a1", peer="a0"),
        interface("eth0", "172.30.0.1", "fd00:30::1", peer="lan"),
        interface("lan", peer="eth0"),
    ]
    assert other_end(shown, "172.30.0.1") == "lan"
    assert other_end(shown, "fd00:30::1") == "lan"


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        ([interface("eth0", "192.0.2.1")], "no interface of this network namespace has 172.30.0.1"),
        ([interface("eth0", "172.30.0.1")], "eth0, which has 172.30.0.1, is no end of a veth pair"),
        # with `link_netnsid` the name is that of an interface elsewhere
        ([interface("eth0", "172.30.0.1", peer="elsewhere")], "other end lies in this network namespace"),
    ],
    ids=["no node", "no veth", "a peer elsewhere"],
)
def test_where_nobody_can_listen_on_the_lan_it_is_said_why(shown: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(NoCable, match=says):
        other_end(shown, "172.30.0.1")


def test_a_claim_that_nobody_asked_for_counts_and_the_first_one_does() -> None:
    overheard = Overheard()
    overheard.heard(frames.arp_request(VIP4, mac=MAC), 1.0)
    overheard.heard(frames.arp_reply(VIP4, mac=MAC), 2.0)
    overheard.heard(frames.advertisement(VIP6, mac=MAC), 3.0)
    assert overheard.claims == {str(VIP4): 1.0, str(VIP6): 3.0}


def test_questions_and_answers_to_questions_are_no_announcements() -> None:
    overheard = Overheard()
    reply = bytearray(frames.arp_reply(VIP4, mac=MAC))
    reply[38:42] = IPv4Address("172.30.0.100").packed  # to somebody who asked
    for frame in (frames.probe(VIP4, mac=MAC), frames.probe(VIP6, mac=MAC), bytes(reply), b"", b"\0" * 60):
        overheard.heard(frame, 1.0)
    assert overheard.claims == {}


def test_only_the_way_to_the_interface_has_a_budget_and_each_family_its_own_rows() -> None:
    found = [Seen(status=5.0, interface=15.0, frame=115.0, gone=9.0)]
    rows = [row for family in announcing.FAMILIES for row in announcing._rows(family, found)]
    assert {row.case: row.p50 for row in rows if "wire" in row.case} == {
        "create to the first gratuitous ARP on the wire": 115.0,
        "IPv6: create to the first unsolicited neighbour advertisement on the wire": 115.0,
    }
    assert [row.case for row in rows if row.budget] == ["create to address on the interface"]
    assert len({row.case for row in rows}) == 8


async def test_without_kube_proxy_the_first_answer_is_refused_with_what_gives_it() -> None:
    nobody: Any = None
    stage: Stage = nobody
    with pytest.raises(RuntimeError, match="--kube-proxy PATH"):
        await announcing.answered(stage, proxy=None, kubeconfig="", trials=1)
