# SPDX-License-Identifier: Apache-2.0
"""Wiring: settings, adapters, the owner, and the order in which the agent starts and leaves.

The kernel is read, and what is ours adopted, before the API client starts. Then informers, then the lease, then decisions;
no step may time out into exit. Leaving hands over what another node can hold, says the last word and deletes the lease; what
cannot be handed over stays in the kernel for its lifetime, so that the next agent adopts it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from msgspec import Struct

from purelb.api import events, leases
from purelb.api.kinds import LB_NODE_AGENTS, LB_NODE_STATUSES, SERVICE_GROUPS
from purelb.api.words import API_VERSION
from purelb.kube.access import ClusterAccess, load_access
from purelb.kube.bell import Bell
from purelb.kube.client import ApiClient
from purelb.kube.clock import Clock
from purelb.kube.lease import Timing
from purelb.kube.metrics import Sample, Sink
from purelb.kube.owner import Outcome, Owner
from purelb.kube.queue import URGENT, WorkQueue
from purelb.kube.recorder import Recorder, Reference
from purelb.kube.transport import Transport
from purelb.kube.writer import Writer
from purelb.lbnodeagent import keys
from purelb.lbnodeagent.access import table
from purelb.lbnodeagent.applying import Applier
from purelb.lbnodeagent.configuring import Configuring
from purelb.lbnodeagent.deciding import Deciding
from purelb.lbnodeagent.host import Kernel, Wire
from purelb.lbnodeagent.hosting import Hosting
from purelb.lbnodeagent.inputs import Inputs
from purelb.lbnodeagent.kernel import Netlink
from purelb.lbnodeagent.leasing import Leasing
from purelb.lbnodeagent.metrics import METRICS
from purelb.lbnodeagent.peering import Peering
from purelb.lbnodeagent.reconciler import Reconciler, Slices
from purelb.lbnodeagent.reporting import Reporting
from purelb.lbnodeagent.samples import samples
from purelb.lbnodeagent.selfchecks import self_checks
from purelb.lbnodeagent.state import State
from purelb.lbnodeagent.wire import PacketWire
from purelb.process.component import CannotStart, Component, Phase, PhaseTracker
from purelb.process.metrics import CONFIG_LOADED, UPDATES
from purelb.process.preflight import Preflight
from purelb.process.runtime import ComponentCommand, Edges, ProcessSettings, build_version
from purelb.process.settings import Duration, Problem, Setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from purelb.lbnodeagent.config import Finding

log = logging.getLogger(__name__)

HAND_OVER_S: Final = 12.0
LAST_WORD_S: Final = 2.0


class AgentSettings(ProcessSettings, frozen=True, kw_only=True):
    """What an agent can be told by its process; what nodes do stands in LBNodeAgents."""

    node_name: Annotated[str, Setting(help="name of the Node this runs on")] = ""
    pod_uid: Annotated[str, Setting(help="identity of this instance; random when not given")] = ""
    config_scope: Annotated[
        Literal["install", "all"], Setting(help="read our kinds in the install namespace, or in all")
    ] = "install"
    lease_duration: Annotated[Duration, Setting(help="how long peers believe this agent without a renewal", low=3)] = (
        Duration(10.0)
    )
    renew_deadline: Annotated[Duration, Setting(help="how long renewing may fail before the lease is stale")] = (
        Duration(7.0)
    )
    retry_period: Annotated[Duration, Setting(help="pause between attempts to renew")] = Duration(2.0)
    shutdown_budget: Annotated[Duration, Setting(help="longest graceful shutdown", low=0.1, high=3600)] = Duration(20.0)


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
        self._timing = _timing(settings)
        self._duration = int(settings.lease_duration)
        self.state = State(node=settings.node_name, duration=self._duration, now=deps.clock.now())
        self._queue: WorkQueue[keys.Key] = WorkQueue(clock=deps.clock, name="lbnodeagent", sink=deps.sink)
        self._stopping = False
        self._slices_wanted = False
        self._moved = Bell(deps.clock)
        self._parts: _Parts | None = None

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
        reached = deps.access or await load_access(
            kubeconfig=_explicit(settings.kubeconfig), context=settings.context or None
        )
        rows = table(settings.namespace, scope=settings.config_scope)
        client = ApiClient(
            reached,
            user_agent=f"purelb-lbnodeagent/{build_version()[0]}",
            clock=self._clock,
            transport=deps.transport,
            allow=rows,
            sink=self._sink,
        )
        async with client:
            parts = self._parts = self._wire_up(client, host, rows)
            self._phase.become("Syncing")
            self._queue.add(keys.Links(), priority=URGENT)
            self._queue.add(keys.Sweep())
            async with asyncio.TaskGroup() as group:

                def start(work: Any, name: str) -> asyncio.Task[Any]:
                    return group.create_task(work, name=f"lbnodeagent:{name}")

                owner = start(parts.owner.run(), "owner")
                helpers = [
                    start(self._kernel_events(host[0]), "kernel-events"),
                    start(self._frames(host[1]), "frames"),
                    start(parts.inputs.informers.run(), "informers"),
                    start(self._begin(), "begin"),
                    start(parts.preflight.run(), "preflight"),
                    start(parts.recorder.run(), "recorder"),
                    start(self._watch_slices(), "slices"),
                ]
                lease = start(parts.leasing.run(), "lease")
                writer = start(parts.writer.run(), "writer")
                await self._until_stopped()
                await self._leave()
                lease.cancel()
                await asyncio.wait({lease})
                await parts.leasing.release()
                self._queue.shut_down()
                await asyncio.wait({owner})
                await parts.hosting.remove_link(self.state.settings.dummy_interface)
                for task in (*helpers, writer):
                    task.cancel()

    def stop(self) -> None:
        """Begin to leave: no new addresses, hand over what another can hold."""
        self._stopping = True
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
        stuck = self._parts.owner.panicking if self._parts is not None else ()
        return {"owner": f"steps keep raising for {', '.join(map(str, stuck))}" if stuck else None}

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
        yield from samples(self.state, stale=parts.leasing.stale(now), healthy=parts.leasing.held, now=now)

    # Wiring

    def _wire_up(self, client: ApiClient, host: tuple[Kernel, Wire], rows: Sequence[Any]) -> _Parts:
        settings, clock, sink, queue = self._settings, self._clock, self._sink, self._queue
        namespace, state = settings.namespace, self.state
        kernel, wire = host
        inputs = Inputs(client, queue, node=settings.node_name, namespace=namespace, scope=settings.config_scope)
        writer = Writer(client, clock=clock, workers=1, field_manager="purelb-lbnodeagent", sink=sink)
        recorder = Recorder(client, controller=events.LBNODEAGENT, instance=settings.node_name, clock=clock, sink=sink)
        leasing = Leasing(
            client,
            namespace=namespace,
            node=settings.node_name,
            instance=self._instance,
            timing=self._timing,
            clock=clock,
            sending=state.membership.sending,
            answered=lambda: queue.add(keys.OwnLease(), priority=URGENT),
            sink=sink,
        )
        applier = Applier(state, kernel=kernel, wire=wire, clock=clock, sink=sink)
        core = Deciding(state, applier=applier, queue=queue, clock=clock, sink=sink)
        peering = Peering(
            core,
            inputs=inputs,
            leasing=leasing,
            duration=self._duration,
            lease_key=lambda node: f"{namespace}/{leases.node_lease(node)}",
        )
        hosting = Hosting(core, kernel=kernel, subnets_changed=peering.intend)
        slices = Slices(inputs, now=clock.now, watch=self._want_slices)
        reporting = Reporting(
            state,
            writer=writer,
            queue=queue,
            clock=clock,
            namespace=namespace,
            instance=self._instance,
            version=build_version()[0],
            sink=sink,
        )
        configuring = Configuring(
            core,
            inputs=inputs,
            hosting=hosting,
            healthy=slices.healthy,
            namespace=namespace,
            scope=settings.config_scope,
            tell=lambda finding: _tell(recorder, finding),
        )
        reconciler = Reconciler(
            core,
            inputs=inputs,
            slices=slices,
            configuring=configuring,
            hosting=hosting,
            peering=peering,
            reporting=reporting,
        )
        return _Parts(
            inputs=inputs,
            leasing=leasing,
            writer=writer,
            recorder=recorder,
            hosting=hosting,
            configuring=configuring,
            reporting=reporting,
            reconciler=reconciler,
            owner=Owner(name="lbnodeagent", queue=queue, step=self._step, clock=clock, sink=sink),
            preflight=Preflight(
                client,
                who="the agent",
                rows=rows,
                kinds=(SERVICE_GROUPS, LB_NODE_AGENTS, LB_NODE_STATUSES),
                clock=clock,
            ),
        )

    def _want_slices(self) -> None:
        if not self._slices_wanted:
            self._slices_wanted = True
            self._moved.ring_all()

    async def _step(self, key: keys.Key, now: float) -> Outcome:
        """The owner's step, after which those who wait for a state look again."""
        assert self._parts is not None  # noqa: S101 - started after the wiring
        self._sink.count(UPDATES)
        outcome = await self._parts.reconciler.step(key, now)
        if self._moved.waiting:
            self._moved.ring_all()
        return outcome

    # Tasks

    async def _begin(self) -> None:
        """Once everything is synced the configuration is chosen; once that is done the agent runs."""
        parts = self._parts
        assert parts is not None  # noqa: S101 - started after the wiring
        for informer in parts.inputs.informers:
            await informer.wait_synced()
        self._queue.add(keys.Config())
        while not (self.state.synced and self.state.holds_lease):
            await self._moved.wait(None)
        if not self._stopping:
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
        while not self._stopping:
            await self._moved.wait(None)

    async def _leave(self) -> None:
        """Offers go out, heirs take over; at the end of our patience the rest is left to its lifetime."""
        parts = self._parts
        assert parts is not None  # noqa: S101 - started after the wiring
        patience = self._clock.now() + HAND_OVER_S
        while not self.state.leaving:
            await self._moved.wait(None)
        while self._handing_over() and self._clock.now() < patience:
            await self._moved.wait(patience)
        left = sorted(str(ip) for ip, vip in self.state.vips.items() if vip.in_kernel)
        if left:
            log.info(
                "leaving %d addresses to their lifetime", len(left), extra={"code": "leftToLifetime", "ips": left[:64]}
            )
        ends = self._clock.now() + LAST_WORD_S
        while not parts.reporting.settled and self._clock.now() < ends:
            await self._moved.wait(ends)
        parts.reporting.step(self._clock.now(), stale=False, last_word=True)
        await parts.writer.drain(max(0.1, ends - self._clock.now()))

    def _handing_over(self) -> bool:
        return any(vip.state in {"Offering", "Closing"} for vip in self.state.vips.values())

    def _lease_trouble(self, parts: _Parts) -> str | None:
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


class _Parts(Struct, frozen=True, kw_only=True):
    inputs: Inputs
    leasing: Leasing
    writer: Writer
    recorder: Recorder
    hosting: Hosting
    configuring: Configuring
    reporting: Reporting
    reconciler: Reconciler
    owner: Owner[keys.Key]
    preflight: Preflight


def build(settings: AgentSettings, deps: Deps) -> Component:
    """The component from its adapters."""
    return Agent(settings, deps)


def _open(clock: Clock) -> tuple[Netlink, PacketWire]:
    kernel = Netlink(clock)
    kernel.subscribe()
    return kernel, PacketWire()


def _tell(recorder: Recorder, finding: Finding) -> None:
    about = Reference(
        api_version=API_VERSION,
        kind="LBNodeAgent",
        namespace=finding.namespace,
        name=finding.name,
        uid=finding.uid,
    )
    log.info(
        "%s/%s: %s",
        finding.namespace,
        finding.name,
        finding.text,
        extra={"code": "configFinding", "reason": finding.reason},
    )
    recorder.event(about, type="Warning", reason=finding.reason, action="Configure", note=finding.text)


def _timing(settings: AgentSettings) -> Timing:
    return Timing(settings.lease_duration, settings.renew_deadline, settings.retry_period)


def _explicit(kubeconfig: str) -> Path | None:
    """The path that was named by flag or file. `$KUBECONFIG` may be a list, and comes after the in-cluster account."""
    return Path(kubeconfig) if kubeconfig and kubeconfig != os.environ.get("KUBECONFIG") else None


def _rules(settings: AgentSettings) -> Iterator[Problem]:
    if not settings.namespace:
        text = "the install namespace is unknown: set PURELB_NAMESPACE (downward API metadata.namespace) or --namespace"
        yield Problem("--namespace", text)
    if not settings.node_name:
        text = "the node name is unknown: set PURELB_NODE_NAME (downward API spec.nodeName) or --node-name"
        yield Problem("--node-name", text)
    try:
        _timing(settings)
    except ValueError as error:
        yield Problem("--lease-duration", str(error))


def _problems(settings: AgentSettings) -> Sequence[Problem]:
    return tuple(_rules(settings))


def _self_checks(settings: AgentSettings) -> Sequence[CannotStart]:  # noqa: ARG001 - none of them depends on settings
    return self_checks()


def _component(settings: AgentSettings, edges: Edges) -> Component:
    return build(settings, Deps(clock=edges.clock, sink=edges.sink))


command = ComponentCommand(
    name="lbnodeagent",
    help="announce this node's share of the addresses, until a signal",
    settings=AgentSettings,
    build=_component,
    metrics=METRICS,
    rules=_problems,
    self_checks=_self_checks,
)
