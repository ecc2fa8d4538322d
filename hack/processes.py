# SPDX-License-Identifier: Apache-2.0
"""One child process: started, watched, ended by its own pid.

Rule 1: a child never outlives us. `setpriv --pdeathsig KILL` lets the kernel end it when we die, killed or not; preexec_fn was
rejected, since it runs Python between fork and exec. Rule 2: what it prints goes to a file, so that a failure can be quoted
and no pipe fills up. Rule 3: only the pid we got from starting it is ever signalled, and only until we have reaped it.
The parent-death signal follows the *thread* that started the child, so start children from the main thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


class Failed(RuntimeError):
    """A process or a wait did not end as it had to; the text quotes the last lines of the log."""


class Process:
    """A started child. It may be dead: `returncode` tells."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | os.PathLike[str]],
        *,
        log: Path,
        netns: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        inside = [] if netns is None else ["ip", "netns", "exec", netns]
        command = ["setpriv", "--pdeathsig", "KILL", "--", *inside, *(os.fspath(part) for part in arguments)]
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if environment is None else {**os.environ, **environment},
                start_new_session=True,  # Ctrl-C reaches us alone; we end the children in our order
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._child.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)

    def stop(self, *, grace_s: float = 10.0) -> int:
        """SIGTERM, and SIGKILL when it has not ended after `grace_s`. Answers the return code; a dead process stays dead."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a stopped process would never see it
        try:
            return self._child.wait(grace_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL and wait until it is gone."""
        self.signal(signal.SIGKILL)
        return self._child.wait(10.0)

    def wait(self, *, within_s: float) -> int:
        """The return code, once it ended by itself."""
        try:
            return self._child.wait(within_s)
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{self.name} still runs after {within_s} s{self.quote()}") from late

    def quote(self, lines: int = 15) -> str:
        """The last lines of the log, ready to stand behind a message."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        return f"; {self.log} ends with:\n" + "\n".join(text) if text else f"; {self.log} is empty"


def wait_until(what: str, probe: Callable[[], object], *, within_s: float, alive: Sequence[Process] = ()) -> None:
    """Ask `probe` until it answers True. Anything else it answers is its present view and stands in the message of a failure.

    A process of `alive` that ended meanwhile fails the wait at once, with the end of its log.
    """
    deadline = time.monotonic() + within_s
    while True:
        seen = probe()
        if seen is True:
            return
        for process in alive:
            if process.returncode is not None:
                raise Failed(f"{process.name} ended with {process.returncode} before {what}{process.quote()}")
        if time.monotonic() > deadline:
            logs = "".join(process.quote() for process in alive)
            raise Failed(f"not within {within_s} s: {what}; last seen: {seen!r}{logs}")
        time.sleep(0.02)
