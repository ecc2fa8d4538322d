# SPDX-License-Identifier: Apache-2.0
"""What a component does while nothing changes: renew its lease, and wake once for each bookmark."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self

import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.lease import Timing
from purelb.kube.resources import SERVICES
from purelb.kube.transport import ByteStream, Request, Response
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.kube.cancelling import counted
from tests.kube.whole import MARK, Marker
from tests.virtual_clock import VirtualClock

HOUR = 3600.0


class Counting:
    """A transport that counts requests by what they are, and the bookmarks of each watch."""

    def __init__(self, inner: MemoryTransport) -> None:
        self._inner = inner
        self.requests: Counter[str] = Counter()
        self.bookmarks: Counter[str] = Counter()

    async def exchange(self, request: Request) -> Response:
        self.requests[f"{request.method} {request.target.partition('?')[0].rpartition('/')[2]}"] += 1
        return await self._inner.exchange(request)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:
        what = request.target.partition("?")[0].rpartition("/")[2]
        self.requests[f"WATCH {what}"] += 1
        async with self._inner.stream(request) as stream:
            yield _Counted(stream, lambda chunk: self.bookmarks.update({what: chunk.count(b'"BOOKMARK"')}))


class _Counted:
    def __init__(self, inner: ByteStream, seen: Any) -> None:
        self.status = inner.status
        self.headers = inner.headers
        self._chunks = inner.__aiter__()
        self._seen = seen

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._chunks.__anext__()
        self._seen(chunk)
        return chunk


@pytest.mark.parametrize(
    ("processes", "services", "timing"),
    [(1, 1, Timing()), (20, 1000, Timing(60, 40, 20))],
    ids=["one process", "20 processes and 1000 Services"],
)
async def test_at_rest_only_the_lease_is_written_nothing_is_listed_and_a_bookmark_wakes_once(
    processes: int, services: int, timing: Timing
) -> None:
    asyncio.get_running_loop().set_debug(False)  # which notes where each future was made
    clock = VirtualClock(chance=0.5)
    transport = Counting(
        MemoryTransport(ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC)), clock=clock)
    )
    clients = [
        ApiClient(fixed_access("http://memory"), user_agent="t", clock=clock, transport=transport)
        for _ in range(processes)
    ]
    spec = {"ports": [{"port": 80}]}
    for number in range(1, services):  # one there is already, which every cluster has
        meta = {"name": f"s{number}", "annotations": {MARK: "80"}}
        await clients[0].create(SERVICES, {"metadata": meta, "spec": spec}, namespace="default")
    waits: Counter[str] = Counter()

    def suspended() -> None:
        task = asyncio.current_task()
        waits[task.get_name() if task else ""] += 1

    def task(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        return asyncio.Task(counted(coro, suspended), loop=loop, **more)

    asyncio.get_running_loop().set_task_factory(task)
    markers = [Marker(client, identity=f"p{number}", timing=timing) for number, client in enumerate(clients)]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(marker.run()) for marker in markers]
        await clock.advance(120.0)  # the Service that every cluster has is marked, its Event written
        assert [len(marker.services.store) for marker in markers] == [services] * processes
        assert sum(len(marker.tickets) for marker in markers) == 1
        for counter in (transport.requests, transport.bookmarks, waits):
            counter.clear()
        await clock.advance(HOUR)
        seen, bookmarks, woken = Counter(transport.requests), Counter(transport.bookmarks), Counter(waits)
        for one in running:
            one.cancel()
        await clock.advance(10.0)
    watches = {what: seen.pop(f"WATCH {what}") for what in ("services", "nodes")}
    assert seen.pop("PATCH marker") in range(int(HOUR / timing.retry) - 2, int(HOUR / timing.retry) + 3), "one a period"
    looks = seen.pop("GET marker", 0)
    assert looks <= HOUR / timing.retry * (processes - 1), "a standby looks once a period at most"
    assert not seen, "something else was asked for"
    assert watches == {"services": 8 * processes, "nodes": 8 * processes}, "a watch lasts 450 s"
    for what, opened in watches.items():
        # An informer waits once more after each thing that woke it; a new watch has an end and a beginning.
        assert woken[f"informer:{what}"] <= bookmarks[what] + 2 * opened + processes
    assert bookmarks["services"] > 4 * processes, "each watch is told how time passes"
