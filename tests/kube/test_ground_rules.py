# SPDX-License-Identifier: Apache-2.0
"""Rules of the runtime that hold for all of its files: what decides does not talk, and only the clock sleeps."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

import pytest

from purelb.kube.audit import Audit, Comparison
from purelb.kube.backoff import Backoff
from purelb.kube.changes import Changes, few, without_effect
from purelb.kube.decode import Codec, Paging
from purelb.kube.election import Election
from purelb.kube.events import Correlator
from purelb.kube.gathering import Gathering
from purelb.kube.heartbeat import Heartbeat
from purelb.kube.initial import InitialState
from purelb.kube.lease import Observations
from purelb.kube.limiters import Bucket, Exponential, MaxOf
from purelb.kube.lines import LineSplitter
from purelb.kube.liveness import Liveness
from purelb.kube.order import WriteOrder
from purelb.kube.pieces import ItemSplitter
from purelb.kube.position import Position
from purelb.kube.queue import QueueCore
from purelb.kube.reflector import Reflector
from purelb.kube.retry import retry_delay
from purelb.kube.sharing import Sharing
from purelb.kube.store import Replacement, Snapshot, Store
from purelb.kube.waiting import Waiting

FILES = sorted((Path(__file__).parents[2] / "purelb/kube").glob("*.py"))

# What decides, wherever it stands. A new class of the kind is added here.
PURE: tuple[Any, ...] = (
    Audit,
    Backoff,
    Bucket,
    Changes,
    Codec,
    Comparison,
    Correlator,
    Election,
    Exponential,
    Gathering,
    Heartbeat,
    InitialState,
    ItemSplitter,
    LineSplitter,
    Liveness,
    MaxOf,
    Observations,
    Paging,
    Position,
    QueueCore,
    Reflector,
    Replacement,
    Sharing,
    Snapshot,
    Store,
    Waiting,
    WriteOrder,
    few,
    retry_delay,
    without_effect,
)
TALK = {"asyncio", "aiohttp", "time", "random", "logging", "socket"}


@pytest.mark.parametrize("thing", PURE, ids=lambda thing: thing.__name__)
def test_what_decides_waits_for_nobody_and_knows_neither_loop_nor_clock_nor_chance(thing: Any) -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    waits = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor)]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not waits
    assert not names & TALK


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(path.read_text())
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_the_clock_sleeps_reads_time_or_draws_chance(path: Path) -> None:
    if path.name == "clock.py":
        return
    modules = {"time", "random", "datetime", "secrets"}
    named = [name for name, _ in calls(path) if name == "asyncio.sleep" or name.partition(".")[0] in modules]
    reads = [name for name in named if not name.startswith("datetime.") or name.endswith((".now", ".utcnow", ".today"))]
    assert reads == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_log_line_is_info_or_debug_and_has_a_constant_code(path: Path) -> None:
    for name, call in calls(path):
        if not name.startswith("log."):
            continue
        assert name in {"log.info", "log.debug"}, f"{path.name}:{call.lineno}"
        assert isinstance(call.args[0], ast.Constant), f"{path.name}:{call.lineno}: what varies is a field"
        extra = next((each.value for each in call.keywords if each.arg == "extra"), None)
        assert extra is not None, f"{path.name}:{call.lineno} has no fields"
        if isinstance(extra, ast.Dict):
            assert any(isinstance(key, ast.Constant) and key.value == "code" for key in extra.keys), path.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_tasks_come_from_a_group_and_have_names(path: Path) -> None:
    for name, call in calls(path):
        if name.endswith("create_task"):
            assert any(each.arg == "name" for each in call.keywords), f"{path.name}:{call.lineno}"
            assert "loop" not in name, f"{path.name}:{call.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_there_is_no_thread_and_only_giving_back_a_lease_outlives_its_cancellation(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        each.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names
    }
    imported |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"threading", "concurrent", "multiprocessing"}
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not named & {"to_thread", "run_in_executor"}
    assert ("shield" in named) == (path.name == "elector.py")
