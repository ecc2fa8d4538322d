# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.cluster.supervisor JSON`: the process that is a sandbox.

It makes itself the first process of fresh namespaces, builds the rig, serves the API, starts every program and keeps it running. Nothing it makes has a
name outside, so its end, however it comes, is the end of everything: there is no clean-up code, because clean-up code does not run when one is killed.

Order: namespaces and links, API server, objects that precede pods, backends and proxies, components. Each step is told on the report pipe as
one JSON line (`{"step": ..., "seconds": ...}`), and at last `{"ready": true}` or `{"failed": ...}`. The sandbox ends when the other end of its lifeline
is closed, which the kernel does for whoever held it, unless a byte came through before: then it lives until it is told to stop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.sandbox.cluster.breakage import Breakage
from purelb.sandbox.cluster.control import application, shown
from purelb.sandbox.cluster.keeper import Keeper, Reaper
from purelb.sandbox.cluster.kubelet import Kubelet
from purelb.sandbox.cluster.probe_results import ProbeResults
from purelb.sandbox.cluster.programs import API_PORT, Program, ProxyKind, layout, programs, url
from purelb.sandbox.cluster.server import Api, admin_access, running
from purelb.sandbox.cluster.shipped import install
from purelb.sandbox.cluster.state import StateDirectory
from purelb.sandbox.rig import namespaces as ns
from purelb.sandbox.rig.holders import Holders
from purelb.sandbox.rig.kernels import KernelWatch
from purelb.sandbox.rig.links import LinkKinds, Rig, build, probe_kinds
from purelb.sandbox.rig.topology import Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to build, and the descriptors that were inherited: listening sockets, report pipe, lifeline."""

    name: str
    home: str
    shape: Shape
    proxy: ProxyKind
    api_socket: int
    control_socket: int
    report: int
    lifeline: int


class Report:
    """Tells whoever started us how far we are."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._since = time.monotonic()

    def step(self, name: str) -> None:
        now = time.monotonic()
        self._tell(step=name, seconds=round(now - self._since, 3))
        self._since = now

    def end(self, **last: object) -> None:
        self._tell(**last)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _tell(self, **what: object) -> None:
        if self._descriptor is None:
            return
        with suppress(BrokenPipeError):  # nobody listens any more: the log has it all
            os.write(self._descriptor, json.dumps(what).encode() + b"\n")


class Supervisor:
    def __init__(self, order: Order, rig: Rig, kinds: LinkKinds, report: Report) -> None:
        self._order = order
        self._rig = rig
        self._kinds = kinds
        self._report = report
        self._state = StateDirectory(order.name, home=Path(order.home))
        self._holders = Holders()
        self._probes = ProbeResults()
        self._keepers: dict[str, Keeper] = {}
        self._stopping = asyncio.Queue[None](maxsize=1)
        self._kubelet: Kubelet | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_reader(self._order.lifeline, self._heard_from_starter)
        watch = KernelWatch(self._rig.topology, self._rig.networks, self._holders)
        watch.attach(loop)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(self._serve(Reaper(loop), watch), name="sandbox:serve")
            await self._stopping.get()
            serving.cancel()
        watch.close()

    def _heard_from_starter(self) -> None:
        asyncio.get_running_loop().remove_reader(self._order.lifeline)
        if not os.read(self._order.lifeline, 1):
            self.stop()

    def stop(self) -> None:
        if self._stopping.empty():
            self._stopping.put_nowait(None)

    async def _serve(self, reaper: Reaper, watch: KernelWatch) -> None:
        host = socket.socket(fileno=self._order.api_socket)
        topology = self._rig.topology
        family = socket.AF_INET6 if topology.api.version == 6 else socket.AF_INET
        inside = socket.create_server((str(topology.api), API_PORT), family=family, backlog=128)
        clock = SystemClock()
        async with running([host, inside], self._state.scratch / "keys", topology=topology) as api:
            api.write_kubeconfig(self._state.kubeconfig, server=f"https://127.0.0.1:{host.getsockname()[1]}")
            access = admin_access(self._state.kubeconfig.read_bytes(), server=url("https", topology.api, API_PORT))
            async with ApiClient(access, user_agent="purelb-sandbox", clock=clock) as client:
                await client.raw("GET", "/version")
                self._report.step("api")
                await install(client, topology, dummy_kind=self._kinds.dummy)
                self._report.step("nodes")
                breakage = Breakage(self._rig, self._keepers, watch=watch, reaper=reaper)
                kubelet = Kubelet(client, topology, self._keepers, clock=clock, reaches_api=breakage.reaches_api)
                self._kubelet = kubelet
                await self._make_keepers(api, reaper, kubelet)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._control(breakage, api), name="sandbox:control")
                    group.create_task(breakage.run(), name="sandbox:breakage")
                    for keeper in self._keepers.values():
                        group.create_task(keeper.run(), name=f"sandbox:{keeper.program.pod}")
                    group.create_task(kubelet.run(), name="sandbox:kubelet")
                    self._report.step("started")
                    await self._all_ready()
                    self._report.step("ready")
                    self._report.end(ready=True)

    async def _make_keepers(self, api: Api, reaper: Reaper, kubelet: Kubelet) -> None:
        """Pod and files first: what a program finds when it starts is complete."""
        for program in programs(self._rig.topology, proxy=self._order.proxy):
            uid = await kubelet.admit(program)
            self._keepers[program.pod] = Keeper(
                program,
                uid=uid,
                network=self._rig.networks[program.room],
                account=None if program.account is None else self._account(api, program, uid),
                log=self._state.logs / f"{program.pod}.log",
                reaper=reaper,
                changed=kubelet.changed,
            )

    def _account(self, api: Api, program: Program, uid: str) -> Path:
        """A directory with the token, the authority and the namespace of the program's account."""
        directory = self._state.scratch / "accounts" / program.pod
        directory.mkdir(parents=True)
        (directory / "token").write_text(api.token(program, pod_uid=uid), encoding="ascii")
        (directory / "ca.crt").write_bytes(api.ca_pem)
        (directory / "namespace").write_text(program.namespace, encoding="ascii")
        return directory

    def _rotate(self, api: Api, keeper: Keeper) -> bool:
        """Give the program's account a new token and take the old one back; False if it has none. Readers see one or the other."""
        if keeper.account is None:
            return False
        path = keeper.account / "token"
        old = path.read_text(encoding="ascii")
        fresh = path.with_name("token.new")
        fresh.write_text(api.token(keeper.program, pod_uid=keeper.uid), encoding="ascii")
        fresh.replace(path)
        api.revoke(old)
        return True

    async def _all_ready(self) -> None:
        while not all(keeper.state.ready for keeper in self._keepers.values()):
            await asyncio.sleep(0.02)  # whoever waits for us has the deadline

    async def _control(self, breakage: Breakage, api: Api) -> None:
        app = application(
            status=lambda: {**self._status(), "faults": breakage.in_force(), "apiFaults": shown(api.faults)},
            holders=self._holders,
            pods=self._keepers,
            breakage=breakage,
            faults=api.faults,
            probes=self._probes,
            rotate=partial(self._rotate, api),
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            sock = socket.socket(fileno=self._order.control_socket)
            await web.SockSite(runner, sock).start()
            await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            await runner.cleanup()

    def _status(self) -> Mapping[str, Any]:
        topology = self._rig.topology
        services = self._kubelet.shown() if self._kubelet is not None else ()
        return {
            "name": self._order.name,
            "kubeconfig": str(self._state.kubeconfig),
            "dummy": self._kinds.dummy,
            "proxy": self._order.proxy,
            "networks": self._rig.networks,
            "shape": topology.shape,
            "subnets": [
                {"number": one.number, "networks": [str(network) for network in one.networks], "pools": one.pools}
                for one in topology.subnets
            ],
            "nodes": [
                {
                    "name": node.name,
                    "subnets": [nic.subnet.number for nic in node.nics],
                    "addresses": [str(address) for nic in node.nics for address in nic.addresses],
                }
                for node in topology.nodes
            ],
            "pods": [
                {
                    "name": name,
                    "namespace": keeper.program.namespace,
                    "node": keeper.program.node,
                    "room": keeper.program.room,
                    "held": keeper.held,
                    **msgspec.to_builtins(keeper.state),
                }
                for name, keeper in self._keepers.items()
            ],
            "services": services,
            "holders": self._holders.now(),
            "probes": self._probes.shown(now=time.monotonic()),
        }


def live(order: Order) -> int:
    """The whole life of a sandbox, as PID 1."""
    report = Report(order.report)
    try:
        with socket.socket(fileno=os.dup(order.control_socket)) as control:
            control.listen(16)  # from here on the kernel names us as the one behind this socket
        scratch = StateDirectory(order.name, home=Path(order.home)).scratch
        ns.mount("tmpfs", scratch, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=700,size=8m")
        kinds = probe_kinds()
        rig = build(layout(order.shape))
        report.step("namespaces")
        asyncio.run(Supervisor(order, rig, kinds, report).run())
    except BaseException as error:
        report.end(failed=_why(error))
        raise
    return 0


def _why(error: BaseException) -> str:
    """The innermost reason, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def main() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    order = msgspec.json.decode(sys.argv[1], type=Order)
    pid = ns.in_fresh_namespaces(lambda: live(order), hostname=f"purelb-{order.name}")
    Report(order.report).end(pid=pid)  # as the starter sees it


if __name__ == "__main__":
    main()
