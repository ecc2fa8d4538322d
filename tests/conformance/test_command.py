# SPDX-License-Identifier: Apache-2.0
"""`python -m hack.control_plane` as somebody at a shell uses it, and after somebody pulled the plug."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hack import binaries
from hack.processes import wait_until
from tests.conformance.conftest import REPOSITORY, unavailable


@pytest.mark.timeout(120)
def test_up_is_idempotent_and_a_killed_supervisor_leaves_no_process(tmp_path: Path) -> None:
    if why := binaries.missing():
        unavailable(why)
    state = tmp_path / "state"
    try:
        up = run(state, "up")
        assert up.returncode == 0, up.stderr
        kubeconfig = Path(up.stdout.split()[-1])
        assert kubeconfig.stat().st_mode & 0o077 == 0
        started = children_of_this_state(state)
        assert run(state, "up").stdout.split()[-1] == str(kubeconfig)
        assert children_of_this_state(state) == started

        os.kill(int((state / "lock").read_text()), signal.SIGKILL)
        wait_until("all are gone", lambda: children_of_this_state(state) == {} or started, within_s=30)
        assert "not running" in run(state, "kubeconfig").stderr
    finally:
        assert run(state, "down").returncode == 0
    assert children_of_this_state(state) == {}


def run(state: Path, command: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "hack.control_plane", "--state", str(state), command]
    return subprocess.run(arguments, check=False, capture_output=True, text=True, cwd=REPOSITORY, timeout=110)


def children_of_this_state(state: Path) -> dict[str, int]:
    """name -> pid of what serves out of this directory."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        name = Path(words[0]).name
        if name in {"etcd", "kube-apiserver", "kube-controller-manager"} and any(str(state) in word for word in words):
            found[name] = int(path.parent.name)
    return found
