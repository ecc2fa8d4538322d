# SPDX-License-Identifier: Apache-2.0
"""What is declared about metrics, in all rooms: each is used, each used one is declared, names and buckets keep their rules."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import pytest

import purelb.allocator.metrics
import purelb.kube.metrics
import purelb.lbnodeagent.metrics
import purelb.process.metrics
from purelb.kube.metrics import LATENCY, Metric
from purelb.process.metrics import Registry

ROOT = Path(__file__).parents[2] / "purelb"
ROOMS = {
    "kube": purelb.kube.metrics,
    "process": purelb.process.metrics,
    "allocator": purelb.allocator.metrics,
    "lbnodeagent": purelb.lbnodeagent.metrics,
}
ALL: list[Metric] = [metric for room in ROOMS.values() for metric in room.METRICS]
COMPONENTS = {
    name: (*ROOMS["process"].METRICS, *ROOMS["kube"].METRICS, *ROOMS[name].METRICS)
    for name in ("allocator", "lbnodeagent")
}


def names_used(path: Path) -> set[str]:
    """Names and attributes that the functions of a file read: imports, and the table itself, do not count."""
    found = set()
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for node in (inner for function in functions for inner in ast.walk(function)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


def test_no_metric_is_declared_that_nobody_writes() -> None:
    used: set[str] = set()
    for path in ROOT.rglob("*.py"):
        if path.name != "metrics.py" or path.parent.name == "process":
            used |= names_used(path)
    unused = [
        f"{room}: {name}"
        for room, module in ROOMS.items()
        for name, value in vars(module).items()
        if isinstance(value, Metric) and name not in used
    ]
    assert unused == []


def test_nobody_makes_a_metric_outside_the_tables() -> None:
    made = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.rglob("*.py")
        if path.name != "metrics.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Metric"
    ]
    assert made == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_name_is_declared_once_and_a_component_exposes_no_other(component: str) -> None:
    table = COMPONENTS[component]
    names = [metric.name for metric in table]
    assert len(set(names)) == len(names)
    text = Registry(table).text().decode()
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    foreign = {name for name in families - set(names) if not name.startswith(("process_", "python_"))}
    assert foreign == set()
    assert set(names) <= families
    assert "_created" not in text


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_metric_keeps_the_rules_of_names(metric: Metric) -> None:
    assert metric.help.endswith(".")
    assert metric.kind != "counter" or metric.name.endswith("_total")
    assert all(len(values) == len(metric.labels) for values in metric.known)
    assert metric.buckets == tuple(sorted(set(metric.buckets)))


def test_latencies_are_counted_in_steps_of_1_25_5_from_a_millisecond_to_a_minute() -> None:
    assert (LATENCY[0], LATENCY[-1]) == (0.001, 60.0)
    ratios = {round(after / before, 6) for before, after in pairwise(LATENCY[:-1])}
    assert ratios == {2.5, 2.0}
    timed = [metric for metric in ALL if metric.kind == "histogram" and metric.name.startswith("purelb_")]
    assert timed
    assert all(metric.buckets == LATENCY for metric in timed)


def test_series_of_single_services_and_addresses_are_capped() -> None:
    single = {"service", "ip"}
    assert [metric.name for metric in ALL if single & set(metric.labels) and not metric.per_object] == []
