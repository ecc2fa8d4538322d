# SPDX-License-Identifier: Apache-2.0
"""Runs synchronous code beside a running event loop, in a fork.

pyroute2's synchronous sockets bring a loop of their own and refuse to live beside ours, and changing links takes tens of milliseconds in which our loop,
the API server's, must not stand still. A fork has all descriptors and the same namespace, ends after the work and leaves nothing; starting Python anew
would cost half a second. The process has one thread, so forking it is safe.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

LAST_WORDS_MAX = 4096  # what a pipe takes without a reader


class Failed(Exception):
    """What the work said at its end, in a line."""


async def aside(body: Callable[[], None], *, expect: Callable[[int], asyncio.Future[int]]) -> None:
    """Run `body` in a fork and wait for it; `expect` answers a child's exit code, as the reaper does. Raises Failed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _work(body, writer)
    os.close(writer)
    try:
        code = await expect(pid)
        words = os.read(reader, LAST_WORDS_MAX) if code else b""
    finally:
        os.close(reader)
    if code:
        raise Failed(words.decode(errors="replace") or f"ended with {code}")


def _work(body: Callable[[], None], writer: int) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)  # the parent's loop is not ours to wake
        body()
        code = 0
    except BaseException as error:  # noqa: BLE001  the last frame of a process: told to the parent and printed
        os.write(writer, f"{type(error).__name__}: {error}".encode()[:LAST_WORDS_MAX])
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
