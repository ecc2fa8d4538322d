# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from purelb.sandbox.cluster import control
from purelb.sandbox.cluster.leftovers import READ_WITHIN_S, broke, remove
from purelb.sandbox.cluster.state import StateDirectory

if TYPE_CHECKING:
    from pathlib import Path


def a_dead_number() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    return ended.pid


def left(home: Path, name: str) -> StateDirectory:
    state = StateDirectory(name, home=home)
    state.make()
    state.supervisor_log.write_text("last words")
    return state


def test_what_a_dead_demo_left_is_removed_and_nobody_elses(tmp_path: Path) -> None:
    dead = left(tmp_path, f"demo-{a_dead_number()}")
    others = [left(tmp_path, name) for name in (f"demo-{os.getpid()}", "demo", "default", "demo-x", "demo-007")]
    assert remove(dead.path.parent) == (dead.name,)
    assert not dead.path.exists()
    assert all(other.supervisor_log.exists() for other in others)
    assert remove(dead.path.parent) == ()


def test_a_cluster_that_still_answers_keeps_its_files(tmp_path: Path) -> None:
    state = left(tmp_path, f"demo-{a_dead_number()}")
    with control.listen(state.socket):
        assert remove(state.path.parent) == ()
    assert remove(state.path.parent) == (state.name,)


def test_the_logs_of_a_demo_that_broke_can_be_read_for_a_day(tmp_path: Path) -> None:
    state = left(tmp_path, f"demo-{a_dead_number()}")
    broke(state)
    assert remove(state.path.parent) == ()
    mark = state.path / "broken"
    long_ago = mark.stat().st_mtime - READ_WITHIN_S - 1
    os.utime(mark, (long_ago, long_ago))
    assert remove(state.path.parent) == (state.name,)


def test_a_demo_that_broke_before_it_had_a_directory_leaves_none(tmp_path: Path) -> None:
    state = StateDirectory("demo-1", home=tmp_path)
    broke(state)
    assert not state.path.exists()


def test_without_any_state_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert remove(tmp_path / "purelb" / "sandbox") == ()
