# SPDX-License-Identifier: Apache-2.0
"""The suite `api`: what the embedded API server costs, against a bare aiohttp handler with the same TLS in the same run.

Two prices, both as CPU of the server's process: a PATCH of a Service's status as the allocator writes it, and an event that a
PATCH makes for each of a crowd of watchers. For the second the PATCHes are sent one by one and each is read by everybody
before the next: nothing is put together, which is the dearest case. What comes in a burst is measured beside it. The memory
of a crowd is reported.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from purelb.sandbox.bench import objects
from purelb.sandbox.bench.crowd import crowd
from purelb.sandbox.bench.results import Budget, Ratio, Row, percentile, row
from purelb.sandbox.bench.serving import serving

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.sandbox.bench.serving import Serving

TRIALS: Final = 5
PATCHES: Final = 1000
WRITERS: Final = 8
WATCHERS: Final = 1000
ROUNDS: Final = 20
MOST_PER_PATCH: Final = 4.0
MOST_PER_EVENT: Final = 0.2
_SERVICES: Final = "/api/v1/namespaces/default/services"
_BARE: Final = "CPU of a bare aiohttp handler per PATCH"


def measure() -> list[Row]:
    """All rows, in about half a minute."""
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="purelb-bench-") as name:
        directory = Path(name)
        async with serving("bare", directory / "bare") as bare, serving("embedded", directory / "ours") as ours:
            bare_client = await _Client.of(bare, directory / "bare")
            client = await _Client.of(ours, directory / "ours")
            async with bare_client.session, client.session:
                await client.create("web")
                plain, patched = [], []
                for trial in range(TRIALS + 1):
                    one = await _patches(bare, bare_client, trial)
                    other = await _patches(ours, client, trial)
                    if trial:  # the first warms both up
                        plain.append(one)
                        patched.append(other)
                print("measured patches", file=sys.stderr, flush=True)
                fanned, burst, memory = await _fanned_out(
                    ours, client, directory / "ours", alone=percentile(patched, 0.5)
                )
                print("measured watchers", file=sys.stderr, flush=True)
    unit = percentile(plain, 0.5)

    def against(values: list[float]) -> Ratio:
        return Ratio(to=_BARE, value=round(percentile(values, 0.5) / unit, 3))

    return [
        row(suite="api", case=_BARE, unit="us", values=plain),
        row(
            suite="api",
            case="CPU of the embedded API server per PATCH of a Service's status",
            unit="us",
            values=patched,
            ratio=against(patched),
            budget=Budget(of="ratio", at_most=MOST_PER_PATCH),
        ),
        row(
            suite="api",
            case=f"CPU of the embedded API server per event and watcher, {WATCHERS} watchers, one event at a time",
            unit="us",
            values=fanned,
            ratio=against(fanned),
            budget=Budget(of="ratio", at_most=MOST_PER_EVENT),
        ),
        row(
            suite="api",
            case=f"the same, events of {WRITERS} writers at once",
            unit="us",
            values=burst,
            ratio=against(burst),
        ),
        row(
            suite="api", case=f"RSS of the embedded API server, {WATCHERS} watchers over TLS", unit="MiB", values=memory
        ),
    ]


class _Client:
    """Somebody with a token and a few connections."""

    def __init__(self, url: str, token: str, ca: Path) -> None:
        self.token = token
        context = ssl.create_default_context(cafile=ca)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        headers = {"Authorization": f"Bearer {token}"}
        self.session = aiohttp.ClientSession(
            url, connector=aiohttp.TCPConnector(limit=WRITERS, ssl=context), headers=headers
        )

    @classmethod
    async def of(cls, server: Serving, directory: Path) -> _Client:
        return cls(server.url, await server.ask("token"), directory / "ca.crt")

    async def create(self, name: str) -> None:
        body = json.dumps(objects.service(name, lb_class=None)).encode()
        await self._ask("POST", _SERVICES, body, "application/json")

    async def patch(self, body: bytes) -> None:
        await self._ask("PATCH", f"{_SERVICES}/web/status", body, "application/merge-patch+json")

    async def _ask(self, method: str, path: str, body: bytes, media: str) -> None:
        async with self.session.request(method, path, data=body, headers={"Content-Type": media}) as answer:
            text = await answer.read()
            if answer.status not in {200, 201}:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:200]!r}")

    async def patch_all(self, bodies: list[bytes]) -> None:
        async def worker() -> None:
            while bodies:
                await self.patch(bodies.pop())

        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(worker())


def _bodies(count: int, *, trial: int) -> list[bytes]:
    """Status patches that each change the Service."""
    made = []
    for number in range(count):
        patch: Mapping[str, Any] = objects.status_patch(
            f"172.30.{trial % 250}.{number % 250 + 1}",
            rv="",
            at=f"2026-01-01T00:{number // 60 % 60:02d}:{number % 60:02d}Z",
        )
        metadata = {"annotations": patch["metadata"]["annotations"]}
        made.append(json.dumps({**patch, "metadata": metadata}).encode())
    return made


async def _patches(server: Serving, client: _Client, trial: int) -> float:
    """Microseconds of CPU per PATCH."""
    before = await server.cpu_s()
    await client.patch_all(_bodies(PATCHES, trial=trial))
    return (await server.cpu_s() - before) / PATCHES * 1e6


async def _fanned_out(
    server: Serving, client: _Client, directory: Path, *, alone: float
) -> tuple[list[float], list[float], list[float]]:
    """Microseconds of CPU per event and watcher, one by one and in a burst (`alone` is what the PATCH itself costs), and memory."""
    path = f"/api/v1/services?watch=true&allowWatchBookmarks=true&resourceVersion={await _revision(client)}"
    singly, burst, events = [], [], 0
    async with crowd(server.url, token=client.token, ca=directory / "ca.crt", count=WATCHERS, path=path) as readers:
        for trial in range(TRIALS):
            before = await server.cpu_s()
            for body in _bodies(ROUNDS, trial=100 + trial):
                await client.patch(body)
                events += WATCHERS
                await readers.until(events)
            singly.append(((await server.cpu_s() - before) * 1e6 - ROUNDS * alone) / (ROUNDS * WATCHERS))
            before = await server.cpu_s()
            await client.patch_all(_bodies(ROUNDS, trial=200 + trial))
            events += ROUNDS * WATCHERS
            await readers.until(events)
            burst.append(((await server.cpu_s() - before) * 1e6 - ROUNDS * alone) / (ROUNDS * WATCHERS))
        memory = [await server.rss_mib()]
    return singly, burst, memory


async def _revision(client: _Client) -> str:
    async with client.session.get(f"{_SERVICES}/web") as answer:
        return str(json.loads(await answer.read())["metadata"]["resourceVersion"])
