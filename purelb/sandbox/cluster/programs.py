# SPDX-License-Identifier: Apache-2.0
"""What runs in a sandbox, and where: data, made before anything runs.

A program is what Kubernetes would call a Pod with one container. Allocator and backends have a network namespace and an address of their own; agents and
proxies are in their node's. Environment and files are those the shipped manifests give: install namespace, names from the downward API, the API server's
address, and a service account at the standard path. Nothing else of the caller's environment gets in, a KUBECONFIG least of all.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from purelb.sandbox.rig.doctor import SYSTEM_PATH
from purelb.sandbox.rig.topology import Shape, Topology, plan

if TYPE_CHECKING:
    from purelb.net.ranges import IPAddress

INSTALL_NAMESPACE: Final = "purelb-system"
SYSTEM_NAMESPACE: Final = "kube-system"
DEMO_NAMESPACE: Final = "default"
API_PORT: Final = 6443
HTTP_PORT: Final = 7472
ECHO_PORT: Final = 8080
ECHO_LABELS: Final[Mapping[str, str]] = {"app": "echo"}

ProxyKind = Literal["nft", "user"]


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `room` names its network namespace; `probe` is where /readyz is asked, None for a program that has none."""

    pod: str
    namespace: str
    node: str
    room: str
    argv: tuple[str, ...]
    image: str
    env: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    account: str | None = None
    addresses: tuple[str, ...] = ()
    probe: str | None = None

    @property
    def host_network(self) -> bool:
        return self.room == self.node

    @property
    def hostname(self) -> str:
        return self.node if self.host_network else self.pod


def layout(shape: Shape) -> Topology:
    """Allocator on n1, one echo backend on every node."""
    numbers = range(1, shape.nodes + 1)
    return plan(shape, pods=[("allocator", "n1"), *((f"echo-n{number}", f"n{number}") for number in numbers)])


def programs(topology: Topology, *, proxy: ProxyKind) -> tuple[Program, ...]:
    """Everything that runs, in the order in which it is started."""
    return (
        *(_echo(topology, node.name) for node in topology.nodes),
        *(_proxy(topology, node.name, proxy) for node in topology.nodes),
        _allocator(topology),
        *(_agent(topology, node.name) for node in topology.nodes),
    )


def _environment(**own: str) -> Mapping[str, str]:
    return {
        "PATH": SYSTEM_PATH,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **own,
    }


def _in_cluster(topology: Topology, **own: str) -> Mapping[str, str]:
    return _environment(KUBERNETES_SERVICE_HOST=str(topology.api), KUBERNETES_SERVICE_PORT=str(API_PORT), **own)


def url(scheme: str, address: IPAddress, port: int, path: str = "") -> str:
    """Where a program or the API server is reached."""
    return f"{scheme}://{f'[{address}]' if address.version == 6 else address}:{port}{path}"


def _texts(addresses: tuple[IPAddress, ...]) -> tuple[str, ...]:
    return tuple(str(address) for address in addresses)


def _purelb(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "purelb.cli.main", *arguments)


def _allocator(topology: Topology) -> Program:
    place = topology.pod("allocator")
    return Program(
        pod="allocator",
        namespace=INSTALL_NAMESPACE,
        node=place.node,
        room=place.name,
        argv=_purelb("allocator"),
        image="purelb",
        env=_in_cluster(topology, PURELB_NAMESPACE=INSTALL_NAMESPACE, DEFAULT_ANNOUNCER="PureLB"),
        labels={"app": "purelb", "component": "allocator"},
        account="allocator",
        addresses=_texts(place.addresses),
        probe=url("http", place.addresses[0], HTTP_PORT, "/readyz"),
    )


def _agent(topology: Topology, node: str) -> Program:
    place = topology.node(node)
    return Program(
        pod=f"lbnodeagent-{node}",
        namespace=INSTALL_NAMESPACE,
        node=node,
        room=node,
        argv=_purelb("lbnodeagent"),
        image="purelb",
        env=_in_cluster(
            topology,
            PURELB_NAMESPACE=INSTALL_NAMESPACE,
            PURELB_NODE_NAME=node,
            PURELB_HOST=str(place.addresses[0]),
        ),
        labels={"app": "purelb", "component": "lbnodeagent"},
        account="lbnodeagent",
        addresses=_texts(place.addresses),
        probe=url("http", place.addresses[0], HTTP_PORT, "/readyz"),
    )


def _echo(topology: Topology, node: str) -> Program:
    place = topology.pod(f"echo-{node}")
    return Program(
        pod=place.name,
        namespace=DEMO_NAMESPACE,
        node=node,
        room=place.name,
        argv=(sys.executable, "-m", "purelb.sandbox.rig.echo", "--port", str(ECHO_PORT)),
        image="echo",
        env=_environment(POD_NAME=place.name, NODE_NAME=node),
        labels=ECHO_LABELS,
        addresses=_texts(place.addresses),
        probe=url("http", place.addresses[0], ECHO_PORT, "/"),
    )


def _proxy(topology: Topology, node: str, kind: ProxyKind) -> Program:
    place = topology.node(node)
    return Program(
        pod=f"proxy-{node}",
        namespace=SYSTEM_NAMESPACE,
        node=node,
        room=node,
        argv=(sys.executable, "-m", "purelb.sandbox.rig.proxy", "--node", node, "--with", kind),
        image="purelb",
        env=_in_cluster(topology),
        labels={"app": "proxy"},
        account="proxy",
        addresses=_texts(place.addresses),
    )
