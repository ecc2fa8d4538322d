# SPDX-License-Identifier: Apache-2.0
"""What the tests of whole sandboxes share: bringing one up, and a look at what this machine has."""

from __future__ import annotations

import gc
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest

from purelb.sandbox.cluster.launch import start
from purelb.sandbox.cluster.programs import layout
from purelb.sandbox.cluster.reach import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.sandbox.cluster.programs import ProxyKind
    from purelb.sandbox.cluster.state import StateDirectory
from purelb.sandbox.rig.links import hub_links
from purelb.sandbox.rig.topology import Shape

T = TypeVar("T")


def bring_up(state: StateDirectory, *, nodes: int = 1, proxy: ProxyKind = "user", **shape: Any) -> Sandbox:
    """Start it, wait until it is ready, leave it running."""
    with start(state, shape=Shape(nodes=nodes, **shape), proxy=proxy) as starting:
        for _ in starting.steps(limit_s=90):
            continue
        starting.let_live()
    return Sandbox(state)


def processes_of(state: StateDirectory) -> set[int]:
    """Processes that mention the state directory, or live in the PID namespace of one that does."""
    found, rooms = set(), set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(state.path.parents[2]).encode() in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
                rooms.add((entry / "ns/pid").stat().st_ino)
        except OSError:
            continue
    rooms.discard(Path("/proc/self/ns/pid").stat().st_ino)
    for entry in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            if entry.stat().st_ino in rooms:
                found.add(int(entry.parts[2]))
        except OSError:
            continue
    return found


def programs_of(state: StateDirectory, part: bytes) -> list[int]:
    """The sandbox's processes with `part` in their command line."""
    found = []
    for pid in sorted(processes_of(state)):
        try:
            if part in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:  # it ended in between
            continue
    return found


def machine(home: Path) -> tuple[object, ...]:
    """What a sandbox in `home` must leave as it was: links of its kind, mounts below `home`, our descriptors.

    Only what could be a sandbox's is looked at: somebody else may be working on this machine.
    """
    gc.collect()  # what an earlier test let go of may still hold a descriptor
    links = {name for _, name in socket.if_nameindex()} & hub_links(layout(Shape(nodes=3)))
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(home) in line]
    return sorted(links), mounts, len(os.listdir("/proc/self/fd"))  # noqa: PTH208  only their number is asked


def lacking(why: str) -> NoReturn:
    """The machine cannot run this test: skip it on a laptop, fail it where it is meant to run."""
    if os.environ.get("CI") == "true" or os.environ.get("PURELB_REQUIRE_TOOLS") == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def until(predicate: Callable[[], T], *, what: str, limit_s: float = 30.0) -> T:
    """The first true answer of `predicate`."""
    deadline = time.monotonic() + limit_s
    while not (seen := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {limit_s} s still not: {what}; last answer {seen!r}")
        time.sleep(0.01)
    return seen
