# SPDX-License-Identifier: Apache-2.0
"""The status of an LBNodeAgent: how many nodes use it, and what is wrong with it. Folded from `config` of the counted reports.

What can be seen in the object itself (out of scope, a broken selector, nothing configured) is told without any report. For the
rest the nodes have the word: who names the object as the source of its configuration uses it, or cannot. Where no report counts,
nothing is said about other objects coming first: that nobody is there to use it is another matter, and is told as such. What is odd
where it is used, such as a listed interface that does not exist, is told of the first such node by name.
Rejected: working out here which object comes first on a node. That is the agents' decision, and two of them could differ.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from purelb.allocator.ready import ready_as, ready_of
from purelb.api import reasons
from purelb.api.groups import Scope
from purelb.api.kinds import ConfigReport, LBNodeAgent, LBNodeAgentStatus
from purelb.api.messages import cut, shown
from purelb.kube import selectors
from purelb.kube.model import Node, labels

_ENCODER: Final = msgspec.json.Encoder()
_NONE: Final = LBNodeAgentStatus()


class AgentStatus(Struct, frozen=True):
    """What the status should be, without the time of the condition."""

    generation: int
    nodes: int
    ready: bool
    reason: str
    message: str


def desired(
    agent: LBNodeAgent,
    reports: Mapping[str, ConfigReport],
    nodes: Iterable[Node],
    *,
    install_namespace: str,
    scope: Scope,
) -> AgentStatus:
    """The status of one stored object. `reports` are those that count, by node; `nodes` all there are."""
    meta, spec = agent.metadata, agent.spec
    me = f"{meta.namespace}/{meta.name}"
    users = sorted(node for node, config in reports.items() if config.source == me and config.state == "configured")
    broken = sorted(node for node, config in reports.items() if config.source == me and config.state == "invalid")
    selector = spec.node_selector if spec is not None else None

    def says(reason: str, text: str) -> AgentStatus:
        ready = reasons.AGENT_REASONS[reason].status
        return AgentStatus(meta.generation, len(users), ready, reason, cut(text))

    if scope == "install" and meta.namespace != install_namespace:
        text = f"only LBNodeAgents in namespace {install_namespace} are read: move it there, or set --config-scope=all"
        return says(reasons.OUT_OF_SCOPE, text)
    if selector is not None and (problem := selectors.problem(selector)) is not None:
        return says(reasons.INVALID_NODE_SELECTOR, f"nodeSelector: {problem}")
    if spec is None or spec.local is None:
        return says(reasons.CONFIG_IGNORED, "there is no spec.local")
    if broken:
        return says(reasons.CONFIG_ERROR, f"{broken[0]}: {shown(reports[broken[0]].message)}")
    if users:
        odd = next((f"; {node}: {shown(reports[node].message)}" for node in users if reports[node].message), "")
        return says(reasons.APPLIED, f"used by {len(users)} nodes{odd}")
    chosen = [node for node in nodes if selector is None or selectors.matches(selector, labels(node))]
    everywhere = selector is None or selectors.is_empty(selector)
    if not chosen:
        return says(reasons.NO_NODE_SELECTED, "there is no node" if everywhere else "no node matches the nodeSelector")
    if not any(node.metadata.name in reports for node in chosen):
        where = "" if everywhere else " on the nodes that match the nodeSelector"
        return says(reasons.NO_NODE_SELECTED, f"no node agent is alive{where}")
    return says(reasons.CONFIG_IGNORED, "another LBNodeAgent comes first on every node")


def differs(stored: LBNodeAgent, wanted: AgentStatus) -> bool:
    """Whether the stored status says something else."""
    status = stored.status or _NONE
    found = ready_of(status.conditions)
    return found is None or (
        status.observed_generation,
        status.nodes,
        found.observed_generation,
        found.status == "True",
        found.reason,
        found.message,
    ) != (wanted.generation, wanted.nodes, wanted.generation, wanted.ready, wanted.reason, wanted.message)


def patch(stored: LBNodeAgent, wanted: AgentStatus, *, now: str) -> bytes:
    """The merge patch of the status subresource. `now` is the RFC 3339 time, used when `Ready` changes."""
    ready = ready_as(
        ready_of((stored.status or _NONE).conditions),
        ready=wanted.ready,
        reason=wanted.reason,
        message=wanted.message,
        generation=wanted.generation,
        now=now,
    )
    whole = {"observedGeneration": wanted.generation, "nodes": wanted.nodes, "conditions": [ready]}
    return _ENCODER.encode({"status": whole})
