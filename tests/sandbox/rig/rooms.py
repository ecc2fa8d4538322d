# SPDX-License-Identifier: Apache-2.0
"""Start programs in a rig's namespaces, for tests that run inside one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from purelb.sandbox.rig.links import Rig

T = TypeVar("T")


def start(rig: Rig, room: str, *argv: str, env: Mapping[str, str] | None = None, **popen: Any) -> subprocess.Popen[str]:
    network = rig.networks[room]
    request = {"network": network, "hostname": room, "account": None, "argv": [sys.executable, *argv]}
    return subprocess.Popen(
        [sys.executable, "-m", "purelb.sandbox.rig.enter", "start", json.dumps(request)],
        pass_fds=[network],
        env={**os.environ, **(env or {})},
        text=True,
        **popen,
    )


def echo(rig: Rig, pod: str, node: str) -> subprocess.Popen[str]:
    return start(rig, pod, "-m", "purelb.sandbox.rig.echo", env={"POD_NAME": pod, "NODE_NAME": node})


def until(predicate: Callable[[], T], *, what: str, limit_s: float = 30.0) -> T:
    """The first true answer of `predicate`; it is asked every few milliseconds."""
    deadline = time.monotonic() + limit_s
    while not (seen := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {limit_s} s still not: {what}; last answer {seen!r}")
        time.sleep(0.01)
    return seen
