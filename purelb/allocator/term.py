# SPDX-License-Identifier: Apache-2.0
"""One term of leadership: a consistent list, a rebuild, then owner and writer until it ends. Nothing of it survives.

Informers run across terms; the handlers registered here live as long as the term. All writes carry the term's fence. A clean stop takes
no more keys, lets the current turn end and the writer drain, each within a limit, and leaves the lease to the elector.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from purelb.allocator import metrics
from purelb.allocator.courier import Courier
from purelb.allocator.keys import Answered, Key, Wrote
from purelb.allocator.landing import tell_all
from purelb.allocator.rebuild import rebuild
from purelb.allocator.reconciler import Reconciler
from purelb.allocator.sources.calls import Callers
from purelb.allocator.sources.source import Answer, Factory
from purelb.allocator.state import Config, State
from purelb.allocator.watching import watch
from purelb.allocator.world import World
from purelb.kube.bell import Bell
from purelb.kube.client import ApiClient
from purelb.kube.clock import Clock
from purelb.kube.metrics import Sample, Sink
from purelb.kube.owner import After, Done, Outcome, Owner
from purelb.kube.queue import URGENT, WorkQueue
from purelb.kube.recorder import Recorder
from purelb.kube.writer import Fence, Writer
from purelb.process.shutdown import Shutdown
from purelb.process.supervision import TaskEnded, unending
from purelb.process.turns import counted, turn_of

# Steps of a clean stop; the lease and the Events come after the term, and all of them share the budget of the process.
TURN_FOR: Final = 2.0
DRAIN_FOR: Final = 4.0
ANSWERS_FOR: Final = 1.0
LAPSED_FOR: Final = 0.25  # a fence that has passed: soon the elector has ended the term, or renewed the lease after all


class Term:
    """One term. `run` ends when `stop` was called and the writer has drained; it is cancelled when the term is lost."""

    def __init__(
        self,
        *,
        client: ApiClient,
        world: World,
        config: Config,
        clock: Clock,
        sink: Sink,
        fence: Fence | None,
        answered_at: Callable[[], float],
        ask_whether_it_answers: Callable[[], None],
        recorder: Recorder,
        writers: int,
        shutdown: Shutdown,
        sources: Mapping[str, Factory],
    ) -> None:
        self.ready = False
        self._shutdown = shutdown
        self._turned = Bell(clock)
        self.state = State(config, world.stores)
        self._draining = False
        self._asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._world = world
        self._clock = clock
        self._fence = fence
        self._queue: WorkQueue[Key] = WorkQueue(clock=clock, name="allocator", sink=sink)
        self._writer = Writer(client, clock=clock, fence=fence, workers=writers, sink=sink)
        self._callers = Callers(sources, clock=clock, answered=self._source_answered)
        self._courier = Courier(
            client=client,
            world=world,
            queue=self._queue,
            writer=self._writer,
            recorder=recorder,
            clock=clock,
            sink=sink,
            answered_at=answered_at,
            ask_whether_it_answers=ask_whether_it_answers,
            landed=self.state.flights.answer,
            callers=self._callers,
        )
        self._reconciler = Reconciler(self.state, self._courier)
        self.owner = Owner(
            name="allocator", queue=self._queue, step=self._step, clock=clock, gate=lambda: self.ready, sink=sink
        )

    def stop(self) -> None:
        """Decide nothing more; what was submitted is sent, and its answers are taken in."""
        self._draining = True
        self._callers.close()
        if not self._asked.done():
            self._asked.set_result(None)

    def quiet_for(self, seconds: float) -> bool:
        """Whether no write has been waiting or on its way for so long."""
        return self._writer.idle_for(seconds)

    def at_rest(self) -> bool:
        """Nothing waits for a turn, and no write for its answer."""
        return len(self._queue) == 0 and self.owner.turn is None and self._writer.idle

    def queue_state(self) -> dict[str, object]:
        """What waits, and whose turn it is."""
        return {"ready": len(self._queue), "writerIdle": self._writer.idle, **turn_of(self.owner)}

    def samples(self, now: float) -> list[Sample]:
        """The gauges of this term."""
        found = [*self._queue.samples(), *self._writer.samples()]
        if self.ready:
            found += self.state.tally.samples(self.state.ledger, self.state.groups, now)
            found.append(Sample(metrics.REBUILD, self.state.rebuild_took))
        return found

    async def run(self, started: Callable[[], None]) -> None:
        """Rebuild, then work. `started` is called when the first decision may be made."""
        registrations = []
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(unending(self._writer.run(), name="the writer"), name="allocator:writer"),
                    group.create_task(unending(self._courier.run(), name="the reader"), name="allocator:reader"),
                    group.create_task(unending(self._callers.run(), name="the callers"), name="allocator:callers"),
                ]
                await self._listed()
                registrations = watch(self._world, self._courier)
                await rebuild(self.state, self._courier, self._clock)
                self.ready = True
                started()
                working = group.create_task(self._work(), name="allocator:owner")
                await self._asked
                await self._leave(working)
                working.cancel()
                for helper in helpers:
                    helper.cancel()
        finally:
            self.ready = False
            await self._courier.pace().through(tell_all(self.state, self._courier, self._clock.now()))
            for registration in registrations:
                registration.remove()

    async def _work(self) -> None:
        await self.owner.run()
        if not self._draining:
            raise TaskEnded("the owner ended without being asked")

    async def _leave(self, working: asyncio.Task[None]) -> None:
        """End the current turn, send what was decided, take in what was answered."""
        writer, leave = self._writer, self._shutdown
        await leave.step("turn", self._turn_ended(), limit=TURN_FOR, left=self._whose_turn)
        await leave.step(
            "writes", writer.drain(DRAIN_FOR + 1.0), limit=DRAIN_FOR, left=lambda: f"{writer.unanswered} writes"
        )
        await writer.drain(0.0)
        self._queue.shut_down()
        await leave.step("answers", asyncio.wait({working}), limit=ANSWERS_FOR, left=self._whose_turn)

    async def _turn_ended(self) -> None:
        while self.owner.turn is not None:
            await self._turned.wait(None)

    def _whose_turn(self) -> str:
        return f"the turn of {self.owner.turn[0]}" if self.owner.turn is not None else f"{len(self._queue)} keys"

    async def _step(self, key: Key, now: float) -> Outcome:
        if self._draining and not isinstance(key, Wrote):
            return Done()
        if self._fence is not None and not self._fence.valid(now):
            # We were suspended: to a former leader what the next one did is a conflict, and it would tell users so.
            return After(LAPSED_FOR)
        try:
            return await counted(self._reconciler.step(key, now), clock=self._clock, sink=self._courier.sink)
        finally:
            if self._turned.waiting:
                self._turned.ring_all()

    def _source_answered(self, ticket: int, answer: Answer) -> None:
        self.state.loans.answer(ticket, answer)
        self._queue.add(Answered(ticket), priority=URGENT)

    async def _listed(self) -> None:
        """Wait for a list of Services that was read from the quorum after this term began."""
        listed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def reply() -> None:
            if not listed.done():
                listed.set_result(None)

        self._world.services.relist("term", consistent=True, reply=reply)
        await listed
