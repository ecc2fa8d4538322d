# SPDX-License-Identifier: Apache-2.0
"""State directories of demos that are dead.

A demo removes its own, but not when it is killed; then nothing of it is left but files, and whoever comes next removes them. A demo is dead when no
process has its number and nobody answers on its socket: the first covers one that has not got as far as a socket, the second a cluster on its way out. A
number that was given to another process keeps the files until that one has ended too.

A demo that broke says where its logs are, so they stay for a day. Files of a sandbox that somebody named are never touched: `up` refuses names like ours.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Final

from purelb.sandbox.cluster.reach import NotRunning, Sandbox
from purelb.sandbox.cluster.state import StateDirectory, Unusable

NAME: Final = re.compile(r"demo-([1-9][0-9]*)")
BROKEN: Final = "broken"
READ_WITHIN_S: Final = 86_400.0


def name_of(pid: int) -> str:
    """What the demo of this process calls its sandbox."""
    return f"demo-{pid}"


def is_name_of_a_demo(name: str) -> bool:
    return NAME.fullmatch(name) is not None


def broke(state: StateDirectory) -> None:
    """Somebody may want to read the logs of this demo."""
    if state.path.is_dir():
        (state.path / BROKEN).touch()


def remove(home: Path) -> tuple[str, ...]:
    """Remove what dead demos left among the state directories in `home`; the names of those. Whatever cannot be removed stays."""
    removed = []
    for path in sorted(home.glob("demo-*")):
        if (match := NAME.fullmatch(path.name)) is None or Path(f"/proc/{match[1]}").exists():
            continue
        if _answers(path) or _is_to_be_read(path):
            continue
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            removed.append(path.name)
    return tuple(removed)


def _answers(path: Path) -> bool:
    try:
        Sandbox(StateDirectory(path.name, home=path.parents[2]))
    except NotRunning:
        return False
    except Unusable:  # not ours to ask, so not ours to remove
        return True
    return True


def _is_to_be_read(path: Path) -> bool:
    try:
        return time.time() - (path / BROKEN).stat().st_mtime < READ_WITHIN_S
    except FileNotFoundError:
        return False
