# SPDX-License-Identifier: Apache-2.0
"""The Unix socket that answers whoever connects with the state, and reads nothing.

Mode 0600, so it is for who may be this user: `purelb state` in the pod, hence who may exec there. At most eight are answered at
a time, each for five seconds. It is a convenience: where it cannot be made (a directory that is not there, another process on
it) that is one line of the log and the process goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from purelb.kube.failures import failure
from purelb.process.component import CannotStart
from purelb.process.options import STATE_SOCKET
from purelb.process.statedoc import encoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

log: Final = logging.getLogger(__name__)

VISITORS_MAX: Final = 8
ANSWER_S: Final = 5.0
ANSWER_MAX_BYTES: Final = 64 * 1024 * 1024


class _Answering(asyncio.Protocol):
    def __init__(self, make: Callable[[], Mapping[str, object]], here: set[_Answering]) -> None:
        self._make = make
        self._here = here
        self._cutting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  of a stream
        if len(self._here) >= VISITORS_MAX:
            transport.abort()
            return
        self._here.add(self)
        self._cutting = asyncio.get_running_loop().call_later(ANSWER_S, transport.abort)
        transport.write(encoded(self._make()) + b"\n")
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  as the protocol has it
        self._here.discard(self)
        if self._cutting is not None:
            self._cutting.cancel()


@asynccontextmanager
async def answering(path: str, make: Callable[[], Mapping[str, object]]) -> AsyncIterator[None]:
    """Answer on `path` until the block ends; an empty path is no socket."""
    if not path:
        yield
        return
    try:
        made = _bound(path)
    except OSError as error:
        fields = {"code": "stateSocketFailed", "path": path, **failure(error)}
        level = logging.DEBUG if _outside_a_pod(path, error) else logging.INFO
        log.log(level, "there is no state socket: the process goes on without", extra=fields)
        yield
        return
    here: set[_Answering] = set()
    server = await asyncio.get_running_loop().create_unix_server(lambda: _Answering(make, here), sock=made)
    try:
        yield
    finally:
        server.close()
        _remove(path)


def why_not(path: str) -> tuple[CannotStart, ...]:
    """What would keep a process from answering on `path`; nothing that was not there before is left there."""
    if not path:
        return ()
    try:
        made = _bound(path)
    except OSError as error:
        if _outside_a_pod(path, error):
            return ()
        text = f"there can be no state socket at {path}: {error.strerror or error}"
        return (CannotStart("state-socket", text, "make its directory, or give another --state-socket; empty: none"),)
    made.close()
    _remove(path)
    return ()


def _outside_a_pod(path: str, error: OSError) -> bool:
    """The directory that a manifest mounts is not there, and nobody asked for another place: that is the rule elsewhere."""
    return path == STATE_SOCKET and isinstance(error, FileNotFoundError)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()


def _bound(path: str) -> socket.socket:
    """A socket at `path`, after what a dead process left there was removed. Raises OSError."""
    _clear(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(path)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(before)
    made.setblocking(False)
    return made


def _clear(path: str) -> None:
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise OSError(errno.EEXIST, "something that is no socket is there", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(0.2)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
    raise OSError(errno.EADDRINUSE, "another process answers there", path)


def ask(path: str) -> bytes:
    """What a process answers on `path`. Raises OSError."""
    chunks: list[bytes] = []
    size = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(ANSWER_S)
        asking.connect(path)
        while chunk := asking.recv(65536):
            chunks.append(chunk)
            size += len(chunk)
            if size > ANSWER_MAX_BYTES:
                raise OSError(errno.EMSGSIZE, "the answer does not end", path)
    return b"".join(chunks)
