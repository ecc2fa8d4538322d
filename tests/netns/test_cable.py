# SPDX-License-Identifier: Apache-2.0
"""The other end of a node's cable: it becomes a client's and comes back, and what the node says is heard there."""

from __future__ import annotations

import json
import socket
from ipaddress import IPv4Address
from typing import Any

import pytest

from purelb.net.frames import arp_request
from purelb.sandbox.bench.cable import FarEnd, NoCable, far_end
from purelb.sandbox.bench.observer import until
from purelb.sandbox.bench.overhearing import overhearing
from purelb.sandbox.rig.namespaces import inside
from tests.netns.conftest import run

pytestmark = pytest.mark.netns
NODE = "172.30.0.1"


@pytest.fixture
def cable(namespace: None) -> None:
    run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "lan")
    run("ip", "link", "set", "lan", "up")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "address", "add", f"{NODE}/16", "dev", "eth0")


def links() -> dict[str, dict[str, Any]]:
    return {one["ifname"]: one for one in json.loads(run("ip", "-json", "address", "show"))}


def connects(far: FarEnd, address: str, port: int) -> bool:
    with inside(far.network):
        sock = socket.socket()
    with sock:
        sock.settimeout(10)
        sock.connect((address, port))
        return True


@pytest.mark.usefixtures("cable")
def test_the_other_end_is_a_client_that_reaches_the_node_and_comes_back_up() -> None:
    with far_end(NODE) as far, socket.create_server((NODE, 0)) as server:
        assert "lan" not in links()
        with inside(far.network):
            there = links()
        assert {"172.30.0.100", "fd00:30::100"} <= {one["local"] for one in there["lan"]["addr_info"]}
        assert connects(far, NODE, server.getsockname()[1])
        far.forget_neighbours()
    here = links()
    assert "UP" in here["lan"]["flags"]
    assert here["eth0"]["link"] == "lan"
    assert [one["local"] for one in here["eth0"]["addr_info"] if one["family"] == "inet"] == [NODE]


@pytest.mark.usefixtures("cable")
def test_the_other_end_comes_back_when_the_measurement_fails() -> None:
    with pytest.raises(RuntimeError, match="no luck"), far_end(NODE):
        raise RuntimeError("no luck")
    with far_end(NODE):
        assert "lan" not in links()
    assert "lan" in links()


@pytest.mark.usefixtures("namespace")
def test_a_node_without_a_cable_of_ours_is_refused() -> None:
    with pytest.raises(NoCable, match="no interface of this network namespace has 172"), far_end(NODE):
        pass


@pytest.mark.usefixtures("cable")
async def test_a_gratuitous_frame_is_heard_at_the_other_end() -> None:
    vip = IPv4Address("172.30.16.1")
    with far_end(NODE) as far, overhearing(far) as heard, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))

        def told() -> bool:
            """Said until it is heard: a link that has just come up drops what is sent before its queue is there."""
            sock.send(arp_request(vip, mac=bytes.fromhex("02000000000a")))
            return str(vip) in heard.claims

        await until("the frame", told, within_s=10)
