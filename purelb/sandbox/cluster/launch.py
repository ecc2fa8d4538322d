# SPDX-License-Identifier: Apache-2.0
"""Starts a sandbox and listens to its first words. The only file that runs outside the namespaces and makes something.

The API server's listening socket and the control socket are made here, outside, and inherited: so 127.0.0.1:PORT works from the host although nothing of
the sandbox is in the host's network namespace.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from typing import TYPE_CHECKING, Any, Final

import msgspec

from purelb.sandbox.cluster import control
from purelb.sandbox.cluster.reach import NotRunning, Sandbox, end_process, pidfd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from purelb.sandbox.cluster.programs import ProxyKind
    from purelb.sandbox.cluster.state import StateDirectory
    from purelb.sandbox.rig.topology import Shape
from purelb.sandbox.cluster.state import Unusable
from purelb.sandbox.rig.namespaces import adopting

LOG_TAIL_LINES: Final = 12
LAST_WORDS_S: Final = 5.0


class Step(msgspec.Struct, frozen=True):
    """A part of the start that is done, and what it took."""

    name: str
    seconds: float


class StartFailed(Exception):
    """The sandbox said why, or its log did."""


class Starting:
    """A sandbox on its way up. It dies with the process that started it until `let_live` is called."""

    def __init__(self, state: StateDirectory, report: int, lifeline: int) -> None:
        self._state = state
        self._report = report
        self._lifeline = lifeline
        self._said = self._lines()
        self._deadline = 0.0
        self._lives_on = False
        self.pid = 0

    def steps(self, *, limit_s: float) -> Iterator[Step]:
        """Each step as it is done, until it is ready. Raises StartFailed with the reason, or TimeoutError: the pods' states say more then."""
        self._deadline = time.monotonic() + limit_s
        for said in self._said:
            match said:
                case {"pid": int(pid)}:
                    self.pid = pid
                case {"step": str(name), "seconds": float(seconds) | int(seconds)}:
                    yield Step(name, seconds)
                case {"ready": True}:
                    return
                case _:
                    raise StartFailed(str(said.get("failed", said)))
        raise StartFailed(f"the sandbox ended without a word; its log ends with\n{self.log_tail()}")

    def let_live(self) -> None:
        """From here on it lives until somebody ends it."""
        os.write(self._lifeline, b"x")
        self._lives_on = True

    def settle(self) -> None:
        """End it and wait until it is gone, unless it was let live."""
        if self._lives_on:
            return
        self._deadline = time.monotonic() + LAST_WORDS_S
        with suppress(TimeoutError):
            while not self.pid and (said := next(self._said, None)) is not None:
                self.pid = int(said.get("pid", 0))
        if self.pid:
            with suppress(NotRunning), pidfd(self.pid) as descriptor:
                end_process(descriptor)

    def log_tail(self) -> str:
        try:
            lines = self._state.supervisor_log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "  (no log)"
        return "\n".join(f"  {line}" for line in lines[-LOG_TAIL_LINES:])

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        """What was reported, until every writer is gone."""
        pending = b""
        while True:
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                yield msgspec.json.decode(line)
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([self._report], [], [], left)[0]:
                raise TimeoutError
            chunk = os.read(self._report, 65536)
            if not chunk:
                return
            pending += chunk


@contextmanager
def start(state: StateDirectory, *, shape: Shape, proxy: ProxyKind) -> Iterator[Starting]:
    """Start the sandbox of `state`; Unusable if it is running. It ends with this context unless it was let live."""
    state.make()
    state.empty_logs()
    with ExitStack() as stack:
        report_in, report_out = _pipe(stack)
        life_in, life_out = _pipe(stack)
        api = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        control_socket = stack.enter_context(_claim(state))
        order = {
            "name": state.name,
            "home": str(state.path.parents[2]),
            "shape": shape,
            "proxy": proxy,
            "api_socket": api.fileno(),
            "control_socket": control_socket.fileno(),
            "report": report_out.fileno(),
            "lifeline": life_in.fileno(),
        }
        log = stack.enter_context(state.supervisor_log.open("ab"))
        # What the command leaves behind, the first process of the sandbox, is ours to wait for; an interrupt in the middle would orphan it unseen.
        with adopting(), _interrupts_wait():
            subprocess.run(
                [sys.executable, "-m", "purelb.sandbox.cluster.supervisor", msgspec.json.encode(order).decode()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[api.fileno(), control_socket.fileno(), report_out.fileno(), life_in.fileno()],
                start_new_session=True,
                check=False,  # it says itself why it failed
            )
            for ours in (api, control_socket, report_out, life_in):
                ours.close()  # they would look alive after the sandbox has died
            starting = Starting(state, report_in.fileno(), life_out.fileno())
            stack.callback(starting.settle)
        yield starting


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C is heard at the end of this stretch. A mask would be inherited by what is started, a handler is not."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _claim(state: StateDirectory) -> socket.socket:
    """The control socket of a sandbox that nobody else is starting. Raises Unusable if somebody was faster."""
    directory = os.open(state.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        with suppress(NotRunning):
            raise Unusable(f"sandbox {state.name} is running (process {Sandbox(state).pid})")
        return control.listen(state.socket)
    finally:
        os.close(directory)


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    """Both ends, closed with the stack at the latest."""
    read, write = os.pipe()
    return stack.enter_context(FileIO(read, "rb")), stack.enter_context(FileIO(write, "wb"))
