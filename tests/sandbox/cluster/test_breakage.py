# SPDX-License-Identifier: Apache-2.0
"""Breaking and mending a whole sandbox. One of two nodes serves all tests; each leaves it whole."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import urlopen

import pytest

from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.errors import KubeError
from purelb.kube.resources import LEASES, NODES, SERVICES
from purelb.sandbox.apiserver.faults import Answer, Rule
from purelb.sandbox.cluster import breakage
from purelb.sandbox.cluster.breakage import Breakage, Cannot, Heal, Kill, Start
from purelb.sandbox.cluster.reach import Refused, Sandbox
from purelb.sandbox.cluster.server import admin_access
from purelb.sandbox.cluster.state import StateDirectory
from purelb.sandbox.commands import command
from purelb.sandbox.rig.cuts import Cut
from purelb.sandbox.rig.links import Rig
from purelb.sandbox.rig.topology import Shape, plan
from tests.sandbox.cluster.whole import bring_up, lacking, processes_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]
PURELB = [sys.executable, "-m", "purelb.cli.main", "sandbox", "--name", "test"]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateDirectory:
    return StateDirectory("test", home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def running(state: StateDirectory) -> Iterator[Sandbox]:
    sandbox = bring_up(state, nodes=2)
    yield sandbox
    sandbox.end()


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    """Whole before and after the test."""
    yield running
    assert running.order(Heal()) == []
    until(lambda: all_ready(running), what="all is ready again", limit_s=30)


def all_ready(sandbox: Sandbox) -> bool:
    return all(pod["ready"] for pod in sandbox.status()["pods"])


def pod(sandbox: Sandbox, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in sandbox.status()["pods"] if one["name"] == name)
    return found


class Said(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def purelb(state: StateDirectory, *words: str) -> Said:
    """`purelb sandbox --name test WORDS` in this process: a new one would take seconds to say a line."""
    parser = argparse.ArgumentParser()
    command.configure(parser)
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("XDG_STATE_HOME", str(state.path.parents[2]))
        code = command.run(parser.parse_args(["--name", state.name, *words]))
    return Said(code, out.getvalue(), err.getvalue())


def read_node(state: StateDirectory, name: str) -> str:
    """`ok`, or the name of the error."""

    async def ask() -> str:
        access = admin_access(state.kubeconfig.read_bytes())
        async with ApiClient(access, user_agent="test", clock=SystemClock()) as client:
            try:
                await client.get(NODES, name)
            except KubeError as error:
                return str(error)
            return "ok"

    return asyncio.run(ask())


def states_in(sandbox: Sandbox, state: StateDirectory, part: bytes) -> set[str]:
    """The process states (R, S, T...) of the programs with `part` in their command line."""
    found = set()
    for pid in processes_of(state):
        try:
            if part in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        except OSError:
            continue
    return found


def test_a_rule_makes_the_api_server_misbehave_until_it_is_cleared(sandbox: Sandbox, state: StateDirectory) -> None:
    number = sandbox.add_fault(Rule(effect=Answer(code=503, text="broken on order"), verb="get", name="n2"))
    assert "broken on order" in read_node(state, "n2")
    assert read_node(state, "n1") == "ok"
    (shown,) = sandbox.status()["apiFaults"]
    assert shown["number"] == number
    assert shown["fired"] >= 1
    assert shown["words"] == "answer code=503 text=broken on order verb=get name=n2"
    assert sandbox.remove_faults(str(number)) == [number]
    assert read_node(state, "n2") == "ok"
    with pytest.raises(Refused, match="there are none"):
        sandbox.remove_faults(str(number))
    sandbox.add_fault(Rule(effect=Answer(code=503), verb="get", name="n2"))
    sandbox.order(Heal(node="n1"))
    assert len(sandbox.faults()) == 1, "it hurts no node in particular"
    sandbox.order(Heal())
    assert sandbox.faults() == []


def test_rules_are_added_listed_and_cleared_from_the_command_line(sandbox: Sandbox, state: StateDirectory) -> None:
    added = purelb(state, "fault", "add", "answer", "code=404", "name=n2", "verb=get")
    assert (added.returncode, added.stderr) == (0, "")
    assert purelb(state, "fault", "add", '{"effect": {"type": "NoBookmarks"}}').returncode == 0
    listed = purelb(state, "fault", "list").stdout
    assert "answer code=404 verb=get name=n2" in listed
    assert "no-bookmarks" in listed
    assert "API rule" in purelb(state, "status").stdout
    for refused in (("add", "answer"), ("add", "answer", "code=500", "verbs=get"), ("clear", "99"), ("list", "x")):
        said = purelb(state, "fault", *refused)
        assert said.returncode == 2, said
        assert said.stderr.startswith("purelb sandbox fault: ")
    assert purelb(state, "fault", "clear").returncode == 0
    assert sandbox.faults() == []


def test_a_killed_agent_stays_down_and_a_frozen_one_stands_still_until_started(
    sandbox: Sandbox, state: StateDirectory
) -> None:
    sandbox.order(Kill(node="n1", how="freeze"))
    until(lambda: "T" in states_in(sandbox, state, b"\0lbnodeagent"), what="it stands still")
    sandbox.order(Kill(node="n2", how="agent"))
    until(lambda: not pod(sandbox, "lbnodeagent-n2")["running"], what="the agent of n2 is down")
    assert [fault["what"] for fault in sandbox.status()["faults"]] == [
        "n1 has a frozen agent",
        "n2 has no agent: killed, and kept from restarting",
    ]
    with pytest.raises(Refused, match="start-node n2 first"):
        sandbox.order(Kill(node="n2", how="freeze"))
    sandbox.order(Start(node="n1"))
    sandbox.order(Start(node="n2"))
    until(lambda: all_ready(sandbox), what="both agents work")
    assert "T" not in states_in(sandbox, state, b"\0lbnodeagent")


def test_a_node_without_power_has_neither_process_nor_namespace_and_comes_back(
    sandbox: Sandbox, state: StateDirectory
) -> None:
    before = sandbox.status()
    with sandbox.entrance("n2") as entrance:
        visitor = subprocess.Popen(entrance.argv(["sleep", "60"]), pass_fds=entrance.descriptors)
    sandbox.order(Kill(node="n2", how="power-off"))
    assert visitor.wait(timeout=30) != 0, "who was on the node is gone as well"
    status = sandbox.status()
    assert {one["node"] for one in status["pods"] if one["running"]} == {"n1"}
    assert set(before["networks"]) - set(status["networks"]) == {"n2", "echo-n2"}
    assert [fault["what"] for fault in status["faults"]] == ["n2 has no power"]
    for order in (Kill(node="n2", how="agent"), Cut(node="n1", away="n2"), Cut(node="n2", away="lan")):
        with pytest.raises(Refused, match="n2 has no power"):
            sandbox.order(order)
    with pytest.raises(Refused, match="no room 'n2'"), sandbox.entrance("n2"):
        pass
    sandbox.order(Start(node="n2"))
    until(lambda: all_ready(sandbox), what="n2 is back", limit_s=30)
    assert set(sandbox.status()["networks"]) == set(before["networks"])
    names = "import socket; print(*(name for _, name in socket.if_nameindex()))"
    with sandbox.entrance("n2") as entrance:
        seen = subprocess.run(
            entrance.argv([sys.executable, "-c", names]),
            pass_fds=entrance.descriptors,
            capture_output=True,
            text=True,
            check=True,
        )
    assert {"lo", "eth0", "api0", "cni0"} <= set(seen.stdout.split())


def test_pods_of_a_node_that_is_cut_from_the_api_stay_what_they_were(sandbox: Sandbox, state: StateDirectory) -> None:
    cut = purelb(state, "partition", "n2", "--from", "api")
    assert (cut.returncode, cut.stdout) == (0, "n2 is cut from api\n")
    sandbox.order(Kill(node="n1", how="agent"))
    until(lambda: not pod(sandbox, "lbnodeagent-n1")["ready"], what="n1, which is asked, is seen to be down")
    assert pod(sandbox, "echo-n2")["ready"]
    assert "n2 is cut from api" in purelb(state, "status").stdout
    healed = purelb(state, "heal", "n2")
    assert (healed.returncode, healed.stdout) == (0, "n1 has no agent: killed, and kept from restarting\n")
    assert purelb(state, "heal").stdout == "nothing is broken\n"


def test_a_cut_takes_the_place_of_the_one_with_the_same_ends(sandbox: Sandbox) -> None:
    sandbox.order(Cut(node="n1", away="lan"))
    told = sandbox.order(Cut(node="n1", away="lan", carrier="down"))
    assert [fault["what"] for fault in told] == ["n1 is cut from lan, carrier down"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("kill-node", "n9"), "no node 'n9': there are n1, n2"),
        (("heal", "n9"), "there are n1, n2"),
        (("drain", "n9"), "there are n1, n2"),
        (("partition", "n1", "--from", "wan"), "one of lan, api, n1, n2"),
        (("partition", "n1", "--from", "n2", "--carrier", "down"), "share no cable"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_broken_is_refused_with_what_can(
    sandbox: Sandbox, state: StateDirectory, words: tuple[str, ...], says: str
) -> None:
    refused = purelb(state, *words)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert sandbox.status()["faults"] == []


def test_a_port_of_a_pods_loopback_is_reached_from_the_host(sandbox: Sandbox, state: StateDirectory) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(state.path.parents[2])}
    with subprocess.Popen(
        [*PURELB, "port-forward", "echo-n2", "8080"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        place = process.stdout.readline().split()[0]
        with urlopen(f"http://{place}/", timeout=10) as answer:
            assert json.loads(answer.read()) == {"pod": "echo-n2", "node": "n2", "client": "127.0.0.1"}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    until(lambda: not states_in(sandbox, state, b"rig.forward"), what="nothing of it is left")
    refused = purelb(state, "port-forward", "echo-n9", "8080")
    assert (refused.returncode, "there are echo-n1" in refused.stderr) == (2, True)


def test_manifests_are_created_or_merged_and_a_refused_one_is_named(
    sandbox: Sandbox, state: StateDirectory, tmp_path: Path
) -> None:
    service = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: applied, labels: {try: first}}\nspec: {ports: [{port: 80}]}\n"
    )
    (tmp_path / "all.yaml").write_text(service)
    first = purelb(state, "up", "--apply", str(tmp_path))
    assert first.returncode == 0
    assert "the pools of every subnet" in first.stdout, "there was no ServiceGroup"
    (tmp_path / "all.yaml").write_text(service.replace("first", "second"))
    again = purelb(state, "up", "--apply", str(tmp_path))
    assert (again.returncode, again.stderr) == (0, "")
    assert "manifests are applied: 1" in again.stdout
    assert "the pools of every subnet" not in again.stdout, "there is one now, and whoever changed it keeps it"
    (tmp_path / "b.yaml").write_text(service.replace("80", "800000").replace("applied", "wrong"))
    (tmp_path / "c.yaml").write_text("apiVersion: v1\nkind: Surprise\nmetadata: {name: it}\n")
    refused = purelb(state, "up", "--apply", str(tmp_path))
    assert refused.returncode == 1
    assert "Service wrong (" in refused.stderr
    (tmp_path / "b.yaml").unlink()
    assert "the server has no Surprise in /api/v1" in purelb(state, "up", "--apply", str(tmp_path)).stderr

    async def label() -> str:
        access = admin_access(state.kubeconfig.read_bytes())
        async with ApiClient(access, user_agent="test", clock=SystemClock()) as client:
            return ((await client.get(SERVICES, "applied", namespace="default")).metadata.labels or {})["try"]

    assert asyncio.run(label()) == "second"


def test_a_program_that_does_not_end_when_told_is_killed_when_its_grace_is_over(
    sandbox: Sandbox, state: StateDirectory
) -> None:
    sandbox.order(Kill(node="n1", how="freeze"))  # SIGTERM waits for ever at a frozen process
    assert sandbox.terminate("lbnodeagent-n1", grace=5.0)
    assert pod(sandbox, "lbnodeagent-n1")["running"]
    until(lambda: not pod(sandbox, "lbnodeagent-n1")["running"], what="it is killed")
    assert pod(sandbox, "lbnodeagent-n1")["reason"] == "ended by SIGKILL"
    for grace in (-1.0, float("nan")):
        with pytest.raises(Refused, match="grace: 0 to 3600 seconds"):
            sandbox.terminate("echo-n1", grace=grace)


def test_a_program_whose_token_is_rotated_goes_on_with_the_new_one(sandbox: Sandbox, state: StateDirectory) -> None:
    before = pod(sandbox, "lbnodeagent-n1")["restarts"]
    renewed = lease_of("n1", state)
    sandbox.rotate_token("lbnodeagent-n1")
    first = until(lambda: changed(lease_of("n1", state), renewed), what="the lease is renewed", limit_s=20)
    until(lambda: changed(lease_of("n1", state), first), what="and again", limit_s=20)
    assert pod(sandbox, "lbnodeagent-n1")["restarts"] == before
    with pytest.raises(Refused, match="no token"):
        sandbox.rotate_token("echo-n1")


def changed(now: str, before: str) -> str:
    return now if now != before else ""


def lease_of(node: str, state: StateDirectory) -> str:
    """The resource version of the node's lease."""

    async def ask() -> str:
        access = admin_access(state.kubeconfig.read_bytes())
        async with ApiClient(access, user_agent="test", clock=SystemClock()) as client:
            page = await client.list_page(LEASES)
            return next(str(one.metadata.resource_version) for one in page.objects if node in one.metadata.name)

    return asyncio.run(ask())


def test_two_nodes_that_are_cut_from_each_other_still_reach_the_client(sandbox: Sandbox) -> None:
    if shutil.which("nft") is None:
        lacking("needs nft (Debian: nftables)")
    connect = "import socket, sys; socket.create_connection((sys.argv[1], 7472), timeout=1)"

    def reaches(room: str, address: str) -> bool:
        with sandbox.entrance(room) as entrance:
            argv = entrance.argv([sys.executable, "-c", connect, address])
            return not subprocess.run(argv, pass_fds=entrance.descriptors, capture_output=True, check=False).returncode

    sandbox.order(Cut(node="n1", away="n2"))
    assert not reaches("n1", "172.30.1.2")
    until(lambda: reaches("client", "172.30.1.2"), what="the client reaches it")
    sandbox.order(Heal(node="n2"))
    until(lambda: reaches("n1", "172.30.1.2"), what="they reach each other again")


async def test_without_nft_a_cut_that_needs_it_is_refused_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(breakage, "SYSTEM_PATH", str(tmp_path))
    nothing: Any = None
    breaker = Breakage(Rig(plan(Shape(nodes=2)), {}), {}, watch=nothing, reaper=nothing)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(breaker.run())
        for cut in (Cut(node="n1", away="n2"), Cut(node="n1", away="lan", oneway=True)):
            with pytest.raises(Cannot, match="apt-get install nftables"):
                await breaker.order(cut)
        running.cancel()
    assert breaker.in_force() == ()
