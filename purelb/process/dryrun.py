# SPDX-License-Identifier: Apache-2.0
"""A dry run: the real component over edges that only read, and what it would have done.

Nothing in the component asks whether it is one. `Plan` is where the edges tell what they did not do. Run on and on, each
line is printed when it is told; asked for `once`, the component runs until it is synced and at rest, and then the whole
difference is printed: what was taken back meanwhile is left out. Lines go to stdout and the log, of failures only, to stderr.
No listener: the port may belong to the real one. What it waits for is said on stderr, also what no log line tells: a Node that
does not exist would otherwise be waited for without a word. The signals that ask a process for its state mean nothing here.

Promised: no write, no frame, no change of the kernel, no capability needed. Not promised: what others would do in answer.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, Literal, Never

from msgspec import Struct

from purelb.kube.errors import AccessError
from purelb.process.command import ANSWER_IS_NO, DONE
from purelb.process.component import CannotStart, Component
from purelb.process.supervision import unending, verdict

if TYPE_CHECKING:
    from purelb.kube.clock import Clock

How = Literal["on", "once"]

REST_FOR_S: Final = 1.5
"""At rest for so long: answers to what the component asked, and what follows from them, have come."""
LOOK_EVERY_S: Final = 0.1
WAITS_S: Final = 5.0
"""So long nothing is said of what is still unknown: a usual start takes less."""


class Plan:
    """What would be done. `out` None: it is kept until somebody asks for `lines`."""

    def __init__(self, out: Callable[[str], None] | None = None) -> None:
        self._out = out
        self._lines: dict[str, tuple[str, str]] = {}

    def say(self, subject: str, line: str, *, same: str | None = None, undone: bool = False) -> None:
        """What would be done to `subject`. Equal to the last (as `same` says, if the line itself varies) it is not news.

        `undone`: with this the world is as it is anyhow.
        """
        identity = line if same is None else same
        before = self._lines.pop(subject, None)
        if not undone or self._out is not None:
            self._lines[subject] = (identity, line)
        if self._out is not None and (before is None or before[0] != identity):
            self._out(line)

    def lines(self) -> tuple[str, ...]:
        """All that is left to do, in the order of the subjects."""
        return tuple(line for _, (_, line) in sorted(self._lines.items()))


class Rehearsal(Struct, frozen=True):
    """A component over reading edges. `at_rest`: synced, and nothing waits to be decided or answered; `more`: lines beyond the plan."""

    component: Component
    at_rest: Callable[[], bool]
    more: Callable[[], tuple[str, ...]] = tuple


Rehearse = Callable[[Plan], AbstractAsyncContextManager[Rehearsal]]


def quiet(record: logging.LogRecord) -> bool:
    """Of a dry run's log only what failed is of interest: what it says of its deeds did not happen."""
    return record.levelno > logging.INFO or hasattr(record, "error") or record.exc_info is not None


def tell(line: str) -> None:
    """To stdout, at once."""
    print(line, flush=True)


async def rehearse(prepare: Rehearse, *, name: str, how: How, clock: Clock) -> int:
    """Run it; the answer is the exit code. `once`: 1 if something would change."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        if not asked.done():
            asked.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(number, stop)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: None)
    plan = Plan(tell if how == "on" else None)
    missing = ""
    try:
        async with prepare(plan) as rehearsal, asyncio.TaskGroup() as group:
            working = group.create_task(
                unending(rehearsal.component.run(), name=f"{name}:component"), name=f"{name}:component"
            )
            watching = group.create_task(_rest(rehearsal, clock), name=f"{name}:rest")
            telling = group.create_task(_tell_what_is_missing(rehearsal.component, clock), name=f"{name}:missing")
            await asyncio.wait({asked, *({watching} if how == "once" else ())}, return_when=asyncio.FIRST_COMPLETED)
            finished = watching.done()
            missing = _missing(rehearsal.component)
            telling.cancel()
            watching.cancel()
            working.cancel()
            lines = (*plan.lines(), *rehearsal.more())
    except (CannotStart, AccessError) as failure:
        return verdict(BaseExceptionGroup("start", [failure]))
    except BaseExceptionGroup as failed:
        return verdict(failed)
    if how == "on":
        return DONE
    if not finished:
        print(f"stopped before everything was known{missing and f': {missing}'}", file=sys.stderr)
        return ANSWER_IS_NO
    for line in lines:
        tell(line)
    return ANSWER_IS_NO if lines else DONE


async def _rest(rehearsal: Rehearsal, clock: Clock) -> None:
    since: float | None = None
    while since is None or clock.now() < since + REST_FOR_S:
        await clock.until(clock.now() + LOOK_EVERY_S)
        if not rehearsal.at_rest():
            since = None
        elif since is None:
            since = clock.now()


def _missing(component: Component) -> str:
    """Why it does not do its job yet, as readiness says it; empty when it does."""
    return "; ".join(f"{check}: {text}" for check, text in component.checks().items() if text is not None)


async def _tell_what_is_missing(component: Component, clock: Clock) -> Never:
    told = ""
    while True:
        await clock.until(clock.now() + WAITS_S)
        missing = _missing(component)
        if missing and missing != told:
            print(f"waiting: {missing}", file=sys.stderr, flush=True)
        told = missing
