# SPDX-License-Identifier: Apache-2.0
"""What stands between an event and its effect costs CPU: store and handlers, the queue, the writer.

The writer is compared with kubernetes_asyncio writing the same patch to the same server over HTTP, as many at a time.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.decode import Codec
from purelb.kube.informer import Informer
from purelb.kube.lines import LineSplitter
from purelb.kube.order import Target, Write, WriteResult, Written
from purelb.kube.queue import LIVE, QueueCore
from purelb.kube.resources import SERVICES
from purelb.kube.transport import ByteStream, Request, Response
from purelb.kube.writer import Writer
from purelb.sandbox.bench import recorded
from purelb.sandbox.bench.results import Budget, Ratio, Row, percentile, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from purelb.kube.model import Service

TRIALS: Final = 5
EVENTS: Final = 10_000
CHUNK_BYTES: Final = 64 * 1024
CYCLES: Final = 100_000
PATCHES: Final = 500
WORKERS: Final = 8
PATCH: Final = {"metadata": {"annotations": {"purelb.io/allocated-from": "default"}}}


class _Canned:
    """A `Transport` in memory: a list of the objects, then one watch with all chunks, then silence."""

    def __init__(self, chunks: list[bytes], objects: int) -> None:
        self._list = recorded.listed("service", objects)
        self._chunks = chunks
        self._watched = False
        self.read: asyncio.Future[None] | None = None

    async def exchange(self, request: Request) -> Response:  # noqa: ARG002
        return Response(status=200, headers={}, body=self._list)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:  # noqa: ARG002
        chunks, self._chunks = self._chunks, []
        yield _Chunks(chunks, self)


class _Chunks:
    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, chunks: list[bytes], owner: _Canned) -> None:
        self._chunks = chunks[::-1]
        self._owner = owner

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._chunks:
            return self._chunks.pop()
        if self._owner.read is not None and not self._owner.read.done():
            self._owner.read.set_result(None)
        await asyncio.get_running_loop().create_future()
        raise StopAsyncIteration


class _Counting:
    def __init__(self) -> None:
        self.count = 0

    def added(self, obj: Service, *, initial: bool) -> None:
        pass

    def updated(self, old: Service, new: Service) -> None:  # noqa: ARG002
        self.count += 1

    def deleted(self, obj: Service, *, final: bool) -> None:
        pass


def _chunked(lines: list[bytes]) -> list[bytes]:
    whole = b"".join(lines)
    return [whole[at : at + CHUNK_BYTES] for at in range(0, len(whole), CHUNK_BYTES)]


def _changing(count: int) -> list[bytes]:
    """Events that each change something that is read."""
    lines = []
    for number in range(count):
        changed = dict(recorded.service(number % 500))
        changed["metadata"] = changed["metadata"] | {"resourceVersion": str(910_000 + number)}
        changed["spec"] = changed["spec"] | {"selector": {"app": f"v{number}"}}
        lines.append(b'{"type":"MODIFIED","object":' + recorded.compact(changed) + b"}\n")
    return lines


def _decoded(chunks: list[bytes]) -> float:
    """CPU of taking the stream apart and decoding it, nothing else."""
    codec, splitter = Codec(SERVICES), LineSplitter()
    began = time.process_time()
    for chunk in chunks:
        for line in splitter.feed(chunk):
            codec.event(line)
    return time.process_time() - began


async def _handled(chunks: list[bytes]) -> float:
    """CPU of the same through an informer with three indices and one handler; the list before it is not counted."""
    transport = _Canned(chunks, 500)
    client = ApiClient(fixed_access("http://memory"), user_agent="bench", clock=SystemClock(), transport=transport)
    indices = {
        "namespace": lambda service: (service.metadata.namespace,),
        "type": lambda service: (service.spec.type,),
        "address": lambda service: (service.spec.cluster_ip,),
    }
    informer: Informer[Service] = Informer(client, SERVICES, indices=indices, mode="list")
    heard = _Counting()
    informer.add_handler(heard)
    transport.read = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(informer.run())
        await informer.wait_synced()
        began = time.process_time()
        await transport.read
        while heard.count < EVENTS:
            await asyncio.sleep(0)
        spent = time.process_time() - began
        running.cancel()
    return spent


async def events() -> list[Row]:
    """From an event to its handler, without decoding, as a multiple of decoding it."""
    chunks = _chunked(_changing(EVENTS))
    decoding, handling = [], []
    for trial in range(TRIALS + 1):
        alone, whole = _decoded(chunks), await _handled(list(chunks))
        if trial:
            decoding.append(alone / EVENTS * 1e6)
            handling.append((whole - alone) / EVENTS * 1e6)
    case = "CPU to decode an event"
    ratio = Ratio(to=case, value=round(percentile(handling, 0.5) / percentile(decoding, 0.5), 3))
    return [
        row(suite="runtime", case=case, unit="us", values=decoding),
        row(
            suite="runtime",
            case="CPU from a decoded event to its handler, store with 3 indices",
            unit="us",
            values=handling,
            ratio=ratio,
            budget=Budget(of="ratio", at_most=3),
        ),
    ]


def queue() -> list[Row]:
    """`QueueCore`: add, take and done, of 100 keys in turn."""
    rates = []
    for _ in range(TRIALS):
        core: QueueCore[tuple[str, int]] = QueueCore()
        keys = [("service", number) for number in range(100)]
        began = time.process_time()
        for number in range(CYCLES):
            core.add(keys[number % 100], priority=LIVE, now=0.0)
            taken = core.take(0.0)
            if taken is None:
                raise RuntimeError("a key that was added is not there")
            core.done(taken[0], now=0.0)
        rates.append(CYCLES / (time.process_time() - began))
    case = "QueueCore: add, take, done per CPU second"
    return [row(suite="runtime", case=case, unit="1/s", values=rates, budget=Budget(of="p50", at_least=200_000))]


async def _written(url: str) -> float:
    body = recorded.compact(PATCH)
    results: list[WriteResult] = []
    async with ApiClient(fixed_access(url), user_agent="bench", clock=SystemClock()) as client:
        writer = Writer(client, clock=SystemClock(), workers=WORKERS)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(writer.run())
            began = time.process_time()
            for number in range(PATCHES):
                target = Target(SERVICES, "team", f"web-{number}")
                writer.submit(
                    Write(target=target, verb="patch", body=body, subresource="status", rv="7", reply=results.append)
                )
            await writer.drain(60.0)
            spent = time.process_time() - began
            running.cancel()
    if sum(isinstance(each, Written) for each in results) != PATCHES:
        raise RuntimeError(f"not every patch was written: {results[-1]}")
    return spent


async def _patched(url: str) -> float:
    from kubernetes_asyncio import client as library

    left = list(range(PATCHES))
    async with library.ApiClient(library.Configuration(host=url)) as client:
        api = library.CoreV1Api(client)
        body: dict[str, Any] = {"metadata": {**PATCH["metadata"], "resourceVersion": "7"}}

        async def worker() -> None:
            while left:
                await api.patch_namespaced_service_status(f"web-{left.pop()}", "team", body)

        began = time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(worker())
        return time.process_time() - began


async def patches(url: str) -> list[Row]:
    """CPU of one PATCH on loopback."""
    theirs, ours = [], []
    for trial in range(TRIALS + 1):
        one, other = await _patched(url), await _written(url)
        if trial:
            theirs.append(one / PATCHES * 1e6)
            ours.append(other / PATCHES * 1e6)
    case = "kubernetes_asyncio: CPU of a PATCH"
    ratio = Ratio(to=case, value=round(percentile(ours, 0.5) / percentile(theirs, 0.5), 3))
    return [
        row(suite="runtime", case=case, unit="us", values=theirs),
        row(
            suite="runtime",
            case="Writer: CPU of a PATCH",
            unit="us",
            values=ours,
            ratio=ratio,
            budget=Budget(of="ratio", at_most=0.5),
        ),
    ]
