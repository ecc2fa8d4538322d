# SPDX-License-Identifier: Apache-2.0
"""The command `purelb lbnodeagent`: which edges an agent gets, the real ones or, for a dry run, those that only read."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from purelb.api import leases
from purelb.api.kinds import LB_NODE_STATUSES
from purelb.kube.resources import LEASES
from purelb.lbnodeagent.agent import Agent, Deps
from purelb.lbnodeagent.kernel import Netlink
from purelb.lbnodeagent.metrics import METRICS
from purelb.lbnodeagent.rehearsing import ReadOnlyKernel, SilentWire, handed_over, why
from purelb.lbnodeagent.selfchecks import self_checks
from purelb.lbnodeagent.settings import RULES, AgentSettings
from purelb.lbnodeagent.wiring import needs
from purelb.process.dryrun import Rehearsal
from purelb.process.reach import reading
from purelb.process.runtime import ComponentCommand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from purelb.lbnodeagent.host import Kernel, Wire
    from purelb.process.component import CannotStart, Component
    from purelb.process.dryrun import Plan
    from purelb.process.runtime import Edges

__all__ = ["Agent", "AgentSettings", "Deps", "build", "command", "rehearsal"]


def build(settings: AgentSettings, deps: Deps) -> Component:
    """The component from its adapters."""
    return Agent(settings, deps)


@asynccontextmanager
async def rehearsal(settings: AgentSettings, deps: Deps, plan: Plan) -> AsyncIterator[Rehearsal]:
    """An agent that reads API server and kernel and changes neither. It takes itself for a candidate: its lease is kept here."""
    own = {
        LEASES.path(settings.namespace, leases.node_lease(settings.node_name)),
        LB_NODE_STATUSES.path(settings.namespace, settings.node_name),
    }

    def host() -> tuple[Kernel, Wire]:
        real: Kernel
        if deps.host is not None:
            real, _ = deps.host()
        else:
            real = netlink = Netlink(deps.clock)
            netlink.subscribe()
        kernel = ReadOnlyKernel(
            real, plan=plan, clock=deps.clock, why=lambda ip, adding: why(agent.state, ip, adding=adding)
        )
        return kernel, SilentWire()

    async with reading(settings, deps.access, deps.transport, sink=deps.sink, plan=plan, own=own) as (
        access,
        transport,
    ):
        edges = Deps(clock=deps.clock, sink=deps.sink, access=access, transport=transport, host=host)
        agent = Agent(settings, edges)
        yield Rehearsal(agent, agent.at_rest, lambda: handed_over(agent.state))


def _self_checks(settings: AgentSettings) -> Sequence[CannotStart]:  # noqa: ARG001 - none of them depends on settings
    return self_checks()


def _component(settings: AgentSettings, edges: Edges) -> Component:
    return build(settings, Deps(clock=edges.clock, sink=edges.sink))


def _rehearsal(settings: AgentSettings, edges: Edges, plan: Plan) -> AbstractAsyncContextManager[Rehearsal]:
    return rehearsal(settings, Deps(clock=edges.clock, sink=edges.sink), plan)


command = ComponentCommand(
    name="lbnodeagent",
    help="announce this node's share of the addresses, until a signal",
    settings=AgentSettings,
    build=_component,
    rehearsal=_rehearsal,
    needs=needs,
    metrics=METRICS,
    rules=RULES,
    self_checks=_self_checks,
)
