# SPDX-License-Identifier: Apache-2.0
"""The keys that wait to be reconciled, and the one rule that makes reconciling simple: a key is never handled twice at once.

`QueueCore` decides, without a loop or a clock; `WorkQueue` lets tasks wait for it. A key is in one of these places: *ready*
(by priority, first come first served within one), *delayed* until its time, in *processing*, or in processing and added
*again*, which means exactly one more turn however often it was added. A key has one pending appearance: `add` of a delayed
key makes it ready and drops the delay, `add_after` keeps the earlier time, so reconcilers answer their next deadline each
time. (client-go may deliver such a key twice.) A key made more urgent goes to the end of its new priority.

Rejected: handing keys to waiters through futures; a waiter cancelled in that turn would have taken its key along. Not
promised: fairness between priorities beyond every sixteenth turn, which goes to the key that has been ready longest.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from purelb.kube.bell import Bell
from purelb.kube.limiters import Bucket, Exponential, Limiter, MaxOf
from purelb.kube.metrics import (
    NO_SINK,
    QUEUE_ADDS,
    QUEUE_DEPTH,
    QUEUE_LONGEST,
    QUEUE_RETRIES,
    QUEUE_UNFINISHED,
    QUEUE_WAIT,
    QUEUE_WORK,
    Sample,
    Sink,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from purelb.kube.clock import Clock

__all__ = [
    "INITIAL",
    "LIVE",
    "URGENT",
    "Bucket",
    "Exponential",
    "Limiter",
    "MaxOf",
    "QueueClosed",
    "QueueCore",
    "WorkQueue",
]

K = TypeVar("K", bound=Hashable)

URGENT: Final = 100
LIVE: Final = 0
INITIAL: Final = -100

_OLDEST_EVERY: Final = 16
_STALE_MIN: Final = 64


class QueueClosed(Exception):
    """The queue was shut down and nothing is left in it."""


class QueueCore(Generic[K]):
    """Pure. Which key is next. `now` never goes back from call to call."""

    def __init__(self) -> None:
        self._ready: OrderedDict[K, tuple[int, float]] = OrderedDict()  # key -> priority, ready since; oldest first
        self._by_priority: dict[int, OrderedDict[K, None]] = {}  # an index of _ready, without empty entries
        self._processing: dict[K, float] = {}  # key -> since
        self._again: dict[K, tuple[int, float]] = {}  # a part of _processing
        self._delayed: dict[K, tuple[float, int, int]] = {}  # key -> due, number, priority
        self._numbered: dict[int, K] = {}  # the same by number, so that the heap holds no key
        self._heap: list[tuple[float, int]] = []  # due, number; an entry whose number is gone is stale
        self._number = 0
        self._turns = 0
        self._closed = False
        self._draining = False

    def __len__(self) -> int:
        """Keys that are ready, or will be when their turn in progress ends."""
        return len(self._ready) + len(self._again)

    @property
    def closed(self) -> bool:
        """Whether `shut_down` was called."""
        return self._closed

    @property
    def finished(self) -> bool:
        """Closed, and no key will come any more: a task that waits for one may go."""
        return self._closed and not self._ready and not (self._draining and self._processing)

    @property
    def drained(self) -> bool:
        """Closed, and nothing is left to wait for; a plain shutdown waits for nothing."""
        return self._closed and (not self._draining or (not self._ready and not self._processing))

    def add(self, key: K, *, priority: int, now: float) -> bool:
        """Make `key` ready; whether that gave it a turn it did not have already."""
        if self._closed:
            return False
        return self._put(key, priority, now)

    def add_after(self, key: K, delay: float, *, priority: int, now: float) -> bool:
        """Make `key` ready after `delay` seconds, unless it has an earlier turn; whether that gave it a turn sooner."""
        if self._closed:
            return False
        if delay <= 0:
            return self._put(key, priority, now)
        if key in self._ready or key in self._again:
            return False  # it comes sooner than that
        due, known = now + delay, self._delayed.get(key)
        if known is not None:
            if known[0] <= due:
                if priority > known[2]:
                    self._delayed[key] = (known[0], known[1], priority)
                return False
            self._undelay(key)
            priority = max(priority, known[2])
        self._number += 1
        self._delayed[key] = (due, self._number, priority)
        self._numbered[self._number] = key
        heapq.heappush(self._heap, (due, self._number))
        return True

    def advance(self, now: float) -> None:
        """Make the delayed keys ready whose time has come, in the order of their times."""
        while self._heap and self._heap[0][0] <= now:
            due, number = heapq.heappop(self._heap)
            if number in self._numbered:
                key = self._numbered[number]
                self._put(key, self._delayed[key][2], due)

    def take(self, now: float) -> tuple[K, float] | None:
        """The next key and how long it was ready; None when none is. The key is in processing until `done`."""
        self.advance(now)
        if not self._ready:
            return None
        self._turns += 1
        if self._turns % _OLDEST_EVERY == 0:
            key, (priority, since) = self._ready.popitem(last=False)
            del self._by_priority[priority][key]
        else:
            priority = max(self._by_priority)
            key, _ = self._by_priority[priority].popitem(last=False)
            _, since = self._ready.pop(key)
        if not self._by_priority[priority]:
            del self._by_priority[priority]
        self._processing[key] = now
        return key, now - since

    def done(self, key: K, *, now: float) -> float:
        """The turn of `key` is over; how long it took. Raises ValueError if it had none."""
        since = self._processing.pop(key, None)
        if since is None:
            raise ValueError(f"{key!r} is not being processed: done() is called once for each key that get() gave")
        if again := self._again.pop(key, None):
            self._put(key, *again)
        return now - since

    def shut_down(self, *, drain: bool) -> None:
        """Refuse further keys and drop delayed ones. `drain`: keys in processing are waited for, with what they leave."""
        self._draining = drain
        self._closed = True
        self._delayed.clear()
        self._numbered.clear()
        self._heap.clear()

    def deadline(self) -> float | None:
        """When the next delayed key is due."""
        while self._heap and self._heap[0][1] not in self._numbered:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def depths(self) -> Mapping[int, int]:
        """How many keys are ready, by priority."""
        return {priority: len(keys) for priority, keys in self._by_priority.items()}

    def processing(self, now: float) -> tuple[float, ...]:
        """The ages of the turns in progress."""
        return tuple(now - since for since in self._processing.values())

    def _put(self, key: K, priority: int, now: float) -> bool:
        if (known := self._delayed.get(key)) is not None:
            priority = max(priority, known[2])
            self._undelay(key)
        if key in self._processing:
            again = self._again.get(key)
            self._again[key] = (priority, now) if again is None else (max(priority, again[0]), again[1])
            return again is None
        if (ready := self._ready.get(key)) is None:
            self._ready[key] = (priority, now)
        else:
            if ready[0] >= priority:
                return False
            self._ready[key] = (priority, ready[1])
            old = self._by_priority[ready[0]]
            del old[key]
            if not old:
                del self._by_priority[ready[0]]
        line = self._by_priority.get(priority)
        if line is None:
            line = self._by_priority[priority] = OrderedDict()
        line[key] = None
        return ready is None

    def _undelay(self, key: K) -> None:
        _, number, _ = self._delayed.pop(key)
        del self._numbered[number]
        if len(self._heap) > _STALE_MIN + 2 * len(self._numbered):  # a key moved again and again must not fill the heap
            self._heap = [(due, number) for due, number, _ in self._delayed.values()]
            heapq.heapify(self._heap)


class WorkQueue(Generic[K]):
    """A `QueueCore` that tasks can wait for. `name` is its label in metrics; without one it has none."""

    def __init__(
        self, *, clock: Clock, name: str = "", limiter: Limiter[K] | None = None, sink: Sink = NO_SINK
    ) -> None:
        self._core: QueueCore[K] = QueueCore()
        self._clock = clock
        self._name = name
        self._limiter: Limiter[K] = Exponential() if limiter is None else limiter
        self._sink = sink if name else NO_SINK
        self._getters = Bell(clock)
        self._drainers = Bell(clock)

    def __len__(self) -> int:
        return len(self._core)

    @property
    def closed(self) -> bool:
        """Whether `shut_down` was called."""
        return self._core.closed

    def add(self, key: K, *, priority: int = LIVE) -> None:
        """Ask for a turn of `key`. Ignored once the queue is closed."""
        if self._core.add(key, priority=priority, now=self._clock.now()):
            self._sink.count(QUEUE_ADDS, self._name)
            self._getters.ring()

    def add_after(self, key: K, delay: float, *, priority: int = LIVE) -> None:
        """Ask for a turn of `key` in `delay` seconds, unless it has an earlier one."""
        if self._core.add_after(key, delay, priority=priority, now=self._clock.now()):
            self._getters.ring()  # somebody's time to wait may have become shorter

    def add_rate_limited(self, key: K, *, priority: int = LIVE) -> float:
        """`key` failed: ask for a turn after the limiter's delay, which is the answer."""
        delay = self._limiter.delay(key, self._clock.now())
        self._sink.count(QUEUE_RETRIES, self._name)
        self.add_after(key, delay, priority=priority)
        return delay

    def forget(self, key: K) -> None:
        """`key` succeeded: its failures are not counted any more. A turn it has is not taken away."""
        self._limiter.forget(key)

    def failures(self, key: K) -> int:
        """Failures of `key` since it was last forgotten."""
        return self._limiter.failures(key)

    async def get(self, *, gate: Callable[[], bool] = lambda: True) -> K:
        """Wait for the next key; `done` must follow. Raises QueueClosed when the queue is closed and empty.

        While `gate` answers False keys stay where they are, and a closed queue counts as empty; it is asked again after
        `look_again`. It is asked in the same turn of the loop in which the key is taken.
        """
        while True:
            now, is_open = self._clock.now(), gate()
            if is_open and (taken := self._core.take(now)) is not None:
                key, waited = taken
                self._sink.observe(QUEUE_WAIT, waited, self._name)
                if self._getters.waiting:
                    self._getters.ring()  # more may be ready, and somebody must keep the time of the next delayed key
                return key
            if self._core.finished or (self._core.closed and not is_open):
                raise QueueClosed
            await self._getters.wait(self._core.deadline() if is_open else None)

    def look_again(self) -> None:
        """Have every task that waits in `get` ask its gate again."""
        self._getters.ring_all()

    def done(self, key: K) -> None:
        """The turn of `key` is over; added meanwhile, it is ready again. Raises ValueError if it had no turn."""
        took = self._core.done(key, now=self._clock.now())
        self._sink.observe(QUEUE_WORK, took, self._name)
        if self._core.closed:
            self._getters.ring_all()
            self._drainers.ring_all()
        elif len(self._core):
            self._getters.ring()

    def shut_down(self, *, drain: bool = False) -> None:
        """Refuse further keys; ready ones are still handed out, delayed ones are dropped.

        `drain`: also wait for keys in processing, and for the turns they leave behind. A later plain call ends that.
        """
        self._core.shut_down(drain=drain)
        self._getters.ring_all()
        self._drainers.ring_all()

    async def drained(self) -> None:
        """Return once the queue is closed and, when draining, nothing is ready or in processing."""
        while not self._core.drained:
            await self._drainers.wait(None)

    def samples(self) -> Iterator[Sample]:
        """The gauges of this queue, as they are now."""
        if not self._name:
            return
        now = self._clock.now()
        self._core.advance(now)
        depths = self._core.depths()
        for priority in sorted({URGENT, LIVE, INITIAL, *depths}):
            yield Sample(QUEUE_DEPTH, float(depths.get(priority, 0)), (self._name, str(priority)))
        ages = self._core.processing(now)
        yield Sample(QUEUE_UNFINISHED, sum(ages), (self._name,))
        yield Sample(QUEUE_LONGEST, max(ages, default=0.0), (self._name,))
