# SPDX-License-Identifier: Apache-2.0
"""Promises of the room as a whole: what decides knows no loop, no clock and no log; what is declared is used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import purelb.allocator
from purelb.allocator import access, metrics
from purelb.allocator.settings import RULES, AllocatorSettings
from purelb.process.settings import Loaded, load

ROOM = Path(purelb.allocator.__file__).parent
TALKS = {
    "configuring",
    "conflicts",
    "counting",
    "courier",
    "landing",
    "lending",
    "main",
    "rebuild",
    "reconciler",
    "sources/calls",
    "sources/source",
    "statuses",
    "term",
}
BANNED = {"asyncio", "aiohttp", "logging", "os", "pyroute2", "random", "socket", "subprocess", "threading", "time"}
FILES = sorted(path.relative_to(ROOM).with_suffix("").as_posix() for path in ROOM.rglob("*.py"))
DECIDES = [name for name in FILES if name not in TALKS]


def talking(name: str) -> set[str]:
    """What of a file knows a loop, a clock, a log or chance."""
    tree = ast.parse((ROOM / f"{name}.py").read_text())
    imported = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return (imported & BANNED) | {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}


@pytest.mark.parametrize("name", DECIDES)
def test_a_deciding_file_knows_no_loop_clock_log_or_chance(name: str) -> None:
    assert not talking(name)


@pytest.mark.parametrize("name", sorted(TALKS))
def test_whoever_is_said_to_talk_does(name: str) -> None:
    assert talking(name), "it decides: take it off the list"


@pytest.mark.parametrize("metric", metrics.METRICS, ids=lambda metric: metric.name)
def test_every_declared_metric_is_used(metric: object) -> None:
    name = next(name for name, value in vars(metrics).items() if value is metric)
    uses = [path.name for path in ROOM.glob("*.py") if path.stem != "metrics" and f"metrics.{name}" in path.read_text()]
    assert uses


def test_every_row_of_the_access_table_says_what_it_is_for() -> None:
    rows = access.access("purelb-system")
    assert all(row.reason for row in rows)
    assert all(row.namespaces == ("purelb-system",) for row in rows if row.resource in {"leases", "lbnodestatuses"})
    assert not [row for row in rows if row.resource in {"secrets", "configmaps"}]


def given(environment: dict[str, str], **flags: str) -> list[str] | AllocatorSettings:
    answer = load(AllocatorSettings, flags=flags, environment=environment, config=None, rules=RULES)
    return answer.settings if isinstance(answer, Loaded) else [str(problem) for problem in answer]


def test_settings_come_from_flags_and_environment() -> None:
    found = given({"PURELB_NAMESPACE": "lb", "DEFAULT_ANNOUNCER": "PureLB", "PURELB_LB_CLASS": ""}, writers="4")
    assert isinstance(found, AllocatorSettings)
    assert (found.namespace, found.default_announcer, found.writers) == ("lb", "PureLB", 4)
    assert found.lb_class == ("purelb.io/purelb", "purelb.io/purelbv2")


@pytest.mark.parametrize(
    ("environment", "flags", "where"),
    [
        ({"DEFAULT_ANNOUNCER": "purelb"}, {}, "DEFAULT_ANNOUNCER: "),
        ({}, {"default_announcer": "purelb"}, "--default-announcer: "),
        ({"DEFAULT_ANNOUNCER": "PureLB"}, {"default_announcer": "purelb"}, "--default-announcer: "),
        ({"PURELB_LB_CLASS": "not/a/class/x"}, {}, "PURELB_LB_CLASS: "),
    ],
)
def test_a_bad_setting_is_told_under_the_name_with_which_it_was_given(
    environment: dict[str, str], flags: dict[str, str], where: str
) -> None:
    found = given({"PURELB_NAMESPACE": "lb", **environment}, **flags)
    assert isinstance(found, list)
    (problem,) = found
    assert problem.startswith(where)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "the install namespace is unknown: set PURELB_NAMESPACE"),
        ({"PURELB_NAMESPACE": "lb", "DEFAULT_ANNOUNCER": "purelb"}, '"purelb" is not PureLB'),
        (
            {"PURELB_NAMESPACE": "lb", "PURELB_LEADER_LEASE_DURATION": "5s"},
            "lease duration 5 s is not longer than renew deadline 10 s",
        ),
        (
            {"PURELB_NAMESPACE": "lb", "PURELB_LEADER_LEASE_DURATION": "596523h14m8s"},
            '"596523h14m8s" is above the most allowed, 596523h14m7s',
        ),
        (
            {"PURELB_NAMESPACE": "lb", "PURELB_LEADER_RENEW_DEADLINE": "596523h14m8s"},
            "is not longer than renew deadline",
        ),
        ({"PURELB_NAMESPACE": "Bad_NS"}, '"Bad_NS" is no name of a namespace'),
        ({"PURELB_NAMESPACE": "lb", "PURELB_LB_CLASS": "not/a/class/x"}, '"not/a/class/x" is no class'),
        ({"PURELB_NAMESPACE": "lb", "PURELB_WRITERS": "0"}, '"0" is below the least allowed, 1'),
        ({"PURELB_NAMESPACE": "lb", "PURELB_EXTERNAL_TRAFFIC_POLICY": "x"}, '"x" is not one of override, honor'),
        ({"PURELB_NAMESPACE": "lb", "PURELB_STATUS_PAGE": "loopback"}, '"loopback" is not there yet'),
    ],
)
def test_bad_settings_are_refused_with_the_rule(environment: dict[str, str], said: str) -> None:
    found = given(environment)
    assert isinstance(found, list)
    assert any(said in problem for problem in found), found


def test_leadership_lasts_at_most_as_long_as_a_lease_can_say() -> None:
    found = given({"PURELB_NAMESPACE": "lb", "PURELB_LEADER_LEASE_DURATION": "596523h14m7s"})
    assert isinstance(found, AllocatorSettings)
    assert found.leader_lease_duration == float(2**31 - 1)
