# SPDX-License-Identifier: Apache-2.0
"""The assertions of client-go's queue tests, and a naive model beside the real one."""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import random
import tracemalloc
import weakref
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from purelb.kube.metrics import (
    QUEUE_ADDS,
    QUEUE_DEPTH,
    QUEUE_LONGEST,
    QUEUE_RETRIES,
    QUEUE_UNFINISHED,
    QUEUE_WAIT,
    QUEUE_WORK,
    Sample,
)
from purelb.kube.queue import (
    INITIAL,
    LIVE,
    URGENT,
    Bucket,
    Exponential,
    MaxOf,
    QueueClosed,
    QueueCore,
    WorkQueue,
)
from tests.kube.told import Told
from tests.virtual_clock import START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


def take(core: QueueCore[str], now: float = 0.0) -> str | None:
    taken = core.take(now)
    return None if taken is None else taken[0]


def handed_out(core: QueueCore[str], now: float = 0.0) -> Iterator[str]:
    while (key := take(core, now)) is not None:
        yield key
        core.done(key, now=now)


def test_keys_come_in_the_order_in_which_they_were_added() -> None:
    core: QueueCore[str] = QueueCore()
    for key in "cab":
        core.add(key, priority=LIVE, now=0.0)
    assert list(handed_out(core)) == ["c", "a", "b"]


def test_a_key_added_twice_is_one_key() -> None:
    core: QueueCore[str] = QueueCore()
    assert core.add("a", priority=LIVE, now=0.0)
    assert not core.add("a", priority=LIVE, now=0.0)
    assert len(core) == 1
    assert list(handed_out(core)) == ["a"]


def test_a_key_added_while_it_is_processed_gets_exactly_one_more_turn_after_that() -> None:
    core: QueueCore[str] = QueueCore()
    core.add("a", priority=LIVE, now=0.0)
    assert take(core) == "a"
    for _ in range(5):
        core.add("a", priority=LIVE, now=0.0)
    assert take(core) is None
    assert len(core) == 1
    core.done("a", now=0.0)
    assert list(handed_out(core)) == ["a"]


def test_done_of_a_key_that_has_no_turn_is_a_mistake() -> None:
    core: QueueCore[str] = QueueCore()
    core.add("a", priority=LIVE, now=0.0)
    with pytest.raises(ValueError, match="'a' is not being processed"):
        core.done("a", now=0.0)


def test_more_urgent_keys_come_first_and_those_of_one_priority_in_order() -> None:
    core: QueueCore[str] = QueueCore()
    for key, priority in (("i1", INITIAL), ("l1", LIVE), ("u1", URGENT), ("i2", INITIAL), ("u2", URGENT), ("l2", LIVE)):
        core.add(key, priority=priority, now=0.0)
    assert core.depths() == {INITIAL: 2, LIVE: 2, URGENT: 2}
    assert list(handed_out(core)) == ["u1", "u2", "l1", "l2", "i1", "i2"]


@pytest.mark.parametrize("first, second", [(URGENT, INITIAL), (INITIAL, URGENT)], ids=["higher first", "higher last"])
@pytest.mark.parametrize("where", ["ready", "processing", "delayed"])
def test_a_key_added_again_keeps_the_higher_priority(where: str, first: int, second: int) -> None:
    core: QueueCore[str] = QueueCore()
    if where == "processing":
        core.add("key", priority=LIVE, now=0.0)
        assert take(core) == "key"
    if where == "delayed":
        core.add_after("key", 5, priority=first, now=0.0)
    else:
        core.add("key", priority=first, now=0.0)
    core.add("key", priority=second, now=0.0)
    core.add("other", priority=LIVE, now=0.0)
    if where == "processing":
        core.done("key", now=0.0)
    assert list(handed_out(core)) == ["key", "other"]


def test_every_sixteenth_turn_goes_to_the_key_that_is_ready_longest() -> None:
    core: QueueCore[str] = QueueCore()
    core.add("old and unimportant", priority=INITIAL, now=0.0)
    for number in range(40):
        core.add(f"urgent {number}", priority=URGENT, now=0.0)
    order = list(handed_out(core))
    assert order.index("old and unimportant") == 15
    assert [key for key in order if key.startswith("urgent")] == [f"urgent {number}" for number in range(40)]


def test_a_delayed_key_fires_once_at_its_time() -> None:
    core: QueueCore[str] = QueueCore()
    core.add_after("a", 5, priority=LIVE, now=100.0)
    assert core.deadline() == 105.0
    assert take(core, 104.999) is None
    assert list(handed_out(core, 105.0)) == ["a"]
    assert list(handed_out(core, 200.0)) == []
    assert core.deadline() is None


@pytest.mark.parametrize("delays", [(5.0, 9.0), (9.0, 5.0)], ids=["a later time is ignored", "an earlier time wins"])
def test_a_key_delayed_twice_keeps_the_earlier_time(delays: tuple[float, float]) -> None:
    core: QueueCore[str] = QueueCore()
    for delay in delays:
        core.add_after("a", delay, priority=LIVE, now=0.0)
    assert core.deadline() == 5.0
    assert list(handed_out(core, 5.0)) == ["a"]
    assert list(handed_out(core, 50.0)) == []


def test_add_beats_a_delay() -> None:
    core: QueueCore[str] = QueueCore()
    core.add_after("a", 5, priority=LIVE, now=0.0)
    core.add("a", priority=LIVE, now=1.0)
    assert list(handed_out(core, 1.0)) == ["a"]
    assert core.deadline() is None
    assert list(handed_out(core, 50.0)) == []


def test_a_delay_for_a_key_that_has_a_turn_already_is_ignored() -> None:
    core: QueueCore[str] = QueueCore()
    core.add("ready", priority=LIVE, now=0.0)
    core.add_after("ready", 5, priority=LIVE, now=0.0)
    assert list(handed_out(core)) == ["ready"]
    core.add("busy", priority=LIVE, now=0.0)
    take(core)
    core.add("busy", priority=LIVE, now=0.0)
    core.add_after("busy", 5, priority=LIVE, now=0.0)
    core.done("busy", now=0.0)
    assert list(handed_out(core)) == ["busy"]
    assert core.deadline() is None


def test_a_delay_that_ends_while_the_key_is_processed_gives_it_one_more_turn() -> None:
    core: QueueCore[str] = QueueCore()
    core.add("a", priority=LIVE, now=0.0)
    take(core)
    core.add_after("a", 5, priority=LIVE, now=0.0)
    core.advance(6.0)
    assert take(core, 6.0) is None
    core.done("a", now=7.0)
    assert list(handed_out(core, 7.0)) == ["a"]


def test_delayed_keys_come_in_the_order_of_their_times_when_looked_at_late() -> None:
    core: QueueCore[str] = QueueCore()
    core.add_after("second", 2, priority=LIVE, now=0.0)
    core.add_after("first", 1, priority=LIVE, now=0.0)
    assert list(handed_out(core, 10.0)) == ["first", "second"]


def test_ten_thousand_random_delays_end_in_order() -> None:
    core: QueueCore[str] = QueueCore()
    chance = random.Random(4)
    due: dict[str, float] = {}
    for number in range(10_000):
        key, delay = f"k{number % 7000}", chance.uniform(0, 1000)
        due[key] = min(delay, due.get(key, delay))
        core.add_after(key, delay, priority=LIVE, now=0.0)
    seen: list[tuple[float, str]] = []
    while (at := core.deadline()) is not None:
        seen.extend((at, key) for key in handed_out(core, at))
    assert seen == sorted((at, key) for key, at in due.items())


def test_moving_a_delayed_key_again_and_again_does_not_fill_the_heap() -> None:
    core: QueueCore[str] = QueueCore()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(10_000):
        core.add_after("a", 20_000 - number, priority=LIVE, now=0.0)
        core.add("b", priority=LIVE, now=0.0)
        core.add_after("b", 5, priority=LIVE, now=0.0)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 100_000  # ten thousand entries would be six times that


def test_a_key_is_not_kept_after_its_turn() -> None:
    class Key:
        pass

    core: QueueCore[Key] = QueueCore()
    key = Key()
    gone = weakref.ref(key)
    core.add_after(key, 5, priority=LIVE, now=0.0)
    core.add(key, priority=LIVE, now=0.0)
    core.add(key, priority=URGENT, now=0.0)
    taken = core.take(0.0)
    assert taken is not None
    core.add_after(key, 3, priority=LIVE, now=0.0)
    core.done(key, now=0.0)
    core.take(3.0)
    core.done(key, now=3.0)
    del key, taken
    gc.collect()
    assert gone() is None


def test_a_closed_queue_ignores_adds_hands_out_what_is_ready_and_drops_what_is_delayed() -> None:
    core: QueueCore[str] = QueueCore()
    core.add("ready", priority=LIVE, now=0.0)
    core.add_after("delayed", 5, priority=LIVE, now=0.0)
    core.shut_down(drain=False)
    core.add("late", priority=LIVE, now=0.0)
    core.add_after("late", 1, priority=LIVE, now=0.0)
    assert not core.finished
    assert list(handed_out(core, 50.0)) == ["ready"]
    assert core.finished


def test_the_core_knows_no_loop_clock_or_randomness() -> None:
    tree = ast.parse(inspect.getsource(QueueCore))
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not named & {"asyncio", "aiohttp", "time", "random", "logging", "Bell"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]


# Limiters


def test_exponential_delays_double_for_each_key_by_itself_up_to_the_cap() -> None:
    limiter: Exponential[str] = Exponential(base=0.005, cap=0.03)
    assert [limiter.delay("a", 0.0) for _ in range(5)] == pytest.approx([0.005, 0.01, 0.02, 0.03, 0.03])
    assert limiter.failures("a") == 5
    assert limiter.delay("b", 0.0) == 0.005
    limiter.forget("a")
    assert (limiter.failures("a"), limiter.failures("b")) == (0, 1)
    assert limiter.delay("a", 0.0) == 0.005


def test_an_exponential_delay_does_not_overflow() -> None:
    limiter: Exponential[str] = Exponential()
    for _ in range(2000):
        delay = limiter.delay("a", 0.0)
    assert delay == 300.0


def test_a_bucket_gives_its_burst_at_once_and_reserves_turns_after_that() -> None:
    limiter: Bucket[str] = Bucket(rate=2, burst=3)
    assert [limiter.delay(key, 10.0) for key in "abcde"] == [0.0, 0.0, 0.0, 0.5, 1.0]
    assert limiter.delay("a", 11.0) == 0.5
    assert limiter.delay("a", 1000.0) == 0.0


def test_the_longest_delay_of_several_limiters_counts() -> None:
    limiter: MaxOf[str] = MaxOf(Exponential(base=0.1, cap=10), Bucket(rate=1, burst=1))
    assert [limiter.delay("a", 0.0) for _ in range(3)] == pytest.approx([0.1, 1.0, 2.0])
    assert limiter.failures("a") == 3
    limiter.forget("a")
    assert limiter.failures("a") == 0


# What waits


async def test_get_waits_for_a_key() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    async with asyncio.TaskGroup() as group:
        getting = group.create_task(queue.get())
        await clock.advance(5)
        assert not getting.done()
        queue.add("a")
    assert getting.result() == "a"


async def test_get_wakes_at_the_exact_time_of_a_delayed_key_even_if_it_was_added_later() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    seen: list[tuple[str, float]] = []

    async def consume() -> None:
        while True:
            try:
                key = await queue.get()
            except QueueClosed:
                return
            seen.append((key, clock.now() - START))
            queue.done(key)

    async with asyncio.TaskGroup() as group:
        group.create_task(consume())
        queue.add_after("later", 9)
        await clock.settle()
        queue.add_after("sooner", 2.5)
        await clock.advance(20)
        queue.shut_down()
    assert seen == [("sooner", 2.5), ("later", 9.0)]


async def test_fifty_producers_and_ten_consumers_see_each_key_and_none_twice_at_once() -> None:
    clock = VirtualClock()
    queue: WorkQueue[int] = WorkQueue(clock=clock)
    seen: Counter[int] = Counter()
    busy: set[int] = set()

    async def produce(number: int) -> None:
        for round_ in range(20):
            queue.add(number * 20 + round_)
            queue.add(7)  # everybody's
            await clock.until(clock.now() + (number * 7 + round_) % 5 * 0.01)

    async def consume() -> None:
        while True:
            try:
                key = await queue.get()
            except QueueClosed:
                return
            assert key not in busy
            busy.add(key)
            await clock.until(clock.now() + key % 3 * 0.01)
            busy.remove(key)
            seen[key] += 1
            queue.done(key)

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(consume())
        async with asyncio.TaskGroup() as producers:
            for number in range(50):
                producers.create_task(produce(number))
            await clock.advance(10)
        await clock.advance(100)
        queue.shut_down()
    assert set(seen) == set(range(1000))
    assert not busy


async def test_a_cancelled_getter_takes_no_key_along() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(queue.get()), group.create_task(queue.get())
        await clock.settle()
        queue.add("a")
        first.cancel()
        await clock.settle()
        assert second.done()
    assert second.result() == "a"


async def test_the_time_of_a_delayed_key_is_kept_when_the_getter_that_kept_it_got_another_key() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    async with asyncio.TaskGroup() as group:
        first, second = group.create_task(queue.get()), group.create_task(queue.get())
        await clock.settle()
        queue.add_after("delayed", 3)  # wakes only the first, which waits on with a deadline
        await clock.settle()
        queue.add("now")
        await clock.advance(3)
        assert {first.result(), second.result()} == {"now", "delayed"}


async def test_while_its_gate_is_closed_get_leaves_keys_where_they_are() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    is_open = False
    async with asyncio.TaskGroup() as group:
        getting = group.create_task(queue.get(gate=lambda: is_open))
        queue.add("a")
        queue.add("b", priority=URGENT)
        await clock.advance(5)
        assert len(queue) == 2
        is_open = True
        await clock.settle()
        assert not getting.done()
        queue.look_again()
    assert getting.result() == "b"


async def test_get_raises_when_the_queue_is_closed_and_empty() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add("a")
    queue.shut_down()
    assert queue.closed
    assert await queue.get() == "a"
    with pytest.raises(QueueClosed):
        await queue.get()


async def test_draining_waits_for_keys_in_processing_and_for_the_turns_they_leave() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.shut_down(drain=True)
    async with asyncio.TaskGroup() as group:
        drained, getting = group.create_task(queue.drained()), group.create_task(queue.get())
        await clock.advance(5)
        assert not drained.done()
        assert not getting.done()
        queue.done("a")
        await clock.settle()
        assert getting.result() == "a"
        assert not drained.done()
        queue.done("a")
    with pytest.raises(QueueClosed):
        await queue.get()


async def test_a_plain_shutdown_does_not_wait_and_ends_a_drain() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add("a")
    await queue.get()
    queue.shut_down(drain=True)
    async with asyncio.TaskGroup() as group:
        drained, getting = group.create_task(queue.drained()), group.create_task(_closed(queue))
        await clock.advance(5)
        assert not drained.done()
        queue.shut_down()
    assert getting.result()
    queue.done("a")


async def _closed(queue: WorkQueue[str]) -> bool:
    with pytest.raises(QueueClosed):
        await queue.get()
    return True


async def test_a_key_that_failed_comes_back_later_and_later_until_it_is_forgotten() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock=clock, limiter=Exponential(base=1, cap=60))
    assert [queue.add_rate_limited("a") for _ in range(3)] == [1.0, 2.0, 4.0]
    assert queue.failures("a") == 3
    async with asyncio.TaskGroup() as group:
        getting = group.create_task(queue.get())
        await clock.advance(1)
        assert getting.result() == "a"  # it has one pending appearance, at the earliest of the three times
    queue.forget("a")
    assert queue.failures("a") == 0
    queue.done("a")


async def test_metrics_are_exact_at_each_step() -> None:
    clock, told = VirtualClock(), Told()
    queue: WorkQueue[str] = WorkQueue(clock=clock, name="q", sink=told)

    def gauges() -> dict[tuple[str, ...], float]:
        return {(sample.metric.name, *sample.labels[1:]): sample.value for sample in queue.samples()}

    queue.add("a")
    queue.add("a")
    queue.add("b", priority=INITIAL)
    assert told.counts == {(QUEUE_ADDS.name, "q"): 2}
    assert gauges() == {
        (QUEUE_DEPTH.name, "-100"): 1,
        (QUEUE_DEPTH.name, "0"): 1,
        (QUEUE_DEPTH.name, "100"): 0,
        (QUEUE_UNFINISHED.name,): 0,
        (QUEUE_LONGEST.name,): 0,
    }
    clock.jump(0.5)
    assert await queue.get() == "a"
    clock.jump(0.25)
    assert await queue.get() == "b"
    clock.jump(1.0)
    assert told.observed[QUEUE_WAIT.name, "q"] == [0.5, 0.75]
    assert gauges()[QUEUE_UNFINISHED.name,] == 2.25
    assert gauges()[QUEUE_LONGEST.name,] == 1.25
    queue.done("a")
    assert told.observed[QUEUE_WORK.name, "q"] == [1.25]
    queue.add_rate_limited("a")
    assert told.counts[QUEUE_RETRIES.name, "q"] == 1
    assert gauges()[QUEUE_DEPTH.name, "0"] == 0
    clock.jump(0.005)
    assert gauges()[QUEUE_DEPTH.name, "0"] == 1
    queue.done("b")


async def test_a_queue_without_a_name_has_no_series() -> None:
    clock, told = VirtualClock(), Told()
    queue: WorkQueue[str] = WorkQueue(clock=clock, sink=told)
    queue.add("a")
    queue.done(await queue.get())
    samples: list[Sample] = list(queue.samples())
    assert (told.counts, told.observed, samples) == (Counter(), {}, [])


# A slow and obvious model


class Naive:
    """Every pending appearance in one list; whatever is due and not in processing may come next."""

    def __init__(self) -> None:
        self.pending: dict[str, float] = {}
        self.processing: set[str] = set()

    def ask(self, key: str, at: float) -> None:
        self.pending[key] = min(at, self.pending.get(key, at))

    def due(self, now: float) -> set[str]:
        return {key for key, at in self.pending.items() if at <= now} - self.processing


KEYS = st.sampled_from(["a", "b", "c", "d", "e"])
PRIORITIES = st.sampled_from([INITIAL, LIVE, URGENT])


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.core: QueueCore[str] = QueueCore()
        self.model = Naive()

    @rule(key=KEYS, priority=PRIORITIES)
    def add(self, key: str, priority: int) -> None:
        self.core.add(key, priority=priority, now=self.now)
        self.model.ask(key, self.now)

    @rule(key=KEYS, priority=PRIORITIES, delay=st.sampled_from([0.0, 1.0, 2.0, 5.0]))
    def add_after(self, key: str, priority: int, delay: float) -> None:
        self.core.add_after(key, delay, priority=priority, now=self.now)
        self.model.ask(key, self.now + delay)

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        key = take(self.core, self.now)
        if key is None:
            assert not self.model.due(self.now)
        else:
            assert key in self.model.due(self.now)
            del self.model.pending[key]
            self.model.processing.add(key)

    @precondition(lambda self: self.model.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.processing)))
        self.core.done(key, now=self.now)
        self.model.processing.remove(key)

    @invariant()
    def no_key_is_lost(self) -> None:
        self.core.advance(self.now)
        assert len(self.core) == sum(1 for at in self.model.pending.values() if at <= self.now)

    @invariant()
    def the_next_deadline_is_that_of_the_earliest_delayed_key(self) -> None:
        self.core.advance(self.now)
        later = [at for at in self.model.pending.values() if at > self.now]
        assert self.core.deadline() == min(later, default=None)


TestQueueAgainstANaiveModel = QueueMachine.TestCase


@given(st.lists(st.tuples(KEYS, PRIORITIES), max_size=60))
def test_the_index_by_priority_holds_what_is_ready(adds: list[tuple[str, int]]) -> None:
    core: QueueCore[str] = QueueCore()
    highest: dict[str, int] = {}
    for key, priority in adds:
        core.add(key, priority=priority, now=0.0)
        highest[key] = max(priority, highest.get(key, priority))
    assert core.depths() == Counter(highest.values())
