# SPDX-License-Identifier: Apache-2.0
"""Several LANs, second interfaces and nodes without a management network, on a real kernel."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pyroute2 import IPRoute

from purelb.sandbox.rig.cuts import Cut
from purelb.sandbox.rig.links import Rig, build, netlink
from purelb.sandbox.rig.namespaces import inside, new_network
from purelb.sandbox.rig.outages import plug_in, stand, unplug
from purelb.sandbox.rig.proxy_rules import Backend, Frontend, ruleset
from purelb.sandbox.rig.topology import Shape, plan
from tests.sandbox.rig.rooms import echo, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]
Inside = Callable[[Callable[[], Any]], Any]
NOBODY_LISTENS = 9


def reaches(rig: Rig, room: str, address: str) -> bool:
    """Whether somebody at the address says that nobody listens."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(rig.networks[room]), socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(0.3)
        try:
            sock.connect((address, NOBODY_LISTENS))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def page(rig: Rig, address: str) -> bytes:
    """What the client gets at port 80, empty for nothing."""
    try:
        with inside(rig.networks["client"]):
            sock = socket.create_connection((address, 80), timeout=0.5)
        with sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return sock.recv(4096)
    except OSError:
        return b""


def hold(rig: Rig, node: str, address: str) -> None:
    with netlink(rig.networks[node]) as ipr:
        flags = {"flags": 0x02} if ":" in address else {}
        bits = 128 if ":" in address else 32
        ipr.addr("add", index=ipr.link_lookup(ifname="eth0")[0], address=address, prefixlen=bits, **flags)


@pytest.mark.usefixtures("nft")
def test_an_address_of_the_other_subnet_is_answered_by_the_router_s_help_and_not_without(in_namespaces: Inside) -> None:
    vips = ("172.30.2.200", "fd00:30:2::200")

    def body() -> list[Any]:
        rig = build(plan(Shape(nodes=2, subnets=2), pods=[("e1", "n1")]))
        started = echo(rig, "e1", "n1")
        backends = [Backend(str(address), 8080) for address in rig.topology.pod("e1").addresses]
        rules = ruleset(
            Frontend(vip, "tcp", 80, (backend,), keep_source=False) for vip, backend in zip(vips, backends, strict=True)
        )
        with inside(rig.networks["n2"]):
            subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        for vip in vips:
            hold(rig, "n2", vip)  # in the second subnet, and its backend in the first
            until(lambda vip=vip: b'"pod": "e1"' in page(rig, vip), what=f"{vip} answers")  # type: ignore[misc]
        with netlink(rig.networks["router"]) as ipr:
            ipr.link("set", index=ipr.link_lookup(ifname="lan2")[0], state="down")
        without = [page(rig, vip) for vip in vips]
        started.kill()
        started.wait()
        return [one.decode() for one in without]

    assert in_namespaces(body) == ["", ""]


@pytest.mark.usefixtures("nft")
@pytest.mark.parametrize(
    ("oneway", "during"), [(False, [False, False]), (True, [False, True])], ids=["both ways", "one way"]
)
def test_nodes_of_two_subnets_are_cut_from_each_other_and_from_nobody_else(
    in_namespaces: Inside, oneway: bool, during: list[bool]
) -> None:
    def body() -> list[bool]:
        rig = build(plan(Shape(nodes=3, subnets=2, family="ipv4")))
        with inside(rig.networks["n1"]):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with inside(rig.networks["n2"]):
            two = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(("172.30.1.1", 5))
        two.bind(("172.30.2.2", 5))

        def heard(sender: socket.socket, to: socket.socket, *, within_s: float = 0.2) -> bool:
            text = secrets.token_bytes(8)  # what was sent earlier may come late, and means nothing
            sender.sendto(text, to.getsockname())
            deadline = time.monotonic() + within_s
            while (left := deadline - time.monotonic()) > 0:
                to.settimeout(left)
                try:
                    if to.recv(9) == text:
                        return True
                except TimeoutError:
                    break
            return False

        until(lambda: heard(one, two) and heard(two, one), what="they reach each other")
        stand(rig.topology, ["n1", "n2"], [Cut(node="n1", away="n2", oneway=oneway)], rules=True)
        seen = [heard(one, two), heard(two, one, within_s=5.0 if during[1] else 0.2)]
        for pair in (("n3", "172.30.2.2"), ("client", "172.30.2.2"), ("n1", "172.30.1.3")):
            until(partial(reaches, rig, *pair), what=f"{pair[0]} reaches {pair[1]}")
        stand(rig.topology, ["n1", "n2"], [], rules=True)
        until(lambda: heard(one, two) and heard(two, one), what="they reach each other again")
        one.close()
        two.close()
        return seen

    assert in_namespaces(body) == during


def test_a_node_with_two_interfaces_is_on_both_lans_loses_both_with_its_power_and_gets_both_back(
    in_namespaces: Inside,
) -> None:
    def body() -> list[bool]:
        rig = build(plan(Shape(nodes=2, subnets=2, nics=2, family="ipv4")))
        places = ("172.30.1.1", "172.30.2.1")

        def both() -> list[bool]:
            return [reaches(rig, "router", place) for place in places]

        until(lambda: all(both()), what="the router reaches both")
        stand(rig.topology, ["n1"], [Cut(node="n1", away="lan")], rules=False)
        cut = both()
        stand(rig.topology, ["n1"], [], rules=False)
        unplug(rig.topology.node("n1"))
        with IPRoute() as hub:
            left = [one.get_attr("IFLA_IFNAME") for one in hub.get_links()]
        rig.networks["n1"] = new_network()
        plug_in(rig, "n1")
        until(lambda: all(both()), what="the router reaches both again")
        return [*cut, any(name.startswith("n1-") for name in left)]

    assert in_namespaces(body) == [False, False, False]


@pytest.mark.parametrize("family", ["dual", "ipv6"])
def test_with_a_single_interface_a_node_reaches_the_api_over_the_lan_and_loses_it_with_the_lan(
    in_namespaces: Inside, family: Any
) -> None:
    def body() -> list[Any]:
        rig = build(plan(Shape(nodes=2, subnets=2, single_nic=True, family=family), pods=[("e2", "n2")]))
        api = str(rig.topology.api)
        for room in ("n1", "n2", "e2"):
            until(partial(reaches, rig, room, api), what=f"{room} reaches the API")
        stand(rig.topology, ["n2"], [Cut(node="n2", away="lan")], rules=False)
        with inside(rig.networks["n2"]):
            links = sorted(name for _, name in socket.if_nameindex())
        until(partial(reaches, rig, "n1", api), what="n1 reaches the API as before")
        return [reaches(rig, "n2", api), "api0" in links]

    assert in_namespaces(body) == [False, False]
