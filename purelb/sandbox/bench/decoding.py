# SPDX-License-Identifier: Apache-2.0
"""What an event of a saturated watch costs its reader in CPU: ours, plain json, orjson, kubernetes_asyncio.

All read the same bytes from the same server over HTTP, in turns within one process, so the ratios do not depend on who else
uses the machine. CPU time is this process's; the server's is its own.
"""

from __future__ import annotations

import importlib
import json
import time
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.resources import SERVICES
from purelb.sandbox.bench.results import Budget, Ratio, Row, percentile, row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TRIALS: Final = 5
EVENTS: Final = 10_000
EVENTS_OF_MODELS: Final = 1_000  # they take fifty times as long


async def ours(url: str, count: int) -> int:
    seen = 0
    async with (
        ApiClient(fixed_access(url), user_agent="bench", clock=SystemClock()) as client,
        client.watch(SERVICES, labels=f"n={count}", rv="1", timeout_s=60) as stream,
    ):
        async for batch in stream:
            seen += len(batch)
    return seen


def loads_with(decode: Callable[[bytes], Any]) -> Callable[[str, int], Awaitable[int]]:
    """The least that a reader must do who wants dicts: aiohttp, whole lines, one call each."""

    async def read(url: str, count: int) -> int:
        seen, tail = 0, b""
        target = f"{url}{SERVICES.path()}?watch=true&labelSelector=n%3D{count}"
        async with aiohttp.ClientSession(read_bufsize=256 * 1024) as session, session.get(target) as answer:
            async for chunk in answer.content.iter_any():
                *lines, tail = (tail + chunk).split(b"\n")
                for line in lines:
                    decode(line)
                seen += len(lines)
        return seen

    return read


async def models(url: str, count: int) -> int:
    """kubernetes_asyncio: its Watch, with its models."""
    from kubernetes_asyncio import client as library
    from kubernetes_asyncio import watch

    seen = 0
    async with library.ApiClient(library.Configuration(host=url)) as client:
        api = library.CoreV1Api(client)
        async with watch.Watch() as stream:
            listing = api.list_service_for_all_namespaces
            async for _ in stream.stream(listing, label_selector=f"n={count}", timeout_seconds=60):
                seen += 1
    return seen


async def watching(url: str) -> list[Row]:
    """Events per second of CPU, each as a row with its ratio to the one before."""
    readers: dict[str, tuple[Callable[[str, int], Awaitable[int]], int]] = {
        "kubernetes_asyncio": (models, EVENTS_OF_MODELS),
        "json.loads": (loads_with(json.loads), EVENTS),
        "purelb.kube": (ours, EVENTS),
    }
    try:
        readers["orjson"] = (loads_with(importlib.import_module("orjson").loads), EVENTS)
    except ImportError:
        pass  # its row below says so
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for trial in range(TRIALS + 1):
        for name, (read, count) in readers.items():
            began = time.process_time()
            seen = await read(url, count)
            spent = time.process_time() - began
            if seen != count:
                raise RuntimeError(f"{name} saw {seen} of {count} events")
            if trial:  # the first one imports
                rates[name].append(count / spent)
    middle = {name: percentile(values, 0.5) for name, values in rates.items()}

    def rate(name: str, *, to: str, budget: Budget | None = None, against: str = "") -> Row:
        ratio = Ratio(to=case(to), value=round(middle[name] / middle[to], 3)) if to else None
        said = f"{case(name)}, against {against}" if against else case(name)
        return row(suite="runtime", case=said, unit="1/s", values=rates[name], ratio=ratio, budget=budget)

    def case(name: str) -> str:
        return f"events per CPU second, watch of Services: {name}"

    rows = [
        rate("kubernetes_asyncio", to=""),
        rate("json.loads", to="kubernetes_asyncio"),
        rate("purelb.kube", to="kubernetes_asyncio", budget=Budget(of="ratio", at_least=30)),
        rate("purelb.kube", to="json.loads", budget=Budget(of="ratio", at_least=2), against="json.loads"),
    ]
    no_worse = Budget(of="ratio", at_least=1)
    if "orjson" in rates:
        rows += [
            rate("orjson", to="kubernetes_asyncio"),
            rate("purelb.kube", to="orjson", budget=no_worse, against="orjson"),
        ]
    else:
        rows.append(rate("purelb.kube", to="", budget=no_worse, against="orjson: not measured, pip install orjson"))
    return rows
