# SPDX-License-Identifier: Apache-2.0
"""The owner's turn for configuration: LBNodeAgents, ServiceGroups and the own Node, into settings, fitness and groups.

The first complete answer opens the gate: from then on claims are judged and the kernel is changed. A Node or a group that
disappears for a moment is a change like any other; a Node that was never seen keeps the gate shut.

A group of thousands of items is read in pieces, before anything is decided, and not again until it says something else: a Node
and the status of a group change every few seconds.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from purelb.api.groups import Accepted, Group, Refusal, reading_group
from purelb.kube import model
from purelb.kube.failures import failure
from purelb.lbnodeagent import keys
from purelb.lbnodeagent.config import Configuration, LabelsUnknown, configuration
from purelb.lbnodeagent.fitness import NOT_READY_S, fitness
from purelb.lbnodeagent.links import matches_any, not_for_dummy
from purelb.process.pacing import Pace
from purelb.process.preflight import no_node

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from purelb.api.kinds import ServiceGroup
    from purelb.api.nodeagents import AgentSettings
    from purelb.api.pieces import Pieces
    from purelb.lbnodeagent.claims import Healthy
    from purelb.lbnodeagent.config import Finding
    from purelb.lbnodeagent.deciding import Deciding
    from purelb.lbnodeagent.hosting import Hosting
    from purelb.lbnodeagent.inputs import Inputs

log = logging.getLogger(__name__)


class Configuring:
    """`tell` is given what is wrong with an LBNodeAgent, once per object, generation and reason."""

    def __init__(
        self,
        core: Deciding,
        *,
        inputs: Inputs,
        hosting: Hosting,
        healthy: Healthy,
        namespace: str,
        scope: Literal["install", "all"],
        tell: Callable[[Finding], None],
    ) -> None:
        self._core = core
        self._inputs = inputs
        self._hosting = hosting
        self._healthy = healthy
        self._namespace = namespace
        self._scope = scope
        self._tell = tell
        self._read: dict[str, tuple[ServiceGroup, Accepted | Refusal]] = {}
        self._told: set[tuple[str, str, int, str]] = set()
        self._not_ready_since: float | None = None

    @property
    def waits_for(self) -> str | None:
        """Why there is no configuration yet, for people."""
        if self._core.state.synced or not self._inputs.synced:
            return None
        return no_node(self._core.state.node).text

    async def step(self, now: float) -> None:
        state, inputs = self._core.state, self._inputs
        if not inputs.synced or not state.present.known:
            return
        pace = Pace(self._core.clock.now)
        groups = await pace.through(self._groups())
        now = self._core.clock.now()  # a lease that came meanwhile was not seen before it came
        state.own_node = inputs.nodes.store.get(state.node) or state.own_node
        if state.own_node is None:
            return
        found = configuration(
            inputs.agents.store.values(),
            labels=model.labels(state.own_node),
            in_force=state.configuration,
            install_namespace=self._namespace,
            scope=self._scope,
            matches=self._matches,
            not_for_dummy=lambda name: not_for_dummy(name, state.present.own_state()),
        )
        if isinstance(found, LabelsUnknown):
            return
        self._tell_findings(found)
        fit = fitness(state.own_node, drain_on=found.settings.drain_on, not_ready_for=self._not_ready_for(now))
        first = not state.synced
        if not first and (found, fit, groups) == (state.configuration, state.fitness, state.groups):
            return
        self._say(found)
        if first:
            self._check_internal_ip(state.own_node)
            # Their keys wait behind what happens, such as the answer for our own lease: who lives is known before that.
            for lease in inputs.leases.store.values():
                state.membership.saw(lease, now)
        if fit.causes != state.fitness.causes:
            log.info("fitness: %s", ", ".join(fit.causes) or "fit", extra={"code": "fitness", "causes": fit.causes})
        old_dummy = state.settings.dummy_interface
        regrouped = first or groups != state.groups
        if regrouped:
            for name in {*inputs.services.store.keys(), *state.asked.services()}:
                service = inputs.services.store.get(name)
                state.asked.take(name, service, groups=groups, healthy=self._healthy)
                await pace.rest()
        state.configuration, state.fitness, state.groups, state.synced = found, fit, groups, True
        self._hosting.restart_sweeps(now)
        if first:
            self._hosting.mark_all()
        await self._hosting.lay_out(now, everything=True)
        await self._hosting.drop_dummy(old_dummy)

    def _matches(self, settings: AgentSettings) -> bool:
        expression, interfaces = settings.expression, self._core.state.present.interfaces.values()
        return expression is None or matches_any(expression, interfaces, dummy=settings.dummy_interface)

    def _groups(self) -> Pieces[dict[str, Group]]:
        """Those that can be used, by name; of two with one name that of the install namespace, then the first."""
        found: dict[str, Group] = {}
        read: dict[str, tuple[ServiceGroup, Accepted | Refusal]] = {}
        stored = sorted(
            self._inputs.groups.store.values(),
            key=lambda group: (group.metadata.namespace != self._namespace, group.metadata.namespace),
        )
        for group in stored:
            key = model.key(group)
            before, answer = self._read.get(key, (None, None))
            if before is None or answer is None or not _same(before, group):
                answer = yield from reading_group(group, install_namespace=self._namespace, scope=self._scope)
            read[key] = group, answer
            if isinstance(answer, Accepted):
                found.setdefault(answer.group.name, answer.group)
            yield
        self._read = read
        return found

    def _not_ready_for(self, now: float) -> float:
        node = self._core.state.own_node
        conditions = (node.status.conditions if node and node.status else None) or ()
        ready = next((condition.status for condition in conditions if condition.type == "Ready"), "True")
        if ready == "True":
            self._not_ready_since = None
            return 0.0
        if self._not_ready_since is None:
            self._not_ready_since = now
            self._core.queue.add_after(keys.Config(), NOT_READY_S)
        return now - self._not_ready_since

    def _say(self, found: Configuration) -> None:
        before = self._core.state.configuration
        if before is not None and (before.state, before.source, before.message) == (
            found.state,
            found.source,
            found.message,
        ):
            return
        fields = {"code": "configuration", "state": found.state, "source": found.source or None}
        log.info("configuration: %s %s", found.state, found.message or found.source, extra=fields)

    def _check_internal_ip(self, node: model.Node) -> None:
        """An agent in a Pod's network would announce to nobody: said, not judged."""
        internal = [
            item.address for item in (node.status.addresses if node.status else ()) or () if item.type == "InternalIP"
        ]
        ours = {str(address.ip) for address in self._core.state.present.addresses.values()}
        for ip in internal:
            if ip not in ours:
                text = f"no interface carries this node's InternalIP {ip}, so nothing is announced where the node is"
                hint = "set hostNetwork: true in the DaemonSet"
                fields = {"code": "selfCheckFailed", "check": "internalIP", "hint": hint, **failure(text)}
                log.info("%s", text, extra=fields)

    def _tell_findings(self, found: Configuration) -> None:
        for finding in found.findings:
            once = (finding.uid, finding.name, finding.generation, finding.reason)
            if once not in self._told:
                self._told.add(once)
                self._tell(finding)


def _same(before: ServiceGroup, now: ServiceGroup) -> bool:
    """Whether an object says what it said when it was read; its status is not read."""
    old, new = before.metadata, now.metadata
    return (old.uid, old.generation, old.creation_timestamp, before.spec) == (
        new.uid,
        new.generation,
        new.creation_timestamp,
        now.spec,
    )
