# SPDX-License-Identifier: Apache-2.0
"""A credential plugin of a kubeconfig: started, heard, and ended when nobody waits for it any more.

It is the only program that this runtime starts. It gets a session of its own, so that what it starts belongs to it: when the
caller is cancelled, as it is when its time is over, the whole group is killed and waited for. A plugin that ended by itself is
done, whatever it said: what it leaves running (an agent, a cache) is its own affair, neither waited for nor killed. What it says
is kept up to a limit, the rest is read and dropped.

Rejected: to leave that to the library that reads kubeconfigs. It keeps the process to itself, so a plugin that hangs stays, and
with it one more for each attempt.

Not promised: that a process which left the session of its plugin is ended, or one that runs as another user, or a plugin when we
are killed ourselves. In a terminal a plugin can ask at its standard input, not at /dev/tty.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from purelb.kube.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAID_MAX_BYTES: Final = 1024 * 1024
WORDS_MAX: Final = 512
END_TIME: Final = 3.0  # the kernel ends a killed process in no time, unless that hangs in a device
LOOK_EVERY: Final = 0.01


class Given(Struct, frozen=True):
    """What a plugin gives: a token, or a certificate with its key, both PEM, or all three."""

    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""

    def __repr__(self) -> str:
        return "Given()"


class PluginError(Exception):
    """A plugin that gave nothing that can be used. The text is for people."""


class _Status(Struct, frozen=True, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None


class _ExecCredential(Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    status: _Status


async def ask(command: Sequence[str], *, env: Mapping[str, str], api_version: str) -> Given:
    """Run a plugin and read what it gives. Raises `PluginError`, `OSError` if it cannot be started."""
    code, out, err = await _run(command, env)
    if code != 0:
        words = "".join(map(_plain, err.decode(errors="replace").strip()[:WORDS_MAX]))
        raise PluginError(f"plugin {command[0]} ended with code {code}" + (f": {words}" if words else ""))
    try:
        answer = msgspec.json.decode(out, type=_ExecCredential)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PluginError(f"plugin {command[0]} gave no ExecCredential: {error}") from None
    said = answer.status
    given = Given(said.token or "", said.client_certificate_data or "", said.client_key_data or "")
    if answer.api_version != api_version:
        raise PluginError(f"plugin {command[0]} speaks {answer.api_version!r}, and the kubeconfig says {api_version!r}")
    if not given.token and not (given.client_certificate_data and given.client_key_data):
        raise PluginError(f"plugin {command[0]} gave neither a token nor a certificate with its key")
    return given


def _plain(character: str) -> str:
    return character if character.isprintable() else " "


class _Heard:
    """What comes out of a pipe, up to a limit, and that nothing more will come."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.said = bytearray()
        self.over = asyncio.Queue[None]()
        self._loop = asyncio.get_running_loop()
        self._pipe = pipe
        os.set_blocking(pipe.fileno(), False)
        self._loop.add_reader(pipe.fileno(), self._read)

    def _read(self) -> bool:
        try:
            data = os.read(self._pipe.fileno(), 65_536)
        except BlockingIOError:
            return False
        self.said += data[: SAID_MAX_BYTES - len(self.said)]
        if not data:
            self._loop.remove_reader(self._pipe.fileno())
            self.over.put_nowait(None)
        return bool(data)

    def take(self) -> bytes:
        """All that was said by now. Who still holds the pipe may go on for ever."""
        while len(self.said) < SAID_MAX_BYTES and self._read():
            pass
        return bytes(self.said)

    def close(self) -> None:
        self._loop.remove_reader(self._pipe.fileno())
        self._pipe.close()


def _started(command: Sequence[str], env: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], _Heard, _Heard]:
    """The loop's own way to start a program gives up its turn on the way, and who is cancelled there knows no group to end."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=env, stdin=None, stdout=pipe, stderr=pipe, start_new_session=True)
    assert process.stdout is not None  # noqa: S101 - asked for
    assert process.stderr is not None  # noqa: S101 - asked for
    return process, _Heard(process.stdout), _Heard(process.stderr)


async def _run(command: Sequence[str], env: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    """Exit code, output and errors of a program."""
    process, out, err = _started(command, env)
    try:
        await out.over.get()
        return await _ended(process), bytes(out.said), err.take()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError, PermissionError):  # a program that took another user's rights
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_TIME):
                await _ended(process)
        raise
    finally:
        out.close()
        err.close()


async def _ended(process: subprocess.Popen[bytes]) -> int:
    """Who has nothing more to say, or was killed, needs no more than a moment."""
    clock = SystemClock()
    while (code := process.poll()) is None:
        await clock.until(clock.now() + LOOK_EVERY)
    return code
