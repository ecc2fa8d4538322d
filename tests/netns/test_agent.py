# SPDX-License-Identifier: Apache-2.0
"""A whole agent on a real kernel: its API server is in memory, its interfaces are not."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal

import pytest

from purelb.api.crds import all_definitions
from purelb.api.kinds import LB_NODE_AGENTS, LB_NODE_STATUSES, SERVICE_GROUPS
from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.errors import NotFound
from purelb.kube.metrics import NO_SINK
from purelb.kube.resources import CRDS, NAMESPACES, NODES, SERVICES
from purelb.kube.wire import PatchType
from purelb.lbnodeagent.host import NOPREFIXROUTE, PRIORITY, SetAddress
from purelb.lbnodeagent.kernel import Netlink
from purelb.lbnodeagent.main import Agent, AgentSettings, Deps
from purelb.net import frames
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.netns.conftest import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

pytestmark = pytest.mark.netns

VIP, VIP6, FAR = "192.0.2.10", "2001:db8::10", "198.51.100.10"


def addresses(device: str) -> dict[str, dict[str, Any]]:
    """The addresses of an interface, as `ip` shows them."""
    shown = json.loads(run("ip", "-j", "address", "show"))
    return {
        f"{entry['local']}/{entry['prefixlen']}": entry
        for link in shown
        if link["ifname"] == device
        for entry in link["addr_info"]
    }


async def until(predicate: Callable[[], object], *, seconds: float = 20.0) -> float:
    """Wait for something that can be seen; how long it took. Fails with the last value."""
    began = time.monotonic()
    while not (seen := predicate()):
        assert time.monotonic() - began < seconds, f"still {seen!r} after {seconds} s"
        await asyncio.sleep(0.002)
    return time.monotonic() - began


async def by_another_hand(device: str, ip: str, *, verb: Literal["add", "change"], valid_s: int) -> None:
    """Somebody who knows our tag sets an address."""
    shell = Netlink(SystemClock())
    op = SetAddress(
        verb=verb,
        ip=ip_address(ip),
        prefixlen=32,
        ifindex=socket.if_nametoindex(device),
        flags=NOPREFIXROUTE,
        valid_s=valid_s,
        preferred_s=valid_s,
        priority=PRIORITY,
    )
    assert [result.error for result in await shell.apply([op])] == [None]
    shell.close()


class Cluster:
    def __init__(self) -> None:
        self.clock = SystemClock()
        self.core = ApiCore(rng=random.Random(1).random, epoch=datetime.now(UTC))
        self.admin = ApiClient(
            fixed_access("http://memory"), user_agent="admin", clock=self.clock, transport=self._transport()
        )

    def _transport(self) -> MemoryTransport:
        return MemoryTransport(self.core, clock=self.clock)

    async def create(self, r: Any, body: Mapping[str, Any], namespace: str | None = None) -> None:
        await self.admin.create(r, {"apiVersion": r.api_version, "kind": r.kind, **body}, namespace=namespace)

    async def prepare(self) -> None:
        for definition in all_definitions().values():
            await self.admin.create(CRDS, definition)
        await self.create(NAMESPACES, {"metadata": {"name": "purelb"}})
        await self.create(NODES, {"metadata": {"name": "n1"}})
        config = {"metadata": {"name": "default"}, "spec": {"local": {"dummyKind": "ifb"}}}
        await self.create(LB_NODE_AGENTS, config, "purelb")
        pool = {"pool": "198.51.100.0/24", "subnet": "198.51.100.0/24"}
        await self.create(SERVICE_GROUPS, {"metadata": {"name": "wan"}, "spec": {"remote": {"v4pool": pool}}}, "purelb")

    async def serve(self, name: str, *ips: str, pool_type: str = "local", group: str = "gone") -> None:
        notes = {
            "purelb.io/allocated-by": "PureLB",
            "purelb.io/pool-type": pool_type,
            "purelb.io/allocated-from": group,
        }
        spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
        await self.create(SERVICES, {"metadata": {"name": name, "annotations": notes}, "spec": spec}, "purelb")
        status = {"status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}}}
        await self.admin.patch(SERVICES, name, status, kind=PatchType.MERGE, namespace="purelb", subresource="status")

    @asynccontextmanager
    async def agent(self, **settings: Any) -> AsyncIterator[tuple[Agent, asyncio.Task[None]]]:
        """An agent that runs; at the end it is killed, if it did not leave."""
        wanted = AgentSettings(**{"namespace": "purelb", "node_name": "n1", "pod_uid": "u1", **settings})
        deps = Deps(clock=self.clock, sink=NO_SINK, access=fixed_access("http://memory"), transport=self._transport())
        made = Agent(wanted, deps)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(made.run())
            await until(lambda: made.phase() == "Running")
            yield made, task
            task.cancel()


@pytest.fixture
async def cluster(lan: str) -> Cluster:
    run("ip", "address", "add", "2001:db8::5/64", "dev", lan, "nodad")
    run("ip", "route", "add", "default", "via", "2001:db8::1", "dev", lan)
    made = Cluster()
    await made.prepare()
    return made


async def test_a_service_is_on_the_interface_and_the_link_is_told(cluster: Cluster, lan: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as peer:
        peer.bind(("wire0", 3))
        peer.setblocking(False)
        async with cluster.agent():
            await cluster.serve("web", VIP, VIP6)
            await until(lambda: {f"{VIP}/32", f"{VIP6}/128"} <= addresses(lan).keys())
            told: set[str] = set()
            async with asyncio.timeout(20):
                while len(told) < 2:
                    frame = await asyncio.get_running_loop().sock_recv(peer, 2048)
                    found = frames.claimed(frame, own=frozenset())
                    if found is not None and str(found.ip) in {VIP, VIP6} and found.mac.hex() == "02000000000a":
                        told.add(str(found.ip))
            mine = addresses(lan)
            assert mine[f"{VIP}/32"]["dynamic"]
            assert mine[f"{VIP}/32"]["noprefixroute"]
            assert mine[f"{VIP6}/128"]["deprecated"]


async def test_remote_addresses_are_on_an_interface_of_ours_with_a_route(cluster: Cluster) -> None:
    async with cluster.agent() as (agent, task):
        await cluster.serve("far", FAR, pool_type="remote", group="wan")
        await until(lambda: f"{FAR}/24" in addresses("kube-lb0"))
        assert "198.51.100.0/24 dev kube-lb0 proto kernel" in run("ip", "route")
        took = []
        for _ in range(3):  # a machine that stands still for a moment does so once
            run("ip", "link", "delete", "kube-lb0")
            took.append(await until(lambda: f"{FAR}/24" in addresses("kube-lb0")))
        assert min(took) < 1.0
        await cluster.admin.delete(SERVICES, "far", namespace="purelb")
        await until(lambda: not addresses("kube-lb0"))
        agent.stop()
        await asyncio.wait({task}, timeout=40)
        assert task.done()
        assert "kube-lb0" not in run("ip", "link")


async def test_a_foreign_deletion_a_flush_and_a_changed_address_are_repaired(cluster: Cluster, lan: str) -> None:
    run("ip", "address", "add", "192.0.2.77/32", "dev", lan)
    async with cluster.agent():
        await cluster.serve("web", VIP, VIP6)
        await until(lambda: {f"{VIP}/32", f"{VIP6}/128"} <= addresses(lan).keys())
        took = []
        for _ in range(3):
            run("ip", "address", "delete", f"{VIP}/32", "dev", lan)
            took.append(await until(lambda: f"{VIP}/32" in addresses(lan)))
        assert min(took) < 0.5
        run("ip", "address", "flush", "dev", lan, "scope", "global", "to", "192.0.2.10/31")
        await until(lambda: f"{VIP}/32" in addresses(lan))
        await by_another_hand(lan, VIP, verb="change", valid_s=4000)
        await until(lambda: addresses(lan)[f"{VIP}/32"]["valid_life_time"] <= 20)
        assert not addresses(lan)["192.0.2.77/32"].get("dynamic")


async def test_a_killed_agents_addresses_are_adopted_by_the_next_and_never_missing(cluster: Cluster, lan: str) -> None:
    await cluster.serve("web", VIP, VIP6)
    async with cluster.agent():
        await until(lambda: {f"{VIP}/32", f"{VIP6}/128"} <= addresses(lan).keys())
    assert {f"{VIP}/32", f"{VIP6}/128"} <= addresses(lan).keys()
    await by_another_hand(lan, "192.0.2.88", verb="add", valid_s=600)
    async with cluster.agent() as (agent, _):
        await until(lambda: "192.0.2.88/32" not in addresses(lan))
        assert agent.phase() == "Running"
        for _ in range(20):
            assert {f"{VIP}/32", f"{VIP6}/128"} <= addresses(lan).keys()
            await asyncio.sleep(0.02)


async def test_an_address_that_others_defend_is_defended_and_one_that_is_not_ours_is_left(
    cluster: Cluster, lan: str
) -> None:
    run("ip", "address", "add", f"{VIP}/24", "dev", lan)
    async with cluster.agent():
        await cluster.serve("web", VIP)
        await cluster.serve("shop", "192.0.2.11")
        await until(lambda: "192.0.2.11/32" in addresses(lan))
        assert f"{VIP}/32" not in addresses(lan)
        assert "dynamic" not in addresses(lan)[f"{VIP}/24"]

        async def withheld() -> list[str]:
            try:
                status = (await cluster.admin.get(LB_NODE_STATUSES, "n1", namespace="purelb")).status
            except NotFound:  # the first report comes a moment after the first address
                return []
            return [entry.message for entry in (status.withheld if status else ()) or ()]

        seen: list[str] = []
        async with asyncio.timeout(20):
            while not seen:
                seen = await withheld()
                await asyncio.sleep(0.05)
        assert seen == [f"{VIP} is an address of this node on {lan}"]


async def test_an_interface_that_goes_down_loses_its_vips_and_gets_them_back(cluster: Cluster, lan: str) -> None:
    async with cluster.agent():
        await cluster.serve("web", VIP)
        await until(lambda: f"{VIP}/32" in addresses(lan))
        run("ip", "link", "set", "wire0", "down")
        await until(lambda: f"{VIP}/32" not in addresses(lan))
        run("ip", "link", "set", "wire0", "up")
        assert await until(lambda: f"{VIP}/32" in addresses(lan), seconds=30) > 2.0
