# SPDX-License-Identifier: Apache-2.0
"""What a component does while nothing changes: renew its lease, and wake once for each bookmark."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.transport import ByteStream, Request, Response
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.kube.cancelling import counted
from tests.kube.whole import Marker
from tests.virtual_clock import VirtualClock


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


async def test_at_rest_only_the_lease_is_written_nothing_is_listed_and_a_bookmark_wakes_once() -> None:
    clock = VirtualClock(chance=0.5)
    transport = Counting(
        MemoryTransport(ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC)), clock=clock)
    )
    client = ApiClient(fixed_access("http://memory"), user_agent="t", clock=clock, transport=transport)
    waits: Counter[str] = Counter()

    def suspended() -> None:
        task = asyncio.current_task()
        waits[task.get_name() if task else ""] += 1

    def task(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        return asyncio.Task(counted(coro, suspended), loop=loop, **more)

    asyncio.get_running_loop().set_task_factory(task)
    marker = Marker(client, identity="a")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(marker.run())
        await clock.advance(120.0)  # the Service that every cluster has is marked, its Event written
        for counter in (transport.requests, transport.bookmarks, waits):
            counter.clear()
        await clock.advance(900.0)
        running.cancel()
        await clock.advance(10.0)
    watches = {what: transport.requests.pop(f"WATCH {what}") for what in ("services", "nodes")}
    assert transport.requests.pop("PATCH marker") in range(448, 454), "one renewal every two seconds, and the release"
    assert not transport.requests, "something else was asked for"
    assert watches == {"services": 2, "nodes": 2}, "a watch lasts 450 s"
    for what, opened in watches.items():
        # An informer waits once more after each thing that woke it; a new watch has an end and a beginning.
        assert waits[f"informer:{what}"] <= transport.bookmarks[what] + 2 * opened + 1
    assert transport.bookmarks["services"] > 4, "the first watch saw a change, so it is told how time passes"
