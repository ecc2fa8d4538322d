# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.access import ClusterAccess
from purelb.kube.client import ApiClient
from purelb.kube.credentials import Credential, KubeconfigCredentials, bearer
from purelb.kube.metrics import WRITER_DEPTH, WRITER_HOLD, WRITER_UNCHANGED, WRITER_WRITES
from purelb.kube.order import Target, Verb, Write, WriteOrder, WriteResult
from purelb.kube.queue import WorkQueue
from purelb.kube.resources import SERVICES
from purelb.kube.wire import PatchType
from purelb.kube.writer import (
    Cancelled,
    Conflicted,
    Exists,
    Failed,
    Fence,
    Fenced,
    Missing,
    Refused,
    Superseded,
    Writer,
    Written,
)
from tests.kube import scripted
from tests.kube.small_server import Call, Reply, SmallServer
from tests.kube.told import Told
from tests.virtual_clock import START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


PATH = "/api/v1/namespaces/ns/services"


def target(name: str) -> Target:
    return Target(SERVICES, "ns", name)


class World:
    def __init__(self, *, workers: int = 8, fence: Fence | None = None, chance: float = 0.0) -> None:
        self.clock = VirtualClock(chance=chance)
        self.server = SmallServer(self.clock)
        self.told = Told()
        self.writer = Writer(
            self.server.client(), clock=self.clock, workers=workers, fence=fence, field_manager="us", sink=self.told
        )
        self.results: dict[str, list[WriteResult]] = defaultdict(list)

    def services(self, *names: str) -> None:
        for name in names:
            self.server.put(f"{PATH}/{name}", {"kind": "Service", "spec": {}})

    def submit(self, name: str, mark: str, *, verb: Verb = "patch", **more: Any) -> None:
        body = {"metadata": {"annotations": {"mark": mark}}}
        if verb == "create":
            body["metadata"]["name"] = name  # type: ignore[assignment]
        self.writer.submit(
            Write(
                target=target(name),
                verb=verb,
                body=more.pop("body", json.dumps(body).encode()),
                reply=self.results[mark].append,
                **more,
            )
        )

    def result(self, mark: str) -> WriteResult:
        (only,) = self.results[mark]
        return only

    def marks(self) -> list[str]:
        """What reached the server, in order."""
        return [call.body["metadata"]["annotations"]["mark"] for call in self.server.writes()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.TaskGroup() as group:
            task: asyncio.Task[None] = group.create_task(self.writer.run())
            yield task
            task.cancel()


# Order


async def test_writes_to_one_target_go_out_one_at_a_time_in_order_whatever_each_takes() -> None:
    world, chance = World(), random.Random(7)
    names = [f"s{number}" for number in range(20)]
    world.services(*names)
    world.server.delays = lambda _: (chance.uniform(0, 3), chance.uniform(0, 3))
    for round_ in range(5):
        for name in names:
            world.submit(name, f"{name}-{round_}")
    async with world.running():
        await world.clock.advance(200)
    sent: dict[str, list[str]] = defaultdict(list)
    for mark in world.marks():
        sent[mark.partition("-")[0]].append(mark)
    assert sent == {name: [f"{name}-{round_}" for round_ in range(5)] for name in names}
    assert all(isinstance(world.result(mark), Written) for marks in sent.values() for mark in marks)
    assert world.server.most_in_flight == 8


async def test_other_targets_overtake_one_whose_write_takes_long() -> None:
    world = World(workers=2)
    world.services("slow", "fast")
    world.server.delays = lambda call: (5.0 if call.path.endswith("slow") else 1.0, 0.0)
    world.submit("slow", "slow-1")
    world.submit("slow", "slow-2")
    for number in range(3):
        world.submit("fast", f"fast-{number}")
    async with world.running():
        await world.clock.advance(20)
    assert [(call.body["metadata"]["annotations"]["mark"], call.at - START) for call in world.server.calls] == [
        ("slow-1", 0),
        ("fast-0", 0),
        ("fast-1", 1),
        ("fast-2", 2),
        ("slow-2", 5),
    ]


async def test_targets_are_served_by_priority_and_then_by_how_long_they_wait() -> None:
    world = World(workers=1)
    world.services("a", "b", "c", "d")
    world.submit("a", "a", priority=-1)
    world.submit("b", "b")
    world.submit("c", "c")
    world.submit("d", "d", priority=5)
    world.submit("c", "c2", priority=3)
    async with world.running():
        await world.clock.advance(1)
    assert world.marks() == ["d", "c", "c2", "b", "a"]  # what is urgent takes along what was submitted before it


async def test_a_waiting_write_gives_way_to_a_newer_one_of_its_slot() -> None:
    world = World()
    world.services("a")
    world.submit("a", "status-1", slot="status")
    world.submit("a", "other", slot="labels")
    world.submit("a", "status-2", slot="status")
    world.submit("a", "plain-1")
    world.submit("a", "plain-2")
    assert world.result("status-1") == Superseded()
    async with world.running():
        await world.clock.advance(1)
    assert world.marks() == ["other", "status-2", "plain-1", "plain-2"]


async def test_a_write_that_was_sent_once_is_not_superseded() -> None:
    world = World(chance=0.5)
    world.services("a")
    world.server.trouble = lambda call: Reply(503) if call.at == START else None
    world.submit("a", "first", slot="status")
    async with world.running():
        await world.clock.settle()
        world.submit("a", "second", slot="status")
        world.submit("a", "third", slot="status")
        await world.clock.advance(5)
    assert world.marks() == ["first", "first", "third"]
    assert world.server.calls[1].at == START + 0.25
    assert isinstance(world.result("first"), Written)
    assert world.result("second") == Superseded()
    assert isinstance(world.result("third"), Written)


def test_a_target_whose_wish_keeps_changing_keeps_its_place_in_the_line() -> None:
    order = WriteOrder()

    def write(name: str) -> Write:
        return Write(target=target(name), verb="patch", slot="status", reply=lambda _: None)

    order.submit(write("restless"))
    order.submit(write("patient"))
    number, old = order.submit(write("restless"))
    assert old is not None
    assert old.number == 1
    first = order.take(0.0)
    assert first is not None
    assert first.number == number
    assert first.write.target.name == "restless"


# Results


async def test_an_answer_carries_the_object_and_its_version() -> None:
    world = World()
    world.services("a")
    world.submit("a", "m")
    async with world.running():
        await world.clock.advance(1)
    result = world.result("m")
    assert isinstance(result, Written)
    assert result.obj is not None
    assert result.obj.metadata.annotations == {"mark": "m"}
    assert result.rv == world.server.objects[f"{PATH}/a"]["metadata"]["resourceVersion"]
    assert not result.unchanged
    (call,) = world.server.calls
    assert call.query == "fieldManager=us"
    assert call.content_type == PatchType.MERGE.value


async def test_a_write_that_changes_nothing_says_so_and_is_counted() -> None:
    world = World()
    world.server.put(f"{PATH}/a", {"kind": "Service", "metadata": {"annotations": {"mark": "m"}}})
    world.submit("a", "m", rv="101")
    async with world.running():
        await world.clock.advance(1)
    result = world.result("m")
    assert isinstance(result, Written)
    assert result.unchanged
    assert world.told.counts[WRITER_UNCHANGED.name, "services"] == 1


async def test_a_status_patch_goes_to_the_subresource() -> None:
    world = World()
    world.services("a")
    world.submit("a", "m", subresource="status")
    async with world.running():
        await world.clock.advance(1)
    assert world.server.calls[0].path == f"{PATH}/a/status"


@pytest.mark.parametrize(
    "code, reason, expected",
    [
        (409, "Conflict", Conflicted),
        (409, "AlreadyExists", Exists),
        (404, "NotFound", Missing),
        (403, "Forbidden", Refused),
        (422, "Invalid", Refused),
        (400, "BadRequest", Refused),
    ],
)
async def test_a_refusal_is_a_value_and_is_not_repeated(code: int, reason: str, expected: type) -> None:
    world = World()
    world.services("a")
    world.server.trouble = lambda _: Reply(code, reason)
    world.submit("a", "m")
    async with world.running():
        await world.clock.advance(100)
    assert type(world.result("m")) is expected
    assert len(world.server.calls) == 1
    assert world.told.counts[WRITER_WRITES.name, "services", expected.__name__.lower()] == 1


async def test_a_refusal_says_that_an_attempt_before_may_have_been_committed() -> None:
    world = World()
    world.services("a")
    replies = iter((Reply(503, "ServiceUnavailable"), Reply(403, "Forbidden")))
    world.server.trouble = lambda _: next(replies)
    world.submit("a", "m")
    async with world.running():
        await world.clock.advance(100)
    result = world.result("m")
    assert isinstance(result, Refused)
    assert (result.status.code, result.attempts) == (403, 2)


async def test_create_and_delete_go_through_the_same_order() -> None:
    world = World()
    world.submit("a", "create", verb="create")
    world.submit("a", "delete", verb="delete", body=b"")
    async with world.running():
        await world.clock.advance(1)
    assert [call.method for call in world.server.calls] == ["POST", "DELETE"]
    assert world.result("delete") == Written(None, "")
    assert world.server.objects == {}


async def test_an_apply_is_sent_as_one() -> None:
    world = World()
    world.services("a")
    world.submit("a", "m", verb="apply", force=True)
    async with world.running():
        await world.clock.advance(1)
    (call,) = world.server.calls
    assert call.content_type == PatchType.APPLY.value
    assert call.query == "fieldManager=us&force=true"


async def test_a_write_that_cannot_be_a_request_fails_without_an_attempt() -> None:
    world = World()
    world.submit("../escape", "m")
    async with world.running():
        await world.clock.advance(1)
    result = world.result("m")
    assert isinstance(result, Failed)
    assert result.attempts == 0
    assert world.server.calls == []


# Repeats


async def test_a_server_that_is_down_is_tried_with_growing_pauses_for_a_minute() -> None:
    world = World(chance=0.5)
    world.services("a", "b")
    world.server.trouble = lambda call: Reply(0) if call.path.endswith("/a") else None
    world.submit("a", "a")
    async with world.running():
        await world.clock.advance(1)
        world.submit("b", "b")
        await world.clock.advance(100)
    at = [call.at - START for call in world.server.calls if call.path.endswith("/a")]
    assert at == [0, 0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 23.75, 31.75, 39.75]
    result = world.result("a")
    assert isinstance(result, Failed)
    assert result.attempts == 10
    assert isinstance(world.result("b"), Written)


async def test_an_attempt_without_an_answer_takes_ten_seconds_and_none_begins_after_a_minute() -> None:
    world = World(chance=0.5)
    world.services("a")
    world.server.delays = lambda _: (1000.0, 0.0)
    world.submit("a", "a")
    async with world.running():
        await world.clock.advance(200)
    assert [call.at - START for call in world.server.calls] == [0, 10.25, 20.75, 31.75, 43.75, 57.75]
    result = world.result("a")
    assert isinstance(result, Failed)
    assert result.attempts == 6


async def test_retry_after_holds_every_worker_until_it_has_passed() -> None:
    world = World(chance=0.5)
    names = [f"s{number}" for number in range(5)]
    world.services(*names)
    world.server.trouble = lambda call: (
        Reply(429, "TooManyRequests", 2) if call.path.endswith("s0") and call.at < START + 1 else None
    )
    world.submit("s0", "s0")
    async with world.running():
        await world.clock.settle()
        for name in names[1:]:
            world.submit(name, name)
        await world.clock.advance(10)
    assert [(call.path[-2:], call.at - START) for call in world.server.calls] == [
        ("s0", 0),
        ("s1", 2),
        ("s2", 2),
        ("s3", 2),
        ("s4", 2),
        ("s0", 2.25),
    ]
    assert all(isinstance(world.result(name), Written) for name in names)
    assert world.told.counts[(WRITER_HOLD.name,)] == 2


async def test_the_time_the_server_asked_us_to_wait_does_not_count_as_trying() -> None:
    world = World()
    world.services("a")
    world.server.trouble = lambda call: Reply(429, "TooManyRequests", 100) if call.at == START else None
    world.submit("a", "m")
    async with world.running():
        await world.clock.advance(101)
    assert isinstance(world.result("m"), Written)


async def test_a_retry_after_beyond_two_minutes_holds_nobody_and_fails_its_own_write() -> None:
    world = World()
    world.services("a", "b")
    world.server.trouble = lambda call: Reply(429, "TooManyRequests", 121) if call.path.endswith("/a") else None
    world.submit("a", "a")
    async with world.running():
        await world.clock.settle()
        world.submit("b", "b")
        await world.clock.advance(1)
    assert isinstance(world.result("a"), Failed)
    assert isinstance(world.result("b"), Written)


async def test_a_repeat_after_a_lost_answer_that_meets_our_own_write_is_a_conflict_and_never_written_twice() -> None:
    world = World()
    world.services("a")
    world.server.trouble = lambda call: Reply(0, commit=True) if call.at == START else None
    world.submit("a", "m", rv="101")
    async with world.running():
        await world.clock.advance(5)
    assert world.result("m") == Conflicted()
    assert len(world.server.calls) == 2
    assert world.server.objects[f"{PATH}/a"]["metadata"]["annotations"] == {"mark": "m"}


async def test_a_create_whose_answer_was_lost_exists() -> None:
    world = World()
    world.server.trouble = lambda call: Reply(0, commit=True) if call.at == START else None
    world.submit("a", "m", verb="create")
    async with world.running():
        await world.clock.advance(5)
    assert world.result("m") == Exists()


@pytest.mark.parametrize("code", [0, 503, 429])
async def test_a_create_with_a_generated_name_is_sent_once(code: int) -> None:
    world = World()
    world.server.trouble = lambda _: Reply(code, commit=True)
    body = {"metadata": {"generateName": "x-", "annotations": {"mark": "m"}}}
    world.submit("", "m", verb="create", body=json.dumps(body).encode())
    async with world.running():
        await world.clock.advance(100)
    result = world.result("m")
    assert isinstance(result, Failed)
    assert result.attempts == 1
    assert len(world.server.calls) == 1


async def test_a_json_patch_without_a_version_is_sent_once_and_with_one_is_repeated() -> None:
    world = World()
    world.services("a", "b")
    world.server.trouble = lambda _: Reply(503)
    patch = b'[{"op":"add","path":"/spec/externalIPs/-","value":"192.0.2.1"}]'
    world.submit("a", "a", body=patch, patch_type=PatchType.JSON)
    world.submit("b", "b", body=patch, patch_type=PatchType.JSON, rv="102")
    async with world.running():
        await world.clock.advance(100)
    assert [call.path[-1] for call in world.server.calls].count("a") == 1
    assert [call.path[-1] for call in world.server.calls].count("b") == 10


# The fence


async def test_when_the_fence_passes_the_rest_of_the_queue_is_fenced_and_none_of_it_sent() -> None:
    world = World(workers=1, fence=Fence(START + 2.5))
    world.services("a", "b", "c", "d")
    world.server.delays = lambda _: (1.0, 0.0)
    for name in "abcd":
        world.submit(name, name)
    async with world.running():
        await world.clock.advance(10)
    assert world.marks() == ["a", "b", "c"]
    assert isinstance(world.result("a"), Written)
    assert isinstance(world.result("b"), Written)
    assert world.result("c") == Fenced()  # its call was waited for until the fence and no longer
    assert world.result("d") == Fenced()
    assert world.clock.now() == START + 10


async def test_after_the_loop_was_blocked_for_longer_than_the_lease_the_next_attempt_is_fenced() -> None:
    world = World(fence=Fence(START + 13.5))
    world.services("a", "b")
    async with world.running():
        world.submit("a", "a")
        await world.clock.settle()
        world.clock.jump(20)  # blocked, or suspended: nobody had a turn to notice
        world.submit("b", "b")
        await world.clock.settle()
    assert isinstance(world.result("a"), Written)
    assert world.result("b") == Fenced()
    assert world.marks() == ["a"]


async def test_a_repeat_is_fenced_too() -> None:
    world = World(fence=Fence(START + 0.1), chance=0.5)
    world.services("a")
    world.server.trouble = lambda _: Reply(503)
    world.submit("a", "a")
    async with world.running():
        await world.clock.advance(10)
    assert world.result("a") == Fenced()
    assert len(world.server.calls) == 1


def test_a_closed_fence_stays_closed() -> None:
    fence = Fence(10.0)
    fence.extend(20.0)
    assert fence.until == 20.0
    fence.extend(15.0)
    assert fence.until == 20.0
    assert fence.valid(19.9)
    assert not fence.valid(20.0)
    fence.close()
    fence.extend(99.0)
    assert not fence.valid(0.0)


# One result per ticket


async def test_drain_sends_what_waits_and_cancels_what_is_left_at_its_end() -> None:
    world = World(workers=1)
    world.services("a", "b", "c")
    world.server.delays = lambda _: (1.0, 0.0)
    for name in "abc":
        world.submit(name, name)
    async with world.running(), asyncio.TaskGroup() as group:
        draining = group.create_task(world.writer.drain(1.5))
        await world.clock.settle()
        world.submit("a", "late")
        assert world.result("late") == Cancelled()
        await world.clock.advance(1.5)
        assert draining.done()
    assert isinstance(world.result("a"), Written)
    assert world.result("b") == Cancelled()  # on its way
    assert world.result("c") == Cancelled()  # waiting
    assert world.writer.idle


async def test_drain_returns_as_soon_as_nothing_is_left() -> None:
    world = World()
    world.services("a")
    world.server.delays = lambda _: (1.0, 0.0)
    world.submit("a", "a")
    ended: list[float] = []

    async def drain() -> None:
        await world.writer.drain(60)
        ended.append(world.clock.now() - START)

    async with world.running(), asyncio.TaskGroup() as group:
        group.create_task(drain())
        await world.clock.advance(5)
    assert ended == [1.0]
    assert isinstance(world.result("a"), Written)


async def test_cancelled_the_writer_answers_every_ticket_once() -> None:
    for point in range(12):
        world = World(workers=2, chance=0.5)
        world.services("a", "b", "c")
        world.server.delays = lambda _: (0.25, 0.25)
        world.server.trouble = lambda call: Reply(503) if call.path.endswith("b") else None
        marks = []
        for name in "abc":
            for number in range(2):
                world.submit(name, f"{name}{number}")
                marks.append(f"{name}{number}")
        async with world.running():
            await world.clock.advance(point * 0.25)
        world.submit("a", "late")
        assert {mark: len(world.results[mark]) for mark in [*marks, "late"]} == dict.fromkeys([*marks, "late"], 1)
        assert world.result("late") == Cancelled()
        assert world.writer.idle


async def test_a_receiver_that_raises_costs_nobody_else_a_result() -> None:
    world = World(workers=1)
    world.services("a", "b")

    def broken(_: WriteResult) -> None:
        raise RuntimeError("ours")

    world.writer.submit(Write(target=target("a"), verb="patch", body=b"{}", reply=broken))
    world.submit("b", "b")
    async with world.running():
        await world.clock.advance(1)
    assert isinstance(world.result("b"), Written)


async def test_idle_for_counts_from_the_last_answer() -> None:
    world = World()
    world.services("a")
    world.server.delays = lambda _: (1.0, 0.0)
    async with world.running():
        await world.clock.advance(1)
        assert world.writer.idle_for(0.5)
        world.submit("a", "a")
        assert not world.writer.idle_for(0)
        assert [(sample.metric, sample.value) for sample in world.writer.samples()] == [(WRITER_DEPTH, 1.0)]
        await world.clock.advance(1.25)
        assert world.writer.idle_for(0.25)
        assert not world.writer.idle_for(0.5)


async def test_an_owner_that_compares_before_it_submits_writes_nothing_in_steady_state() -> None:
    world = World()
    names = [f"s{number}" for number in range(1000)]
    world.services(*names)
    queue: WorkQueue[str] = WorkQueue(clock=world.clock)
    async with world.running():
        for round_ in range(3):
            for name in names:
                seen = world.server.objects[f"{PATH}/{name}"]["metadata"].get("annotations", {})
                if seen.get("mark") != "wanted":
                    body = b'{"metadata":{"annotations":{"mark":"wanted"}}}'
                    write = Write(target=target(name), verb="patch", body=body, reply=lambda _: queue.add("done"))
                    world.writer.submit(write)
            await world.clock.advance(1)
            assert len(world.server.calls) == 1000, round_


async def test_a_mistake_of_ours_ends_the_writer_and_each_ticket_still_has_its_one_result() -> None:
    world = World(workers=2)
    world.services("a", "b", "c")
    for name in "abc":
        world.submit(name, name)
    world.submit("a", "second")

    def broken(call: Call) -> Reply | None:
        if call.path.endswith("/b"):
            raise RuntimeError("the test wants it")
        return None

    world.server.trouble = broken
    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        await world.writer.run()
    assert {mark: len(results) for mark, results in world.results.items()} == {"a": 1, "b": 1, "c": 1, "second": 1}
    assert isinstance(world.result("b"), Cancelled)
    assert world.writer.idle


@pytest.mark.parametrize("verb", ["patch", "create", "delete"])
async def test_a_write_is_not_repeated_with_a_new_credential_after_its_fence_was_closed(verb: Verb) -> None:
    clock, fence = VirtualClock(), Fence(START + 100.0)

    async def load() -> Credential:
        await clock.until(clock.now() + 3.0)  # as a plugin takes its time
        return Credential(bearer("new"))

    def respond(call: scripted.Call) -> None:
        assert call.headers["authorization"] == "Bearer old", "sent after the end of the term"
        call.refuse(401, "Unauthorized")

    transport = scripted.Scripted(respond)
    credentials = KubeconfigCredentials(Credential(bearer("old")), load)
    access = ClusterAccess(server="http://api.test", credentials=credentials, origin="fixed")
    client = ApiClient(access, user_agent="t", clock=clock, transport=transport)
    writer, results = Writer(client, clock=clock, fence=fence), list[WriteResult]()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(writer.run())
        writer.submit(Write(target=target("a"), verb=verb, body=b"{}", reply=results.append))
        await clock.advance(1.0)
        fence.close()
        await clock.advance(10.0)
        running.cancel()
    assert results == [Fenced()]
    assert len(transport.seen) == 1
