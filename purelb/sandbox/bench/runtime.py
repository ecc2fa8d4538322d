# SPDX-License-Identifier: Apache-2.0
"""The suite `runtime`: the budgets of `purelb.kube`, each against something that everybody knows, within one run.

It needs neither root nor an API server: a process of our own saturates the client. Figures are CPU seconds, bytes and ratios
between the two sides of one run; what another process does to the machine meanwhile changes both sides alike. What is not
here because it is a count and not a measurement (at rest no writes but leases, no lists) is a test of the runtime.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from purelb.sandbox.apiserver.pki import Pki
from purelb.sandbox.bench import decoding, handling, memory, recorded, stretches
from purelb.sandbox.bench.results import Budget, Ratio, Row, percentile, row
from purelb.sandbox.bench.saturating import saturating

if TYPE_CHECKING:
    from purelb.sandbox.bench.recorded import Shape

TRIALS: Final = 3
CACHED: Final[dict[Shape, tuple[int, float]]] = {"service": (10_000, 3.5), "slice": (10_000, 4.0), "node": (1_000, 4.0)}


def measure() -> list[Row]:
    """All rows, in about a minute."""
    rows: list[Row] = []
    rows += _said("queue", handling.queue())
    rows += _said("hostile lines", stretches.hostile())
    rows += _said("events", asyncio.run(handling.events()))
    rows += _said("memory", asyncio.run(_memory()))
    rows += _said("watch and patches", asyncio.run(_served()))
    rows += _said("list", _listing())
    return rows


def _said(what: str, rows: list[Row]) -> list[Row]:
    print(f"measured {what}", file=sys.stderr, flush=True)
    return rows


async def _served() -> list[Row]:
    async with saturating() as url:
        return [*await decoding.watching(url), *await handling.patches(url)]


def _listing() -> list[Row]:
    """The server stays in a loop of its own, the measured loop is another one."""
    with asyncio.Runner() as runner:
        server = saturating()
        url = runner.run(server.__aenter__())
        try:
            return stretches.listing(url)
        finally:
            runner.run(server.__aexit__(None, None, None))


async def _memory() -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="purelb-bench-") as name:
        files: dict[Shape, Path] = {}
        for shape, (count, most_kib) in CACHED.items():
            files[shape] = Path(name) / shape
            files[shape].write_bytes(recorded.listed(shape, count))
            rows += await _cached(shape, files[shape], count=count, most_kib=most_kib)
        pair = [str(files["service"]), str(files["slice"])]
        dicts = [await memory.asked("collected", "dicts", *pair) * 1000 for _ in range(TRIALS)]
        structs = [await memory.asked("collected", "store", *pair) * 1000 for _ in range(TRIALS)]
        account = Path(name) / "account"
        Pki(account)  # its authority is the cluster's
        (account / "token").write_text("t")
        (account / "namespace").write_text("default")
        client = [await memory.asked("client", str(account)) / 2**20 for _ in range(TRIALS)]
    case = "full collection, 10000 Services and 10000 EndpointSlices as dicts"
    ratio = Ratio(to=case, value=round(percentile(structs, 0.5) / percentile(dicts, 0.5), 4))
    return [
        *rows,
        row(suite="runtime", case=case, unit="ms", values=dicts),
        row(
            suite="runtime",
            case="full collection, the same in stores",
            unit="ms",
            values=structs,
            ratio=ratio,
            budget=Budget(of="ratio", at_most=round(1 / 30, 4)),
        ),
        row(
            suite="runtime",
            case="RSS of an in-cluster client without objects",
            unit="MiB",
            values=client,
            budget=Budget(of="p50", at_most=40),
        ),
    ]


async def _cached(shape: Shape, file: Path, *, count: int, most_kib: float) -> list[Row]:
    async def each(form: str) -> list[float]:
        return [await memory.asked("cached", form, shape, str(file)) / 1024 / count for _ in range(TRIALS)]

    dicts, stores = await each("dicts"), await each("store")
    case = f"RSS per {shape} as a dict"
    ratio = Ratio(to=case, value=round(percentile(stores, 0.5) / percentile(dicts, 0.5), 3))
    ours = f"RSS per {shape} in a store"
    return [
        row(suite="runtime", case=case, unit="KiB", values=dicts),
        row(suite="runtime", case=ours, unit="KiB", values=stores, budget=Budget(of="p50", at_most=most_kib)),
        row(
            suite="runtime",
            case=f"{ours}, against the dict",
            unit="KiB",
            values=stores,
            ratio=ratio,
            budget=Budget(of="ratio", at_most=round(1 / 3, 3)),
        ),
    ]
