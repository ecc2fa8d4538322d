# SPDX-License-Identifier: Apache-2.0
"""An agent that can be frozen, as by SIGSTOP, while its kernel, its peers and the API server go on.

What would wake it is held back and comes all at once at the thaw: timers, answers, kernel events, frames. Nothing that was
under way is lost and nothing is told of the pause, as for a process.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from purelb.kube.access import fixed_access
from purelb.kube.errors import TransportError
from purelb.lbnodeagent.main import Agent, AgentSettings, Deps
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.lbnodeagent.lan import INSTALL, Host, Lan
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class FreezableClock(VirtualClock):
    """The time of `base`, whose timers do not fire here while it is frozen."""

    def __init__(self, base: VirtualClock) -> None:
        super().__init__(chance=0.5)
        self.frozen = False
        self._base = base
        self._late: list[Callable[[], None]] = []
        self._held: list[asyncio.Future[None]] = []

    def now(self) -> float:
        return self._base.now()

    def wall(self) -> Any:
        return self._base.wall()

    async def until(self, deadline: float) -> None:
        self._now = self._base.now()
        await super().until(deadline)

    def _at(self, deadline: float, call: Callable[[], None]) -> Any:
        return self._base._at(deadline, lambda: self._late.append(call) if self.frozen else call())

    def _forget(self, timer: Any) -> None:
        self._base._forget(timer)

    async def thawed(self) -> None:
        """What came from outside waits here."""
        while self.frozen:
            held = asyncio.get_running_loop().create_future()
            self._held.append(held)
            await held

    def thaw(self) -> None:
        self.frozen = False
        late, self._late = self._late, []
        for call in late:
            call()
        held, self._held = self._held, []
        for future in held:
            if not future.done():
                future.set_result(None)


class _Chunks:
    def __init__(self, inner: Any, clock: FreezableClock) -> None:
        self._inner, self._clock = inner, clock
        self.status, self.headers = inner.status, inner.headers

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        chunk: bytes = await self._inner.__anext__()
        await self._clock.thawed()
        return chunk


class FreezableTransport(MemoryTransport):
    """Answers wait for the thaw. While the API is away nobody listens; watches that are open stay open, and silent or not."""

    lan: Lan
    freezes: FreezableClock

    def _reach(self) -> None:
        if self.lan.api_down:
            raise TransportError("refused", "as if")

    async def exchange(self, request: Any) -> Any:
        self._reach()
        answer = await super().exchange(request)
        await self.freezes.thawed()
        return answer

    @asynccontextmanager
    async def stream(self, request: Any) -> AsyncIterator[Any]:
        self._reach()
        async with super().stream(request) as found:
            await self.freezes.thawed()
            yield _Chunks(found, self.freezes)


class FreezableHost:
    """Kernel and wire of a host; what they tell waits for the thaw."""

    def __init__(self, host: Host, clock: FreezableClock) -> None:
        self._host, self._clock = host, clock
        self.returns_tags = host.returns_tags

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    async def events(self) -> AsyncIterator[Any]:
        async for event in self._host.events():
            await self._clock.thawed()
            yield event

    async def frames(self) -> AsyncIterator[Any]:
        async for seen in self._host.frames():
            await self._clock.thawed()
            yield seen


class FreezingLan(Lan):
    """Every agent of it can be frozen."""

    def __init__(self, nodes: int = 3) -> None:
        super().__init__(nodes)
        self.clocks = {host.name: FreezableClock(self.clock) for host in self.hosts}

    def component(self, name: str, **settings: Any) -> Agent:
        transport = FreezableTransport(self.core, clock=self.clock)
        transport.lan, transport.freezes = self, self.clocks[name]
        clock = self.clocks[name]
        host = self.host(name)

        def opened() -> Any:
            host.opened()
            both = FreezableHost(host, clock)
            return both, both

        wanted = AgentSettings(**{"namespace": INSTALL, "node_name": name, "pod_uid": f"uid-{name}", **settings})
        access = fixed_access("http://memory")
        return Agent(wanted, Deps(clock=clock, sink=self.sinks[name], access=access, transport=transport, host=opened))

    async def freeze(self, name: str) -> None:
        await self.clock.settle()
        self.clocks[name].frozen = True

    async def thaw(self, name: str) -> None:
        self.clocks[name].thaw()
        await self.clock.settle()
