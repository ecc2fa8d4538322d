# SPDX-License-Identifier: Apache-2.0
"""The demo as a stranger runs it, without a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from purelb.sandbox.cluster.launch import start
from purelb.sandbox.cluster.state import StateDirectory
from purelb.sandbox.rig.topology import Shape
from tests.sandbox.cluster.whole import lacking, machine, processes_of, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]
DEMO = [sys.executable, "-m", "purelb.cli.main", "sandbox", "demo"]


@pytest.mark.parametrize("proxy", ["auto", "user"])
def test_it_keeps_its_promises_and_leaves_nothing(proxy: str, tmp_path: Path) -> None:
    before = machine(tmp_path)
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    ran = subprocess.run(
        [*DEMO, "--proxy", proxy],
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "\x1b" not in ran.stdout
    assert "probes lost" in ran.stdout
    advice = [line.strip() for line in ran.stdout.partition("next,")[2].splitlines()[1:]]
    assert advice[0].endswith("sandbox up"), "nothing runs now"
    assert advice[1] == "and while it is up:"
    assert machine(tmp_path) == before
    assert list((tmp_path / "purelb" / "sandbox").iterdir()) == []


def test_somebody_who_is_not_root_sees_the_same(tmp_path: Path) -> None:
    user = ["unshare", "-U", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    if user and subprocess.run([*user, "unshare", "-Urn", "true"], check=False, capture_output=True).returncode != 0:
        lacking("needs user namespaces (sysctl kernel.unprivileged_userns_clone=1)")
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    ran = subprocess.run([*user, *DEMO], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "as root of a user namespace" in ran.stdout
    assert list((tmp_path / "purelb" / "sandbox").iterdir()) == []


def test_where_namespaces_are_refused_it_says_what_to_change_and_ends_with_3(tmp_path: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    if subprocess.run(["unshare", "-Ur", "sh", "-c", forbid, "-", "true"], check=False).returncode != 0:
        lacking("needs user namespaces (sysctl kernel.unprivileged_userns_clone=1)")
    ran = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", forbid, "-", *DEMO],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 3
    assert "remedy: sysctl -w user.max_net_namespaces=" in ran.stderr


@pytest.mark.parametrize("after", [0.3, 1.0, 2.5, 5.0])
def test_ctrl_c_at_any_second_leaves_nothing(after: float, tmp_path: Path) -> None:
    before = machine(tmp_path)
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    with subprocess.Popen(
        DEMO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        time.sleep(after)  # the point is to be anywhere
        running.send_signal(signal.SIGINT)
        # An interrupt that meets Python in a callback of its own is lost: then the demo goes on to its end.
        said, _ = running.communicate(timeout=45)
    assert running.returncode in {0, 130, -signal.SIGINT}, said
    # Where the interrupt met it before it could end what it had begun, that ends by itself, a moment after it.
    until(lambda: not processes_of(StateDirectory("any", home=tmp_path)), what="its cluster ended with it")
    until(lambda: machine(tmp_path) == before, what="the machine is as it was")


def test_an_interrupt_while_the_first_process_is_being_made_ends_it_before_it_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, run = machine(tmp_path), subprocess.run

    def interrupted(*words: Any, **options: Any) -> object:
        try:
            return run(*words, **options)
        finally:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "run", interrupted)
    state = StateDirectory("any", home=tmp_path)
    with pytest.raises(KeyboardInterrupt), start(state, shape=Shape(nodes=1), proxy="user"):
        pytest.fail("the interrupt came before")
    assert processes_of(state) == set()
    assert machine(tmp_path) == before


def test_what_a_killed_demo_leaves_is_removed_by_the_next_command(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    home = tmp_path / "purelb" / "sandbox"
    with subprocess.Popen(DEMO, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert any("three nodes and a client" in line for line in running.stdout)
        running.kill()
    killed = home / f"demo-{running.pid}"
    assert killed.exists()
    until(lambda: not processes_of(StateDirectory("any", home=tmp_path)), what="its cluster ended with it")
    down = subprocess.run([*DEMO[:-1], "down"], env=environment, capture_output=True, text=True, check=True)
    assert f"removed what the killed {killed.name} had left" in down.stdout
    assert list(home.iterdir()) == []
