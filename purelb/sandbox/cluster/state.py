# SPDX-License-Identifier: Apache-2.0
"""The state directory of a sandbox, and the little that is in it.

`$XDG_STATE_HOME/purelb/sandbox/<name>`, 0700: a kubeconfig with the admin's key (0600), the control socket, logs. Nothing in it decides whether a sandbox
runs: that is decided by whether somebody answers on the socket. So a crash leaves files, but never a state that the next `up` could misread.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

DEFAULT: Final = "default"
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class Unusable(Exception):
    """The environment cannot work: says what was tried, why it failed and what to do. Commands end with exit code 3."""


class BadName(ValueError):
    """Not a name for a sandbox. Commands end with exit code 2."""


class StateDirectory:
    def __init__(self, name: str, *, home: Path | None = None) -> None:
        if NAME.fullmatch(name) is None:
            raise BadName(f"{name!r} is not a name for a sandbox: use a-z, 0-9 and -, 40 characters at most")
        self.name = name
        self.path = (home or _state_home()) / "purelb" / "sandbox" / name

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def socket(self) -> Path:
        return self.path / "control.sock"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def supervisor_log(self) -> Path:
        return self.logs / "supervisor.log"

    @property
    def scratch(self) -> Path:
        """Empty outside; the supervisor mounts memory on it where only its children see it: tokens never reach a disk."""
        return self.path / "scratch"

    def make(self) -> None:
        """Create what is missing. Raises Unusable naming the path."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self.logs.mkdir(exist_ok=True)
            self.scratch.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Unusable(
                f"cannot write the state directory {self.path}: {error.strerror}; set XDG_STATE_HOME to a directory you may write"
            ) from error

    def empty_logs(self) -> None:
        for log in self.logs.glob("*.log"):
            log.unlink()


def _state_home() -> Path:
    given = os.environ.get("XDG_STATE_HOME", "")
    return Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
