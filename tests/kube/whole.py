# SPDX-License-Identifier: Apache-2.0
"""A small component that has every part: each Service carries an annotation that repeats its first port.

An informer wakes an owner, the owner submits to a fenced writer, an elector gives it its terms, a recorder tells people.
Nothing of a term outlives it but what it wrote, so `marks` and `tickets` are for tests to look at.
"""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from purelb.kube.elector import Elector, LeadershipLost, Term
from purelb.kube.informer import Informer, InformerSet, enqueue
from purelb.kube.lease import Timing
from purelb.kube.metrics import NO_SINK, Sink
from purelb.kube.model import Node, ObjectReference, Service, annotations, key
from purelb.kube.order import Superseded, Target, Write, WriteResult, Written
from purelb.kube.owner import Done, Outcome, Owner
from purelb.kube.queue import WorkQueue
from purelb.kube.recorder import Recorder
from purelb.kube.resources import NODES, SERVICES
from purelb.kube.writer import Writer

if TYPE_CHECKING:
    from purelb.kube.client import ApiClient
    from purelb.kube.store import Index

MARK = "marker.example/port"
INDICES: "dict[str, Index[Service]]" = {
    "type": lambda service: (service.spec.type,) if service.spec else (),
    "namespace": lambda service: (service.metadata.namespace,),
}


def wanted(service: Service) -> str:
    """What the annotation should say."""
    ports = (service.spec.ports if service.spec else ()) or ()
    return str(ports[0].port) if ports else "none"


class Marker:
    """`client` for everything but the marks; `writing(term)` gives the client that a term's writer uses."""

    def __init__(
        self,
        client: "ApiClient",
        *,
        identity: str,
        writing: Any = None,
        sink: Sink = NO_SINK,
        mode: Literal["auto", "list"] = "auto",
        timing: Timing | None = None,
    ) -> None:
        self.client = client
        self.clock = client.clock
        self.writing = writing or (lambda _: client)
        self.sink = sink
        self.informers = InformerSet(client)
        self.services = self.informers.add(Informer(client, SERVICES, indices=INDICES, mode=mode))
        self.nodes: Informer[Node] = self.informers.add(Informer(client, NODES, mode=mode))
        self.recorder = Recorder(client, controller="marker.example", instance=identity, clock=self.clock)
        self.elector = Elector(
            client,
            namespace="default",
            name="marker",
            identity=identity,
            clock=self.clock,
            timing=timing or Timing(),
        )
        self.terms: list[Term] = []
        self.at_work = 0
        self.lost: list[str] = []
        self.tickets: list[list[WriteResult]] = []
        self.submitted: Counter[tuple[str, str, str]] = Counter()  # key, mark, version it was based on
        self.queue: WorkQueue[str] | None = None
        self.writer: Writer | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.informers.run(), name="marker:informers")
            group.create_task(self.recorder.run(), name="marker:recorder")
            await self.informers.wait_synced(600.0)
            while True:
                try:
                    await self.elector.lead(self._term)
                except LeadershipLost as loss:
                    self.lost.append(loss.why)

    async def _term(self, term: Term) -> None:
        self.terms.append(term)
        self.at_work += 1
        queue: WorkQueue[str] = WorkQueue(clock=self.clock, name="marker", sink=self.sink)
        writer = Writer(self.writing(term), clock=self.clock, fence=term.fence, workers=2, sink=self.sink)
        self.queue, self.writer = queue, writer

        async def step(name: str, now: float) -> Outcome:
            service = self.services.store.get(name)
            if service is not None and annotations(service).get(MARK) != wanted(service):
                self._mark(service, writer, queue)
            return Done()

        owner = Owner(name="marker", queue=queue, step=step, clock=self.clock, sink=self.sink)
        registration = self.services.add_handler(enqueue(queue, lambda service: [key(service)]))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(writer.run(), name="marker:writer")
                group.create_task(owner.run(), name="marker:owner")
        finally:
            registration.remove()
            self.at_work -= 1

    def _mark(self, service: Service, writer: Writer, queue: WorkQueue[str]) -> None:
        name, meta, answers = key(service), service.metadata, list[WriteResult]()
        self.tickets.append(answers)
        self.submitted[name, wanted(service), meta.resource_version] += 1

        def reply(result: WriteResult) -> None:
            answers.append(result)
            match result:
                case Written(obj=Service() as marked):
                    self.services.note_write(marked)
                    queue.forget(name)
                    about = ObjectReference(kind="Service", namespace=meta.namespace, name=meta.name, uid=meta.uid)
                    self.recorder.event(about, type="Normal", reason="Marked", action="Mark", note=wanted(service))
                case Superseded():
                    pass
                case _:  # a conflict too: a watch may be silent for minutes, and its step ends with Done
                    queue.add_after(name, 1.0)

        body = msgspec.json.encode({"metadata": {"annotations": {MARK: wanted(service)}}})
        target = Target(SERVICES, meta.namespace, meta.name)
        writer.submit(Write(target=target, verb="patch", body=body, rv=meta.resource_version, slot="mark", reply=reply))
