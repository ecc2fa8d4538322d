# SPDX-License-Identifier: Apache-2.0
"""Wiring: settings, client, informers, elector, and a term whenever this process leads. Decides nothing.

The informers run in the standby too, so that it is warm; it holds no ledger and writes nothing. A lost term makes the process a standby
again, without a restart. With `--leader-elect=false` the life of the process is one term without a fence.
"""

import asyncio
import logging
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from purelb.allocator.access import access
from purelb.allocator.metrics import METRICS
from purelb.allocator.observed import Ownership
from purelb.allocator.serving import Rules
from purelb.allocator.settings import RULES, AllocatorSettings, lease_timing, own_namespace
from purelb.allocator.showing import shown as shown_state
from purelb.allocator.sources.source import Factory
from purelb.allocator.state import Config
from purelb.allocator.term import Term
from purelb.allocator.world import World, world_of
from purelb.api import annotations as words
from purelb.api import events, leases
from purelb.api.kinds import LB_NODE_AGENTS, LB_NODE_STATUSES, SERVICE_GROUPS
from purelb.kube.access import ClusterAccess
from purelb.kube.client import ApiClient
from purelb.kube.clock import Clock
from purelb.kube.elector import Elector, LeadershipLost
from purelb.kube.elector import Term as Leadership
from purelb.kube.informer import InformerSet
from purelb.kube.metrics import LEADER, Sample, Sink
from purelb.kube.recorder import LAST_SECONDS, Recorder
from purelb.kube.transport import Transport
from purelb.process import scrapers
from purelb.process.component import Component, Phase, PhaseTracker
from purelb.process.dryrun import Plan, Rehearsal
from purelb.process.metrics import CONFIG_LOADED
from purelb.process.preflight import Needs, Preflight
from purelb.process.reach import reach, reading
from purelb.process.runtime import ComponentCommand, Edges, build_version
from purelb.process.shutdown import Shutdown
from purelb.process.supervision import unending
from purelb.process.turns import trouble

log: Final = logging.getLogger(__name__)

EVENTS_WAIT: Final = 0.05
STANDBY_SAYS_AFTER: Final = 5.0
RELEASE_FOR: Final = 2.0
ASK_APART: Final = 2.0  # as often as a leader renews
EVENTS_FOR: Final = LAST_SECONDS + 0.5


class Deps(Struct, frozen=True):
    """The edges of the component: the process gives the real ones, tests and the simulator theirs.

    `sources`: who makes the source of a group, by `netbox` and `external`. Groups of a kind that is not there are refused.
    """

    clock: Clock
    sink: Sink
    access: ClusterAccess | None = None
    transport: Transport | None = None
    sources: Mapping[str, Factory] = {}


class Allocator:
    """The component. See the head of this file."""

    def __init__(self, settings: AllocatorSettings, deps: Deps) -> None:
        self._settings = settings
        self._deps = deps
        self._namespace = settings.namespace or own_namespace()
        self._in_pod = False
        self._phase = PhaseTracker()
        self._shutdown = Shutdown(deps.clock, budget=settings.shutdown_budget)
        self._work: asyncio.Task[None] | None = None
        self._informers: InformerSet | None = None
        self._world: World | None = None
        self._asked_at = float("-inf")
        self._asking = False
        self._known_until = float("-inf")
        self._elector: Elector | None = None
        self._preflight: Preflight | None = None
        self._term: Term | None = None
        self._config = Config(
            ownership=Ownership(frozenset(settings.lb_class), settings.default_announcer == words.BRAND),
            rules=Rules(honor_local=settings.external_traffic_policy == "honor"),
            install_namespace=self._namespace,
            scope=settings.config_scope,
            sources=frozenset(deps.sources),
        )

    async def run(self) -> None:
        """Until `stop` was carried out."""
        deps = self._deps
        reached = deps.access or await reach(self._settings, sink=deps.sink)
        self._in_pod = reached.origin == "in-cluster"
        rows = access(self._namespace)
        client = ApiClient(
            reached,
            user_agent=f"purelb-allocator/{build_version()[0]}",
            clock=deps.clock,
            transport=deps.transport,
            allow=rows,
            sink=deps.sink,
        )
        async with client, asyncio.TaskGroup() as group:
            self._preflight = Preflight(client, needs=needs(self._settings), clock=deps.clock)
            world = self._world = world_of(client, self._namespace)
            self._informers = InformerSet(client)
            for informer in world.all():
                self._informers.add(informer)
            recorder = self._recorder(client)
            self._phase.become("Syncing")
            helpers = [
                group.create_task(unending(self._preflight.run(), name="the preflight"), name="allocator:preflight"),
                group.create_task(unending(self._informers.run(), name="the informers"), name="allocator:informers"),
            ]
            telling = group.create_task(unending(recorder.run(), name="the recorder"), name="allocator:recorder")
            self._work = group.create_task(self._lead(client, world, recorder), name="allocator:leading")
            if self._shutdown.begun:
                self._work.cancel()
            await asyncio.wait({self._work})
            self._released()
            telling.cancel()
            await self._shutdown.step(
                "events", asyncio.wait({telling}), limit=EVENTS_FOR, left=lambda: f"{recorder.waiting} Events"
            )
            for helper in helpers:
                helper.cancel()
        self._phase.become("Stopped")

    def stop(self) -> None:
        """Let the writer drain and give the lease back; a standby just goes."""
        self._shutdown.begin()
        self._phase.become("Draining")
        if self._term is not None and self._term.ready:
            self._term.stop()
        elif self._work is not None:
            self._work.cancel()

    def phase(self) -> Phase:
        return self._phase.current

    def checks(self) -> Mapping[str, str | None]:
        """Readiness. A standby is ready, otherwise a rolling update would never end."""
        phase = self._phase.current
        found: dict[str, str | None] = {
            "phase": None if phase in {"Running", "Standby"} else f"the phase is {phase}",
            "synced": self._unsynced(),
        }
        if self._preflight is not None:
            found |= self._preflight.checks
        found["lease"] = self._lease_trouble()
        found["ledger"] = None if self._term is None or self._term.ready else "the ledger is being rebuilt"
        return found

    def health(self) -> Mapping[str, str | None]:
        """Liveness: never about the API server."""
        owner = self._term.owner if self._term is not None else None
        return {"owner": trouble(owner, now=self._deps.clock.now(), limit=self._settings.max_owner_turn)}

    def at_rest(self) -> bool:
        """The term has begun, and nothing waits to be decided or answered."""
        return self._term is not None and self._term.ready and self._term.at_rest()

    def show(self, *, most: int) -> Mapping[str, object]:
        """Who leads, the queue, and the view of the term if there is one."""
        elector, term, now = self._elector, self._term, self._deps.clock.now()
        found: dict[str, object] = {
            "leader": None if elector is None else {"identity": elector.leader, "us": elector.leading},
            "informers": {}
            if self._informers is None
            else {each.resource.name: each.synced for each in self._informers},
        }
        if term is not None:
            found["queue"] = term.queue_state()
            found["view"] = shown_state(term.state, now=now, answered_at=self._answered_at(), most=most)
        return found

    def samples(self) -> Iterable[Sample]:
        """All gauges, computed now."""
        now = self._deps.clock.now()
        yield Sample(CONFIG_LOADED, float(self._informers is not None and self._informers.synced))
        if self._informers is not None:
            yield from self._informers.samples()
        if self._elector is not None:
            yield from self._elector.samples()
        elif not self._settings.leader_elect:  # its life is one term, which begins when everything was seen
            yield Sample(LEADER, float(self._term is not None), (leases.ALLOCATOR_LEASE,))
        if self._term is not None:
            yield from self._term.samples(now)

    # Leading

    def _recorder(self, client: ApiClient) -> Recorder:
        def may_send() -> bool:
            return self._term is None or self._term.quiet_for(EVENTS_WAIT)

        return Recorder(
            client,
            controller=events.ALLOCATOR,
            instance=socket.gethostname(),
            clock=self._deps.clock,
            may_send=may_send,
            sink=self._deps.sink,
        )

    def _released(self) -> None:
        """Say so when our term has ended and the lease still names us: it could not be given back in time."""
        if self._elector is not None and self._elector.leader == self._elector.identity:
            left = f"lease {leases.ALLOCATOR_LEASE}, which runs out by itself: {self._elector.trouble or 'no answer'}"
            self._shutdown.cut("lease", left, took=RELEASE_FOR)

    async def _lead(self, client: ApiClient, world: World, recorder: Recorder) -> None:
        # Made before the informers are filled: its first look at the lease is due by then.
        elector = self._competitor(client) if self._settings.leader_elect else None
        for informer in world.all():
            await informer.wait_synced()
        self._phase.become("Standby")
        if elector is None:
            await self._serve(client, world, recorder, None)
            return
        self._elector = elector

        async def body(leadership: Leadership) -> None:
            await self._serve(client, world, recorder, leadership)

        async with asyncio.TaskGroup() as group:
            saying = group.create_task(self._say_who_leads(elector), name="allocator:standby")
            try:
                await self._terms(elector, body)
            finally:
                saying.cancel()

    def _competitor(self, client: ApiClient) -> Elector:
        return Elector(
            client,
            namespace=self._namespace,
            name=leases.ALLOCATOR_LEASE,
            identity=f"{socket.gethostname()}_{uuid.uuid4()}",
            clock=self._deps.clock,
            timing=lease_timing(self._settings),
            labels=leases.labels(leases.ALLOCATOR),
            release_within=RELEASE_FOR,
        )

    async def _terms(self, elector: Elector, body: Callable[[Leadership], Awaitable[None]]) -> None:
        while not self._shutdown.begun:
            try:
                await elector.lead(body)
            except LeadershipLost as lost:
                fields = {"code": "termEnded", "why": lost.why}
                log.info("this term has ended: standing by", extra=fields)
                self._phase.become("Standby")

    async def _say_who_leads(self, elector: Elector) -> None:
        """A standby says once for whom it waits: whoever started it by hand wants to know, and what makes the other one go.

        In a Pod it says no more than that: it is the second replica of that Deployment, and would end itself.
        After an outage the lease may still name ourselves, and nobody needs to make way.
        """
        said: str | None = None
        while True:
            await self._deps.clock.until(self._deps.clock.now() + STANDBY_SAYS_AFTER)
            leader = None if elector.leading else elector.leader
            if leader not in {None, elector.identity, said}:
                then = "scale deployment/allocator to 0 to let this one lead"
                log.info(
                    "leader is %s; %s",
                    leader,
                    "this one takes over when it is gone" if self._in_pod else then,
                    extra={"code": "standby", "lease": leases.ALLOCATOR_LEASE},
                )
            said = leader

    async def _serve(self, client: ApiClient, world: World, recorder: Recorder, leadership: Leadership | None) -> None:
        term = self._term = Term(
            client=client,
            world=world,
            config=self._config,
            clock=self._deps.clock,
            sink=self._deps.sink,
            fence=leadership.fence if leadership is not None else None,
            answered_at=self._answered_at,
            ask_whether_it_answers=self._ask_whether_it_answers,
            recorder=recorder,
            writers=self._settings.writers,
            shutdown=self._shutdown,
            sources=self._deps.sources,
        )
        try:
            await term.run(lambda: self._phase.become("Running"))
        finally:
            self._term = None

    def _answered_at(self) -> float:
        """Until when we would have heard of a node that renewed its lease.

        What we know of the leases holds our own as we renewed it once, so it holds every renewal before that as well.
        """
        elector, world = self._elector, self._world
        if elector is not None and world is not None:
            ours = world.leases.store.get(f"{self._namespace}/{leases.ALLOCATOR_LEASE}")
            sent_at = elector.sent_at(ours.metadata.resource_version) if ours is not None else None
            if sent_at is not None:
                self._known_until = max(self._known_until, sent_at)
        return self._known_until

    def _ask_whether_it_answers(self) -> None:
        now = self._deps.clock.now()
        if self._elector is not None:
            self._elector.renew_soon()
        elif self._world is not None and not self._asking and now >= self._asked_at + ASK_APART:
            self._asking, self._asked_at = True, now

            def listed() -> None:
                self._asking, self._known_until = False, now

            self._world.leases.relist("a node was not heard of", consistent=True, reply=listed)

    def _unsynced(self) -> str | None:
        if self._informers is None:
            return "the informers have not started"
        late = [
            f"{each.resource.name}: {each.last_error or 'no answer yet'}" for each in self._informers if not each.synced
        ]
        return "; ".join(late) or None

    def _lease_trouble(self) -> str | None:
        elector = self._elector
        if elector is None:
            return None if not self._settings.leader_elect else "leadership was not asked for yet"
        if elector.leading:
            return None if elector.healthy else "our lease has expired"
        if elector.trouble is not None:
            return f"the lease cannot be had: {elector.trouble}"
        # Our own name stands there as well where the term was lost that it tells of.
        return None if elector.leader not in {None, elector.identity} else "nobody leads yet"


def needs(settings: AllocatorSettings) -> Needs:
    """What the allocator needs of the API server."""
    namespace = settings.namespace or own_namespace()
    return Needs(
        who="the allocator",
        rows=(*access(namespace), *scrapers.rows(settings.metrics_auth)),
        kinds=(SERVICE_GROUPS, LB_NODE_AGENTS, LB_NODE_STATUSES),
        namespace=namespace,
    )


def build(settings: AllocatorSettings, deps: Deps) -> Component:
    """The component from its adapters."""
    return Allocator(settings, deps)


def _component(settings: AllocatorSettings, edges: Edges) -> Component:
    return build(settings, Deps(edges.clock, edges.sink))


@asynccontextmanager
async def rehearsal(settings: AllocatorSettings, deps: Deps, plan: Plan) -> AsyncIterator[Rehearsal]:
    """The component over a way to the API server on which nothing is written. It leads without a lease, since it decides nothing."""
    async with reading(settings, deps.access, deps.transport, sink=deps.sink, plan=plan) as (access_, transport):
        edges = Deps(deps.clock, deps.sink, access=access_, transport=transport)
        component = Allocator(replace(settings, leader_elect=False), edges)
        yield Rehearsal(component, component.at_rest)


def _rehearsal(settings: AllocatorSettings, edges: Edges, plan: Plan) -> AbstractAsyncContextManager[Rehearsal]:
    return rehearsal(settings, Deps(edges.clock, edges.sink), plan)


command = ComponentCommand(
    name="allocator",
    help="decide which Service holds which address, until a signal",
    settings=AllocatorSettings,
    build=_component,
    rehearsal=_rehearsal,
    needs=needs,
    metrics=METRICS,
    rules=RULES,
)
