# SPDX-License-Identifier: Apache-2.0
"""A run of several suites: what it leaves in the file, and what it says when one of them fails."""

from __future__ import annotations

import argparse
import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.resources import NAMESPACES, SERVICES
from purelb.process.command import ANSWER_IS_NO, BAD_USAGE, CANNOT_WORK_HERE, DONE
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.memory import MemoryTransport
from purelb.sandbox.bench import api, command, deciding, failover, many, objects, outages, peers, runtime, suites
from purelb.sandbox.bench import scale as scaling
from purelb.sandbox.bench.catalogue import ALONE, SUITES
from purelb.sandbox.bench.keeping import Gathering
from purelb.sandbox.bench.results import Row, decoded, encoded
from tests.sandbox.bench.findings import results, run, timed

if TYPE_CHECKING:
    from pathlib import Path


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args(words)


def broken() -> list[Row]:
    raise RuntimeError("no luck")


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((runtime, "runtime"), (api, "api"), (deciding, "decide")):
        monkeypatch.setattr(module, "measure", lambda name=name: [timed(name, "c", 2.0)])
    monkeypatch.setattr(failover, "measure", lambda kind, *, trials: [timed("failover", kind.name, float(trials))])
    monkeypatch.setattr(command, "began", lambda: run(when="2026-03-01T00:00:00+00:00"))
    monkeypatch.setattr(command, "committed", lambda: None)


def test_the_suites_of_the_command_are_those_of_the_catalogue() -> None:
    assert {deciding.SUITE, scaling.SUITE, peers.SUITE} <= set(SUITES)
    parts = command._parts(None, asked())  # type: ignore[arg-type]
    assert {suite for part in parts for suite in part.suites} | set(ALONE) == set(SUITES)
    assert {suite for part in parts for suite in part.suites}.isdisjoint(ALONE)


def test_a_run_of_some_suites_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    before = results(timed("scale", "c", 1.0), timed("api", "gone", 1.0))
    file.write_bytes(encoded(before))
    assert command.run(asked("runtime", "api", f"--out={file}")) == DONE
    after = decoded(file.read_bytes())
    assert [(found.suite, found.case, found.p50) for found in after.rows] == [
        ("runtime", "c", 2.0),
        ("api", "c", 2.0),
        ("scale", "c", 1.0),
    ]
    assert after.runs["scale"] == before.runs["scale"]
    assert after.runs["api"].when == "2026-03-01T00:00:00+00:00"


def test_a_suite_that_fails_loses_neither_the_others_nor_its_own_earlier_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.json"
    file.write_bytes(encoded(results(timed("api", "earlier", 1.0))))
    monkeypatch.setattr(api, "measure", broken)
    assert command.run(asked(*ALONE, f"--out={file}")) == ANSWER_IS_NO
    kept = [(found.suite, found.case) for found in decoded(file.read_bytes()).rows if found.suite != "failover"]
    assert kept == [("runtime", "c"), ("api", "earlier"), ("decide", "c")]
    said = capsys.readouterr()
    assert "| decide | c |" in said.out
    assert "earlier" not in said.out
    assert "not complete: api: api failed: RuntimeError: no luck" in said.err


def test_an_outage_that_could_not_be_measured_loses_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(kind: outages.Kind, *, trials: int) -> list[Row]:
        return broken() if kind.how == "freeze" else [timed("failover", kind.name, float(trials))]

    monkeypatch.setattr(failover, "measure", measure)
    file = tmp_path / "r.json"
    assert command.run(asked("failover", "--trials=2", f"--out={file}")) == ANSWER_IS_NO
    found = decoded(file.read_bytes())
    others = [kind.name for kind in outages.KINDS if kind.how != "freeze"]
    assert [(each.case, each.p50) for each in found.rows] == [(name, 2.0) for name in others]
    assert found.runs["failover"].failed == ("agent frozen failed: RuntimeError: no luck",)
    assert "not complete: failover: agent frozen failed" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_a_number_of_trials_is_one_or_more(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        asked("failover", f"--trials={text}")
    assert f"{text} is not a number of trials: 1 or more" in capsys.readouterr().err


def test_a_run_that_measured_nothing_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, new = tmp_path / "r.json", tmp_path / "new.json"
    file.write_bytes(encoded(results(timed("api", "earlier", 1.0))))
    before = file.read_bytes()
    monkeypatch.setattr(api, "measure", broken)
    for out in (file, new):
        assert command.run(asked("api", f"--out={out}")) == ANSWER_IS_NO
    assert file.read_bytes() == before
    assert not new.exists()


def test_a_server_that_is_not_there_loses_none_of_what_was_measured_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("nobody is there")

    monkeypatch.setattr(command, "_unable", lambda _: None)
    monkeypatch.setattr(command, "_measure", refused)
    file = tmp_path / "r.json"
    assert command.run(asked("decide", "scale", f"--out={file}")) == ANSWER_IS_NO
    assert [found.suite for found in decoded(file.read_bytes()).rows] == ["decide"]
    assert "not complete: scale:" in capsys.readouterr().err


async def test_a_part_that_fails_is_cleared_away_and_the_next_one_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleared: list[object] = []

    async def good() -> list[Row]:
        return [timed("steady", "kept", 1.0), timed("allocate", "kept", 1.0), timed("announce", "not asked for", 1.0)]

    async def bad() -> list[Row]:
        raise ExceptionGroup("two at once", [RuntimeError("a"), RuntimeError("b")])

    parts = [
        command.Part(suites=("allocate",), name="bad", measure=bad),
        command.Part(suites=("allocate", "announce", "steady"), name="good", measure=good),
        command.Part(suites=("scale",), name="not asked for", measure=bad),
    ]

    async def clear(client: object) -> None:
        cleared.append(client)

    monkeypatch.setattr(command, "_cleared", clear)
    gathering = Gathering(tmp_path / "r.json", run())
    client = object()
    await command._measured(parts, client, gathering, wanted={"allocate", "steady"})  # type: ignore[arg-type]
    found = decoded((tmp_path / "r.json").read_bytes())
    assert [(each.suite, each.case) for each in found.rows] == [("allocate", "kept"), ("steady", "kept")]
    assert cleared == [client]
    assert found.runs["allocate"].failed == ("bad failed: ExceptionGroup: two at once (2 sub-exceptions)",)
    assert found.runs["steady"].failed == ()


@pytest.mark.parametrize("text", [b"{}", b'{"schema":1,"rows":[]}', b"not JSON"], ids=["empty", "earlier", "text"])
def test_a_file_that_is_something_else_is_not_overwritten(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "r.json"
    file.write_bytes(text)
    assert command.run(asked("api", f"--out={file}")) == CANNOT_WORK_HERE
    assert file.read_bytes() == text


def test_a_comparison_needs_somebody_to_compare_with(tmp_path: Path) -> None:
    assert command.run(asked("peer", f"--out={tmp_path / 'r.json'}")) == BAD_USAGE
    assert command._wanted(asked()) == set(SUITES) - {"peer"}
    assert command._wanted(asked("--peer=other=kubeconfig")) == set(SUITES)
    assert command._wanted(asked("scale", "--peer=other=kubeconfig")) == {"scale"}
    for suite in ("allocate", "announce", "steady"):
        assert command._wanted(asked(suite, "--peer=other=kubeconfig")) == {suite, "peer"}


def test_failover_is_not_compared_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(asked("failover", "--peer=other=kubeconfig")) == BAD_USAGE
    assert "need nodes whose power, links and agents are ours to take" in capsys.readouterr().err


async def test_the_services_that_a_failed_part_left_are_removed_and_no_others() -> None:
    core = ApiCore(rng=random.Random(1).random, epoch=datetime(2030, 1, 1, tzinfo=UTC))
    clock = SystemClock()
    async with ApiClient(
        fixed_access("http://memory"), user_agent="t", clock=clock, transport=MemoryTransport(core, clock=clock)
    ) as client:
        for namespace in (suites.NAMESPACE, many.CROWD, "others"):
            await client.create(NAMESPACES, objects.namespace(namespace))
            await client.create(SERVICES, objects.service("web", lb_class=None), namespace=namespace)
        await command._cleared(client)
        listed = json.loads((await client.raw("GET", SERVICES.path(None))).body)["items"]
    assert [found["metadata"]["namespace"] for found in listed] == ["default", "others"]


async def test_without_kube_controller_manager_what_it_does_to_one_service_is_refused_with_what_gives_it() -> None:
    with pytest.raises(RuntimeError, match="--kube-controller-manager PATH"):
        await suites.beside(None, binary=None, kubeconfig="nowhere", trials=1)  # type: ignore[arg-type]
