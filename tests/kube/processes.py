# SPDX-License-Identifier: Apache-2.0
"""Programs that tell their process ids in a file, a line each, and whether they still run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def numbers(path: Path) -> list[int]:
    """Those that stand there in whole lines; none if there is no file yet."""
    if not path.exists():
        return []
    return [int(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


async def begun(path: Path, count: int) -> list[int]:
    """Once so many stand there. The test's own time limit ends a wait in vain."""
    while len(found := numbers(path)) < count:
        await asyncio.sleep(0.01)
    return found


async def only(pids: Iterable[int], *running: int) -> None:
    """Return once of these only `running` still run."""
    while [pid for pid in pids if is_running(pid)] != list(running):
        await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    """Not counting one that has ended and whose parent has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
