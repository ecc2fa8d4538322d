# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from purelb.sandbox.rig.holders import Holders
from purelb.sandbox.rig.kernels import KernelWatch
from purelb.sandbox.rig.links import Rig, build, probe_kinds
from purelb.sandbox.rig.namespaces import inside, new_network
from purelb.sandbox.rig.proxy_rules import Backend, Frontend, ruleset
from purelb.sandbox.rig.topology import Shape, plan
from tests.sandbox.rig.rooms import echo, start, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]
Inside = Callable[[Callable[[], Any]], Any]

VIP4, VIP6 = "172.30.1.200", "fd00:30:1::200"


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def get(address: str, port: int) -> dict[str, str]:
    with socket.create_connection((address, port), timeout=2) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while chunk := sock.recv(4096):
            answer += chunk
    body: dict[str, str] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return body


def serve(rig: Rig, node: str, *fronts: Frontend) -> None:
    with inside(rig.networks[node]):
        subprocess.run(["nft", "-f", "-"], input=ruleset(fronts), text=True, check=True)


def hold(network: int, address: str) -> None:
    with inside(network):
        ipr = IPRoute()
    prefix, flags = (64, {"flags": 0x02}) if ":" in address else (24, {})
    ipr.addr("add", index=ipr.link_lookup(ifname="eth0")[0], address=address, prefixlen=prefix, **flags)
    ipr.close()


async def look_through(watch: KernelWatch) -> None:
    """Read all that was said before. So many looks at the sockets, however long each takes: one of them reads one message."""
    watch.attach(asyncio.get_running_loop())
    for _ in range(200):
        await asyncio.sleep(0.001)
    watch.close()


def test_every_link_kind_a_rig_needs_is_there(in_namespaces: Inside) -> None:
    kinds = in_namespaces(lambda: [(k := probe_kinds()).bridge, k.veth, k.dummy in {"dummy", "ifb"}])
    assert kinds == [True, True, True]


def test_coming_back_from_a_namespace_leaves_no_descriptor_and_the_same_links(in_namespaces: Inside) -> None:
    def body() -> bool:
        with IPRoute() as ipr:
            ipr.link("add", ifname="only-at-home", kind="bridge")
        before = sorted(Path("/proc/self/fd").iterdir()), socket.if_nameindex()
        for _ in range(20):
            network = new_network()
            with inside(network):
                assert "only-at-home" not in {name for _, name in socket.if_nameindex()}
            os.close(network)
        return before == (sorted(Path("/proc/self/fd").iterdir()), socket.if_nameindex())

    assert in_namespaces(body)


def test_a_rig_that_is_let_go_leaves_no_link_and_no_descriptor_twenty_times(in_namespaces: Inside) -> None:
    def body() -> list[int]:
        def have() -> tuple[int, int]:
            return len(socket.if_nameindex()), len(os.listdir("/proc/self/fd"))  # noqa: PTH208  only their number is asked

        before = have()
        for _ in range(20):
            build(plan(Shape(nodes=2), pods=[("e1", "n1")])).close()
            with IPRoute() as ipr:  # what stays in the hub is the hub's: it ends with the sandbox
                for bridge in ("lan1", "mgmt0"):
                    ipr.link("del", index=ipr.link_lookup(ifname=bridge)[0])
            until(lambda: have() == before, what="the kernel has taken it apart")
        return [len(have())]

    assert in_namespaces(body) == [2]


def test_pods_reach_each_other_and_so_do_nodes_and_the_hub_in_both_families(in_namespaces: Inside) -> None:
    def body() -> list[str]:
        rig = build(plan(Shape(nodes=2), pods=[("e1", "n1"), ("e2", "n2")]))
        started = [echo(rig, "e1", "n1"), echo(rig, "e2", "n2")]
        seen = []
        for room, pod in (("e1", "e2"), ("n1", "e2")):
            place = rig.topology.pod(pod)
            for address in place.addresses:
                with inside(rig.networks[room]):
                    until(partial(answers, str(address), 8080), what=f"{room} reaches {address}")
                    seen.append(get(str(address), 8080)["pod"])
        until(lambda: answers("10.244.1.2", 8080), what="the hub reaches a pod")
        for process in started:
            process.kill()
            process.wait()
        return seen

    assert in_namespaces(body) == ["e2", "e2", "e2", "e2"]


@pytest.mark.usefixtures("nft")
def test_the_proxy_reaches_a_backend_in_another_namespace_from_either_node(in_namespaces: Inside) -> None:
    def body() -> list[dict[str, str]]:
        rig = build(plan(Shape(nodes=2), pods=[("e1", "n1")]))
        started = echo(rig, "e1", "n1")
        place = rig.topology.pod("e1")
        rules = ruleset(
            Frontend(vip, "tcp", 80, (Backend(str(target), 8080),), keep_source=False)
            for vip, target in zip((VIP4, VIP6), place.addresses, strict=True)
        )
        for node in ("n1", "n2"):
            with inside(rig.networks[node]):
                subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        hold(rig.networks["n2"], VIP4)  # held by n2, served on n1
        hold(rig.networks["n1"], VIP6)
        with inside(rig.networks["client"]):
            until(lambda: answers(VIP4, 80), what="IPv4 answers")
            until(lambda: answers(VIP6, 80), what="IPv6 answers")
            seen = [get(VIP4, 80), get(VIP6, 80)]
        started.kill()
        started.wait()
        return seen

    first, second = in_namespaces(body)
    assert first["pod"] == second["pod"] == "e1"
    assert first["client"] != "172.30.1.100"  # masqueraded, so that the answer comes back through n2


@pytest.mark.usefixtures("nft")
def test_with_a_local_policy_the_backend_sees_the_clients_address(in_namespaces: Inside) -> None:
    def body() -> dict[str, str]:
        rig = build(plan(Shape(nodes=1), pods=[("e1", "n1")]))
        started = echo(rig, "e1", "n1")
        serve(rig, "n1", Frontend(VIP4, "tcp", 80, (Backend("10.244.1.2", 8080),), keep_source=True))
        hold(rig.networks["n1"], VIP4)
        with inside(rig.networks["client"]):
            until(lambda: answers(VIP4, 80), what="the VIP answers")
            seen = get(VIP4, 80)
        started.kill()
        started.wait()
        return seen

    assert in_namespaces(body)["client"] == "172.30.1.100"


@pytest.mark.usefixtures("nft")
def test_taking_a_backend_away_does_not_reset_connections_to_another(in_namespaces: Inside) -> None:
    def body() -> str:
        rig = build(plan(Shape(nodes=1), pods=[("e1", "n1"), ("e2", "n1")]))
        first, second = Backend("10.244.1.2", 8080), Backend("10.244.1.3", 8080)
        started = [echo(rig, "e1", "n1")]
        serve(rig, "n1", Frontend(VIP4, "tcp", 80, (first,), keep_source=False))
        hold(rig.networks["n1"], VIP4)
        with inside(rig.networks["client"]):
            until(lambda: answers(VIP4, 80), what="the VIP answers")
            sock = socket.create_connection((VIP4, 80), timeout=2)
        serve(rig, "n1", Frontend(VIP4, "tcp", 80, (second,), keep_source=False))
        with sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = sock.recv(4096)
        for process in started:
            process.kill()
            process.wait()
        return answer[:15].decode()

    assert in_namespaces(body) == "HTTP/1.0 200 OK"


@pytest.mark.usefixtures("nft")
def test_udp_is_served_as_well(in_namespaces: Inside) -> None:
    listener = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 53))\nwhile 1: s.sendto(b'!', s.recvfrom(99)[1])"

    def body() -> str:
        rig = build(plan(Shape(nodes=1), pods=[("e1", "n1")]))
        started = start(rig, "e1", "-c", listener)
        serve(rig, "n1", Frontend(VIP4, "udp", 53, (Backend("10.244.1.2", 53),), keep_source=False))
        hold(rig.networks["n1"], VIP4)
        with inside(rig.networks["client"]):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        def asked() -> bytes:
            sock.settimeout(0.2)
            sock.sendto(b"?", (VIP4, 53))
            try:
                return sock.recv(9)
            except OSError:  # nothing yet, or refused while the listener starts
                return b""

        with sock:
            answer = until(asked, what="an answer").decode()
        started.kill()
        started.wait()
        return answer

    assert in_namespaces(body) == "!"


def test_a_kernel_tells_who_got_and_who_lost_an_address(in_namespaces: Inside) -> None:
    def body() -> list[list[Any]]:
        rig = build(plan(Shape(nodes=2)))
        holders = Holders()
        watch = KernelWatch(rig.topology, rig.networks, holders)
        assert holders.now() == {}, "the rig's own addresses are not counted"

        hold(rig.networks["n2"], VIP4)
        hold(rig.networks["n1"], VIP6)
        asyncio.run(look_through(watch))
        return [[address, *(holder.node for holder in who)] for address, who in holders.now().items()]

    assert in_namespaces(body) == [[VIP4, "n2"], [VIP6, "n1"]]


def watched(
    rig: Rig, disturb: Callable[[IPRoute], None], *, before: Callable[[IPRoute], None]
) -> dict[str, list[list[str]]]:
    """Who holds what in the eyes of a watch that began between `before` and `disturb`, after it read all there was to read."""
    with inside(rig.networks["n1"]):
        ipr = IPRoute()
    before(ipr)
    holders = Holders()
    watch = KernelWatch(rig.topology, rig.networks, holders)
    disturb(ipr)
    ipr.close()
    asyncio.run(look_through(watch))
    return {address: [[one.node, one.interface] for one in who] for address, who in holders.now().items()}


def test_an_address_that_changes_its_prefix_length_is_still_there(in_namespaces: Inside) -> None:
    def body() -> dict[str, list[list[str]]]:
        rig = build(plan(Shape(nodes=1)))
        at = {}

        def wide(ipr: IPRoute) -> None:
            at["index"] = ipr.link_lookup(ifname="eth0")[0]
            ipr.addr("add", address=VIP4, prefixlen=24, **at)

        def narrower(ipr: IPRoute) -> None:
            ipr.addr("add", address=VIP4, prefixlen=32, **at)
            ipr.addr("delete", address=VIP4, prefixlen=24, **at)

        return watched(rig, narrower, before=wide)

    assert in_namespaces(body) == {VIP4: [["n1", "eth0"]]}


def test_a_link_that_goes_takes_its_addresses_out_of_the_picture(in_namespaces: Inside) -> None:
    def body() -> dict[str, list[list[str]]]:
        rig = build(plan(Shape(nodes=1)))
        kind = probe_kinds().dummy

        def make(ipr: IPRoute, name: str, *addresses: tuple[str, int]) -> None:
            ipr.link("add", ifname=name, kind=kind)
            index = ipr.link_lookup(ifname=name)[0]
            ipr.link("set", index=index, state="up")
            for address, prefix in addresses:
                ipr.addr("add", index=index, address=address, prefixlen=prefix)

        def before(ipr: IPRoute) -> None:
            make(ipr, "old0", (VIP4, 32), (VIP6, 128))

        def disturb(ipr: IPRoute) -> None:
            make(ipr, "new0", ("172.30.1.201", 32))
            for name in ("old0", "new0"):  # all of it before the first event is read
                ipr.link("del", index=ipr.link_lookup(ifname=name)[0])

        return watched(rig, disturb, before=before)

    assert in_namespaces(body) == {}


def test_a_watch_whose_socket_overran_ends_with_what_the_kernel_has(in_namespaces: Inside) -> None:
    def body() -> dict[str, list[list[str]]]:
        rig = build(plan(Shape(nodes=1)))
        at = {}

        def disturb(ipr: IPRoute) -> None:
            at["index"] = ipr.link_lookup(ifname="eth0")[0]
            ipr.addr("add", address=VIP4, prefixlen=32, **at)  # what the socket holds is older than what it lost
            for _ in range(1500):
                ipr.addr("add", address="172.30.1.202", prefixlen=32, **at)
                ipr.addr("delete", address="172.30.1.202", prefixlen=32, **at)
            ipr.addr("delete", address=VIP4, prefixlen=32, **at)
            ipr.addr("add", address="172.30.1.201", prefixlen=32, **at)

        return watched(rig, disturb, before=lambda _: None)

    assert in_namespaces(body) == {"172.30.1.201": [["n1", "eth0"]]}


@pytest.mark.usefixtures("nft")
def test_the_prober_counts_what_was_lost_while_an_address_was_away(in_namespaces: Inside) -> None:
    def body() -> dict[str, Any]:
        rig = build(plan(Shape(nodes=1), pods=[("e1", "n1")]))
        started = echo(rig, "e1", "n1")
        rules = ruleset([Frontend(VIP4, "tcp", 80, (Backend("10.244.1.2", 8080),), keep_source=False)])
        with inside(rig.networks["n1"]):
            subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        hold(rig.networks["n1"], VIP4)
        with inside(rig.networks["client"]):
            until(lambda: answers(VIP4, 80), what="the VIP answers")
        prober = start(rig, "client", "-m", "purelb.sandbox.rig.prober", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert prober.stdin is not None
        assert prober.stdout is not None

        def say(**wish: Any) -> None:
            assert prober.stdin is not None
            prober.stdin.write(json.dumps(wish) + "\n")
            prober.stdin.flush()

        def hear() -> dict[str, Any]:
            assert prober.stdout is not None
            event: dict[str, Any] = json.loads(prober.stdout.readline())
            return event

        def hear_of(node: str | None) -> None:
            while hear()["node"] != node:  # on a busy machine a probe may be late, and lost
                continue

        say(probe="vip", address=VIP4, port=80)
        hear_of("n1")
        with inside(rig.networks["n1"]):
            subprocess.run(["nft", "flush", "ruleset"], check=True)
        hear_of(None)
        with inside(rig.networks["n1"]):
            subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        hear_of("n1")
        say(stop="vip")
        while (summary := hear())["event"] != "summary":
            continue
        prober.stdin.close()
        assert prober.wait(30) == 0
        prober.stdout.close()
        started.kill()
        started.wait()
        return summary

    summary = in_namespaces(body)
    assert summary["event"] == "summary"
    assert 0 < summary["lost"] < summary["sent"]
    assert summary["longest_gap_s"] > 0
    assert summary["nodes"] == ["n1"]


def test_nothing_is_left_when_the_first_process_is_killed() -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "from purelb.sandbox.rig.links import build\n"
        "from purelb.sandbox.rig.namespaces import in_fresh_namespaces\n"
        "from purelb.sandbox.rig.topology import Shape, plan\n"
        "def body():\n"
        "    rig = build(plan(Shape(nodes=3)))\n"
        "    subprocess.Popen(['sleep', '3127'])\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
        "    return 0\n"
        "pid = in_fresh_namespaces(body, hostname='test-rig')\n"
        "print(pid, flush=True)\n"
        "os.waitpid(pid, 0)\n"
    )

    def sleepers() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if b"sleep\x003127" in entry.read_bytes():
                    found.append(entry.parent.name)
            except OSError:
                continue
        return found

    links, mounts = socket.if_nameindex(), Path("/proc/self/mountinfo").read_text()
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    pid = int(first if first.strip().isdigit() else second)
    until(sleepers, what="its child runs")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not sleepers(), what="its child is gone")
    process.wait(30)
    process.stdout.close()
    assert (socket.if_nameindex(), Path("/proc/self/mountinfo").read_text()) == (links, mounts)
