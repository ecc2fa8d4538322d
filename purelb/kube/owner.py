# SPDX-License-Identifier: Apache-2.0
"""The one task that owns a component's mutable state.

It takes a key from its queue, calls `step(key, now)`, carries out the outcome and takes the next: one step at a time, with
no option for more. A step decides first and mutates last: no owned state changes before its last operation that can fail.
It awaits no other machine; what the API server answers comes back as a key. Readers outside see `view`, an immutable value
that the step replaces by assignment.

A step that raises is a mistake of ours: it is fenced off from the other keys, counted, logged and tried later. `Fatal` says
that the state itself can no longer be trusted; it leaves `run()` and ends the process, and the next one rebuilds from the
API. Not promised: that the step of a cancelled owner ran to its end; its key stays in the queue.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, assert_never, cast

from msgspec import Struct

from purelb.kube.clock import breathe
from purelb.kube.failures import failure
from purelb.kube.metrics import (
    NO_SINK,
    RECONCILE_ERRORS,
    RECONCILE_PANICS,
    RECONCILE_TERMINAL,
    RECONCILE_TIME,
    RECONCILE_TOTAL,
    Sink,
)
from purelb.kube.queue import LIVE, QueueClosed, WorkQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from purelb.kube.clock import Clock

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

_log: Final = logging.getLogger(__name__)
_UNHEALTHY_AT: Final = 10
_LOG_EVERY: Final = 60.0
_HOLDS_LOOP: Final = 0.1
TURNS_FOR: Final = 0.002  # turns in a row before the writes they submitted are sent


class Done(Struct, frozen=True):
    """The world is as this key wants it."""


class After(Struct, frozen=True):
    """Fine until `delay` seconds from now; look again then, with this priority or that of an earlier turn, if that is higher."""

    delay: float
    priority: int = LIVE


class Retry(Struct, frozen=True):
    """Expected trouble: again after a delay that grows with each failure in a row."""

    reason: str


class Rejected(Struct, frozen=True):
    """Nothing to be done until the object changes: only a new event brings the key back."""

    reason: str


Outcome = Done | After | Retry | Rejected


class Fatal(Exception):
    """The state can no longer be trusted, or must not be acted on: the process ends, a restart rebuilds from the API."""


class _Panics(Struct):
    in_row: int = 0
    logged_at: float | None = None


class _Stretches(Generic[R]):
    """Awaits a step and notes for how long it held the loop at a stretch, at most."""

    def __init__(self, step: Awaitable[R], now: Callable[[], float]) -> None:
        self._step = step
        self._now = now
        self.longest = 0.0

    def __await__(self) -> Generator[Any, None, R]:
        inner = self._step.__await__()
        error: BaseException | None = None
        while True:
            began = self._now()
            try:
                waits_for = next(inner) if error is None else cast("Generator[Any, None, R]", inner).throw(error)
            except StopIteration as end:
                return cast("R", end.value)
            finally:
                self.longest = max(self.longest, self._now() - began)
            try:
                yield waits_for
                error = None
            except BaseException as raised:  # noqa: BLE001  passed on to the step
                error = raised


def always() -> bool:
    """The gate that is never closed."""
    return True


class Owner(Generic[K]):
    """Runs `step` for each key of `queue`. While `gate` answers False keys wait; `wake` has it asked again."""

    def __init__(
        self,
        *,
        name: str,
        queue: WorkQueue[K],
        step: Callable[[K, float], Awaitable[Outcome]],
        clock: Clock,
        gate: Callable[[], bool] = always,
        panic_limit: int = 0,
        sink: Sink = NO_SINK,
    ) -> None:
        self.view: Any = None  # what readers outside see: an immutable value of the component's own type
        self.held_loop = 0  # steps that gave nobody else a turn for 100 ms or longer
        self._name = name
        self._queue = queue
        self._step = step
        self._clock = clock
        self._gate = gate
        self._panic_limit = panic_limit
        self._sink = sink
        self._panics: dict[K, _Panics] = {}
        self._turn_of: tuple[K, float] | None = None

    @property
    def healthy(self) -> bool:
        """False while some key has failed ten times in a row by a mistake of ours."""
        return not self.panicking

    @property
    def turn(self) -> tuple[K, float] | None:
        """The key whose turn it is and since when; None between turns."""
        return self._turn_of

    @property
    def panicking(self) -> tuple[K, ...]:
        """The keys that make this owner unhealthy."""
        return tuple(key for key, panics in self._panics.items() if panics.in_row >= _UNHEALTHY_AT)

    def wake(self) -> None:
        """Ask the gate again."""
        self._queue.look_again()

    async def run(self) -> None:
        """Handle keys until the queue is closed and empty, or closed while the gate is. Raises what is Fatal."""
        breathes_at = self._clock.now() + TURNS_FOR
        while True:
            try:
                key = await self._queue.get(gate=self._gate)
            except QueueClosed:
                return
            try:
                await self._turn(key)
            except BaseException:
                self._queue.add(key)  # the turn did not end: whoever goes on with this queue sees the key again
                raise
            finally:
                self._queue.done(key)
            if self._clock.now() >= breathes_at:  # a queue that is never empty must not keep the loop
                await breathe()
                breathes_at = self._clock.now() + TURNS_FOR

    async def _turn(self, key: K) -> None:
        started = self._clock.now()
        step = _Stretches(self._step(key, started), self._clock.now)
        self._turn_of = key, started
        try:
            outcome = await step
        except Fatal:
            raise
        except Exception as error:  # noqa: BLE001  one key is fenced off from its neighbours here
            self._count("error", started)
            self._panicked(key, error, started)
            return
        finally:
            self._turn_of = None
        if step.longest > _HOLDS_LOOP:
            self.held_loop += 1
            _log.debug(
                "a step held the loop",
                extra={"code": "loopHeld", "owner": self._name, "key": str(key), "seconds": step.longest},
            )
        self._panics.pop(key, None)
        if _log.isEnabledFor(logging.DEBUG):
            took, ended = self._clock.now() - started, type(outcome).__name__
            fields = {"code": "turnEnded", "owner": self._name, "key": str(key), "outcome": ended, "took": took}
            _log.debug("%s: %s", key, ended, extra=fields)
        match outcome:
            case Done():
                self._count("success", started)
                self._queue.forget(key)
            case After(delay=delay, priority=priority):
                self._count("requeue_after", started)
                self._queue.forget(key)
                self._queue.add_after(key, delay, priority=priority)
            case Retry(reason=reason):
                self._count("requeue", started)
                delay = self._queue.add_rate_limited(key)
                _log.debug(
                    "the key is tried again later",
                    extra={
                        "code": "keyRetried",
                        "owner": self._name,
                        "key": str(key),
                        "why": reason,
                        "retryIn": delay,
                    },
                )
            case Rejected():
                self._count("terminal", started)
                self._sink.count(RECONCILE_TERMINAL, self._name)
                self._queue.forget(key)
            case _:
                assert_never(outcome)

    def _count(self, result: str, started: float) -> None:
        self._sink.count(RECONCILE_TOTAL, self._name, result)
        self._sink.observe(RECONCILE_TIME, self._clock.now() - started, self._name)

    def _panicked(self, key: K, error: Exception, started: float) -> None:
        self._sink.count(RECONCILE_ERRORS, self._name)
        self._sink.count(RECONCILE_PANICS, self._name)
        panics = self._panics.setdefault(key, _Panics())
        panics.in_row += 1
        now = self._clock.now()
        if panics.logged_at is None or now - panics.logged_at >= _LOG_EVERY:
            panics.logged_at = now
            told = failure(error, attempt=panics.in_row, took=now - started)
            fields = {"code": "stepRaised", "owner": self._name, "key": str(key), **told}
            _log.info("a step raised; its key is tried again later", extra=fields, exc_info=error)
        if self._panic_limit and panics.in_row >= self._panic_limit:
            raise Fatal(f"{self._name}: {panics.in_row} steps in a row raised for {key}") from error
        self._queue.add_rate_limited(key)
