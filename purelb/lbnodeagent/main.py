# SPDX-License-Identifier: Apache-2.0
"""The command `purelb lbnodeagent`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.lbnodeagent.agent import Agent, Deps
from purelb.lbnodeagent.metrics import METRICS
from purelb.lbnodeagent.selfchecks import self_checks
from purelb.lbnodeagent.settings import AgentSettings, problems
from purelb.process.runtime import ComponentCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from purelb.process.component import CannotStart, Component
    from purelb.process.runtime import Edges

__all__ = ["Agent", "AgentSettings", "Deps", "build", "command"]


def build(settings: AgentSettings, deps: Deps) -> Component:
    """The component from its adapters."""
    return Agent(settings, deps)


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
    rules=problems,
    self_checks=_self_checks,
)
