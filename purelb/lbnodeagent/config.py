# SPDX-License-Identifier: Apache-2.0
"""Which LBNodeAgent applies to this node, and what that means for its configuration.

Specific selectors come before catch-alls, then namespace and name; the first match with `spec.local` applies. A bad object
never hides a good one. An install without any LBNodeAgent announces with the defaults. One that applies but cannot be used
leaves the configuration in force, for the life of the process; a fresh process announces nothing new then and keeps what it
finds. So does an expression that matches no interface when it comes, and a dummy interface that is one of the node's own: a slip
of the pen must not withdraw a cluster. Once in force it may lose its interfaces; a link that vanishes is no mistake in a configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from purelb.api import reasons
from purelb.api.nodeagents import AgentSettings, Unusable, parse_settings
from purelb.api.rules import DUMMY_INTERFACE_DEFAULT
from purelb.api.words import ConfigState
from purelb.kube import model, selectors
from purelb.net.quoting import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from purelb.api.kinds import LBNodeAgent


class Finding(Struct, frozen=True):
    """Something to tell about an LBNodeAgent, once per generation."""

    namespace: str
    name: str
    uid: str
    generation: int
    reason: str
    text: str


class Configuration(Struct, frozen=True, kw_only=True):
    """`announces` False: no subnets, no local VIPs, nothing on the dummy interface."""

    state: ConfigState
    settings: AgentSettings
    source: str = ""
    message: str = ""
    announces: bool = True
    findings: tuple[Finding, ...] = ()


class LabelsUnknown(Struct, frozen=True):
    """Some LBNodeAgent selects by labels, and our Node has not been seen."""


def configuration(
    agents: Iterable[LBNodeAgent],
    *,
    labels: Mapping[str, str] | None,
    in_force: Configuration | None,
    install_namespace: str,
    scope: str = "install",
    matches: Callable[[AgentSettings], bool] = lambda _: True,
    not_for_dummy: Callable[[str], str | None] = lambda _: None,
) -> Configuration | LabelsUnknown:
    """The configuration of this node. `labels` are those of its Node, None while unknown; `in_force` is the last answer.

    `matches`: whether settings choose any interface of this node; `not_for_dummy`: why one cannot carry non-local addresses.
    """
    read = sorted(
        (agent for agent in agents if scope == "all" or agent.metadata.namespace == install_namespace),
        key=lambda agent: (_catch_all(agent), agent.metadata.namespace, agent.metadata.name),
    )
    if labels is None and any(not _catch_all(agent) for agent in read):
        return LabelsUnknown()
    findings: list[Finding] = []
    matching: list[LBNodeAgent] = []
    for agent in read:
        selector = agent.spec.node_selector if agent.spec else None
        if selector is not None and (problem := selectors.problem(selector)) is not None:
            findings.append(_finding(agent, reasons.INVALID_NODE_SELECTOR, f"nodeSelector: {problem}"))
        elif selector is None or selectors.matches(selector, labels or {}):
            matching.append(agent)
    applies = next((agent for agent in matching if agent.spec is not None and agent.spec.local is not None), None)
    for agent in matching:
        if agent is not applies:
            why = "has no spec.local" if not (agent.spec and agent.spec.local) else f"{_named(applies)} applies"
            findings.append(_finding(agent, reasons.CONFIG_IGNORED, why))
    if applies is None:
        if read and not matching:
            return Configuration(
                state="deselected",
                settings=AgentSettings(),
                announces=False,
                message="no LBNodeAgent selects this node: announcing nothing",
                findings=tuple(findings),
            )
        return Configuration(state="default", settings=AgentSettings(), findings=tuple(findings))
    assert applies.spec is not None  # noqa: S101 - chosen by that
    assert applies.spec.local is not None  # noqa: S101 - chosen by that
    usable = in_force is not None and in_force.announces
    settings = parse_settings(applies.spec.local)
    if isinstance(settings, AgentSettings):
        before = in_force.settings if usable and in_force is not None else None
        known = before is not None and before.dummy_interface == settings.dummy_interface
        unfit = None if known else not_for_dummy(settings.dummy_interface)
        if unfit is not None:
            field = "dummyInterface" if applies.spec.local.dummy_interface else "extlbint"
            named = f"{field} {quoted(settings.dummy_interface)}"
            settings = Unusable(f"{named} {unfit}: name another, such as {DUMMY_INTERFACE_DEFAULT}")
        elif (before is None or before.local_interface != settings.local_interface) and not matches(settings):
            settings = Unusable(f"no interface matches {quoted(settings.local_interface)}")
    if isinstance(settings, Unusable):
        findings.append(_finding(applies, reasons.CONFIG_ERROR, settings.text))
        return Configuration(
            state="invalid",
            settings=in_force.settings if in_force is not None else AgentSettings(),
            source=_named(applies),
            message=settings.text + ("; the configuration before stays" if usable else "; announcing nothing"),
            announces=usable,
            findings=tuple(findings),
        )
    return Configuration(state="configured", settings=settings, source=_named(applies), findings=tuple(findings))


def _catch_all(agent: LBNodeAgent) -> bool:
    selector = agent.spec.node_selector if agent.spec else None
    return selector is None or selectors.is_empty(selector)


def _named(agent: LBNodeAgent | None) -> str:
    return "" if agent is None else model.key(agent)


def _finding(agent: LBNodeAgent, reason: str, text: str) -> Finding:
    meta = agent.metadata
    return Finding(meta.namespace, meta.name, meta.uid, meta.generation, reason, text)
