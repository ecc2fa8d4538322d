# SPDX-License-Identifier: Apache-2.0
"""A small data centre out of network namespaces, for the stories on the real control plane.

    hub      the bridges `lan` and `mgmt`; the API server at 10.254.0.1 on the second one
    n1..n3   eth0 on the LAN (172.30.1.N, fd00:30:1::N), api0 on the management network, pods on pod0
    p1..p3   one Pod each behind its node: 10.244.N.2, fd00:244:N::2
    control  where a process without a node runs (the allocator): management network only
    client   172.30.1.100, fd00:30:1::64 on the LAN; the management network as well

The API and the LAN fail independently, since they are different links. Nothing is made in the host's network namespace. Names
begin with `plc<pid>-`, so two runs do not meet and the next run removes what a killed one left behind; a link ends with its
namespace. Addresses are added without duplicate address detection: nobody waits for the kernel to trust this file.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from types import TracebackType

API_ADDRESS = "10.254.0.1"
# What deploy/ documents as prerequisites of a node, and what systemd sets on every machine but not on a bare kernel.
_NODE_SYSCTLS = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.promote_secondaries=1",
)


class NodeSite(NamedTuple):
    """One node: its name in Kubernetes, its namespaces and its addresses."""

    name: str
    netns: str
    pod_netns: str
    ipv4: str
    ipv6: str
    pod_ipv4: str
    pod_ipv6: str
    pod_cidrs: tuple[str, str]


class Topology:
    """Made by entering, removed by leaving; leaving checks that nothing is left."""

    def __init__(self, *, nodes: int = 3) -> None:
        self._prefix = f"plc{os.getpid()}-"
        self.hub = self._prefix + "hub"
        self.control = self._prefix + "control"
        self.client = self._prefix + "client"
        self.nodes = tuple(self._site(number) for number in range(1, nodes + 1))

    def _site(self, number: int) -> NodeSite:
        return NodeSite(
            name=f"n{number}",
            netns=f"{self._prefix}n{number}",
            pod_netns=f"{self._prefix}p{number}",
            ipv4=f"172.30.1.{number}",
            ipv6=f"fd00:30:1::{number}",
            pod_ipv4=f"10.244.{number}.2",
            pod_ipv6=f"fd00:244:0:{number}::2",
            pod_cidrs=(f"10.244.{number}.0/24", f"fd00:244:0:{number}::/64"),
        )

    @property
    def namespaces(self) -> tuple[str, ...]:
        pairs = (name for site in self.nodes for name in (site.netns, site.pod_netns))
        return (self.hub, self.control, self.client, *pairs)

    def __enter__(self) -> Self:
        remove_what_dead_runs_left()
        try:
            for name in self.namespaces:
                run("ip", "netns", "add", name)
            self._wire_up()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()
        left = [name for name in namespaces_present() if name.startswith(self._prefix)]
        assert not left, f"network namespaces are left: {left}"

    def _remove(self) -> None:
        for name in set(namespaces_present()) & set(self.namespaces):
            run("ip", "netns", "delete", name)

    def _wire_up(self) -> None:
        hub = [f"link add {bridge} type bridge stp_state 0 mcast_snooping 0" for bridge in ("lan", "mgmt")]
        hub += ["link set lo up", "link set lan up", "link set mgmt up", f"address add {API_ADDRESS}/24 dev mgmt"]
        batch(self.hub, hub)
        self._attach(self.control, "control", management=2, lan=None)
        self._attach(self.client, "client", management=3, lan=100)
        for number, site in enumerate(self.nodes, start=1):
            for setting in _NODE_SYSCTLS:
                run("ip", "netns", "exec", site.netns, "sysctl", "-qw", setting)
            self._attach(site.netns, site.name, management=10 + number, lan=number)
            self._attach_pod(site)
        for site in self.nodes:
            others = [other for other in self.nodes if other is not site]
            routes = [f"route add {other.pod_cidrs[0]} via {other.ipv4}" for other in others]
            routes += [f"-6 route add {other.pod_cidrs[1]} via {other.ipv6}" for other in others]
            # The interface of the default route is the one an agent announces on; nobody listens at the gateway.
            routes += ["route add default via 172.30.1.254", "-6 route add default via fd00:30:1::fe"]
            batch(site.netns, routes)

    def _attach(self, netns: str, name: str, *, management: int | None, lan: int | None) -> None:
        inside = ["link set lo up"]
        for bridge, device, number in (("lan", "eth0", lan), ("mgmt", "api0", management)):
            if number is None:
                continue
            port = f"{name}-{bridge}"
            run("ip", "-n", self.hub, "link", "add", port, "type", "veth", "peer", "name", device, "netns", netns)
            batch(self.hub, [f"link set {port} master {bridge} up"])
            inside.append(f"link set {device} up")
            if bridge == "lan":
                inside.append(f"address add 172.30.1.{number}/24 dev {device}")
                inside.append(f"address add fd00:30:1::{number:x}/64 dev {device} nodad")
            else:
                inside.append(f"address add 10.254.0.{number}/24 dev {device}")
        batch(netns, inside)

    def _attach_pod(self, site: NodeSite) -> None:
        run(
            "ip",
            "-n",
            site.netns,
            "link",
            "add",
            "pod0",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            site.pod_netns,
        )
        gateways = [cidr.split("/", maxsplit=1)[0].removesuffix("0") + "1" for cidr in site.pod_cidrs[:1]]
        gateways.append(site.pod_ipv6.removesuffix("2") + "1")
        batch(
            site.netns,
            [
                f"address add {gateways[0]}/24 dev pod0",
                f"address add {gateways[1]}/64 dev pod0 nodad",
                "link set pod0 up",
            ],
        )
        batch(
            site.pod_netns,
            [
                "link set lo up",
                "link set eth0 up",
                f"address add {site.pod_ipv4}/24 dev eth0",
                f"address add {site.pod_ipv6}/64 dev eth0 nodad",
                f"route add default via {gateways[0]}",
                f"-6 route add default via {gateways[1]}",
            ],
        )


def why_not() -> str | None:
    """None when this machine lets us make network namespaces, else what is missing and how to get it."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces: run as root, or under `unshare -Urnm` with a tmpfs on /run"
    for tool, package in (("ip", "iproute2"), ("nft", "nftables"), ("conntrack", "conntrack"), ("sysctl", "procps")):
        if subprocess.run(["sh", "-c", f"command -v {tool}"], check=False, stdout=subprocess.DEVNULL).returncode != 0:
            return f"needs {tool}: install {package}"
    return None


def namespaces_present() -> list[str]:
    return sorted(path.name for path in Path("/run/netns").glob("*"))


def remove_what_dead_runs_left() -> None:
    """Namespaces of runs whose pid is gone; their processes died with them."""
    for name in namespaces_present():
        found = re.match(r"plc(\d+)-", name)
        if found and not Path(f"/proc/{found[1]}").exists():
            run("ip", "netns", "delete", name)


def batch(netns: str, lines: list[str]) -> None:
    """Several `ip` commands inside a namespace with one process; `-6` in front of one selects the family."""
    for family, chosen in (
        ("-4", [line for line in lines if not line.startswith("-6 ")]),
        ("-6", [line for line in lines if line.startswith("-6 ")]),
    ):
        text = "\n".join(line.removeprefix("-6 ") for line in chosen) + "\n"
        run("ip", *([family] if family == "-6" else []), "-n", netns, "-batch", "-", text=text)


def run(*command: str, text: str | None = None) -> str:
    """Run a command that has to succeed; its output, or an AssertionError with what it said."""
    done = subprocess.run(command, check=False, input=text, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}"
    return done.stdout
