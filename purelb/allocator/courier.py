# SPDX-License-Identifier: Apache-2.0
"""The hands of a term's steps: what a step wants done is put on the queue, given to the writer, to the one reader or to the recorder.

A step never waits for any of it. What was answered is shown to the informers first, so that the next decision sees it before the watch
does, and comes back to the owner as a key. Reads are few, of Services whose writes got no answer, and are made one after the other.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from purelb.allocator.keys import Key, ReadAgain, ServiceKey, Wrote
from purelb.allocator.occasions import Occasion
from purelb.allocator.sideline import Sideline
from purelb.allocator.sources.calls import Callers
from purelb.allocator.sources.source import Call
from purelb.allocator.state import PRIORITY_FOLD
from purelb.allocator.world import World
from purelb.api.kinds import LBNodeAgent, ServiceGroup
from purelb.kube.client import ApiClient
from purelb.kube.clock import Clock
from purelb.kube.errors import KubeError, NotFound
from purelb.kube.failures import failure
from purelb.kube.metrics import Sink
from purelb.kube.model import ObjectReference, Service
from purelb.kube.queue import INITIAL, LIVE, URGENT, WorkQueue
from purelb.kube.recorder import Recorder
from purelb.kube.resources import SERVICES, Resource
from purelb.kube.writer import Target, Write, Writer, WriteResult, Written
from purelb.process.pacing import Pace

log: Final = logging.getLogger(__name__)

# Seconds for each write before it: twice what one takes on a busy server, so that it is rather late than early.
AFTERWARDS_EACH: Final = 0.005
AFTERWARDS_MOST: Final = 5.0
# With more unanswered writes than this the applied ones are taken in later: those who have no address come first.
BURST: Final = 16


class Courier:
    """See the head of this file."""

    def __init__(
        self,
        *,
        client: ApiClient,
        world: World,
        queue: WorkQueue[Key],
        writer: Writer,
        recorder: Recorder,
        clock: Clock,
        sink: Sink,
        answered_at: Callable[[], float],
        ask_whether_it_answers: Callable[[], None],
        landed: Callable[[int, WriteResult, float], bool],
        callers: Callers,
    ) -> None:
        self._callers = callers
        self.sink = sink
        self.answered_at = answered_at
        self.ask_whether_it_answers = ask_whether_it_answers
        self._client = client
        self._world = world
        self._queue = queue
        self._writer = writer
        self._sideline = Sideline(writer.submit)
        self._recorder = recorder
        self._clock = clock
        self._landed = landed
        self._unread: asyncio.Queue[ServiceKey] = asyncio.Queue()
        self._reading: set[ServiceKey] = set()

    def soon(self, key: Key, *, priority: int = LIVE) -> None:
        self._queue.add(key, priority=priority)

    def later(self, key: Key, delay: float, *, priority: int = LIVE) -> None:
        self._queue.add_after(key, delay, priority=priority)

    def afterwards(self, key: Key) -> None:
        before = self._writer.unanswered + len(self._queue)
        delay = min(AFTERWARDS_MOST, AFTERWARDS_EACH * before)
        self._queue.add_after(key, delay, priority=INITIAL)

    def write(
        self,
        number: int,
        resource: Resource[Any],
        *,
        namespace: str,
        name: str,
        body: bytes,
        rv: str | None,
        subresource: str | None,
        slot: str,
        priority: int,
        patient: bool = False,
    ) -> None:
        def reply(result: WriteResult) -> None:
            if isinstance(result, Written) and isinstance(result.obj, Service):
                self._world.services.note_write(result.obj)
            elif isinstance(result, Written) and isinstance(result.obj, ServiceGroup):
                self._world.groups.note_write(result.obj)
            elif isinstance(result, Written) and isinstance(result.obj, LBNodeAgent):
                self._world.agents.note_write(result.obj)
            asked = self._landed(number, result, self._clock.now())
            if patient and not asked and isinstance(result, Written) and self._writer.unanswered > BURST:
                self.afterwards(ServiceKey(namespace, name))
            else:
                self._queue.add(Wrote(number), priority=URGENT)

        write = Write(
            target=Target(resource, namespace, name),
            verb="patch",
            reply=reply,
            body=body,
            subresource=subresource,
            rv=rv,
            slot=slot,
            priority=priority,
        )
        if priority == PRIORITY_FOLD:
            self._sideline.submit(write)
        else:
            self._writer.submit(write)

    def read(self, service: ServiceKey) -> None:
        if service not in self._reading:
            self._reading.add(service)
            self._unread.put_nowait(service)

    def call(self, call: Call) -> None:
        self._callers.submit(call)

    def tell(self, regarding: ObjectReference, told: Occasion, *, ago: float = 0.0) -> None:
        note = told.note  # a series keeps its first one, and would tell of addresses that were given back
        self._recorder.event(
            regarding,
            type=told.type,
            reason=told.reason,
            action=told.action,
            note=note,
            distinct=note,
            ago=ago,
            once=told.once,
        )

    def wall(self) -> str:
        return self._clock.wall().replace(tzinfo=None).isoformat(timespec="seconds") + "Z"  # a tenth of strftime

    def pace(self) -> Pace:
        return Pace(self._clock.now)

    async def run(self) -> None:
        """Read the Services whose writes got no answer, one after the other."""
        while True:
            service = await self._unread.get()
            try:
                obj = await self._client.get(SERVICES, service.name, namespace=service.namespace)
            except NotFound:
                self._world.services.relist(f"{service} was not found")
            except KubeError as error:
                fields = {"code": "readFailed", "service": str(service), **failure(error)}
                log.info("%s could not be read again", service, extra=fields)
            else:
                self._world.services.note_write(obj)
                self._queue.add(ReadAgain(service), priority=URGENT)
            self._reading.discard(service)
