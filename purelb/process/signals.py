# SPDX-License-Identifier: Apache-2.0
"""What each signal means to a process. All of it works as PID 1, where the kernel gives no signal a default.

SIGTERM, SIGINT and SIGQUIT ask for a graceful shutdown, a second one ends the process at once with 128 + signal. SIGUSR1
writes the state as one line, with every task and where it waits. SIGUSR2 toggles debug, back by itself after 15 minutes.
SIGHUP is ignored: settings are read once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Never

from purelb.kube.bell import Bell
from purelb.process import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from purelb.kube.clock import Clock

log: Final = logging.getLogger(__name__)

DEBUG_FOR_S: Final = 900.0
TASKS_MAX: Final = 512
STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """The signals of a process, as a context manager around its work. `asked` is done once it shall stop."""

    def __init__(
        self,
        *,
        level: Literal["info", "debug"],
        state: Callable[[], Mapping[str, object]],
        clock: Clock,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._level: Literal["info", "debug"] = level
        self._state = state
        self._clock = clock
        self._end = end
        self._back_at: float | None = None
        self._toggled = Bell(clock)
        self._loop = asyncio.get_running_loop()
        self.asked: asyncio.Future[signal.Signals] = self._loop.create_future()

    def __enter__(self) -> None:
        for number in (*STOPPING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            self._loop.add_signal_handler(number, self.receive, number)

    def __exit__(self, *_: object) -> None:
        """The handlers stay: a second signal must end a process that takes its time to close."""

    def receive(self, number: signal.Signals) -> None:
        """Do what `number` means."""
        match number:
            case signal.SIGTERM | signal.SIGINT | signal.SIGQUIT:
                self._stop(number)
            case signal.SIGUSR1:
                log.info("state", extra={**self._state(), "code": logs.DUMP, "tasks": tasks()})
            case signal.SIGUSR2:
                self._toggle()
            case _:
                pass

    async def calm(self) -> Never:
        """Until cancelled, take the level back when its time has come."""
        while True:
            await self._toggled.wait(self._back_at)
            if self._back_at is not None and self._clock.now() >= self._back_at:
                self._toggle()

    def _stop(self, number: signal.Signals) -> None:
        if self.asked.done():
            log.info("second %s: ending now", number.name, extra={"code": "stoppedAtOnce", "signal": number.name})
            self._end(128 + number)
            return
        log.info("%s: stopping", number.name, extra={"code": "stopping", "signal": number.name})
        self.asked.set_result(number)

    def _toggle(self) -> None:
        back = self._back_at is not None
        other: Literal["info", "debug"] = "info" if self._level == "debug" else "debug"
        level = self._level if back else other
        self._back_at = None if back else self._clock.now() + DEBUG_FOR_S
        logs.set_level(level)
        self._toggled.ring()
        log.info("the level of the log is now %s", level, extra={"code": "levelChanged", "to": level})


def tasks() -> list[str]:
    """Every task of the loop, by name, and where it waits: the innermost place in code of ours, file and line."""
    found = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    return [f"{task.get_name()} at {_where(task)}" for task in found[:TASKS_MAX]]


def _where(task: asyncio.Task[Any]) -> str:
    frames: list[FrameType] = []
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            frames.append(frame)
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    ours = [frame for frame in frames if "purelb" in Path(frame.f_code.co_filename).parts] or frames
    return f"{Path(ours[-1].f_code.co_filename).name}:{ours[-1].f_lineno}" if ours else "?"
