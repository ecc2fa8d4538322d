# SPDX-License-Identifier: Apache-2.0
"""What is measured, step by step. Each suite starts from the objects it makes and removes them.

The burst: Services that wait before the allocator starts, so that its rate is its own and not that of whoever creates them;
the bare client writes as many Services of the same shape, of another class, in the same run. `arriving`: the same number
while they are being created. `alone`: one Service at a time on an idle cluster; `beside`: the same while kube-controller-manager
reacts to it too. With an agent: `announcing`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import harmonic_mean
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from purelb.kube.client import ApiClient, PatchType
from purelb.kube.resources import EVENTS, NAMESPACES, NODES, SERVICES
from purelb.sandbox.bench import objects
from purelb.sandbox.bench.cable import far_end
from purelb.sandbox.bench.components import INSTALL_NAMESPACE, cpu_s, rss_mib, started
from purelb.sandbox.bench.neighbours import kube_controller_manager
from purelb.sandbox.bench.observer import Observer, observing, until
from purelb.sandbox.bench.overhearing import overhearing
from purelb.sandbox.bench.reaching import running
from purelb.sandbox.bench.results import Budget, Ratio, Row, percentile, row

if TYPE_CHECKING:
    import subprocess
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from purelb.sandbox.bench.overhearing import Overheard

NAMESPACE: Final = "bench"
NODE: Final = "bench"
NODE_ADDRESS: Final = "172.30.0.1"
NODE_ADDRESS6: Final = "fd00:30::1"
SUBNET: Final = "172.30.0.0/16"
FOREIGN_CLASS: Final = "bench.example/bare"
WRITERS: Final = 8
CREATORS: Final = 8
BURST: Final = 1000
ALONE: Final = "one Service, no agents: POST answered to address in the status"
ROUNDS: Final = 12  # of bursts, each beside one of the bare client: single ones of either differ by a fifth
# Measured in runs of their own on two such cores, not in this one: no budget is judged by them (`--peer` compares in one run).
ELSEWHERE: Final = {"PureLB (Go)": 1.7, "MetalLB": 100.0}
LOOKED_EVERY_S: Final = 0.1
QUIET_LOOKS: Final = 20  # in a row that show nothing new
ALLOCATOR_PORT: Final = 17472
AGENT_PORT: Final = 17473


class Stage(Struct, frozen=True, kw_only=True):
    """Where the suites run: an administrator's client, credentials for the components, a directory for logs.

    What runs there, and what can be seen there beside the API, is asked of it.
    """

    client: ApiClient
    server: str
    ca: str
    bare_token: str
    accounts: Mapping[str, Path]
    logs: Path

    def allocator(
        self, *, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[subprocess.Popen[bytes]]:
        return started(
            arguments=["allocator", f"--writers={WRITERS}"],
            server=self.server,
            account=self.accounts["allocator"],
            port=ALLOCATOR_PORT,
            log=self.logs / "allocator.log",
            env=env or {},
        )

    def agent(self) -> AbstractAsyncContextManager[subprocess.Popen[bytes]]:
        return started(
            arguments=["lbnodeagent", f"--node-name={NODE}"],
            server=self.server,
            account=self.accounts["lbnodeagent"],
            port=AGENT_PORT,
            log=self.logs / "lbnodeagent.log",
            env={},
        )

    def peer(self, command: Sequence[str], *, log: Path) -> AbstractAsyncContextManager[Process]:
        """A process of somebody else's, with our environment; its output is appended to `log`."""
        return running(command, log=log, env=os.environ)

    def observing(self, client: ApiClient, namespace: str) -> AbstractAsyncContextManager[Observer]:
        """Services of a cluster, and the addresses of this network namespace."""
        return observing(client, namespace, links=True)

    @contextmanager
    def overhearing(self) -> Iterator[Overheard]:
        """What is claimed on the node's LAN, heard at the other end of its cable."""
        with far_end(NODE_ADDRESS) as far, overhearing(far) as heard:
            yield heard


async def prepare(stage: Stage) -> None:
    """Namespace, node and pool."""
    client = stage.client
    await client.create(NAMESPACES, objects.namespace(NAMESPACE))
    made = objects.node(NODE, addresses=(NODE_ADDRESS, NODE_ADDRESS6))
    await client.create(NODES, made)
    await client.patch(NODES, NODE, {"status": made["status"]}, kind=PatchType.MERGE, subresource="status")
    group = json.dumps(objects.group(install_namespace=INSTALL_NAMESPACE)).encode()
    await client.raw(
        "POST", f"/apis/purelb.io/v2/namespaces/{INSTALL_NAMESPACE}/servicegroups", body=group, headers=JSON
    )


JSON: Final = (("Content-Type", "application/json"),)


async def burst(stage: Stage) -> list[Row]:
    """1,000 Services that wait when the allocator starts, against a bare client writing as many patches.

    While the API server collects its garbage both have half of their rate, and how much of that falls into one burst is chance. So the
    two are compared by all Services of all rounds over all of their seconds, and take turns in going first.
    """
    bare_names = [f"bare-{n}" for n in range(BURST)]
    names = [f"burst-{n}" for n in range(BURST)]
    async with observing(stage.client, NAMESPACE, links=False) as seen:
        bare: list[float] = []
        rates: list[float] = []
        events: list[float] = []
        writes: list[float] = []

        async def by_the_bare_client() -> None:
            await create_all(stage.client, bare_names, lb_class=FOREIGN_CLASS)
            await _bare(stage, bare_names, seen)
            await until("the bare client's writes", lambda: all(map(seen.address, bare_names)), within_s=30)
            bare.append(rate(seen.served(bare_names)))  # by the same watch as the allocator's: one yardstick
            await remove_all(stage.client, bare_names)

        async def by_the_allocator() -> None:
            await create_all(stage.client, names, lb_class=None)
            await until("the burst's Services", lambda: len(seen.versions.keys() & set(names)) == BURST, within_s=30)
            async with stage.allocator():
                before = await _events(stage.client)
                await until("addresses for the burst", lambda: len(seen.served(names)) == BURST, within_s=120)
                events.append(await _events(stage.client) - before)
                rates.append(rate(seen.served(names)))
                await until_quiet(seen)
                writes.extend(float(len(seen.versions[name]) - 1) for name in names)
            await remove_all(stage.client, names)

        for number in range(ROUNDS):
            first, second = (by_the_bare_client, by_the_allocator)[:: 1 if number % 2 else -1]
            await first()
            await second()
            seen.versions.clear()
    middle = percentile(rates, 0.5)
    ratio = Ratio(to="bare PATCH rate", value=round(harmonic_mean(rates) / harmonic_mean(bare), 4))
    return [
        row(suite="allocate", case="bare client, PATCHes", unit="1/s", values=bare),
        row(
            suite="allocate",
            case="burst of 1000 waiting Services",
            unit="1/s",
            values=rates,
            ratio=ratio,
            budget=Budget(of="ratio", at_least=0.85),
        ),
        row(
            suite="allocate",
            case="writes of a Service per allocation",
            unit="count",
            values=writes,
            budget=Budget(of="max", at_most=1),
        ),
        *(
            row(
                suite="allocate",
                case=f"burst of 1000 waiting Services, as a multiple of {name}",
                unit="1/s",
                values=rates,
                ratio=Ratio(to=f"{name}, {rate:g}/s on such a machine", value=round(middle / rate, 1)),
            )
            for name, rate in ELSEWHERE.items()
        ),
        row(suite="allocate", case="Events written before a burst's last address", unit="count", values=events),
    ]


async def arriving(stage: Stage) -> list[Row]:
    """1,000 Services while eight clients create them: from the first POST to the last address."""
    names = [f"arriving-{n}" for n in range(BURST)]
    async with observing(stage.client, NAMESPACE, links=False) as seen:
        async with stage.allocator() as process:
            before = cpu_s(process.pid)
            began = time.perf_counter()
            await create_all(stage.client, names, lb_class=None)
            created = time.perf_counter() - began
            await until("addresses for the arriving", lambda: seen.all_served(names), within_s=120)
            took = max(seen.served(names)) - began
            await until_quiet(seen)
            cpu = (cpu_s(process.pid) - before) * 1000 / BURST
        await remove_all(stage.client, names)
    return [
        row(
            suite="allocate", case="1000 Services created by 8 clients: last POST answered", unit="s", values=[created]
        ),
        row(suite="allocate", case="1000 Services created by 8 clients: last address seen", unit="s", values=[took]),
        row(suite="allocate", case="CPU of the allocator per Service, Event included", unit="ms", values=[cpu]),
    ]


async def alone(stage: Stage, *, trials: int) -> list[Row]:
    """One Service at a time and nobody but the allocator: POST answered to address in the status."""
    times = await _one_by_one(stage, "alone", trials=trials)
    return [
        row(suite="allocate", case=ALONE, unit="ms", values=times, budget=Budget(of="p50", at_most=5.0)),
        row(
            suite="allocate",
            case=f"{ALONE}, the slow ones",
            unit="ms",
            values=times,
            budget=Budget(of="p95", at_most=11.0),
        ),
    ]


async def beside(stage: Stage, *, binary: Path | None, kubeconfig: str, trials: int) -> list[Row]:
    """The same beside the real kube-controller-manager (`binary`), which writes the endpoints of each Service meanwhile."""
    if binary is None:
        raise RuntimeError("it needs --kube-controller-manager PATH, its binary; hack/bench gives it")
    log = stage.logs / "kube-controller-manager.log"
    async with kube_controller_manager(
        binary, kubeconfig=kubeconfig, client=stage.client, namespace=NAMESPACE, log=log
    ):
        times = await _one_by_one(stage, "beside", trials=trials)
    return [row(suite="allocate", case=f"beside kube-controller-manager: {ALONE}", unit="ms", values=times)]


async def _one_by_one(stage: Stage, prefix: str, *, trials: int) -> list[float]:
    """From the answer to each POST to the address, ms."""
    times: list[float] = []
    async with observing(stage.client, NAMESPACE, links=False) as seen, stage.allocator():
        for n in range(trials):
            times.append(await single(stage.client, seen, f"{prefix}-{n}", within_s=10.0))
            await asyncio.sleep(0.1)
    return times


async def single(client: ApiClient, seen: Observer, name: str, *, within_s: float = 60.0) -> float:
    """Create a Service and delete it again: from the answer to the POST until its address is seen, ms."""
    await client.create(SERVICES, objects.service(name, lb_class=None), namespace=NAMESPACE)
    answered = time.perf_counter()
    await until(f"an address for {name}", lambda: seen.served_at(name) is not None, within_s=within_s)
    await client.delete(SERVICES, name, namespace=NAMESPACE)
    return ((seen.served_at(name) or 0.0) - answered) * 1000


async def steady(stage: Stage) -> list[Row]:
    """Memory of both processes with 1,000 Services announced, and that a cluster at rest is not written to."""
    names = [f"steady-{n}" for n in range(BURST)]
    async with (
        observing(stage.client, NAMESPACE, links=True) as seen,
        stage.allocator() as allocator,
        stage.agent() as agent,
    ):
        before = (cpu_s(allocator.pid), cpu_s(agent.pid))
        began = time.perf_counter()
        await create_all(stage.client, names, lb_class=None)
        await until("1000 addresses", lambda: seen.all_served(names), within_s=120)
        wanted = {seen.address(name) for name in names}
        await until("1000 addresses on the NIC", lambda: wanted <= seen.addresses.keys(), within_s=120)
        on_nic = max(at for address, at in seen.addresses.items() if address in wanted) - began
        await until("Announced", lambda: all(seen.announced(name) for name in names), within_s=120)
        await until_quiet(seen)
        per_service = [float(len(seen.versions[name]) - 1) for name in names]
        cpu = (cpu_s(allocator.pid), cpu_s(agent.pid))
        each = [(now - then) * 1000 / BURST for now, then in zip(cpu, before, strict=True)]
        versions = seen.writes()
        await asyncio.sleep(10)
        rest = ((cpu_s(allocator.pid) - cpu[0]) * 100, (cpu_s(agent.pid) - cpu[1]) * 100)
        late = seen.writes() - versions
        memory = (rss_mib(allocator.pid), rss_mib(agent.pid))
        await remove_all(stage.client, names)
    return [
        row(suite="announce", case="1000 Services created at once: all on the interface", unit="s", values=[on_nic]),
        row(
            suite="steady",
            case="writes of a Service, Announced included",
            unit="count",
            values=per_service,
            budget=Budget(of="p95", at_most=2),
        ),
        row(
            suite="steady",
            case="writes of Services in 10 s at rest",
            unit="count",
            values=[float(late)],
            budget=Budget(of="max", at_most=0),
        ),
        row(suite="steady", case="CPU of the allocator per Service, to Announced", unit="ms", values=[each[0]]),
        row(suite="steady", case="CPU of the agent per Service, to Announced", unit="ms", values=[each[1]]),
        row(suite="steady", case="RSS of the allocator, 1000 Services", unit="MiB", values=[memory[0]]),
        row(suite="steady", case="RSS of the agent, 1000 Services", unit="MiB", values=[memory[1]]),
        row(suite="steady", case="CPU of the allocator at rest, ms per second", unit="ms", values=[rest[0]]),
        row(
            suite="steady",
            case="CPU of the agent at rest with 1000 addresses, ms per second",
            unit="ms",
            values=[rest[1]],
        ),
    ]


async def until_quiet(seen: Observer, *, looks: int = QUIET_LOOKS, within_s: float = 60.0) -> None:
    """Wait until so many looks in a row, ten of them a second, have shown no change of a Service.

    Looks are counted, not seconds: who was held up himself has not seen silence.
    """
    began = time.perf_counter()
    count, same = seen.writes(), 0
    while same < looks:
        if time.perf_counter() - began > within_s:
            raise RuntimeError(f"Services were still being written after {within_s:g} s")
        await asyncio.sleep(LOOKED_EVERY_S)
        now = seen.writes()
        count, same = now, same + 1 if now == count else 0


async def in_parallel(names: list[str], work: Callable[[str], Awaitable[object]]) -> None:
    """Do `work` for each name, eight at a time."""
    left = deque(names)

    async def worker() -> None:
        while left:
            await work(left.popleft())

    async with asyncio.TaskGroup() as group:
        for _ in range(CREATORS):
            group.create_task(worker())


async def create_all(client: ApiClient, names: list[str], *, lb_class: str | None, namespace: str = NAMESPACE) -> None:
    """Create Services, eight at a time."""
    await in_parallel(
        names, lambda name: client.create(SERVICES, objects.service(name, lb_class=lb_class), namespace=namespace)
    )


async def remove_all(client: ApiClient, names: list[str], *, namespace: str = NAMESPACE) -> None:
    """Delete Services, eight at a time."""
    await in_parallel(names, lambda name: client.delete(SERVICES, name, namespace=namespace))


async def emptied(client: ApiClient, namespace: str) -> None:
    """Delete every Service there is. One by one: the server answers for a collection of 10,000 later than a client waits."""
    names = [
        each.metadata.name async for page in client.list_pages(SERVICES, namespace=namespace) for each in page.objects
    ]
    await remove_all(client, names, namespace=namespace)


async def _bare(stage: Stage, names: list[str], seen: Observer) -> None:
    await until("the bare client's Services", lambda: len(seen.versions.keys() & set(names)) == len(names), within_s=30)
    request: dict[str, Any] = {
        "server": stage.server,
        "ca": stage.ca,
        "token": stage.bare_token,
        "workers": WRITERS,
        "patches": list(_patches(names, seen)),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "purelb.sandbox.bench.bare",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    await process.communicate(json.dumps(request).encode())
    if process.returncode:
        raise RuntimeError("the bare client failed; its trace is above")


def _patches(names: list[str], seen: Observer) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for n, name in enumerate(names):
        rv = seen.versions[name][-1].rv
        address = f"172.31.{n // 250}.{n % 250 + 1}"
        path = SERVICES.path(NAMESPACE, name, "status")
        yield path, objects.status_patch(address, rv=rv, at="2026-01-01T00:00:00Z")


def rate(at: list[float]) -> float:
    """Events per second between the first and the last of these instants."""
    return (len(at) - 1) / (max(at) - min(at))


async def _events(client: ApiClient) -> float:
    """How many Events there are in the benchmark's namespace."""
    path = EVENTS.path(NAMESPACE)
    answer = await client.raw("GET", path, query=(("limit", "1"),))
    listed = json.loads(answer.body)
    return float(len(listed["items"]) + listed["metadata"].get("remainingItemCount", 0))
