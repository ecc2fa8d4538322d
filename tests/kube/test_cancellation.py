# SPDX-License-Identifier: Apache-2.0
"""Each talking part, cancelled at every turn of the loop in which it has something to do."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from purelb.kube.elector import Elector, LeadershipLost, Term
from purelb.kube.model import ObjectReference
from purelb.kube.order import Target, Write, WriteResult
from purelb.kube.owner import Done, Outcome, Owner
from purelb.kube.queue import WorkQueue
from purelb.kube.recorder import Recorder
from purelb.kube.resources import SERVICES
from purelb.kube.writer import Writer
from tests.kube.small_server import Reply, SmallServer
from tests.virtual_clock import START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

TURNS = range(40)
LEASE = "/apis/coordination.k8s.io/v1/namespaces/sys/leases/l"


async def cancelled(run: Coroutine[Any, Any, Any], clock: VirtualClock, *, at: float, turn: int) -> bool:
    """Run `run`, cancel it so many turns after `at`, let 30 s pass; whether it was cancelled before its end."""
    before = asyncio.all_tasks()

    async def cancel(task: asyncio.Task[Any]) -> None:
        await clock.until(START + at)
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run)
        group.create_task(cancel(task))
        await clock.advance(at + 30)
    assert asyncio.all_tasks() == before
    return task.cancelled()


@pytest.mark.parametrize("at", [0, 2, 3.5, 4])
async def test_an_elector_closes_its_fence_and_gives_back_what_it_knows_to_hold(at: float) -> None:
    ends = []
    for turn in TURNS:
        clock = VirtualClock()
        server = SmallServer(clock)
        if at == 3.5:  # the body ends and the release is refused once
            server.trouble = lambda call: Reply(503) if call.at == START + 3.5 else None
        elector = Elector(server.client(), namespace="sys", name="l", identity="a", clock=clock)
        terms: list[Term] = []

        async def body(term: Term, clock: VirtualClock = clock, terms: list[Term] = terms) -> None:
            terms.append(term)
            await clock.until(START + (3.5 if at == 3.5 else 100))

        async def lead(elector: Elector = elector) -> None:
            try:
                await elector.lead(body)
            except LeadershipLost:
                raise AssertionError("nobody else was there") from None

        ends.append(await cancelled(lead(), clock, at=at, turn=turn))
        assert server.in_flight == 0
        assert not elector.leading
        assert all(not term.fence.valid(clock.now()) for term in terms)
        if terms and at != 3.5:
            assert server.objects[LEASE]["spec"]["holderIdentity"] == ""
    assert any(ends)


async def test_a_writer_gives_each_ticket_its_one_result() -> None:
    seen = set()
    for turn in TURNS:
        clock = VirtualClock()
        server = SmallServer(clock)
        writer = Writer(server.client(), clock=clock, workers=2)
        results: dict[int, list[WriteResult]] = {number: [] for number in range(8)}
        for number, replies in results.items():
            name = f"s{number % 3}"
            server.put(f"/api/v1/namespaces/ns/services/{name}", {"kind": "Service"})
            body = json.dumps({"metadata": {"annotations": {"n": str(number)}}}).encode()
            writer.submit(Write(target=Target(SERVICES, "ns", name), verb="patch", body=body, reply=replies.append))
        assert await cancelled(writer.run(), clock, at=0, turn=turn)
        assert {number: len(replies) for number, replies in results.items()} == dict.fromkeys(results, 1)
        assert writer.idle
        assert server.in_flight == 0
        seen.add(sum(type(replies[0]).__name__ == "Written" for replies in results.values()))
    assert len(seen) > 3  # the turns did differ


async def test_a_recorder_sends_what_waits_and_no_event_twice() -> None:
    for turn in range(1, 40):  # cancelled before its first turn it never ran
        clock = VirtualClock()
        server = SmallServer(clock)
        recorder = Recorder(server.client(), controller="c", instance="i", clock=clock)
        for number in range(6):
            about = ObjectReference(kind="Service", namespace="ns", name=f"s{number}")
            recorder.event(about, type="Normal", reason="r", action="a", note="n")
        assert await cancelled(recorder.run(), clock, at=0, turn=turn)
        assert len(server.objects) == 6
        assert server.in_flight == 0


async def test_an_owner_leaves_no_key_in_processing_and_loses_none() -> None:
    for turn in TURNS:
        clock = VirtualClock()
        queue: WorkQueue[int] = WorkQueue(clock=clock)
        finished: list[int] = []

        async def step(key: int, now: float, finished: list[int] = finished) -> Outcome:
            await asyncio.sleep(0)
            finished.append(key)
            await asyncio.sleep(0)
            return Done()

        for key in range(6):
            queue.add(key)
        owner = Owner(name="o", queue=queue, step=step, clock=clock)
        assert await cancelled(owner.run(), clock, at=0, turn=turn)
        waiting = {await queue.get() for _ in range(len(queue))}
        assert set(finished) | waiting == set(range(6))
        assert len(set(finished) & waiting) <= 1  # the one whose turn did not end
