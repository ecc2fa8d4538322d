# SPDX-License-Identifier: Apache-2.0
"""The two servers that a case may meet, behind one face: a wire, a kubeconfig for kubectl, and a way to forget the past.

The real one is that of PURELB_CONFORMANCE_KUBECONFIG, else the one that `hack/` builds and starts here. A cluster that is not
ours cannot be compacted; cases that need it are skipped there and say so.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hack.control_plane import ControlPlane
from tests.fidelity.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KUBECONFIG = "PURELB_CONFORMANCE_KUBECONFIG"
# Cases see what the API server does by itself; only namespaces need somebody who empties them.
_CONTROLLERS = "namespace-controller,serviceaccount-controller"


class Target(NamedTuple):
    """A server. `compact` forgets all revisions up to now; `can_compact` says whether it can."""

    kubeconfig: Path
    directory: Path
    wire: Wire
    version: str  # "1.34"
    compact: Callable[[], None]
    can_compact: bool
    wait: Callable[
        [float], float
    ]  # returns once so many seconds have passed there; answers how many of them were skipped


@contextlib.contextmanager
def embedded(directory: Path) -> Iterator[Target]:
    """A fresh embedded server."""
    command = [sys.executable, "-m", "tests.fidelity.embedded", str(directory / "state")]
    repository = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=repository) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            kubeconfig = Path(child.stdout.readline().strip())

            def compact() -> None:
                assert child.stdin is not None
                assert child.stdout is not None
                print("compact", file=child.stdin, flush=True)
                assert child.stdout.readline() == "done\n"

            def skip(seconds: float) -> float:
                assert child.stdin is not None
                assert child.stdout is not None
                print(f"skip {seconds}", file=child.stdin, flush=True)
                assert child.stdout.readline() == "done\n"
                return seconds

            with Wire(kubeconfig) as wire:
                yield Target(kubeconfig, directory, wire, _version(wire), compact, can_compact=True, wait=skip)
        finally:
            child.stdin.close()
            child.wait(10)


@contextlib.contextmanager
def real(directory: Path) -> Iterator[Target]:
    """The real server: somebody's cluster, or one of our own."""
    given = os.environ.get(KUBECONFIG)
    if given:
        with Wire(Path(given)) as wire:
            yield Target(Path(given), directory, wire, _version(wire), _not_ours, can_compact=False, wait=_waited)
        return
    with (
        ControlPlane.start(directory / "control-plane", controllers=_CONTROLLERS) as cluster,
        Wire(cluster.kubeconfig) as wire,
    ):

        def compact() -> None:
            cluster.forget()
            wire.close()  # the server has gone and come back

        yield Target(cluster.kubeconfig, directory, wire, _version(wire), compact, can_compact=True, wait=_waited)


def _waited(seconds: float) -> float:
    time.sleep(seconds)
    return 0.0


def _not_ours() -> None:
    raise RuntimeError("a cluster that is not ours is never compacted")


def _version(wire: Wire) -> str:
    found = wire.ask("GET", "/version", body=None, media="", accept="application/json").body
    return f"{found['major']}.{found['minor']}"
