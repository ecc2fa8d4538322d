# SPDX-License-Identifier: Apache-2.0
"""The transport in memory, on a clock that only the test moves."""

import asyncio
import contextlib
import random
from datetime import UTC, datetime

import pytest

from purelb.kube.transport import Request
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.virtual_clock import VirtualClock


@pytest.mark.parametrize("opened_at", [0.1, 1.1, 9.2, 9.3, 33.3])
async def test_a_watch_brings_its_bookmark_at_the_minute_whatever_the_clock_reads(opened_at: float) -> None:
    """(9.2 + 60 + 1000) - 1000 is less than 9.2 + 60: whoever waits for the one must not be told that it is not time yet."""
    clock = VirtualClock(1000.0)
    core = ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
    transport = MemoryTransport(core, clock=clock)
    await clock.advance(opened_at)
    target = f"/api/v1/services?watch=true&allowWatchBookmarks=true&resourceVersion={core.revision}"
    chunks: list[bytes] = []

    async def read() -> None:
        async with transport.stream(Request(method="GET", target=target)) as stream:
            async for chunk in stream:
                chunks.append(chunk)

    reading = asyncio.get_running_loop().create_task(read())
    await clock.settle()
    made = Request(
        method="POST",
        target="/api/v1/namespaces/default/services",
        headers=(("Content-Type", "application/json"),),
        body=b'{"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}}',
    )
    assert (await transport.exchange(made)).status == 201
    await clock.advance(60.001)
    assert b"BOOKMARK" in chunks[-1]
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
