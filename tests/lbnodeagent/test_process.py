# SPDX-License-Identifier: Apache-2.0
"""Settings, self-checks, the access table and the metrics of the agent's process."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from purelb.kube.lease import Timing
from purelb.lbnodeagent.access import access
from purelb.lbnodeagent.main import AgentSettings, command
from purelb.lbnodeagent.metrics import METRICS
from purelb.lbnodeagent.selfchecks import self_checks
from purelb.process.command import BAD_USAGE

if TYPE_CHECKING:
    from purelb.kube.resources import Access

NEEDED = ["--namespace=purelb", "--node-name=n1", "--print-config"]


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    found, unknown = parser.parse_known_args(arguments)
    found.unknown = unknown
    return command.run(found)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "PURELB_NAMESPACE", "PURELB_NODE_NAME", "PURELB_LEASE_DURATION", "PURELB_POD_UID"):
        monkeypatch.delenv(name, raising=False)


def test_without_node_name_and_namespace_both_are_asked_for_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == BAD_USAGE
    told = capsys.readouterr().err
    assert "the install namespace is unknown: set PURELB_NAMESPACE" in told
    assert "the node name is unknown: set PURELB_NODE_NAME" in told


def test_names_that_nothing_can_have_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--namespace=Bad_NS", "--node-name=../n1", "--lease-duration=x", "--print-config") == BAD_USAGE
    assert capsys.readouterr().err.splitlines() == [
        '--lease-duration: "x" is not a duration; write for example 10s, 500ms or 1m30s',
        '--namespace: "Bad_NS" is no name of a namespace: write for example purelb',
        '--node-name: "../n1" is no name of a Node: write what kubectl get nodes shows',
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("500ms", "is below the least allowed"),
        ("abc", "is not a duration"),
        ("10", "is not a duration"),
        ("3.5s", "must be a whole number of seconds"),
        ("7s", "is not longer than renew deadline"),
        ("2147483648s", "is above the most allowed, 596523h14m7s"),
    ],
)
def test_a_lease_duration_that_cannot_be_is_refused(
    value: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PURELB_LEASE_DURATION", value)
    assert run(*NEEDED) == BAD_USAGE
    assert text in capsys.readouterr().err


def test_an_empty_lease_duration_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURELB_LEASE_DURATION", "")
    assert run(*NEEDED) == 0
    settings = AgentSettings()
    assert Timing(settings.lease_duration, settings.renew_deadline, settings.retry_period) == Timing(10, 7, 2)


def test_an_unknown_flag_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*NEEDED, "--node-nmae=x") == BAD_USAGE
    assert "--node-nmae" in capsys.readouterr().err


def test_a_missing_capability_and_an_old_kernel_are_told_with_what_they_cost() -> None:
    without_raw = f"CapEff:\t{(1 << 12):016x}\n"
    found = [failure.error for failure in self_checks(status=without_raw, release="4.17.0-x")]
    assert found == [
        (
            "capability NET_RAW is missing: add it to securityContext.capabilities.add; "
            "without it no ARP or neighbour announcement can be sent"
        ),
        "kernel 4.17.0-x is older than 4.18, the oldest supported",
    ]
    both = f"CapEff:\t{(3 << 12):016x}\n"
    assert self_checks(status=both, release="4.18.0") == ()
    neither = self_checks(status="CapEff:\t0000000000000000\n", release="4.18.0")
    assert len({failure.check for failure in neither}) == 2, "two failures of one check would be one line of the log"


def allowed(rows: tuple[Access, ...], resource: str, verb: str) -> list[Access]:
    return [row for row in rows if row.resource == resource and verb in row.verbs]


def test_agents_cannot_write_services_nodes_or_our_kinds_and_leases_only_in_their_namespace() -> None:
    rows = access("purelb")
    for resource in ("services", "nodes", "servicegroups", "lbnodeagents", "endpointslices"):
        assert not any(allowed(rows, resource, verb) for verb in ("create", "update", "patch", "delete"))
    for row in rows:
        assert row.reason
        if set(row.verbs) & {"create", "patch", "delete"}:
            assert row.namespaces == ("purelb",)
    assert not [row for row in rows if row.resource in {"secrets", "configmaps"}]


def test_every_metric_is_declared_once_and_counters_end_in_total() -> None:
    names = Counter(metric.name for metric in METRICS)
    assert not [name for name, count in names.items() if count > 1]
    assert all(metric.name.endswith("_total") for metric in METRICS if metric.kind == "counter")
    assert all(metric.name.startswith("purelb_") and metric.help for metric in METRICS)


def test_every_metric_is_used_somewhere() -> None:
    import purelb.lbnodeagent

    folder = Path(purelb.lbnodeagent.__path__[0])
    text = "".join(path.read_text() for path in folder.glob("*.py") if path.name != "metrics.py")
    declared = {
        name
        for name, value in vars(__import__("purelb.lbnodeagent.metrics", fromlist=["x"])).items()
        if value in METRICS
    }
    assert not [name for name in declared if f"metrics.{name}" not in text]
