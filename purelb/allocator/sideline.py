# SPDX-License-Identifier: Apache-2.0
"""Writes that nobody waits for, one at a time: what nodes report, and statuses of groups and agents.

The writer sends what is urgent first, but what it has sent already it cannot take back: with all of its workers at the fold of a dead
node's 1,000 addresses, a new Service's write shares the API server with seven others. So of this kind only `WIDTH` are with the
writer at once; the rest waits here, in order, and each still gets exactly one answer.

Two at a time were rejected: with them a new Service took more than twice as long while such a node died, which is the limit
(`hack/bench allocate`; docs/benchmarks.md has the figure for one).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from purelb.kube.writer import Write, WriteResult

WIDTH: Final = 1


class Sideline:
    def __init__(self, submit: Callable[[Write], object], *, width: int = WIDTH) -> None:
        self._submit = submit
        self._width = width
        self._waiting: deque[Write] = deque()
        self._out = 0
        self._sending = False

    def __len__(self) -> int:
        """How many wait here."""
        return len(self._waiting)

    def submit(self, write: Write) -> None:
        """Send the write when its turn comes."""
        self._waiting.append(write)
        self._send()

    def _send(self) -> None:
        if self._sending:
            return  # a writer that is closed answers inside `submit`: the loop below goes on then
        self._sending = True
        while self._waiting and self._out < self._width:
            write = self._waiting.popleft()
            self._out += 1
            self._submit(replace(write, reply=self._then(write.reply)))
        self._sending = False

    def _then(self, reply: Callable[[WriteResult], None]) -> Callable[[WriteResult], None]:
        def answered(result: WriteResult) -> None:
            self._out -= 1
            try:
                reply(result)
            finally:
                self._send()

        return answered
