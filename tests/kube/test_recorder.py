# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.metrics import EVENTS_TOTAL
from purelb.kube.model import ObjectReference
from purelb.kube.order import Target, Write
from purelb.kube.recorder import Recorder
from purelb.kube.resources import SERVICES
from purelb.kube.writer import Writer
from tests.kube.small_server import Reply, SmallServer
from tests.kube.told import Told
from tests.virtual_clock import START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

EVENTS = "/apis/events.k8s.io/v1/namespaces/shop/events"


class World:
    def __init__(self, *, may_send: Callable[[], bool] = lambda: True, chance: float = 0.5) -> None:
        self.clock = VirtualClock(chance=chance)
        self.server = SmallServer(self.clock)
        self.told = Told()
        self.recorder = Recorder(
            self.server.client(),
            controller="example.io/allocator",
            instance="pod-1",
            clock=self.clock,
            may_send=may_send,
            sink=self.told,
        )

    def event(self, name: str = "web", *, reason: str = "Refused", **more: Any) -> None:
        about = ObjectReference(api_version="v1", kind="Service", namespace="shop", name=name, uid="u1")
        words = {"type": "Warning", "action": "Allocate", "note": "no free address", **more}
        self.recorder.event(about, reason=reason, **words)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.TaskGroup() as group:
            task: asyncio.Task[None] = group.create_task(self.recorder.run())
            yield task
            task.cancel()

    @property
    def stored(self) -> list[dict[str, Any]]:
        return [obj for path, obj in self.server.objects.items() if path.startswith(EVENTS)]

    def fates(self) -> dict[str, float]:
        return {labels[0]: count for (_, *labels), count in self.told.counts.items()}


async def test_an_event_says_all_that_the_server_demands() -> None:
    world = World()
    node = ObjectReference(kind="Node", name="n1")
    async with world.running():
        world.event(related=node)
        await world.clock.settle()
    (event,) = world.stored
    assert event["metadata"]["name"].startswith("web.")
    del event["metadata"]
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "eventTime": "2030-01-01T00:00:00.000000Z",
        "reportingController": "example.io/allocator",
        "reportingInstance": "pod-1",
        "action": "Allocate",
        "reason": "Refused",
        "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web", "uid": "u1"},
        "related": {"kind": "Node", "name": "n1"},
        "note": "no free address",
        "type": "Warning",
    }
    assert world.told.counts == {(EVENTS_TOTAL.name, "sent"): 1}


async def test_an_event_that_waited_to_be_said_has_the_time_at_which_it_happened() -> None:
    world = World()
    async with world.running():
        world.event(ago=2.5)
        await world.clock.settle()
    (event,) = world.stored
    assert event["eventTime"] == "2029-12-31T23:59:57.500000Z"


async def test_the_second_of_a_kind_patches_the_series_of_the_first() -> None:
    world = World()
    async with world.running():
        world.event()
        await world.clock.advance(1)
        world.event(note="another")
        await world.clock.advance(1)
        world.event()
        await world.clock.advance(600)
    (event,) = world.stored
    assert event["series"] == {"count": 3, "lastObservedTime": "2030-01-01T00:00:02.000000Z"}
    assert [(call.method, call.at - START) for call in world.server.calls] == [
        ("POST", 0),
        ("PATCH", 1),
        ("PATCH", 362),
    ]
    assert world.fates() == {"sent": 1, "series": 2}


async def test_long_words_are_cut_and_odd_types_are_warnings() -> None:
    world = World()
    async with world.running():
        world.event(reason="R" * 200, action="A" * 200, note="ä" * 3000, type="Odd")
        await world.clock.settle()
    (event,) = world.stored
    assert (len(event["reason"]), len(event["action"]), len(event["note"].encode())) == (128, 128, 1024)
    assert event["type"] == "Warning"


async def test_an_event_about_a_cluster_scoped_object_is_written_in_default() -> None:
    world = World()
    async with world.running():
        world.recorder.event(
            ObjectReference(api_version="v1", kind="Node", name="n1"), type="Normal", reason="r", action="a", note="n"
        )
        await world.clock.settle()
    (call,) = world.server.calls
    assert call.path == "/apis/events.k8s.io/v1/namespaces/default/events"


@pytest.mark.parametrize("code, reason", [(403, "Forbidden"), (404, "NotFound"), (500, "InternalError")])
async def test_a_refusal_by_the_server_is_not_repeated(code: int, reason: str) -> None:
    world = World()
    world.server.trouble = lambda _: Reply(code, reason)
    async with world.running():
        world.event()
        await world.clock.advance(100)
    assert len(world.server.calls) == 1
    assert world.fates() == {"failed": 1}


@pytest.mark.parametrize("code", [0, 429])
async def test_a_broken_connection_and_a_429_are_tried_five_times(code: int) -> None:
    world = World()
    world.server.trouble = lambda _: Reply(code)
    async with world.running():
        world.event()
        await world.clock.advance(100)
    assert [call.at - START for call in world.server.calls] == [0, 0.25, 0.75, 1.75, 3.75]
    assert world.fates() == {"failed": 1}


async def test_an_event_that_exists_already_was_written_by_an_attempt_before() -> None:
    world = World()
    world.server.trouble = lambda call: Reply(0, commit=True) if call.at == START else None
    async with world.running():
        world.event()
        await world.clock.advance(5)
    assert len(world.stored) == 1
    assert world.fates() == {"sent": 1}


@pytest.mark.parametrize(("code", "fate"), [(0, "sent"), (429, "known")])
async def test_who_says_something_once_counts_as_his_what_he_may_have_written_himself(code: int, fate: str) -> None:
    world = World()
    async with world.running():
        world.event(once="192.0.2.1")
        await world.clock.settle()
    if code == 0:
        world.server.objects.clear()
    world.told.counts.clear()
    again = world.clock.now()
    world.server.trouble = lambda call: Reply(code, commit=code == 0) if call.at == again else None
    world.recorder = Recorder(world.server.client(), controller="c", instance="i", clock=world.clock, sink=world.told)
    async with world.running():
        world.event(once="192.0.2.1")
        await world.clock.advance(5)
    assert len(world.stored) == 1
    assert world.fates() == {fate: 1}


async def test_what_is_over_a_limit_is_dropped_and_counted_and_event_returns_all_the_same() -> None:
    world = World()
    for number in range(26):
        world.event("noisy", reason=f"r{number}")
    for number in range(1000):
        world.event(f"s{number}")
    assert world.fates() == {"spam": 1, "queue_full": 25}


async def test_in_a_burst_events_wait_until_the_writer_rests_but_for_one_a_second() -> None:
    clock = VirtualClock(chance=0.5)
    server = SmallServer(clock)
    server.delays = lambda _: (0.01, 0.0)
    writer = Writer(server.client(), clock=clock, workers=2)
    recorder = Recorder(
        server.client(), controller="c", instance="i", clock=clock, may_send=lambda: writer.idle_for(0.05)
    )
    path = "/api/v1/namespaces/shop/services"
    for number in range(600):  # three seconds of writes
        server.put(f"{path}/s{number}", {"kind": "Service"})
        write = Write(target=Target(SERVICES, "shop", f"s{number}"), verb="patch", body=b"{}", reply=lambda _: None)
        writer.submit(write)
        about = ObjectReference(kind="Service", namespace="shop", name=f"s{number}")
        recorder.event(about, type="Normal", reason="r", action="a", note="n")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(writer.run()), group.create_task(recorder.run())]
        await clock.advance(20)
        for task in tasks:
            task.cancel()
    events = [call.at - START for call in server.calls if call.method == "POST"]
    writes = [call.at - START for call in server.calls if call.method == "PATCH"]
    assert len(events) == len(writes) == 600
    assert max(writes) == pytest.approx(2.99)
    early = [at for at in events if at < 3.0]
    assert early == pytest.approx([0.0, 1.0, 2.0], abs=0.06)
    assert min(at for at in events if at >= 3.0) == pytest.approx(3.05, abs=0.06)


async def test_once_the_writer_rests_events_go_out_within_fifty_milliseconds() -> None:
    busy = True
    world = World(may_send=lambda: not busy)
    world.event("s0")
    world.event("s1")
    async with world.running():
        await world.clock.advance(0.32)
        assert [call.at - START for call in world.server.calls] == [0.0], "one a second goes however busy it is"
        busy = False
        await world.clock.advance(0.1)
    assert [call.at - START for call in world.server.calls] == pytest.approx([0.0, 0.35])


async def test_events_that_cannot_be_written_are_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world = World()
    world.server.trouble = lambda _: Reply(403, "Forbidden")
    said: list[int] = []
    async with world.running():
        for second in range(0, 160, 10):
            world.event(f"s{second}")
            await world.clock.advance(10)
            said += [second] * sum(getattr(record, "code", "") == "eventFailed" for record in caplog.records)
            caplog.clear()
    assert said == [0, 60, 120]


async def test_stopped_the_recorder_sends_what_waits() -> None:
    world = World(may_send=lambda: False)
    async with world.running():
        await world.clock.settle()
        for number in range(10):
            world.event(f"s{number}")
    assert len(world.stored) == 10


async def test_stopped_the_recorder_takes_at_most_two_seconds() -> None:
    world = World()
    world.server.delays = lambda _: (0.75, 0.0)
    ended: list[float] = []

    async def run() -> None:
        try:
            await world.recorder.run()
        finally:
            ended.append(world.clock.now() - START)

    for number in range(20):
        world.event(f"s{number}")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        await world.clock.advance(1)
        task.cancel()
        await world.clock.advance(10)
        assert task.cancelled()
    assert ended == [3.0]
    assert len(world.stored) == 2 + 4


@pytest.mark.parametrize("turns", range(1, 13))
async def test_cancelled_at_any_turn_no_task_is_left(turns: int) -> None:
    world = World()
    world.server.delays = lambda _: (0.1, 0.1)
    for number in range(3):
        world.event(f"s{number}")
    before = asyncio.all_tasks()
    async with asyncio.TaskGroup() as group:
        task: asyncio.Task[None] = group.create_task(world.recorder.run())
        for _ in range(turns):
            await world.clock.advance(0.05)
        task.cancel()
        await world.clock.advance(5)
        assert task.cancelled()
    assert asyncio.all_tasks() == before
    assert len(world.stored) == 3


async def test_what_is_said_once_is_not_said_again_by_the_next_process_while_its_event_is_there() -> None:
    world = World()
    for chance in range(3):  # three processes, one after the other
        world.recorder = Recorder(
            world.server.client(),
            controller="example.io/allocator",
            instance=f"pod-{chance}",
            clock=world.clock,
            sink=world.told,
        )
        async with world.running():
            for _ in range(3):
                world.event(once="192.0.2.1", note=f"192.0.2.1 is theirs, says pod-{chance}")
                await world.clock.advance(1.0)
            await world.clock.advance(1000.0)
    (event,) = world.stored
    assert (event["note"], event["reportingInstance"]) == ("192.0.2.1 is theirs, says pod-0", "pod-0")
    assert "series" not in event
    assert world.fates() == {"sent": 1, "known": 2}, (
        "each of the two others has asked once, and was told that it is there"
    )
    async with world.running():
        world.event(once="192.0.2.2")
        world.event("other", once="192.0.2.1")
        world.event(once="192.0.2.1", reason="Another")
        await world.clock.advance(1.0)
    assert len(world.stored) == 4, "another text, another object and another reason are another"
    world.server.objects.clear()  # the server has forgotten it
    async with world.running():
        await world.clock.advance(1000.0)
        world.event(once="192.0.2.1")
        await world.clock.advance(1.0)
    assert len(world.stored) == 1
