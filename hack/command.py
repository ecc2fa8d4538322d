# SPDX-License-Identifier: Apache-2.0
"""`python -m hack.control_plane`: a real control plane to play with, in the background.

`up` starts a supervisor (`run`, in a session of its own) and waits until it is ready; the supervisor holds a lock on its state
directory as long as it lives. So `down` signals the pid of the lock's holder and never a pid that was given to somebody else,
and a supervisor that was killed leaves nothing but files: its children die with it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hack import binaries
from hack.control_plane import CONTROLLERS, ControlPlane
from hack.processes import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

_READY_WITHIN_S = 90.0
_GONE_WITHIN_S = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hack.control_plane", description="A real control plane on this machine"
    )
    default = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "purelb/control-plane"
    parser.add_argument("--state", type=Path, default=default, help="its directory (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--netns", help="run inside this named network namespace, where --host must exist")
    parser.add_argument(
        "--without-controllers",
        action="store_true",
        help="etcd and kube-apiserver alone: nobody else reacts to what is written",
    )
    parser.add_argument(
        "command",
        choices=("up", "down", "kubeconfig", "run"),
        help="up and down are idempotent; run stays in the foreground",
    )
    asked = parser.parse_args(arguments)
    state: Path = asked.state.absolute()
    controllers = None if asked.without_controllers else CONTROLLERS
    match asked.command:
        case "up":
            return _up(state, host=asked.host, netns=asked.netns, controllers=controllers)
        case "run":
            return _run(state, host=asked.host, netns=asked.netns, controllers=controllers)
        case "down":
            return _down(state)
        case _:
            return _kubeconfig(state)


def _up(state: Path, *, host: str, netns: str | None, controllers: str | None) -> int:
    if not _is_running(state):
        if why := binaries.build():
            return _refuse(why)
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-m", "hack.control_plane", "--state", str(state), "--host", host]
        command += [] if netns is None else ["--netns", netns]
        command += ["--without-controllers"] if controllers is None else []
        with (state / "supervisor.log").open("wb") as log:
            child = subprocess.Popen(
                [*command, "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=Path(__file__).parents[1],
            )
        deadline = time.monotonic() + _READY_WITHIN_S
        while not (state / "ready").exists():
            if child.poll() is not None or time.monotonic() > deadline:
                return _refuse(f"the control plane did not start: see {state}/supervisor.log and {state}/logs")
            time.sleep(0.05)
    return _kubeconfig(state)


def _run(state: Path, *, host: str, netns: str | None, controllers: str | None) -> int:
    if why := binaries.missing():
        return _refuse(why)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(state) as locked:
        if not locked:
            return _refuse(f"another one runs in {state}")
        for part in ("ready", "etcd", "pki", "kubeconfigs", "logs"):  # left by one that was killed
            path = state / part
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
        try:
            with ControlPlane.start(state, host=host, netns=netns, controllers=controllers) as cluster:
                (state / "ready").write_text(f"{cluster.server}\n")
                print(f"ready: {cluster.server}, KUBECONFIG={cluster.kubeconfig}", flush=True)
                while True:
                    signal.pause()
        except _Asked:
            return 0
        except Failed as why:
            return _refuse(str(why))
        finally:
            (state / "ready").unlink(missing_ok=True)


class _Asked(BaseException):
    """Somebody asked us to end: unwinds through the `with`, also in the middle of the start."""


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise _Asked


def _down(state: Path) -> int:
    was_running = _is_running(state)
    if was_running:
        os.kill(int((state / "lock").read_text()), signal.SIGTERM)
        deadline = time.monotonic() + _GONE_WITHIN_S
        while _is_running(state):
            if time.monotonic() > deadline:
                return _refuse(f"it still runs after {_GONE_WITHIN_S} s: see {state}/logs")
            time.sleep(0.05)
    print("the control plane has ended" if was_running else "the control plane was not running")
    return 0


def _kubeconfig(state: Path) -> int:
    if not (_is_running(state) and (state / "ready").exists()):
        return _refuse("the control plane is not running: python -m hack.control_plane up")
    print(state / "kubeconfigs" / "admin.yaml")
    return 0


def _is_running(state: Path) -> bool:
    if not (state / "lock").exists():
        return False
    with _locked(state, write_pid=False) as free:
        return not free


@contextlib.contextmanager
def _locked(state: Path, *, write_pid: bool = True) -> Iterator[bool]:
    """True: the lock is ours until we leave. The kernel gives it back when its holder dies."""
    with (state / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        if write_pid:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield True


def _refuse(why: str) -> int:
    print(f"control-plane: {why}", file=sys.stderr)
    return 1
