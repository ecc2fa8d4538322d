# SPDX-License-Identifier: Apache-2.0
"""Whole agents in one process: the embedded API server, a link that carries their frames, kernels that follow the model.

Time is virtual. `Lan.answering` is what a client on the link would find: the hosts whose kernel has an address now. A kernel
drops an address when its lifetime ends, tells of it, and goes on when its agent is gone, as a real one does.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING, Any

from purelb.api.kinds import LB_NODE_AGENTS, LB_NODE_STATUSES, SERVICE_GROUPS
from purelb.kube.access import fixed_access
from purelb.kube.errors import TransportError
from purelb.kube.resources import LEASES, NODES, SERVICES
from purelb.lbnodeagent.host import (
    TAG,
    Address,
    AddressAdded,
    AddressGone,
    DeleteAddress,
    Interface,
    KernelEvent,
    KernelState,
    LinkChanged,
    MakeLink,
    Op,
    OpResult,
    RemoveLink,
    Route,
    Seen,
    SetAddress,
)
from purelb.lbnodeagent.main import Agent, AgentSettings, Deps
from purelb.net.frames import claimed
from purelb.sandbox.apiserver.exchange import ApiResponse, Watcher
from tests.installed import CountingSink, Installed, Recording
from tests.lbnodeagent.kernel_model import ModelKernel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from purelb.kube.transport import Request

INSTALL = "purelb"


class Host:
    """A node's kernel and network card. One per node; agents come and go."""

    def __init__(self, lan: Lan, number: int) -> None:
        self.lan = lan
        self.name = f"n{number}"
        self.mac = bytes((2, 0, 0, 0, 0, number))
        self.model = ModelKernel(promotes=True)
        self.interfaces = {
            1: Interface(index=1, name="lo", up=True, carrier=True, loopback=True),
            2: Interface(index=2, name="eth0", up=True, carrier=True, mac=self.mac),
        }
        self.routes: tuple[Route, ...] = (
            Route(family=4, network=None, hops=(2,), gateways=(ip_address("192.0.2.1"),)),
        )
        self.give(f"192.0.2.{200 + number}/24")
        self.events_: asyncio.Queue[KernelEvent] | None = None
        self.frames_: asyncio.Queue[Seen] | None = None
        self.listening: dict[int, bytes] = {}
        self.sent: list[bytes] = []
        self.log: list[tuple[float, str, str]] = []
        self.refuse: dict[str, str] = {}
        self.interrupted = 0
        self.connected = True
        self.returns_tags = True
        self.settings: dict[str, int] = {"ipv6/conf/eth0/disable_ipv6": 0}

    def give(self, text: str, *, ifindex: int = 2) -> None:
        """An address by somebody else's hand."""
        found = ip_interface(text)
        address = Address(ip=found.ip, prefixlen=found.network.prefixlen, ifindex=ifindex)
        self.model.addresses[address.key] = address

    def has(self, ip: str) -> bool:
        self.expire()
        return any(str(key[0]) == ip for key in self.model.addresses)

    def present(self, ip: str) -> bool:
        """As `has`, without a look at the clock."""
        return any(str(key[0]) == ip for key in self.model.addresses)

    def foreign(self) -> frozenset[Address]:
        """The addresses that carry no tag of ours."""
        return frozenset(found for found in self.model.addresses.values() if found.proto != TAG)

    def take_away(self, ip: str) -> None:
        """A foreign hand deletes an address."""
        for key in [key for key in self.model.addresses if str(key[0]) == ip]:
            self._tell(AddressGone(self.model.addresses.pop(key)))

    def set_link(self, index: int = 2, **changes: Any) -> None:
        from msgspec.structs import replace

        self.interfaces[index] = replace(self.interfaces[index], **changes)
        self._tell(LinkChanged(self.interfaces[index]))

    def expire(self) -> None:
        now = self.lan.clock.now()
        for key, address in list(self.model.addresses.items()):
            if address.ends_at is not None and address.ends_at <= now:
                self._tell(AddressGone(self.model.addresses.pop(key)))

    def _tell(self, event: KernelEvent) -> None:
        self.lan.changed(self)
        if self.events_ is not None:
            self.events_.put_nowait(event)

    # host.Kernel

    async def dump(self) -> KernelState:
        if self.interrupted > 0:
            self.interrupted -= 1
            raise OSError(11, "the kernel interrupted 5 dumps in a row")
        self.expire()
        return KernelState(
            interfaces=tuple(self.interfaces.values()),
            addresses=tuple(self.model.addresses.values()),
            routes=self.routes,
        )

    def setting(self, name: str) -> int | None:
        return self.settings.get(name, 1)

    async def events(self) -> AsyncIterator[KernelEvent]:
        assert self.events_ is not None
        while True:
            yield await self.events_.get()

    async def apply(self, ops: Sequence[Op]) -> Sequence[OpResult]:
        return [self._apply(op) for op in ops]

    def _apply(self, op: Op) -> OpResult:
        self.expire()
        now = self.lan.clock.now()
        if isinstance(op, MakeLink):
            if op.kind in self.refuse:
                return OpResult(op, self.refuse[op.kind])
            index = max(self.interfaces) + 1
            self.interfaces[index] = Interface(
                index=index, name=op.name, up=True, carrier=True, kind=op.kind, alias="purelb", promotes=True
            )
            return OpResult(op)
        if isinstance(op, RemoveLink):
            del self.interfaces[op.ifindex]
            return OpResult(op)
        if str(op.ip) in self.refuse and isinstance(op, SetAddress):
            return OpResult(op, self.refuse[str(op.ip)])
        before = self.model.addresses.get((op.ip, op.prefixlen, op.ifindex))
        result = self.model.apply(op, now)
        if result.error is None:
            self.log.append((now, op.verb, str(op.ip)))
            if isinstance(op, DeleteAddress):
                assert before is not None
                self._tell(AddressGone(before))
            else:
                self._tell(AddressAdded(self.model.addresses[op.ip, op.prefixlen, op.ifindex]))
        return result

    # host.Wire

    def use(self, interfaces: Mapping[int, bytes]) -> None:
        self.listening = dict(interfaces)

    def send(self, ifindex: int, frame: bytes) -> str | None:
        if ifindex not in self.listening:
            return "ENODEV"
        self.sent.append(frame)
        self.lan.carry(self, frame)
        return None

    async def frames(self) -> AsyncIterator[Seen]:
        assert self.frames_ is not None
        while True:
            yield await self.frames_.get()

    def hear(self, frame: bytes) -> None:
        found = claimed(frame, own=frozenset({self.mac}))
        if found is not None and self.frames_ is not None and 2 in self.listening:
            self.frames_.put_nowait(Seen(2, found.ip, found.mac, found.solicited))

    def close(self) -> None:
        self.events_ = self.frames_ = None
        self.listening = {}

    def opened(self) -> tuple[Host, Host]:
        self.events_, self.frames_ = asyncio.Queue(), asyncio.Queue()
        return self, self


class Broken(Recording):
    """An API server that can be away: nobody listens, and what was open is cut."""

    lan: Lan
    dead = False  # the process that used it is no more

    def _handle(self, request: Request) -> ApiResponse | Watcher:
        made = super()._handle(request)
        if isinstance(made, Watcher):
            self.lan.streams = [open_ for open_ in self.lan.streams if not open_.ended] + [made]
        return made

    async def exchange(self, request: Any) -> Any:
        await self._reach()
        return await super().exchange(request)

    @asynccontextmanager
    async def stream(self, request: Any) -> AsyncIterator[Any]:
        await self._reach()
        async with super().stream(request) as found:
            yield found

    async def _reach(self) -> None:
        if self.lan.api_down or self.dead:
            raise TransportError("refused", "as if")


class Lan(Installed):
    """The cluster. Use `agent()` for one that leaves in order, `start` and `kill` for others."""

    def __init__(self, nodes: int = 3) -> None:
        super().__init__(INSTALL)
        self.hosts = [Host(self, number) for number in range(1, nodes + 1)]
        self.sinks = {host.name: CountingSink() for host in self.hosts}
        self.writes: dict[str, list[tuple[str, str]]] = {host.name: [] for host in self.hosts}
        self.streams: list[Watcher] = []
        self._api_down = False
        self.deaf = False

    @property
    def api_down(self) -> bool:
        return self._api_down

    @api_down.setter
    def api_down(self, away: bool) -> None:
        self._api_down = away
        for stream in self.streams if away else ():
            stream.close()
            stream.aborted = True
            stream.ring()

    async def prepare(self, **config: Any) -> None:
        await self.install()
        for host in self.hosts:
            await self.create(NODES, {"metadata": {"name": host.name}})
        await self.create(LB_NODE_AGENTS, {"metadata": {"name": "default"}, "spec": {"local": config}}, INSTALL)
        pool = {"pool": "192.0.2.10-192.0.2.99", "subnet": "192.0.2.0/24"}
        await self.create(SERVICE_GROUPS, {"metadata": {"name": "lan"}, "spec": {"local": {"v4pool": pool}}}, INSTALL)
        far = {"pool": "198.51.100.0/24", "subnet": "198.51.100.0/24"}
        await self.create(SERVICE_GROUPS, {"metadata": {"name": "wan"}, "spec": {"remote": {"v4pool": far}}}, INSTALL)

    async def serve(self, name: str, *ips: str, group: str = "lan", policy: str = "Cluster", **notes: str) -> None:
        """A Service as the allocator leaves it."""
        pool_type = "local" if group == "lan" else "remote"
        written = {"allocated-by": "PureLB", "allocated-from": group, "pool-type": pool_type}
        written |= {key.replace("_", "-"): value for key, value in notes.items()}
        body = {
            "metadata": {"name": name, "annotations": {f"purelb.io/{key}": value for key, value in written.items()}},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "externalTrafficPolicy": policy},
        }
        await self.create(SERVICES, body, "shop")
        ingress = [{"ip": ip, "ipMode": "VIP"} for ip in ips]
        status = {"status": {"loadBalancer": {"ingress": ingress}}}
        await self.patch(SERVICES, name, status, "shop", subresource="status")

    async def fold(self) -> None:
        """What the allocator does with the reports: who announces is written to the Services."""
        found: dict[str, list[str]] = {}
        async for page in self.admin.list_pages(LB_NODE_STATUSES, namespace=INSTALL):
            for report in page.objects:
                for entry in (report.status.announced if report.status else ()) or ():
                    for service in entry.services or ():
                        found.setdefault(service, []).append(f"{report.metadata.name},{entry.interface},{entry.ip}")
        async for services in self.admin.list_pages(SERVICES, namespace="shop"):
            for item in services.objects:
                name = item.metadata.name
                text = " ".join(sorted(found.get(f"shop/{name}", [])))
                note = {"metadata": {"annotations": {"purelb.io/announcing-IPv4": text or None}}}
                await self.patch(SERVICES, name, note, "shop")

    async def report(self, node: str) -> Any:
        return (await self.admin.get(LB_NODE_STATUSES, node, namespace=INSTALL)).status

    async def lease(self, node: str) -> Any:
        return await self.admin.get(LEASES, f"purelb-node-{node}", namespace=INSTALL)

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def carry(self, sender: Host, frame: bytes) -> None:
        if self.deaf or not sender.connected:
            return
        for host in self.hosts:
            if host is not sender and host.connected:
                host.hear(frame)

    def changed(self, host: Host) -> None:
        """Called at each change in a kernel; for those who want to see every moment."""

    def answering(self, ip: str) -> list[str]:
        """Who answers for an address on the link."""
        return [host.name for host in self.hosts if host.has(ip)]

    def transport(self, writes: list[tuple[str, str]]) -> Broken:
        """A way to the API server that breaks with `api_down`; what is sent over it is kept in `writes`."""
        made = Broken(self.core, clock=self.clock)
        made.lan, made.writes = self, writes
        return made

    def component(self, name: str, **settings: Any) -> Agent:
        wanted = AgentSettings(**{"namespace": INSTALL, "node_name": name, "pod_uid": f"uid-{name}", **settings})
        return Agent(
            wanted,
            Deps(
                clock=self.clock,
                sink=self.sinks[name],
                access=fixed_access("http://memory"),
                transport=self.transport(self.writes[name]),
                host=self.host(name).opened,
            ),
        )

    @asynccontextmanager
    async def running(self, *names: str, **settings: Any) -> AsyncIterator[Crew]:
        """Agents of these nodes (all if none is named); those that still run are cancelled at the end."""
        async with asyncio.TaskGroup() as group:
            crew = Crew(self, group, settings)
            group.create_task(self._kernels_live(), name="kernels")
            for name in names or tuple(host.name for host in self.hosts):
                crew.start(name)
            await self.clock.advance(3.0)
            try:
                yield crew
            finally:
                crew.end()

    async def _kernels_live(self) -> None:
        while True:
            for host in self.hosts:
                host.expire()
            await self.clock.until(self.clock.now() + 0.25)


class Crew:
    """Agents that run."""

    def __init__(self, lan: Lan, group: asyncio.TaskGroup, settings: dict[str, Any]) -> None:
        self.lan = lan
        self.agents: dict[str, Agent] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._group = group
        self._settings = settings

    def start(self, name: str, **settings: Any) -> Agent:
        agent = self.lan.component(name, **{**self._settings, **settings})
        self.agents[name] = agent
        self.tasks[name] = self._group.create_task(agent.run(), name=f"agent-{name}")
        return agent

    async def kill(self, name: str) -> None:
        """As SIGKILL: no last word, the kernel keeps what it has."""
        self.tasks[name].cancel()
        await asyncio.wait({self.tasks[name]})

    async def leave(self, name: str) -> None:
        """As SIGTERM; returns when it is gone."""
        self.agents[name].stop()
        await self.lan.clock.run_until(self.tasks[name].done, within=30.0)

    def end(self) -> None:
        for task in asyncio.all_tasks():
            if task.get_name() == "kernels" or task in self.tasks.values():
                task.cancel()
