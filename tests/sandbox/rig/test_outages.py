# SPDX-License-Identifier: Apache-2.0
"""Cuts and power on a real kernel: each shows what it claims, and is undone to the byte."""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from purelb.sandbox.rig.cuts import Cut
from purelb.sandbox.rig.links import Rig, build
from purelb.sandbox.rig.namespaces import inside, new_network
from purelb.sandbox.rig.outages import plug_in, stand, unplug
from purelb.sandbox.rig.topology import Shape, plan
from tests.sandbox.cluster.whole import lacking
from tests.sandbox.rig.rooms import until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]
Inside = Callable[[Callable[[], Any]], Any]
# Timers of a bridge run on; everything else that `ip -d link` shows is compared.
RUNNING = re.compile(r"(gc|hello|hold|message_age|forward_delay|tcn|topology_change)_timer\s+[0-9.]+")


@pytest.fixture
def ip() -> None:
    """The test needs iproute2, to see what an operator sees."""
    if shutil.which("ip") is None:
        lacking("needs ip (Debian: iproute2)")


def shown(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def picture(rig: Rig) -> dict[str, str]:
    """What `ip` shows of every namespace's links and routes."""
    seen = {"hub": RUNNING.sub("", shown("-d", "link")) + shown("route", "show", "table", "all")}
    for name, network in rig.networks.items():
        with inside(network):
            routes = shown("-4", "route", "show", "table", "all") + shown("-6", "route", "show", "table", "all")
            seen[name] = RUNNING.sub("", shown("-d", "link")) + routes
    return seen


def tentative(rig: Rig) -> bool:
    """Whether an address still waits for duplicate address detection: its local route comes only afterwards (RFC 4862, 5.4)."""
    for network in rig.networks.values():
        with inside(network):
            if shown("-6", "address", "show", "tentative"):
                return True
    return bool(shown("-6", "address", "show", "tentative"))


def settled(rig: Rig) -> dict[str, str]:
    """The picture once links and addresses have come to rest: the kernel announces link states up to a second late, and waits
    up to a second more before it begins to detect duplicates."""
    before = picture(rig)
    deadline = time.monotonic() + 20
    rest_since = time.monotonic()
    while time.monotonic() - rest_since < 1.2:
        assert time.monotonic() < deadline, "links do not come to rest"
        time.sleep(0.1)
        if (now := picture(rig)) != before or tentative(rig):
            before, rest_since = now, time.monotonic()
    return before


def carrier(rig: Rig, node: str, link: str) -> bool:
    with inside(rig.networks[node]):
        return "NO-CARRIER" not in shown("link", "show", link)


class Listener:
    """A datagram socket in a room that tells what came."""

    def __init__(self, rig: Rig, room: str, address: str) -> None:
        with inside(rig.networks[room]):
            self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((address, 5))
        self.address = address

    def hears(self, text: bytes, *, within_s: float) -> bool:
        """Whether just this comes; what was sent earlier may come late, and means nothing."""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            self._sock.settimeout(left)
            try:
                if self._sock.recv(9) == text:
                    return True
            except TimeoutError:
                break
        return False


def heard(rig: Rig, sender: str, to: Listener, *, expected: bool) -> bool:
    """Whether it comes. What is expected gets the time of a busy machine."""
    text = secrets.token_bytes(8)
    with inside(rig.networks[sender]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(text, (to.address, 5))
    return to.hears(text, within_s=5.0 if expected else 0.2)


def both_ways(rig: Rig, a: Listener, b: Listener, *, expected: list[bool]) -> list[bool]:
    """Whether n1 reaches b, and n2 reaches a."""
    return [heard(rig, "n1", b, expected=expected[0]), heard(rig, "n2", a, expected=expected[1])]


@pytest.mark.usefixtures("ip", "nft")
@pytest.mark.parametrize(
    ("cut", "reaches", "has_carrier"),
    [
        ({"away": "lan"}, [False, False], True),
        ({"away": "lan", "carrier": "down"}, [False, False], False),
        ({"away": "lan", "oneway": True}, [False, True], True),
        ({"away": "n2"}, [False, False], True),
        ({"away": "n2", "oneway": True}, [False, True], True),
        ({"away": "api"}, [True, True], True),
    ],
    ids=["lan", "pulled cable", "lan one way", "pair", "pair one way", "api"],
)
def test_a_cut_shows_what_it_claims_and_is_undone_to_the_byte(
    in_namespaces: Inside, cut: dict[str, Any], reaches: list[bool], has_carrier: bool
) -> None:
    def body() -> dict[str, Any]:
        rig = build(plan(Shape(nodes=2)))
        one, two = Listener(rig, "n1", "172.30.1.1"), Listener(rig, "n2", "172.30.1.2")
        until(lambda: all(both_ways(rig, one, two, expected=[False, False])), what="they reach each other")
        before = settled(rig)
        stand(rig.topology, ["n1", "n2"], [Cut(node="n1", **cut)], rules=True)
        during = both_ways(rig, one, two, expected=reaches)
        with_carrier = until(lambda: carrier(rig, "n1", "eth0") == has_carrier, what="the carrier is as it should be")
        stand(rig.topology, ["n1", "n2"], [], rules=True)
        until(lambda: all(both_ways(rig, one, two, expected=[False, False])), what="they reach each other again")
        after = settled(rig)
        changed = [
            line for name, text in before.items() for line in set(text.splitlines()) ^ set(after[name].splitlines())
        ]
        return {"during": during, "carrier": with_carrier, "changed": changed}

    assert in_namespaces(body) == {"during": reaches, "carrier": True, "changed": []}


@pytest.mark.usefixtures("ip")
def test_a_cut_from_the_api_leaves_the_other_nodes_way_to_it_and_whom_they_know_there(in_namespaces: Inside) -> None:
    def body() -> dict[str, Any]:
        rig = build(plan(Shape(nodes=2)))
        server = socket.create_server((str(rig.topology.api), 5))

        def asks(room: str, *, within_s: float = 0.5) -> bool:
            with inside(rig.networks[room]), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.settimeout(within_s)
                return sock.connect_ex((str(rig.topology.api), 5)) == 0

        for node in ("n1", "n2"):
            until(partial(asks, node), what=f"{node} reaches the API's network")
        address = shown("link", "show", "mgmt0")
        during = {}
        for cut in ("n2", "n1"):  # a bridge left to itself has the address of one of them
            stand(rig.topology, ["n1", "n2"], [Cut(node=cut, away="api")], rules=False)
            reached = [asks(node, within_s=0.5 if node == cut else 10.0) for node in ("n1", "n2")]
            during[cut] = [*reached, shown("link", "show", "mgmt0") == address]
        server.close()
        return during

    assert in_namespaces(body) == {"n2": [True, False, True], "n1": [False, True, True]}


@pytest.mark.usefixtures("ip")
def test_a_node_without_power_falls_silent_without_a_fin_and_comes_back_as_new(in_namespaces: Inside) -> None:
    def body() -> dict[str, Any]:
        rig = build(plan(Shape(nodes=2), pods=[("e1", "n1")]))
        settled(rig)  # a bridge says for a moment that it does not know whether it is up
        before = [booted(rig, room) for room in rig.rooms("n1")]
        with inside(rig.networks["n2"]):
            server = socket.create_server(("172.30.1.2", 5))
        with inside(rig.networks["n1"]):
            talking = socket.create_connection(("172.30.1.2", 5), timeout=5)
        accepted, _ = server.accept()
        unplug(rig.topology.node("n1"))
        talking.close()  # as the kernel does for a killed process
        silent = said(accepted) == "nothing"
        for name in rig.rooms("n1"):
            rig.networks[name] = new_network()
        plug_in(rig, "n1")
        until(lambda: [booted(rig, room) for room in rig.rooms("n1")] == before, what="it is known as before")
        accepted.send(b"still there?")
        stranger = until(lambda: said(accepted) == "reset", what="the node does not know the connection")
        return {"silent": silent, "stranger": stranger}

    assert in_namespaces(body) == {"silent": True, "stranger": True}


def said(sock: socket.socket) -> str:
    sock.settimeout(0.5)
    try:
        return "data" if sock.recv(1) else "fin"
    except TimeoutError:
        return "nothing"
    except ConnectionResetError:
        return "reset"


def booted(rig: Rig, room: str) -> list[str]:
    """What the neighbours of a node or pod know it by: addresses and routes, and a node's MAC addresses."""
    with inside(rig.networks[room]):
        links = [shown("-br", "link", "show", link) for link in ("eth0", "api0") if room.startswith("n")]
        addresses = (
            shown("-br", "-4", "addr"),
            shown("-4", "route"),
            shown("-6", "route", "show", "via", "fd00:30:1::2"),
        )
    return [" ".join(re.sub(r"@if[0-9]+", "", text).split()) for text in (*links, *addresses)]
