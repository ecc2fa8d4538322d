# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found, as data: `bench/results.json`, its rows and their budgets. Pure.

A budget is judged where it is a ratio or a count of the same run, and for the few latencies whose budget the project states
for its reference machine. The file holds for each suite its last run, whatever was measured since: `runs` says when that was, of
which revision and what made it noisy, which is a hint for the reader and not an excuse. The fields at the top are those of
the run that wrote the file. What an older run did not write down is absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Unit = Literal["s", "ms", "us", "1/s", "MiB", "KiB", "count", "ratio"]
# So few that a reader may want to see them all.
SAMPLES_MAX: Final = 10


class Ratio(Struct, frozen=True, kw_only=True):
    """The row's value divided by that of another row of the same run."""

    to: str
    value: float


class Budget(Struct, frozen=True, kw_only=True):
    """A bound on one figure of a row; `of` names which."""

    of: Literal["p50", "p95", "max", "ratio"] = "p50"
    at_most: float | None = None
    at_least: float | None = None


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"suite": "name", "ok": "pass"}):
    """One case of a suite. `ok` is None where there is no budget; `samples` are in the order of measuring."""

    suite: str
    case: str
    unit: Unit
    n: int
    p50: float
    p95: float
    max: float
    mean: float
    samples: tuple[float, ...] = ()
    ratio: Ratio | None = None
    budget: Budget | None = None
    ok: bool | None


class Machine(Struct, frozen=True, kw_only=True, rename={"memory_mib": "memory"}):
    """What has to be equal for two wall-clock figures to be compared."""

    cpu: str
    cores: int
    kernel: str
    memory_mib: int


class Run(Struct, frozen=True, kw_only=True):
    """One call of the benchmark: `noisy` and `failed` are sentences; `load` is the average of the minute before it."""

    when: str
    revision: str
    dirty: bool
    machine: Machine
    versions: Mapping[str, str]
    load: float
    noisy: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class Results(Struct, frozen=True, kw_only=True, rename={"rows": "suites"}):
    schema: Literal[1] = 1
    when: str
    revision: str
    dirty: bool
    machine: Machine
    versions: Mapping[str, str]
    runs: Mapping[str, Run]
    rows: tuple[Row, ...]


def encoded(results: Results) -> bytes:
    """The file, for people and `git diff` too."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"


def decoded(text: bytes) -> Results:
    """The other way; `msgspec.DecodeError` where it is not such a file."""
    return msgspec.json.decode(text, type=Results)


def merged(earlier: Results | None, run: Run, rows: Iterable[Row], *, order: Sequence[str]) -> Results:
    """`earlier` with the suites of `rows` replaced by what `run` found; suites stand in `order`, others behind them."""
    measured: dict[str, list[Row]] = {}
    for found in rows:
        measured.setdefault(found.suite, []).append(found)
    known: dict[str, list[Row]] = {}
    for found in earlier.rows if earlier else ():
        known.setdefault(found.suite, []).append(found)
    known |= measured
    names = sorted(known, key=lambda name: (order.index(name) if name in order else len(order), name))
    ran = {**(earlier.runs if earlier else {}), **dict.fromkeys(measured, run)}
    return Results(
        when=run.when,
        revision=run.revision,
        dirty=run.dirty,
        machine=run.machine,
        versions=run.versions,
        runs={name: ran[name] for name in names if name in ran},
        rows=tuple(found for name in names for found in known[name]),
    )


def only(results: Results, suites: Iterable[str]) -> Results:
    """The part of the results that these suites are."""
    kept = set(suites)
    return msgspec.structs.replace(
        results,
        runs={name: run for name, run in results.runs.items() if name in kept},
        rows=tuple(found for found in results.rows if found.suite in kept),
    )


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
        samples=tuple(round(value, 4) for value in values) if 1 < len(values) <= SAMPLES_MAX else (),
        ratio=ratio,
        budget=budget,
        ok=None,
    )
    return msgspec.structs.replace(made, ok=None if budget is None else within(made, budget))


def judged(measured: Row, budget: Budget) -> float | None:
    """The figure that the budget is about; None for a ratio that was not measured."""
    if budget.of == "ratio":
        return measured.ratio.value if measured.ratio else None
    return {"p50": measured.p50, "p95": measured.p95, "max": measured.max}[budget.of]


def within(measured: Row, budget: Budget) -> bool:
    """Whether the row keeps its budget; a ratio that was not measured does not."""
    figure = judged(measured, budget)
    if figure is None:
        return False
    below = budget.at_most is None or figure <= budget.at_most
    above = budget.at_least is None or figure >= budget.at_least
    return below and above
