# SPDX-License-Identifier: Apache-2.0
"""One group of tasks, and what their ends mean.

Every task of a process lives in one supervised group. One that ends unasked, with or without an exception, ends the process
with exit code 5: there is no silent background failure. Asked to stop, the component has its budget; then what is left is
named, cancelled, and after a moment more the process ends with 0 whatever still holds out. Leases and kernel lifetimes make
that safe: the next start repairs it.

Not promised: an end within the budget of a process whose loop stands still. That is what the grace period of its pod is for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Never

from purelb.kube.errors import AccessError
from purelb.kube.failures import failure
from purelb.process.command import CANNOT_WORK_HERE, DONE, INTERNAL_ERROR
from purelb.process.component import CannotStart, Component
from purelb.process.signals import tasks as all_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping

    from purelb.kube.clock import Clock

log: Final = logging.getLogger(__name__)

CANCELLED_FOR_S: Final = 0.5
"""So long may cancelled tasks take at the end of the budget: enough to close sockets, too short for another call."""


CLOSED_WITHIN_S: Final = 1.0
"""So long may the loop take to close. It waits for its threads, and one of them may ask a name server that does not answer."""


class TaskEnded(Exception):
    """A task that should work until it is cancelled has returned."""


class Roll:
    """Which tasks of the process are gone although nobody asked them to go, for its liveness."""

    def __init__(self, asked: asyncio.Future[Any]) -> None:
        self.asked = asked
        self.gone: list[str] = []

    def trouble(self) -> str | None:
        """A process in which a task ended ends by itself, unless another one refuses to; then a restart must help."""
        return f"{', '.join(self.gone)} ended, and the others did not" if self.gone else None


_ROLL: Final[ContextVar[Roll | None]] = ContextVar("roll", default=None)
"""That of the supervised group, inherited by every task of it: no component has to hand it to its own tasks."""


async def unending(work: Awaitable[object], *, name: str) -> Never:
    """Await `work`, which has no end: if it returns, that is a mistake of ours and ends the process."""
    roll = _ROLL.get()
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException:
        if roll is not None:
            roll.gone.append(name)
        raise
    if roll is not None:
        roll.gone.append(name)
    raise TaskEnded(f"{name} ended without being asked")


def run(work: Coroutine[Any, Any, int]) -> int:
    """As `asyncio.run`, but when `work` has ended the process does not wait for its threads: then it ends here, with that code."""
    with asyncio.Runner() as runner:
        code = runner.run(work)
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.signal(signal.SIGALRM, lambda *_: os._exit(code))
        signal.setitimer(signal.ITIMER_REAL, CLOSED_WITHIN_S)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    return code


async def supervise(
    component: Component,
    *,
    name: str,
    budget: float,
    clock: Clock,
    roll: Roll,
    beside: Mapping[str, Coroutine[Any, Any, Never]],
    end: Callable[[int], None] = os._exit,
) -> int:
    """Run `component`, and `beside` it, until `roll.asked` is done and it has stopped; the answer is the exit code.

    Raises a group of what its tasks raised. `end` ends a process that does not end otherwise.
    """
    asked = roll.asked
    _ROLL.set(roll)
    async with asyncio.TaskGroup() as group:
        helpers = [
            group.create_task(unending(work, name=f"{name}:{what}"), name=f"{name}:{what}")
            for what, work in beside.items()
        ]
        worker = group.create_task(component.run(), name=f"{name}:component")
        waits: set[asyncio.Future[Any]] = {worker, asked}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if worker.done():
            if not worker.cancelled() and worker.exception() is None:
                raise TaskEnded(f"{name}:component ended without being asked")
        else:
            component.stop()
            if not await _ended(worker, within=budget, clock=clock):
                left = all_tasks()
                log.info(
                    "the shutdown budget of %s s is spent: ending now in phase %s with %d tasks left",
                    budget,
                    component.phase(),
                    len(left),
                    extra={"code": "shutdownStepCut", "step": "budget", "took": budget, "left": left},
                )
                worker.cancel()
                if not await _ended(worker, within=CANCELLED_FOR_S, clock=clock):
                    end(DONE)
        for helper in helpers:
            helper.cancel()
    log.info("stopped", extra={"code": "stopped"})
    return DONE


async def _ended(worker: asyncio.Task[None], *, within: float, clock: Clock) -> bool:
    try:
        async with clock.timeout_at(clock.now() + within):
            await asyncio.wait({worker})
    except TimeoutError:
        return False
    return True


def verdict(group: BaseExceptionGroup[BaseException]) -> int:
    """The exit code of a process whose tasks raised `group`; each cause is one line of the log."""
    environment, rest = group.split((CannotStart, AccessError))
    if rest is None and environment is not None:
        for lack in _leaves(environment):
            tell(lack if isinstance(lack, CannotStart) else no_access(lack))
        return CANNOT_WORK_HERE
    for ended in _leaves(rest or group):
        if isinstance(ended, TaskEnded):
            log.info("%s", ended, extra={"code": "taskEnded", **failure(ended)})
            continue
        log.info(
            "a task died: the process ends, the next one rebuilds from the world",
            exc_info=(type(ended), ended, ended.__traceback__),
            extra={"code": "taskDied"},
        )
    return INTERNAL_ERROR


def no_access(error: BaseException) -> CannotStart:
    """An `AccessError` as what the environment lacks."""
    hint = "give --kubeconfig a file that can be used, or run in a Pod that has a ServiceAccount"
    return CannotStart("access", str(error), hint)


def tell(lack: CannotStart) -> None:
    """One line about what the environment lacks."""
    log.info(
        "%s",
        lack.error,
        extra={"code": "selfCheckFailed", "check": lack.check, "hint": lack.hint, **failure(lack.error)},
    )


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for ended in group.exceptions:
        if isinstance(ended, BaseExceptionGroup):
            yield from _leaves(ended)
        else:
            yield ended
