# SPDX-License-Identifier: Apache-2.0
"""Cancels a component at its first suspension, at its second, and so on, until a run comes to its end by itself.

A suspension is a moment at which any task of the component gives control to the loop, so no `await` of any of them is left
out. Each run has its own loop, its own virtual clock and its own server. After each there must be no task, no timer and no
open stream, nothing may complain (never awaited, never retrieved, a generator that the loop had to close), and the component
must have ended within its grace. What it left behind is then for the case to judge.

`again`: the second cancellation, so many suspensions after the first, of somebody who lost patience.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from contextlib import asynccontextmanager
from types import AsyncGeneratorType, CodeType
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from purelb.kube.clock import breathe
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence

    from purelb.kube.store import Index, Store
    from purelb.kube.transport import ByteStream, Request, Response, Transport

POINTS_MAX = 5000


class Turns:
    """A `Transport` in front of another: everything takes turns of the loop, as on a network, and streams are counted."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.in_flight = 0
        self.opened = 0
        self.closed = 0

    async def exchange(self, request: Request) -> Response:
        self.in_flight += 1
        try:
            await breathe()
            answer = await self._inner.exchange(request)
            await breathe()
        finally:
            self.in_flight -= 1
        return answer

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:
        await breathe()
        async with self._inner.stream(request) as body:
            self.opened += 1
            try:
                await breathe()
                yield body
            finally:
                self.closed += 1
                await breathe()


class Case(Protocol):
    """A component, what happens around it, and what must be true of it when it has ended."""

    transport: Turns
    story: Sequence[tuple[float, Callable[[], None]]]  # seconds after the start, in order, and what somebody else does
    lasts: float  # seconds until the run that nobody disturbed is cancelled, or has ended
    grace: float  # seconds that the component may take to end

    def run(self) -> Coroutine[Any, Any, None]: ...

    async def check(self, *, cancelled: int) -> None:
        """`cancelled`: how often, 0 if it ended by itself."""
        ...

    async def complete(self) -> None:
        """What a run must have come to that nobody disturbed: a story that goes wrong early would prove nothing."""
        ...


class Run(Struct, frozen=True):
    """`points`: suspensions of an undisturbed run. `ends`: how often the component was cancelled, how often it just ended."""

    points: int
    ends: dict[str, int]


def cancelled_everywhere(make: Callable[[VirtualClock], Case], *, again: int | None = None) -> Run:
    """Run the case until one run is over before the suspension at which it would be cancelled."""
    ends = {"cancelled": 0, "by itself": 0}
    gc.collect()
    gc.freeze()  # what is there already is not looked at again after each run, nor by the tests that follow
    for point in range(1, POINTS_MAX):
        one = _Once(point, again)
        with warnings.catch_warnings(record=True) as warned, asyncio.Runner() as runner:
            warnings.simplefilter("always")
            runner.run(one.main(make))
            gc.collect()
        where = f"cancelled at suspension {point} ({one.where})"
        assert not one.complaints, f"{where}: {one.complaints}"
        assert not warned, f"{where}: {[str(each.message) for each in warned]}"
        ends["by itself" if one.ended_by_itself else "cancelled"] += 1
        if not one.struck:
            return Run(points=one.seen, ends=ends)
    raise AssertionError(f"still not over after {POINTS_MAX} suspensions: shorten the story")


def suspended_in(make: Callable[[VirtualClock], Case]) -> set[CodeType]:
    """Every function that waits for something at some suspension of a run that nobody disturbs: what a cancellation strikes."""
    with asyncio.Runner() as runner:
        one = _Once(POINTS_MAX * 10, None)
        runner.run(one.main(make))
        return one.waiting


def waiting_in(inner: object) -> Iterator[CodeType]:
    """The functions on the way from a task to what it waits for, outermost first."""
    at: object = inner
    while at is not None:
        if inspect.iscoroutine(at):
            yield at.cr_code
            at = at.cr_await
        elif inspect.isgenerator(at):
            yield at.gi_code
            at = at.gi_yieldfrom
        elif inspect.isasyncgen(at):
            yield at.ag_code
            at = at.ag_await
        else:  # a step of an asynchronous generator hides the generator
            at = next((each for each in gc.get_referents(at) if isinstance(each, AsyncGeneratorType)), None)


class _Once:
    def __init__(self, point: int, again: int | None) -> None:
        self.seen = 0
        self.waiting: set[CodeType] = set()
        self.struck = 0
        self.struck_at = 0.0
        self.where = "it never came to that"
        self.complaints: list[str] = []
        self.ended_by_itself = False
        self._points = {point} if again is None else {point, point + again}
        self._root: asyncio.Task[None] | None = None
        self._now: Callable[[], float] = lambda: 0.0
        self._tasks = 0

    async def main(self, make: Callable[[VirtualClock], Case]) -> None:
        loop, clock = asyncio.get_running_loop(), VirtualClock(chance=0.5)
        loop.set_exception_handler(lambda _, context: self.complaints.append(f"{context}"))
        loop.set_task_factory(self._task)
        began, case, over = clock.now(), make(clock), list[float]()
        root = self._root = loop.create_task(case.run(), name="the component")
        root.add_done_callback(lambda _: over.append(clock.now()))
        self._now = clock.now
        for at, act in case.story:
            await clock.advance(began + at - clock.now())
            if root.done() or self.struck:
                break
            act()
        else:
            await clock.advance(began + case.lasts - clock.now())
        undisturbed = not self.struck
        if undisturbed:
            await case.complete()
            self.struck_at = clock.now()
            root.cancel()
        await clock.advance(case.grace + 1.0)
        where = f"cancelled at suspension {min(self._points)} ({self.where})"
        assert root.done(), f"{where}: goes on at {root.get_stack(limit=1)}"
        assert over[0] <= self.struck_at + case.grace, f"{where}: took {over[0] - self.struck_at} s to end"
        self.ended_by_itself = not root.cancelled()
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"{where}: left {left}"
        assert clock.pending() == [], f"{where}: somebody still waits"
        assert case.transport.in_flight == 0, where
        assert case.transport.opened == case.transport.closed, where
        try:
            if not root.cancelled():
                root.result()
            await case.check(cancelled=self.struck + undisturbed if root.cancelled() else 0)
        except BaseException as error:
            error.add_note(where)
            raise
        made, self._root = self._tasks, None
        del case, root
        gc.collect()
        await clock.settle()
        assert self._tasks == made, f"{where}: the loop had to end something of its own"

    def _task(self, loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        self._tasks += 1
        return asyncio.Task(counted(coro, lambda: self._suspended(coro)), loop=loop, **more)

    def _suspended(self, coro: object) -> None:
        self.seen += 1
        if max(self._points) > POINTS_MAX:  # it is only looked at
            self.waiting.update(waiting_in(coro))
        if self.seen in self._points and self._root is not None and self._root.cancel():
            self.struck += 1
            if self.struck == 1:
                self.struck_at = self._now()
                task = asyncio.current_task()
                self.where = f"in {task.get_name() if task else 'nobody'}"


class _Counted:
    """Awaits a coroutine and says so each time it gives control to the loop."""

    def __init__(self, inner: Coroutine[Any, Any, Any], suspended: Callable[[], None]) -> None:
        self._inner = inner
        self._suspended = suspended

    def __await__(self) -> Generator[Any, None, Any]:
        error: BaseException | None = None
        while True:
            try:
                waits_for = self._inner.send(None) if error is None else self._inner.throw(error)
            except StopIteration as end:
                return end.value
            self._suspended()
            try:
                yield waits_for
                error = None
            except BaseException as raised:  # noqa: BLE001  passed on to the coroutine
                error = raised


async def counted(inner: Coroutine[Any, Any, Any], suspended: Callable[[], None]) -> Any:
    """Await `inner`, and call `suspended` each time it gives control to the loop: for a task factory."""
    return await _Counted(inner, suspended)


def agrees(store: Store[Any], indices: dict[str, Index[Any]]) -> None:
    """The indices of the store are those that its objects would give."""
    names = store.keys()
    for name, function in indices.items():
        wanted: dict[str, list[str]] = {}
        for key in names:
            for value in function(store.get(key)):
                wanted.setdefault(value, []).append(key)
        assert store.index_values(name) == tuple(sorted(wanted))
        for value, keys in wanted.items():
            assert store.by_index(name, value) == tuple(store.get(key) for key in sorted(keys))
