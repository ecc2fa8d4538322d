# SPDX-License-Identifier: Apache-2.0
"""Keeps one program running: starts it in its room, waits for its end, starts it again.

Rules. The supervisor is PID 1 of its namespace, so every orphan becomes its child: one reaper collects all of them, and a keeper hears of its own through
a future. `asyncio`'s subprocesses are not used, as they would wait for the same children. A program that was told to stay down stays down until `release`.
Output goes to a log file per pod; a restart appends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from purelb.sandbox.cluster.objects import PodState
from purelb.sandbox.cluster.restarts import Restarts

# Kubernetes' default for a pod.
GRACE_S: Final = 30.0

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from purelb.sandbox.cluster.programs import Program


class Reaper:
    """Waits for every child of this process, adopted ones included."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._expected: dict[int, asyncio.Future[int]] = {}
        loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def expect(self, pid: int) -> asyncio.Future[int]:
        """The exit code of a child just started (negative: the signal). To be called before the next await."""
        future = self._loop.create_future()
        self._expected[pid] = future
        return future

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            future = self._expected.pop(pid, None)
            if future is not None and not future.done():
                future.set_result(os.waitstatus_to_exitcode(status))


class Keeper:
    """One program. `changed` is called after every change of `state`."""

    def __init__(
        self,
        program: Program,
        *,
        uid: str,
        network: int,
        account: Path | None,
        log: Path,
        reaper: Reaper,
        changed: Callable[[Program], None],
    ) -> None:
        self.program = program
        self.pid: int | None = None
        self.uid = uid
        self._network = network
        self.account = account
        self._log = log
        self._reaper = reaper
        self._changed = changed
        self._restarts = Restarts()
        self._held = False
        self._wake = asyncio.Queue[None](maxsize=1)
        self._ready, self._reason = False, "Starting"

    @property
    def state(self) -> PodState:
        return PodState(
            running=self.pid is not None, ready=self._ready, restarts=self._restarts.count, reason=self._reason
        )

    @property
    def held(self) -> bool:
        """Whether it was told to stay down."""
        return self._held

    async def run(self) -> None:
        """Until cancelled; the process itself is left to the end of the namespace."""
        while True:
            while self._held:
                await self._wake.get()
            started = time.monotonic()
            code = await self._start()
            self.pid = None
            delay = self._restarts.ended(ran_s=time.monotonic() - started)
            self._now(ready=False, reason=_ending(code))
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.get()

    def terminate(self, *, number: signal.Signals = signal.SIGTERM, grace: float = GRACE_S) -> bool:
        """Send a signal and keep the program from being started again; False if it was not running.

        What SIGTERM has not ended after `grace` seconds, SIGKILL does, as a kubelet would; unless it was released meanwhile.
        """
        self._held = True
        pid = self.pid
        if pid is None or not _tell(pid, number):
            return False
        if number == signal.SIGTERM:
            asyncio.get_running_loop().call_later(grace, self._no_longer, pid)
        return True

    def _no_longer(self, pid: int) -> None:
        if self.pid == pid and self._held:
            _tell(pid, signal.SIGKILL)

    def release(self) -> None:
        """Undo `terminate`: a program that is down is started now, one that is frozen goes on."""
        self._held = False
        if self.pid is not None:
            _tell(self.pid, signal.SIGCONT)
        if self._wake.empty() and self.pid is None:
            self._wake.put_nowait(None)

    def move(self, network: int) -> None:
        """From its next start on the program runs in this network namespace."""
        self._network = network

    def probed(self, *, ready: bool, reason: str) -> None:
        """What the program's /readyz said; ignored while it is down."""
        if self.pid is not None:
            self._now(ready=ready, reason=reason)

    def _start(self) -> asyncio.Future[int]:
        request = {
            "network": self._network,
            "hostname": self.program.hostname,
            "account": None if self.account is None else str(self.account),
            "argv": self.program.argv,
        }
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "purelb.sandbox.rig.enter", "start", json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.program.env, "PURELB_POD_UID": self.uid},
                pass_fds=[self._network],
                start_new_session=True,
            )
        process.returncode = 0  # the reaper waits for it, so Popen must not
        self.pid = process.pid
        self._now(ready=self.program.probe is None, reason="" if self.program.probe is None else "Starting")
        return self._reaper.expect(process.pid)

    def _now(self, *, ready: bool, reason: str) -> None:
        before = self.state
        self._ready, self._reason = ready, reason
        if self.state != before or not ready:
            self._changed(self.program)


def _tell(pid: int, number: signal.Signals) -> bool:
    """False if it has just ended, and we have not heard of it yet."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _ending(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
