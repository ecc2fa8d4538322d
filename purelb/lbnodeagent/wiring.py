# SPDX-License-Identifier: Apache-2.0
"""What an agent is made of, and which part knows which. Decides nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from purelb.api import events, leases
from purelb.api.kinds import LB_NODE_AGENTS, LB_NODE_STATUSES, SERVICE_GROUPS
from purelb.api.words import API_VERSION
from purelb.kube.owner import Outcome, Owner
from purelb.kube.queue import URGENT, WorkQueue
from purelb.kube.recorder import Recorder, Reference
from purelb.kube.writer import Writer
from purelb.lbnodeagent import keys
from purelb.lbnodeagent.access import access
from purelb.lbnodeagent.applying import Applier
from purelb.lbnodeagent.asking import Asking
from purelb.lbnodeagent.configuring import Configuring
from purelb.lbnodeagent.deciding import Deciding
from purelb.lbnodeagent.hearing import Hearing
from purelb.lbnodeagent.hosting import Hosting
from purelb.lbnodeagent.inputs import Inputs
from purelb.lbnodeagent.leasing import Leasing
from purelb.lbnodeagent.peering import Peering
from purelb.lbnodeagent.reconciler import Reconciler, Slices
from purelb.lbnodeagent.reporting import Reporting
from purelb.lbnodeagent.settings import AgentSettings, timing
from purelb.process import scrapers
from purelb.process.preflight import Needs, Preflight
from purelb.process.runtime import build_version
from purelb.process.turns import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.kube.client import ApiClient
    from purelb.kube.clock import Clock
    from purelb.kube.metrics import Sink
    from purelb.lbnodeagent.config import Finding
    from purelb.lbnodeagent.host import Kernel, Wire
    from purelb.lbnodeagent.state import State

log = logging.getLogger(__name__)


class Parts(Struct, frozen=True, kw_only=True):
    """The parts that the component itself talks to."""

    inputs: Inputs
    leasing: Leasing
    writer: Writer
    recorder: Recorder
    hosting: Hosting
    hearing: Hearing
    asking: Asking
    configuring: Configuring
    reporting: Reporting
    reconciler: Reconciler
    owner: Owner[keys.Key]
    preflight: Preflight


def needs(settings: AgentSettings) -> Needs:
    """What an agent needs of the API server."""
    rows = access(settings.namespace, scope=settings.config_scope)
    return Needs(
        who="the agent",
        rows=(*rows, *scrapers.rows(settings.metrics_auth)),
        kinds=(SERVICE_GROUPS, LB_NODE_AGENTS, LB_NODE_STATUSES),
        node=settings.node_name,
    )


def wire_up(
    settings: AgentSettings,
    *,
    client: ApiClient,
    kernel: Kernel,
    wire: Wire,
    state: State,
    queue: WorkQueue[keys.Key],
    instance: str,
    clock: Clock,
    sink: Sink,
    watch_slices: Callable[[], None],
    stepped: Callable[[], None],
) -> Parts:
    """Everything an agent is made of. `watch_slices` is called when EndpointSlices are needed, `stepped` after each turn."""
    namespace, duration = settings.namespace, int(settings.lease_duration)
    inputs = Inputs(client, queue, node=settings.node_name, namespace=namespace, scope=settings.config_scope)
    writer = Writer(client, clock=clock, workers=1, field_manager="purelb-lbnodeagent", sink=sink)
    recorder = Recorder(client, controller=events.LBNODEAGENT, instance=settings.node_name, clock=clock, sink=sink)
    leasing = Leasing(
        client,
        namespace=namespace,
        node=settings.node_name,
        instance=instance,
        timing=timing(settings),
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
        duration=duration,
        lease_key=lambda node: f"{namespace}/{leases.node_lease(node)}",
    )

    def lifetime_ended(now: float) -> None:
        hearing.lifetime_ended(now)

    hosting = Hosting(
        core,
        kernel=kernel,
        subnets_changed=peering.intend,
        lifetime_ended=lifetime_ended,
    )
    asking = Asking(core, client, leasing=leasing, namespace=namespace)
    hearing = Hearing(core, inputs=inputs, hosting=hosting, leasing=leasing)
    slices = Slices(inputs, now=clock.now, watch=watch_slices)
    reporting = Reporting(
        state,
        writer=writer,
        queue=queue,
        clock=clock,
        namespace=namespace,
        instance=instance,
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
        tell=lambda finding: _tell(recorder, settings.node_name, finding),
    )
    reconciler = Reconciler(
        core,
        inputs=inputs,
        slices=slices,
        configuring=configuring,
        hosting=hosting,
        peering=peering,
        hearing=hearing,
        asking=asking,
        reporting=reporting,
    )

    async def step(key: keys.Key, now: float) -> Outcome:
        outcome = await counted(reconciler.step(key, now), clock=clock, sink=sink)
        stepped()
        return outcome

    return Parts(
        inputs=inputs,
        leasing=leasing,
        writer=writer,
        recorder=recorder,
        hosting=hosting,
        hearing=hearing,
        asking=asking,
        configuring=configuring,
        reporting=reporting,
        reconciler=reconciler,
        owner=Owner(name="lbnodeagent", queue=queue, step=step, clock=clock, sink=sink),
        preflight=Preflight(client, needs=needs(settings), clock=clock),
    )


def _tell(recorder: Recorder, node: str, finding: Finding) -> None:
    """Each node says it of the one object, so each says who it is."""
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
    text = f"{node}: {finding.text}"
    recorder.event(about, type="Warning", reason=finding.reason, action="Configure", note=text, distinct=text)
