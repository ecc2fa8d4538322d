# SPDX-License-Identifier: Apache-2.0
"""The component: its tasks, and the order in which an agent starts and leaves.

The kernel is read and what is ours adopted while the informers fill; then the configuration, then the lease, then decisions.
No step may time out into exit. Leaving hands over what another node can hold, says the last word and deletes the lease; what
cannot be handed over stays in the kernel for its lifetime, so that the next agent adopts it. A kill at any line is a normal
end: the next start adopts as well.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from purelb.api import leases
from purelb.kube.access import ClusterAccess
from purelb.kube.bell import Bell
from purelb.kube.client import ApiClient
from purelb.kube.clock import Clock
from purelb.kube.metrics import Sample, Sink
from purelb.kube.queue import URGENT, WorkQueue
from purelb.kube.transport import Transport
from purelb.lbnodeagent import keys
from purelb.lbnodeagent.access import access
from purelb.lbnodeagent.deaf import PULSE_S
from purelb.lbnodeagent.host import Kernel, Wire
from purelb.lbnodeagent.kernel import Netlink
from purelb.lbnodeagent.leaving import Leaving
from purelb.lbnodeagent.samples import samples, slices
from purelb.lbnodeagent.showing import shown
from purelb.lbnodeagent.state import State
from purelb.lbnodeagent.wire import PacketWire
from purelb.lbnodeagent.wiring import Parts, wire_up
from purelb.process.component import Phase, PhaseTracker
from purelb.process.metrics import CONFIG_LOADED
from purelb.process.reach import reach
from purelb.process.runtime import build_version
from purelb.process.shutdown import Shutdown
from purelb.process.supervision import TaskEnded, unending
from purelb.process.turns import trouble, turn_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping

    from purelb.lbnodeagent.settings import AgentSettings

log = logging.getLogger(__name__)


class Deps(Struct, frozen=True, kw_only=True):
    """The edges of the component: the process gives the real ones, tests theirs. `host` opens kernel and wire in the loop."""

    clock: Clock
    sink: Sink
    access: ClusterAccess | None = None
    transport: Transport | None = None
    host: Callable[[], tuple[Kernel, Wire]] | None = None


class Agent:
    """The component. See the head of this file."""

    def __init__(self, settings: AgentSettings, deps: Deps) -> None:
        self._settings = settings
        self._clock = deps.clock
        self._sink = deps.sink
        self._deps = deps
        self._instance = settings.pod_uid or str(uuid.uuid4())
        self._phase = PhaseTracker()
        self.state = State(node=settings.node_name, duration=int(settings.lease_duration), now=deps.clock.now())
        self._queue: WorkQueue[keys.Key] = WorkQueue(clock=deps.clock, name="lbnodeagent", sink=deps.sink)
        self._shutdown = Shutdown(deps.clock, budget=settings.shutdown_budget)
        self._slices_wanted = False
        self._moved = Bell(deps.clock)
        self._parts: Parts | None = None

    async def run(self) -> None:
        """Until `stop` was carried out."""
        deps, settings = self._deps, self._settings
        host = _open(self._clock) if deps.host is None else deps.host()
        try:
            await self._run(host, settings)
        finally:
            host[0].close()
            host[1].close()
            self._phase.become("Stopped")

    async def _run(self, host: tuple[Kernel, Wire], settings: AgentSettings) -> None:
        deps = self._deps
        reached = deps.access or await reach(settings, sink=self._sink)
        rows = access(settings.namespace, scope=settings.config_scope)
        client = ApiClient(
            reached,
            user_agent=f"purelb-lbnodeagent/{build_version()[0]}",
            clock=self._clock,
            transport=deps.transport,
            allow=rows,
            sink=self._sink,
        )
        async with client:
            parts = self._parts = wire_up(
                settings,
                client=client,
                kernel=host[0],
                wire=host[1],
                state=self.state,
                queue=self._queue,
                instance=self._instance,
                clock=self._clock,
                sink=self._sink,
                watch_slices=self._want_slices,
                stepped=self._stepped,
            )
            self._phase.become("Syncing")
            self._queue.add(keys.Links(), priority=URGENT)
            self._queue.add(keys.Sweep())
            async with asyncio.TaskGroup() as group:

                def start(work: Awaitable[Any], name: str) -> asyncio.Task[Any]:
                    return group.create_task(unending(work, name=f"the task {name}"), name=f"lbnodeagent:{name}")

                owner = group.create_task(self._own(parts), name="lbnodeagent:owner")
                group.create_task(self._begin(), name="lbnodeagent:begin")
                helpers = [
                    start(self._kernel_events(host[0]), "kernel-events"),
                    start(self._frames(host[1]), "frames"),
                    start(parts.inputs.informers.run(), "informers"),
                    start(self._pulse(), "pulse"),
                    start(parts.asking.run(), "asking"),
                    start(parts.preflight.run(), "preflight"),
                    start(self._watch_slices(), "slices"),
                    start(parts.writer.run(), "writer"),
                ]
                recorder = start(parts.recorder.run(), "recorder")
                lease = start(parts.leasing.run(), "lease")
                await self._until_stopped()
                leaving = Leaving(
                    parts,
                    state=self.state,
                    queue=self._queue,
                    moved=self._moved,
                    shutdown=self._shutdown,
                    clock=self._clock,
                )
                await leaving.run(owner=owner, lease=lease, recorder=recorder)
                for task in (owner, *helpers):
                    task.cancel()

    def stop(self) -> None:
        """Begin to leave: no new addresses, hand over what another can hold."""
        self._shutdown.begin()
        self._phase.become("Draining")
        self._queue.add(keys.Leave(), priority=URGENT)
        self._moved.ring_all()

    def phase(self) -> Phase:
        return self._phase.current

    def checks(self) -> Mapping[str, str | None]:
        """Does it do its job? An agent that is not ready keeps announcing."""
        phase = self._phase.current
        found: dict[str, str | None] = {"phase": None if phase == "Running" else f"the phase is {phase}"}
        parts = self._parts
        if parts is None:
            return {**found, "synced": "the informers have not started"}
        late = [f"{name}: {error or 'no answer yet'}" for name, error in parts.inputs.laggards()]
        found["synced"] = "; ".join(late) or parts.configuring.waits_for
        found |= parts.preflight.checks
        found["lease"] = self._lease_trouble(parts)
        found["netlink"] = parts.hosting.trouble
        configuration = self.state.configuration
        invalid = configuration is not None and configuration.state == "invalid"
        found["config"] = f"{configuration.source}: {configuration.message}" if configuration and invalid else None
        return found

    def health(self) -> Mapping[str, str | None]:
        """Must this process be restarted? Never about another machine."""
        owner = self._parts.owner if self._parts is not None else None
        return {"owner": trouble(owner, now=self._clock.now(), limit=self._settings.max_owner_turn)}

    def at_rest(self) -> bool:
        """Everything is known, and nothing waits to be decided or answered."""
        parts, state = self._parts, self.state
        if parts is None or self._phase.current != "Running" or state.deaf.open:
            return False
        unknown = any(claim.endpoints_unknown for claim in state.asked.claims.values())
        busy = len(self._queue) > 0 or parts.owner.turn is not None or bool(state.dirty)
        return parts.writer.idle and not unknown and not busy

    def show(self, *, most: int) -> Mapping[str, object]:
        """Everything the owner knows."""
        parts = self._parts
        found: dict[str, object] = dict(shown(self.state, now=self._clock.now(), most=most))
        if parts is not None:
            queue = {"ready": len(self._queue), "writerIdle": parts.writer.idle, **turn_of(parts.owner)}
            found |= {"queue": queue, "informers": {each.resource.name: each.synced for each in parts.inputs.informers}}
        return found

    def samples(self) -> Iterable[Sample]:
        """All gauges, computed now."""
        parts = self._parts
        if parts is None:
            return
        yield from parts.inputs.informers.samples()
        yield from self._queue.samples()
        yield from parts.writer.samples()
        now = self._clock.now()
        yield Sample(CONFIG_LOADED, float(self.state.configuration is not None))
        needed = self.state.asked.needs_endpoints()
        yield from slices(parts.inputs.slices, needed, watched=self._slices_wanted, now=now)
        yield from samples(self.state, stale=parts.leasing.stale(now), healthy=parts.leasing.held, now=now)

    # Tasks

    async def _own(self, parts: Parts) -> None:
        await parts.owner.run()
        if not self._shutdown.begun:
            raise TaskEnded("the owner ended without being asked")

    def _want_slices(self) -> None:
        if not self._slices_wanted:
            self._slices_wanted = True
            self._moved.ring_all()

    def _stepped(self) -> None:
        """Those who wait for a state of the owner look again."""
        if self._moved.waiting:
            self._moved.ring_all()

    async def _begin(self) -> None:
        """Once everything is synced the configuration is chosen; once that is done the agent runs."""
        parts = self._parts
        assert parts is not None  # noqa: S101 - started after the wiring
        for informer in parts.inputs.informers:
            await informer.wait_synced()
        self._queue.add(keys.Config())
        while not (self.state.synced and self.state.holds_lease):
            await self._moved.wait(None)
        if not self._shutdown.begun:
            self._phase.become("Running")

    async def _kernel_events(self, kernel: Kernel) -> None:
        parts = self._parts
        assert parts is not None  # noqa: S101 - started after the wiring
        async for event in kernel.events():
            parts.hosting.events.append(event)
            self._queue.add(keys.Kernel(), priority=URGENT)

    async def _frames(self, wire: Wire) -> None:
        parts = self._parts
        assert parts is not None  # noqa: S101 - started after the wiring
        async for seen in wire.frames():
            if seen.ip in self.state.vips:  # what others say about other addresses wakes nobody
                parts.reconciler.heard.append(seen)
                self._queue.add(keys.Heard(), priority=URGENT)

    async def _pulse(self) -> None:
        """A beat that comes late shows that the loop stood still."""
        parts = self._parts
        assert parts is not None  # noqa: S101 - started after the wiring
        while True:
            if parts.hearing.pulse.beat(self._clock.now()):
                self._queue.add(keys.Deaf(), priority=URGENT)
            await self._clock.until(self._clock.now() + PULSE_S)

    async def _watch_slices(self) -> None:
        """EndpointSlices are watched from the first claim that needs them on."""
        parts = self._parts
        assert parts is not None  # noqa: S101 - started after the wiring
        while not self._slices_wanted:
            await self._moved.wait(None)
        async with asyncio.TaskGroup() as group:
            group.create_task(parts.inputs.slices.run(), name="lbnodeagent:endpointslices")
            await parts.inputs.slices.wait_synced()
            for name in self.state.asked.needs_endpoints():
                self._queue.add(keys.Endpoints(name))

    # Leaving

    async def _until_stopped(self) -> None:
        while not self._shutdown.begun:
            await self._moved.wait(None)

    def _lease_trouble(self, parts: Parts) -> str | None:
        lease = leases.node_lease(self._settings.node_name)
        if parts.leasing.passive:
            return f"another agent ({parts.leasing.other}) renews lease {lease}"
        if not parts.leasing.held:
            return f"lease {lease} was not written yet" + (
                f": {parts.leasing.trouble}" if parts.leasing.trouble else ""
            )
        if parts.leasing.stale(self._clock.now()):
            return f"lease {lease} could not be renewed: {parts.leasing.trouble}"
        return None


def _open(clock: Clock) -> tuple[Netlink, PacketWire]:
    kernel = Netlink(clock)
    kernel.subscribe()
    return kernel, PacketWire()
