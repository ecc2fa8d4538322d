# SPDX-License-Identifier: Apache-2.0
"""Whole sandboxes on a real kernel: what they leave behind, who may end them, what they keep running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.sandbox.cluster.launch import start
from purelb.sandbox.cluster.reach import NotRunning, Refused, Sandbox
from purelb.sandbox.cluster.server import admin_access
from purelb.sandbox.cluster.shipped import RESOURCES, manifests
from purelb.sandbox.cluster.state import StateDirectory, Unusable
from purelb.sandbox.rig.topology import Shape
from tests.sandbox.cluster.whole import bring_up, machine, processes_of, programs_of, until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]
PURELB = [sys.executable, "-m", "purelb.cli.main", "sandbox"]


def is_running(state: StateDirectory) -> bool:
    try:
        Sandbox(state)
    except NotRunning:
        return False
    return True


def test_up_and_down_again_and_again_leave_the_machine_as_it_was(state: StateDirectory) -> None:
    before = machine(state.path)
    for _ in range(3):
        bring_up(state).end()
        assert processes_of(state) == set()
    assert machine(state.path) == before


def test_a_killed_supervisor_takes_everything_with_it(state: StateDirectory) -> None:
    before = machine(state.path)
    sandbox = bring_up(state, nodes=2)
    assert len(processes_of(state)) > 6
    os.kill(sandbox.pid, signal.SIGKILL)
    until(lambda: not processes_of(state), what="no process is left")
    until(lambda: not is_running(state), what="nobody answers")
    assert machine(state.path) == before


def test_a_sandbox_that_was_not_let_live_dies_with_whoever_started_it(state: StateDirectory) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from purelb.sandbox.cluster.launch import start\n"
        "from purelb.sandbox.cluster.state import StateDirectory\n"
        "from purelb.sandbox.rig.topology import Shape\n"
        "with start(StateDirectory('test', home=Path(sys.argv[1])), shape=Shape(nodes=1), proxy='user') as starting:\n"
        "    for step in starting.steps(limit_s=30):\n"
        "        print(step.name, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    for last in ("namespaces", "api", "ready"):  # wherever it is on its way
        starter = subprocess.Popen(
            [sys.executable, "-c", script, str(state.path.parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with starter:
            assert starter.stdout is not None
            while starter.stdout.readline().strip() != last:
                assert starter.poll() is None
            starter.kill()
        until(lambda: not processes_of(state), what=f"nothing is left after {last}")


def test_an_interrupted_start_leaves_nothing(state: StateDirectory) -> None:
    before = machine(state.path)

    def interrupted() -> None:
        with start(state, shape=Shape(nodes=1), proxy="user") as starting:
            next(starting.steps(limit_s=30))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert processes_of(state) == set()
    assert machine(state.path) == before


def test_of_two_starters_of_one_sandbox_one_is_told_that_the_other_was_faster(state: StateDirectory) -> None:
    with start(state, shape=Shape(nodes=1), proxy="user") as first:
        next(first.steps(limit_s=30))
        second = start(state, shape=Shape(nodes=1), proxy="user")
        with pytest.raises(Unusable, match="is running"):
            second.__enter__()


def test_two_sandboxes_do_not_know_each_other(state: StateDirectory, tmp_path: Path) -> None:
    other = StateDirectory("other", home=tmp_path)
    first, second = bring_up(state), bring_up(other)
    second.end()
    assert first.status()["nodes"][0]["name"] == "n1"
    with pytest.raises(NotRunning):
        second.status()


def test_a_program_that_is_killed_comes_back_and_one_that_is_kept_down_does_not(state: StateDirectory) -> None:
    sandbox = bring_up(state)

    def pod(name: str) -> dict[str, object]:
        found: dict[str, object] = next(pod for pod in sandbox.status()["pods"] if pod["name"] == name)
        return found

    killed = programs_of(state, b"rig.echo")
    os.kill(killed[0], signal.SIGKILL)
    until(lambda: pod("echo-n1")["restarts"] == 1 and pod("echo-n1")["ready"], what="it is back")
    assert sandbox.terminate("echo-n1")
    until(lambda: not pod("echo-n1")["running"], what="it is down")
    time.sleep(2.5)  # longer than the wait before a second restart in a row
    assert pod("echo-n1")["held"]
    assert not pod("echo-n1")["running"]
    sandbox.release("echo-n1")
    until(lambda: pod("echo-n1")["ready"], what="it is up again")
    with pytest.raises(Refused, match="there are"):
        sandbox.terminate("nobody")


def test_components_find_token_authority_and_namespace_where_kubernetes_puts_them(state: StateDirectory) -> None:
    bring_up(state)
    agents = programs_of(state, b"\0lbnodeagent")
    account = Path(f"/proc/{agents[0]}/root/run/secrets/kubernetes.io/serviceaccount")  # /var/run leads there
    assert (account / "namespace").read_text() == "purelb-system"
    assert (account / "token").read_text().startswith("purelb.")
    assert (account / "ca.crt").read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    environment = Path(f"/proc/{agents[0]}/environ").read_bytes()
    assert b"KUBECONFIG" not in environment
    assert b"HOME=" not in environment


def test_accounts_and_roles_of_the_manifests_are_there(state: StateDirectory) -> None:
    bring_up(state)

    async def stored() -> set[str]:
        access = admin_access(state.kubeconfig.read_bytes())
        async with ApiClient(access, user_agent="test", clock=SystemClock()) as client:
            return {
                f"{kind} {one.metadata.name}"
                for kind, resource in RESOURCES.items()
                for one in (await client.list_page(resource)).objects
            }

    expected = {f"{one['kind']} {one['metadata']['name']}" for one in manifests()}
    assert expected <= asyncio.run(stored())


def test_a_second_up_says_that_it_is_up_or_what_it_cannot_change_and_down_twice_is_no_error(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    for _ in range(2):
        up = subprocess.run(
            [*PURELB, "up", "--nodes", "1"], env=environment, capture_output=True, text=True, check=False
        )
        assert up.returncode == 0, up.stderr
        assert "kubeconfig: " in up.stdout
    assert "is up (nodes: 1" in up.stdout
    for other in (("--nodes", "2"), ("--proxy", "user", "--nodes", "99")):
        refused = subprocess.run([*PURELB, "up", *other], env=environment, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "runs with --nodes 1" in refused.stderr
        assert f"--nodes {other[-1]}" in refused.stderr
        assert "down` first" in refused.stderr
    for expected in ("is gone", "is not running"):
        down = subprocess.run([*PURELB, "down"], env=environment, capture_output=True, text=True, check=True)
        assert expected in down.stdout
    assert list((tmp_path / "purelb/sandbox/default/logs").iterdir()), "logs stay"


def test_a_state_directory_that_cannot_be_written_is_named_and_ends_with_3(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "file")}
    up = subprocess.run([*PURELB, "up"], env=environment, capture_output=True, text=True, check=False)
    assert up.returncode == 3
    assert str(tmp_path / "file") in up.stderr


def test_without_kubectl_the_command_says_so(state: StateDirectory, tmp_path: Path) -> None:
    bring_up(state)
    environment = {"PATH": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    asked = subprocess.run(
        [*PURELB, "--name", "test", "kubectl", "get", "nodes"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 3
    assert "kubectl is not on PATH" in asked.stderr


def test_visitors_get_the_room_its_name_and_an_exit_code_and_probes_are_remembered(
    state: StateDirectory, tmp_path: Path
) -> None:
    running = bring_up(state)
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}

    def sandbox(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [*PURELB, "--name", "test", *words]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    look = "import os, socket; print(socket.gethostname(), *(n for _, n in socket.if_nameindex())); os._exit(7)"
    seen = sandbox("exec", "n1", "--", sys.executable, "-c", look)
    assert seen.returncode == 7, seen.stderr
    assert seen.stdout.split()[:4] == ["n1", "lo", "eth0", "api0"]
    assert sandbox("exec", "n9", "--", "true").returncode == 2
    assert sandbox("exec", "n1", "--", "no-such-program").returncode == 127
    probed = sandbox("probe", "172.30.1.240", "--seconds", "1")
    assert probed.returncode == 1
    assert "answered on nobody" in probed.stdout
    (remembered,) = running.status()["probes"]
    assert (remembered["address"], remembered["port"], remembered["node"]) == ("172.30.1.240", 80, "")
    assert 0 < remembered["lost"] == remembered["sent"]
    assert remembered["lastGapSeconds"] == remembered["longestGapSeconds"] > 0
    shown = sandbox("status").stdout.partition("PROBED")[2].splitlines()
    assert shown[1].startswith("172.30.1.240:80 ")
    assert "nobody" in shown[1]


def test_an_open_visit_does_not_keep_a_sandbox_from_ending(state: StateDirectory, tmp_path: Path) -> None:
    sandbox = bring_up(state)
    with sandbox.entrance("n1") as entrance:
        visitor = subprocess.Popen(entrance.argv(["sleep", "60"]), pass_fds=entrance.descriptors)
    until(lambda: programs_of(state, b"sleep"), what="it sleeps")
    sandbox.end()
    assert visitor.wait(timeout=30) == 128 + signal.SIGKILL
