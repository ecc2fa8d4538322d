# SPDX-License-Identifier: Apache-2.0
"""A sandbox of somebody who is not root: no capability outside, a user id that is not 0."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from purelb.sandbox.rig import namespaces as ns

if TYPE_CHECKING:
    from purelb.sandbox.cluster.state import StateDirectory

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

STORY = """
set -e
grep -q 'CapEff:[[:space:]]*0000000000000000' /proc/self/status
purelb() { "$PYTHON" -m purelb.cli.main sandbox --name test "$@"; }
purelb up --nodes 1
purelb kill-node n1 --how power-off
purelb heal
purelb exec n1 -- "$PYTHON" -c 'import os, socket; print("user", os.geteuid(), *(name for _, name in socket.if_nameindex()))'
purelb down
"""


def become_somebody() -> None:
    """User 1000 without a capability: what root is outside if the tests run as root, else whoever we are."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        ns.unshare(ns.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"1000 {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"1000 {gid} 1", encoding="ascii")


def test_somebody_who_is_not_root_brings_it_up_breaks_it_heals_it_and_ends_it(
    state: StateDirectory, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["sh", "-c", STORY],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHON": sys.executable},
        preexec_fn=become_somebody,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "n1 has no power\n" in done.stdout
    assert "user 0 lo eth0 api0 cni0" in done.stdout
    assert f"sandbox {state.name} is gone" in done.stdout
