# SPDX-License-Identifier: Apache-2.0
"""A town of twenty nodes, at rest: nothing is asked of the API server but leases, and no informer wakes for nothing.

The thousand Services that the specs name are the runtime's alone (`tests/kube/test_at_rest.py`): here each of them is an address
whose lifetime an agent renews in its kernel, and an hour of a thousand of those takes minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import pytest

from purelb.api.kinds import LB_NODE_AGENTS, SERVICE_GROUPS
from purelb.kube.resources import NODES
from purelb.sandbox.invariants import nothing_moved
from tests.kube.cancelling import counted
from tests.lbnodeagent.lan import INSTALL, Broken, Crew
from tests.whole.town import Processes, Town

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from purelb.kube.transport import ByteStream, Request, Response

pytestmark = pytest.mark.timeout(600)  # hundreds of thousands of turns of the loop

AGENTS = 20
SERVICES = 20
A_WHILE = 500.0  # a watch lasts 450
LEASE = {"lease_duration": 60.0, "renew_deadline": 40.0, "retry_period": 20.0}
"""Renewals are what a town at rest costs, each of them an event for every agent: as few as a cluster may be told to make."""


class Counting(Broken):
    """Counts requests by what they are, and what each watch brought, by resource."""

    requests: Counter[str]
    chunks: Counter[str]
    bookmarks: Counter[str]

    async def exchange(self, request: Request) -> Response:
        path = request.target.partition("?")[0].split("/")
        self.requests[f"{request.method} {path[-2]}/{path[-1]}"] += 1
        answer: Response = await super().exchange(request)
        return answer

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:
        what = request.target.partition("?")[0].rpartition("/")[2]
        self.requests[f"WATCH {what}"] += 1

        def came(chunk: bytes) -> None:
            self.chunks[what] += 1
            self.bookmarks[what] += chunk.count(b'"BOOKMARK"') == chunk.count(b"\n")

        async with super().stream(request) as stream:
            yield _Heard(stream, came)


class _Heard:
    def __init__(self, inner: ByteStream, came: Callable[[bytes], None]) -> None:
        self.status = inner.status
        self.headers = inner.headers
        self._chunks = inner.__aiter__()
        self._came = came

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._chunks.__anext__()
        self._came(chunk)
        return chunk


class City(Town):
    """Twenty nodes, each with an address in the range of the pool."""

    def __init__(self) -> None:
        super().__init__(AGENTS)
        self.requests, self.chunks, self.bookmarks = Counter[str](), Counter[str](), Counter[str]()
        for number, host in enumerate(self.hosts, start=1):
            host.give(f"198.18.0.{number}/16")
        self.foreign = {host.name: host.foreign() for host in self.hosts}

    async def prepare(self, **config: Any) -> None:
        await self.install()
        for host in self.hosts:
            await self.create(NODES, {"metadata": {"name": host.name}})
        await self.create(LB_NODE_AGENTS, {"metadata": {"name": "default"}, "spec": {"local": config}}, INSTALL)
        pool = {"pool": "198.18.1.0-198.18.8.255", "subnet": "198.18.0.0/16"}
        await self.create(
            SERVICE_GROUPS, {"metadata": {"name": "default"}, "spec": {"local": {"v4pool": pool}}}, INSTALL
        )

    def transport(self, writes: list[tuple[str, str]]) -> Broken:
        made = Counting(self.core, clock=self.clock)
        made.lan, made.writes = self, writes
        made.requests, made.chunks, made.bookmarks = self.requests, self.chunks, self.bookmarks
        return made

    def changed(self, host: Any) -> None:
        """Not every moment is of interest here."""

    @asynccontextmanager
    async def grown(self) -> AsyncIterator[None]:
        """Allocator and agents, running; the agents begin when everything has its address, or each would hear of each step."""
        async with asyncio.TaskGroup() as group:
            crew = Crew(self, group, LEASE)
            processes = Processes(self, crew, group)
            processes.start_allocator()
            await self.clock.advance(30.0)
            group.create_task(self._kernels_live(), name="kernels")
            for host in self.hosts:
                crew.start(host.name)
            await self.clock.advance(120.0)
            try:
                yield
            finally:
                crew.end()
                await processes.kill_allocator()


async def test_twenty_agents_at_rest_cost_their_leases_and_one_wake_up_a_bookmark(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    waits = Counter[str]()

    def suspended() -> None:
        task = asyncio.current_task()
        waits[task.get_name() if task else ""] += 1

    def task(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        return asyncio.Task(counted(coro, suspended), loop=loop, **more)

    loop.set_task_factory(task)
    city = City()
    await city.prepare()
    for number in range(SERVICES):
        await city.wish(f"web-{number}")
    city.deaf = True  # hundreds of announcements on the link, each heard by all, are another test's
    async with city.grown():
        holders = city.holders()
        assert len(holders) == SERVICES
        for counter in (city.requests, city.chunks, city.bookmarks, waits):
            counter.clear()
        caplog.clear()
        caplog.set_level(logging.INFO)
        await city.clock.advance(A_WHILE)
        told = [record.getMessage() for record in caplog.records if record.name.startswith("purelb")]
        requests, chunks, bookmarks, woken = map(Counter, (city.requests, city.chunks, city.bookmarks, waits))
    assert told == []
    assert not nothing_moved(holders, city.holders())
    opened = {what.removeprefix("WATCH "): requests.pop(what) for what in list(requests) if what.startswith("WATCH ")}
    other = {what: times for what, times in requests.items() if not what.startswith("PATCH leases/")}
    assert not other, "something else was asked for"
    assert {"services", "nodes", "leases", "servicegroups"} <= set(opened)
    for what, times in opened.items():
        if what != "leases":  # which change all the time
            assert bookmarks[what] == chunks[what]
        # An informer waits once more after each thing that woke it; a new watch has an end and a beginning.
        names = [name for name in woken if name.startswith(f"informer:{what}") and name.count(":") == 1]
        assert names
        assert sum(woken[name] for name in names) <= chunks[what] + 2 * times + AGENTS + 1
