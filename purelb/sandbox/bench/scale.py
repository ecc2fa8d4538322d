# SPDX-License-Identifier: Apache-2.0
"""The suite `scale`: 10,000 Services and 10,000 EndpointSlices, followed by one process, and 500 changes a second.

Objects have the shape of recorded ones: manifests applied with kubectl, an address in the status, three endpoints a slice. Services
have no selector, or the cluster's controllers would make slices of their own beside them. The process that is measured
(`following`) is new for each way of getting and keeping them; this one changes objects and compares the moments at which
the server answered and at which the other process's handler was told, which is one clock on one machine.

What the server sends and when is not ours: two cores carry etcd, the API server, this process and the measured one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from purelb.kube.client import ApiClient, PatchType
from purelb.kube.errors import AlreadyExists, KubeError
from purelb.kube.resources import ENDPOINT_SLICES, NAMESPACES, SERVICES
from purelb.kube.retry import retry_delay
from purelb.sandbox.bench import objects, recorded
from purelb.sandbox.bench.components import INSTALL_NAMESPACE
from purelb.sandbox.bench.following import Figures, Request
from purelb.sandbox.bench.results import Budget, Row, Unit, row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from purelb.kube.resources import Resource
    from purelb.sandbox.bench.suites import Stage

T = TypeVar("T")

SUITE: Final = "scale"
NAMESPACE: Final = "bench-scale"
OBJECTS: Final = 10_000
SETTLE_S: Final = 30.0
RATE: Final = 500
LATE_S: Final = 1.0  # for the last events
WRITERS: Final = 8
UPDATERS: Final = 16
STRETCH_MAX_MS: Final = 50.0


class Variant(Struct, frozen=True, kw_only=True):
    """One way of following; `updates_s` 0: it is ended as soon as it has settled."""

    name: str
    mode: str = "auto"
    consistent: bool = False
    form: str = "whole"
    updates_s: float = 0.0


VARIANTS: Final = (
    Variant(name="streamed, whole objects", updates_s=60.0),
    Variant(name="one list, whole objects", mode="list"),
    Variant(name="pages of 500, whole objects", mode="list", consistent=True),
    Variant(name="streamed, as the agent keeps them", form="lbnodeagent", updates_s=30.0),
    Variant(name="streamed, as the allocator keeps them", form="allocator", updates_s=30.0),
)


def service(number: int) -> dict[str, Any]:
    """A LoadBalancer as one applies it with kubectl."""
    shape: Mapping[str, Any] = recorded.service(number)
    made: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": shape["metadata"]["name"], "labels": shape["metadata"]["labels"]},
        "spec": {
            "type": "LoadBalancer",
            "allocateLoadBalancerNodePorts": False,  # there are not as many ports
            "loadBalancerClass": "bench.example/nobody",
            "ipFamilyPolicy": "SingleStack",
            "ipFamilies": ["IPv4"],
            "ports": [{"name": each["name"], "port": each["port"]} for each in shape["spec"]["ports"]],
        },
    }
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(made)}
    made["metadata"]["annotations"] = dict(shape["metadata"]["annotations"]) | applied
    return made


def endpoint_slice(number: int) -> dict[str, Any]:
    """Three endpoints, of a Service that is nobody's, so that no controller looks at it."""
    shape: Mapping[str, Any] = recorded.endpoint_slice(number)
    made = {name: shape[name] for name in ("apiVersion", "kind", "addressType", "endpoints", "ports")}
    labels = shape["metadata"]["labels"] | {"endpointslice.kubernetes.io/managed-by": "bench"}
    return {**made, "metadata": {"name": shape["metadata"]["name"], "labels": labels}}


async def scale(stage: Stage, *, variants: tuple[Variant, ...] = VARIANTS, count: int = OBJECTS) -> list[Row]:
    """Make the objects, measure each variant, remove them."""
    client = stage.client
    with contextlib.suppress(AlreadyExists):
        await client.create(NAMESPACES, objects.namespace(NAMESPACE))
    began = time.perf_counter()
    await _make(client, count=count)
    _say(f"{2 * count} objects are there after {time.perf_counter() - began:.0f} s")
    try:
        rows: list[Row] = []
        for variant in variants:
            rows += await _measured(stage, variant, count=count)
            _say(f"measured {variant.name}")
        return rows
    finally:
        await client.delete(NAMESPACES, NAMESPACE)  # and the cluster's controllers remove what is in it


async def _make(client: ApiClient, *, count: int) -> None:
    """All that is not there yet, an answer that was lost included."""
    there = set()
    async for page in client.list_pages(ENDPOINT_SLICES, namespace=NAMESPACE):
        there |= {found.metadata.name for found in page.objects}
    left = deque(number for number in range(count) if endpoint_slice(number)["metadata"]["name"] not in there)

    async def maker() -> None:
        while left:
            number = left.popleft()
            made = service(number)
            with contextlib.suppress(AlreadyExists):
                await _sent(client, lambda made=made: client.create(SERVICES, made, namespace=NAMESPACE))  # type: ignore[misc]
            await _sent(client, lambda number=number: _assign(client, number))  # type: ignore[misc]
            with contextlib.suppress(AlreadyExists):
                part = endpoint_slice(number)
                await _sent(client, lambda part=part: client.create(ENDPOINT_SLICES, part, namespace=NAMESPACE))  # type: ignore[misc]

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(maker())


async def _assign(client: ApiClient, number: int) -> object:
    shape = recorded.service(number)
    status, name = {"status": shape["status"]}, shape["metadata"]["name"]
    return await client.patch(
        SERVICES, name, status, kind=PatchType.MERGE, namespace=NAMESPACE, subresource="status", field_manager="purelb"
    )


async def _sent(client: ApiClient, call: Callable[[], Awaitable[T]]) -> T:
    """The answer to `call`, which is made again when a busy server did not give one."""
    for attempt in itertools.count():
        try:
            return await call()
        except KubeError as error:
            delay = retry_delay(error, attempt, client.clock.random)
            if delay is None:
                raise
            await asyncio.sleep(delay)
    raise AssertionError("counting never ends")


async def _measured(stage: Stage, variant: Variant, *, count: int) -> list[Row]:
    place = urlsplit(stage.server)
    request = Request(
        account=str(stage.accounts["lbnodeagent"]),
        mode=variant.mode,
        consistent=variant.consistent,
        form=variant.form,
        settle_s=SETTLE_S,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "purelb.sandbox.bench.following",
        msgspec.json.encode(request).decode(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**27,
        env={
            "PATH": os.environ["PATH"],
            "PURELB_NAMESPACE": INSTALL_NAMESPACE,
            "KUBERNETES_SERVICE_HOST": place.hostname or "",
            "KUBERNETES_SERVICE_PORT": str(place.port or 443),
        },
    )
    try:
        before, synced, settled = [await _figures(process) for _ in range(3)]
        changes = Changes(stage.client, count=count)
        if variant.updates_s:
            await changes.make(seconds=variant.updates_s)
            await asyncio.sleep(LATE_S)
        output, _ = await process.communicate(b"\n")
        after = msgspec.json.decode(output, type=Figures)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if synced.objects < 2 * count:
        raise RuntimeError(f"{variant.name}: only {synced.objects} objects were synced")
    rows = _filled(variant.name, before, synced, settled)
    return rows + _followed(variant.name, changes, after) if variant.updates_s else rows


async def _figures(process: asyncio.subprocess.Process) -> Figures:
    if process.stdout is None:
        raise RuntimeError("the process was started without its pipe")
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the process that follows has ended; its trace is above")
    return msgspec.json.decode(line, type=Figures)


class Changes:
    """Changes objects at a fixed rate, a Service and a slice in turn, and notes when each was sent and answered, by version.

    What is changed is kept by whoever follows, in each of its forms: an annotation of ours, the node of an endpoint.
    """

    def __init__(self, client: ApiClient, *, count: int) -> None:
        self._client = client
        self._count = count
        self.took_s = 0.0
        self.sent_at: dict[int, float] = {}
        self.answered_at: dict[int, float] = {}

    async def make(self, *, seconds: float) -> None:
        """Each at its moment, or as soon as one of 16 connections is free; what cannot be sent in time is left out."""
        began = time.monotonic()
        left = deque(range(int(seconds * RATE)))

        async def updater() -> None:
            while left and time.monotonic() < began + seconds:
                number = left.popleft()
                await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
                await self._one(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(UPDATERS):
                group.create_task(updater())
        self.took_s = time.monotonic() - began

    async def _one(self, number: int) -> None:
        resource, name, body = self._wanted(number)
        at: list[float] = []

        async def call() -> Any:
            at.append(time.monotonic())
            return await self._client.patch(resource, name, body, kind=PatchType.MERGE, namespace=NAMESPACE)

        obj = await _sent(self._client, call)
        rv = int(obj.metadata.resource_version)
        self.sent_at[rv], self.answered_at[rv] = at[-1], time.monotonic()

    def _wanted(self, number: int) -> tuple[Resource[Any], str, dict[str, object]]:
        which, unique = number // 2 % self._count, str(time.monotonic_ns())  # so that it is a change after each variant
        if number % 2:
            shape = endpoint_slice(which)
            first, *others = shape["endpoints"]
            return ENDPOINT_SLICES, shape["metadata"]["name"], {"endpoints": [first | {"nodeName": unique}, *others]}
        annotations = {"purelb.io/service-group": f"group-{unique}"}
        return SERVICES, service(which)["metadata"]["name"], {"metadata": {"annotations": annotations}}


def _filled(name: str, before: Figures, synced: Figures, settled: Figures) -> list[Row]:
    def one(case: str, unit: Unit, value: float, budget: Budget | None = None) -> Row:
        return row(suite=SUITE, case=f"{name}: {case}", unit=unit, values=[value], budget=budget)

    within = Budget(of="max", at_most=STRETCH_MAX_MS)
    return [
        one("start to first synced", "s", synced.took_s),
        one("CPU to first synced", "s", synced.cpu_s),
        one("RSS before", "MiB", before.rss_mib),
        one("RSS at first synced", "MiB", synced.rss_mib),
        one("RSS settled, 30 s later", "MiB", settled.rss_mib),
        one("most RSS ever", "MiB", settled.peak_mib),
        one("longest stretch on the loop while filling", "ms", synced.stretch_ms, within),
        one("longest stretch on the loop while filling, wall", "ms", synced.wall_ms),
        one("CPU at rest, ms per second", "ms", settled.cpu_s * 1000 / settled.took_s),
    ]


def _followed(name: str, changes: Changes, after: Figures) -> list[Row]:
    told = dict(zip(after.rv, after.at, strict=True))
    missing = changes.answered_at.keys() - told.keys()
    late = [(told[rv] - at) * 1000 for rv, at in changes.answered_at.items() if rv in told]
    whole = [(told[rv] - at) * 1000 for rv, at in changes.sent_at.items() if rv in told]

    def some(case: str, unit: Unit, values: list[float], budget: Budget | None = None) -> Row:
        return row(suite=SUITE, case=f"{name}: {case}", unit=unit, values=values, budget=budget)

    within = Budget(of="max", at_most=STRETCH_MAX_MS)
    return [
        some("changes answered", "1/s", [len(changes.answered_at) / changes.took_s]),
        some("changes that no handler was told of", "count", [float(len(missing))], Budget(of="max", at_most=0)),
        some("CPU per event", "us", [after.cpu_s * 1_000_000 / max(1, len(told))]),
        some("change answered to handler", "ms", late),
        some("change sent to handler", "ms", whole),
        some("RSS after the changes", "MiB", [after.rss_mib]),
        some("longest stretch on the loop under changes", "ms", [after.stretch_ms], within),
        some("longest stretch on the loop under changes, wall", "ms", [after.wall_ms]),
    ]


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
