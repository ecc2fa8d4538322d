# SPDX-License-Identifier: Apache-2.0
"""The allocator among many on a real API server: 10,000 Services at rest and at its start, and a node with 1,000 addresses that dies.

The process is the one that ships, with the token of its ServiceAccount. Node agents are played: their leases and reports are
written by the benchmark, which is then the only one who knows when a node died. Times are taken from one watch of a stranger.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from purelb.api.kinds import LB_NODE_STATUSES
from purelb.api.leases import node_lease
from purelb.kube.client import PatchType
from purelb.kube.resources import LEASES, NAMESPACES
from purelb.sandbox.bench import objects
from purelb.sandbox.bench.components import INSTALL_NAMESPACE, cpu_s, rss_mib
from purelb.sandbox.bench.observer import observing, until
from purelb.sandbox.bench.results import Budget, Ratio, Row, percentile, row
from purelb.sandbox.bench.suites import NAMESPACE, SUBNET, create_all, emptied, remove_all, single, until_quiet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from purelb.kube.client import ApiClient
    from purelb.sandbox.bench.suites import Stage

CROWD: Final = "bench-crowd"
STARTS: Final = 3
WITHIN_S: Final = 1800.0  # on a machine that others use as well
SINGLES: Final = 30
ANNOUNCED: Final = 1000
NODES: Final = ("bench-played-a", "bench-played-b")
LEASE_S: Final = 10.0
RENEWED_EVERY_S: Final = 2.0
REPORTED_AFTER_S: Final = 0.5  # an heir's report, after the lease of the dead one ran out


async def crowd(stage: Stage, *, services: int) -> list[Row]:
    """That many Services: memory with them, and what a start of the process costs that finds them allocated."""
    await stage.client.create(NAMESPACES, objects.namespace(CROWD))
    names = [f"crowd-{number:05d}" for number in range(services)]
    first: list[float] = []
    spent: list[float] = []
    resting: list[float] = []
    written: list[float] = []
    async with observing(stage.client, CROWD, links=False) as seen:
        async with stage.allocator() as process:
            await asyncio.sleep(3.0)
            empty = cpu_s(process.pid)
        async with stage.allocator() as process:
            await create_all(stage.client, names, lb_class=None, namespace=CROWD)
            await until("an address for each of the crowd", lambda: seen.all_served(names), within_s=WITHIN_S)
            await until_quiet(seen, within_s=WITHIN_S)
            await asyncio.sleep(5.0)
            after_burst = rss_mib(process.pid)
        for trial in range(STARTS):
            await until_quiet(seen)
            before = seen.writes()
            began = time.perf_counter()
            name = f"late-{trial}"
            await create_all(stage.client, [name], lb_class=None, namespace=CROWD)
            async with stage.allocator() as process:
                await until(f"an address for {name}", lambda name=name: seen.served_at(name) is not None, within_s=120)  # type: ignore[misc]
                first.append((seen.served_at(name) or 0.0) - began)
                await until_quiet(seen)
                await asyncio.sleep(5.0)
                spent.append(cpu_s(process.pid) - empty)
                resting.append(rss_mib(process.pid))
            written.append(float(seen.writes() - before - len(seen.versions[name])))
    await emptied(stage.client, CROWD)
    return [
        row(
            suite="allocate",
            case=f"start with {services} Services: process start to the address of a new one",
            unit="s",
            values=first,
            budget=Budget(of="max", at_most=5.0),
        ),
        row(
            suite="allocate",
            # No budget: the bound is the rebuild's (suite `decide`). This is also two lists through TLS and the turns after them.
            case=f"start with {services} Services: CPU above that of a start with none",
            unit="s",
            values=spent,
        ),
        row(
            suite="allocate",
            case=f"start with {services} Services: writes of Services",
            unit="count",
            values=written,
            budget=Budget(of="max", at_most=0),
        ),
        row(
            suite="steady",
            case=f"RSS of the allocator, {services} Services, after a start",
            unit="MiB",
            values=resting,
            budget=Budget(of="max", at_most=100),
        ),
        row(
            suite="steady",
            case=f"RSS of the allocator, {services} Services, after it allocated them",
            unit="MiB",
            values=[after_burst],
            budget=Budget(of="max", at_most=100),
        ),
    ]


async def dying(stage: Stage) -> list[Row]:
    """A node with 1,000 addresses dies, another one reports them: writes per Service, and the latency of single Services."""
    names = [f"dying-{number}" for number in range(ANNOUNCED)]
    async with observing(stage.client, NAMESPACE, links=False) as seen, stage.allocator():
        await create_all(stage.client, names, lb_class=None)
        await until("addresses for all", lambda: seen.all_served(names), within_s=WITHIN_S)
        async with _renewing(stage.client, NODES[1]), _renewing(stage.client, NODES[0]) as first_node:
            addresses = {seen.address(name) or "": f"{NAMESPACE}/{name}" for name in names}
            await _report(stage.client, NODES[1], {})
            await _report(stage.client, NODES[0], addresses)
            await until("Announced", lambda: all(seen.announced(name) for name in names), within_s=WITHIN_S)
            await until_quiet(seen)
            usual = [await single(stage.client, seen, f"usual-{number}") for number in range(SINGLES)]
            died_at = await first_node.stop()
            before = {name: len(seen.versions[name]) for name in names}
            await asyncio.sleep(max(0.0, died_at + LEASE_S + REPORTED_AFTER_S - time.perf_counter()))
            await _report(stage.client, NODES[1], addresses)
            meanwhile: list[float] = []
            while len(meanwhile) < SINGLES or any(len(seen.versions[name]) == before[name] for name in names):
                meanwhile.append(await single(stage.client, seen, f"meanwhile-{len(meanwhile)}"))
                if time.perf_counter() > died_at + WITHIN_S:
                    raise RuntimeError("the Services of the dead node were not told of its heir")
            await until_quiet(seen)
            counts = [float(len(seen.versions[name]) - before[name]) for name in names]
        await remove_all(stage.client, names)
        for node in NODES:
            await stage.client.delete(LEASES, node_lease(node), namespace=INSTALL_NAMESPACE)
            await stage.client.delete(LB_NODE_STATUSES, node, namespace=INSTALL_NAMESPACE)
    case = "one Service while 1000 are announced: POST answered to address"
    ratio = Ratio(to=case, value=round(percentile(meanwhile, 0.5) / percentile(usual, 0.5), 3))
    return [
        row(
            suite="allocate",
            case="a node with 1000 addresses dies: writes of a Service, on the API server",
            unit="count",
            values=counts,
            budget=Budget(of="max", at_most=1),
        ),
        row(suite="allocate", case=case, unit="ms", values=usual),
        row(
            suite="allocate",
            case="one Service while a node with 1000 addresses dies: POST answered to address",
            unit="ms",
            values=meanwhile,
            ratio=ratio,
            budget=Budget(of="ratio", at_most=2.0),
        ),
    ]


class _Renewed:
    """The lease of a played agent; `stop` answers when it was renewed for the last time."""

    def __init__(self) -> None:
        self.renewed_at = 0.0
        self._ended = False

    async def stop(self) -> float:
        self._ended = True
        return self.renewed_at

    async def run(self, client: ApiClient, node: str) -> None:
        while not self._ended:
            spec = {"spec": {"renewTime": _now()}}
            await client.patch(LEASES, node_lease(node), spec, kind=PatchType.MERGE, namespace=INSTALL_NAMESPACE)
            self.renewed_at = time.perf_counter()
            await asyncio.sleep(RENEWED_EVERY_S)


@asynccontextmanager
async def _renewing(client: ApiClient, node: str) -> AsyncIterator[_Renewed]:
    made = objects.lease(node, subnets=SUBNET, renewed=_now(), install_namespace=INSTALL_NAMESPACE)
    await client.create(LEASES, made, namespace=INSTALL_NAMESPACE)
    renewed = _Renewed()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(renewed.run(client, node))
        yield renewed
        task.cancel()


async def _report(client: ApiClient, node: str, addresses: dict[str, str]) -> None:
    made = objects.report(node, addresses, install_namespace=INSTALL_NAMESPACE)
    if addresses and node == NODES[1]:
        await client.patch(
            LB_NODE_STATUSES, node, {"status": made["status"]}, kind=PatchType.MERGE, namespace=INSTALL_NAMESPACE
        )
    else:
        await client.create(LB_NODE_STATUSES, made, namespace=INSTALL_NAMESPACE)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
