# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found, as data: the rows of `bench/results.json`, their budgets and their table.

A budget is judged where it is a ratio or a count of the same run, and for the few latencies whose budget the project states
for its reference machine. A run on a loaded machine is marked `noisy`; it is a hint for the reader, not an excuse.
"""

from __future__ import annotations

import math
import os
import platform
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

Unit = Literal["s", "ms", "us", "1/s", "MiB", "KiB", "count", "ratio"]


class Ratio(Struct, frozen=True, kw_only=True):
    """The row's value divided by that of another row of the same run."""

    to: str
    value: float


class Budget(Struct, frozen=True, kw_only=True):
    """A bound on one figure of a row; `of` names which."""

    of: Literal["p50", "p95", "max", "ratio"] = "p50"
    at_most: float | None = None
    at_least: float | None = None


class Row(Struct, frozen=True, kw_only=True):
    suite: str
    case: str
    unit: Unit
    n: int
    p50: float
    p95: float
    max: float
    mean: float
    ratio: Ratio | None = None
    budget: Budget | None = None
    ok: bool | None = None


class Machine(Struct, frozen=True, kw_only=True):
    cpu: str
    cores: int
    kernel: str
    memory_mib: int
    load_at_start: float
    noisy: bool


class Results(Struct, frozen=True, kw_only=True):
    schema: int = 1
    when: str
    revision: str
    server: str
    python: str
    machine: Machine
    rows: tuple[Row, ...]


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the least value that at least `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def row(
    *,
    suite: str,
    case: str,
    unit: Unit,
    values: Sequence[float],
    ratio: Ratio | None = None,
    budget: Budget | None = None,
) -> Row:
    """A row over measured values (at least one), judged by its budget."""
    made = Row(
        suite=suite,
        case=case,
        unit=unit,
        n=len(values),
        p50=round(percentile(values, 0.5), 4),
        p95=round(percentile(values, 0.95), 4),
        max=round(max(values), 4),
        mean=round(sum(values) / len(values), 4),
        ratio=ratio,
        budget=budget,
    )
    return msgspec.structs.replace(made, ok=None if budget is None else within(made, budget))


def within(measured: Row, budget: Budget) -> bool:
    """Whether the row keeps its budget; a ratio that was not measured does not."""
    if budget.of == "ratio":
        if measured.ratio is None:
            return False
        figure = measured.ratio.value
    else:
        figure = {"p50": measured.p50, "p95": measured.p95, "max": measured.max}[budget.of]
    below = budget.at_most is None or figure <= budget.at_most
    above = budget.at_least is None or figure >= budget.at_least
    return below and above


def machine() -> Machine:
    """The machine as it is now; noisy when it is busy before anything was started."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return Machine(
        cpu=platform.processor() or platform.machine(),
        cores=cores,
        kernel=platform.release(),
        memory_mib=memory,
        load_at_start=round(load, 2),
        noisy=load > cores / 2,
    )


def table(results: Results) -> str:
    """The rows as a Markdown table."""
    lines = ["| suite | case | n | p50 | p95 | unit | ratio | budget |", "|---|---|---|---|---|---|---|---|"]
    for found in results.rows:
        ratio = f"{found.ratio.value:.2f} x {found.ratio.to}" if found.ratio else ""
        verdict = ""
        if found.budget is not None:
            bound = (
                f"{found.budget.of} <= {found.budget.at_most:g}"
                if found.budget.at_most is not None
                else f"{found.budget.of} >= {found.budget.at_least:g}"
            )
            verdict = f"{bound}: {'kept' if found.ok else 'MISSED'}"
        lines.append(
            f"| {found.suite} | {found.case} | {found.n} | {found.p50:g} | {found.p95:g} | {found.unit} | {ratio} | {verdict} |"
        )
    noisy = " (noisy: the machine was busy at the start)" if results.machine.noisy else ""
    head = f"{results.server}; Python {results.python}; {results.machine.cores} cores, kernel {results.machine.kernel}{noisy}"
    return "\n".join([head, "", *lines]) + "\n"
