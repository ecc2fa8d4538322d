# SPDX-License-Identifier: Apache-2.0
"""The results for people: the table that ends a run on the terminal, and docs/benchmarks.md. Pure.

The page is made from the committed results alone, so that it can be made again and compared. It judges nothing itself: whether
a budget was kept is what the run wrote down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from purelb.sandbox.bench.catalogue import SUITES, repeated_by
from purelb.sandbox.bench.results import judged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from purelb.sandbox.bench.results import Budget, Results, Row, Run

_HEAD: Final = """\
<!-- Made by `purelb sandbox bench report` from bench/results.json; measure again with `make bench`, then run `make generated`. -->

# Benchmarks

`make bench` measures everything on a real kube-apiserver and its etcd that it starts in a network namespace of their own (Go and
root; both are built once), writes `bench/results.json`, ends with a table and exits with an error when a budget is missed. Nobody
else works in that cluster but where a row names him: kube-controller-manager answers each Service with two writes of its own, which on
two cores is what a latency is then made of. One suite alone: the command under its heading. It replaces that suite in the results and
leaves the others, so each says when and of which revision it was measured.

Budgets are ratios within one run, or counts; they do not depend on the machine. The few in milliseconds, seconds or MiB are stated
for a machine with two current cores. All other figures are there to be compared with those of the same machine: a run says which are
more than 20 % worse than the committed ones. *Noisy* is a run that began on a busy machine.
"""


def table(results: Results) -> str:
    """The rows as one Markdown table."""
    body = [
        (
            found.suite,
            found.case,
            str(found.n),
            f"{found.p50:g}",
            f"{found.p95:g}",
            found.unit,
            _ratio(found),
            f"{_bound(found.budget)}: {'kept' if found.ok else 'MISSED'}" if found.budget else "",
        )
        for found in results.rows
    ]
    noisy = sorted({noise for run in results.runs.values() for noise in run.noisy})
    machine = results.machine
    head = f"{_versions(results.versions)}; {machine.cpu}, {machine.cores} cores, kernel {machine.kernel}"
    lines = [head, *(f"noisy: {noise}" for noise in noisy), ""]
    return "\n".join([*lines, *_table(("suite", "case", "n", "p50", "p95", "unit", "ratio", "budget"), body)]) + "\n"


def page(results: Results) -> str:
    """docs/benchmarks.md."""
    parts = [_HEAD, _overview(results)]
    for name, about in SUITES.items():
        rows = [found for found in results.rows if found.suite == name]
        parts.append(f"## {name}\n\n{about.measures} Repeat it with `{repeated_by(name)}`.\n")
        if not rows:
            parts.append("The committed results do not have it yet.\n")
            continue
        if (run := results.runs.get(name)) is not None:
            parts.append(_said_of(run))
        if with_budget := [found for found in rows if found.budget is not None]:
            parts.append("\n".join(_budgets(with_budget)) + "\n")
        if without := [found for found in rows if found.budget is None]:
            parts.append("\n".join(_figures(without)) + "\n")
    return "\n".join(parts)


def _overview(results: Results) -> str:
    having = [found for found in results.rows if found.budget is not None]
    missed = [f"- {found.suite}: {found.case}" for found in having if not found.ok]
    said = f"{len(having) - len(missed)} of {len(having)} budgets are kept in the results below."
    return "\n".join([said, *(["", "Missed:", "", *missed] if missed else [])]) + "\n"


def _said_of(run: Run) -> str:
    machine = run.machine
    revision = f"`{run.revision}`{' with changes' if run.dirty else ''}"
    where = f"{machine.cpu}, {machine.cores} cores, {machine.memory_mib} MiB, kernel {machine.kernel}"
    lines = [f"Measured {run.when} at {revision}: {where}; {_versions(run.versions)}."]
    if run.noisy:
        lines.append(f"Noisy: {'; '.join(run.noisy)}.")
    if run.failed:
        lines.append(f"Not complete: {'; '.join(run.failed)}.")
    return "\n".join(lines) + "\n"


def _budgets(rows: Iterable[Row]) -> list[str]:
    body = []
    for found in rows:
        budget = found.budget
        if budget is None:
            continue
        figure = judged(found, budget)
        unit = {"ratio": " x"}.get(budget.of, "" if found.unit == "count" else f" {found.unit}")
        measured = "not measured" if figure is None else f"{figure:g}{unit}"
        body.append(
            (found.case, str(found.n), measured, _bound(budget), "kept" if found.ok else "**missed**", _ratio(found))
        )
    return _table(("Case", "n", "Measured", "Budget", "Pass", "Against"), body)


def _figures(rows: Iterable[Row]) -> list[str]:
    body = [
        (found.case, str(found.n), f"{found.p50:g}", f"{found.p95:g}", f"{found.max:g}", found.unit, _ratio(found))
        for found in rows
    ]
    return _table(("Without a budget", "n", "p50", "p95", "max", "Unit", "Against"), body)


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *body]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def _bound(budget: Budget) -> str:
    bounds = (("<=", budget.at_most), (">=", budget.at_least))
    return " and ".join(f"{budget.of} {sign} {value:g}" for sign, value in bounds if value is not None)


def _ratio(found: Row) -> str:
    return f"{found.ratio.value:g} x {found.ratio.to}" if found.ratio else ""


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(versions.items()))
