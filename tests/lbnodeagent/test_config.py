# SPDX-License-Identifier: Apache-2.0
"""Which LBNodeAgent applies, what the own Node says, and when a holder gives."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from purelb.api.kinds import AgentConfig, LBNodeAgent, LBNodeAgentSpec
from purelb.kube.model import (
    LabelSelector,
    LabelSelectorRequirement,
    Node,
    NodeCondition,
    NodeSpec,
    NodeStatus,
    ObjectMeta,
    Taint,
)
from purelb.lbnodeagent.claims import Claim
from purelb.lbnodeagent.config import Configuration, LabelsUnknown, configuration
from purelb.lbnodeagent.election import Standing, view_of
from purelb.lbnodeagent.fitness import EXCLUDE_LABEL, fitness, give_at

if TYPE_CHECKING:
    from purelb.api.words import DrainOn

EVERYTHING: tuple[DrainOn, ...] = ("Cordon", "NoExecuteTaint", "NetworkUnavailable", "NotReady")


def agent(
    name: str,
    *,
    selector: LabelSelector | None = None,
    local: AgentConfig | None = AgentConfig(),  # noqa: B008 - frozen
    namespace: str = "purelb",
) -> LBNodeAgent:
    return LBNodeAgent(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=LBNodeAgentSpec(node_selector=selector, local=local),
    )


RACK = LabelSelector(match_labels={"rack": "a"})
BROKEN = LabelSelector(match_expressions=(LabelSelectorRequirement(key="x", operator="Inn", values=("1",)),))


def chosen(
    *agents: LBNodeAgent, labels: dict[str, str] | None = None, before: Configuration | None = None
) -> Configuration:
    found = configuration(
        agents, labels={"rack": "a"} if labels is None else labels, in_force=before, install_namespace="purelb"
    )
    assert isinstance(found, Configuration)
    return found


def told(found: Configuration) -> list[tuple[str, str]]:
    return [(finding.name, finding.reason) for finding in found.findings]


def test_an_install_without_the_object_announces_with_the_defaults() -> None:
    found = chosen()
    assert (found.state, found.announces, found.settings.dummy_interface) == ("default", True, "kube-lb0")


def test_the_first_catch_all_by_name_applies_and_the_other_is_ignored() -> None:
    found = chosen(agent("b"), agent("a"))
    assert (found.state, found.source, told(found)) == ("configured", "purelb/a", [("b", "ConfigIgnored")])


def test_a_specific_selector_beats_a_catch_all() -> None:
    found = chosen(agent("a"), agent("z", selector=RACK))
    assert (found.source, told(found)) == ("purelb/z", [("a", "ConfigIgnored")])


def test_a_bad_selector_hides_nobody() -> None:
    found = chosen(agent("a", selector=BROKEN), agent("b"))
    assert (found.source, told(found)) == ("purelb/b", [("a", "InvalidNodeSelector")])


def test_an_object_without_local_configures_nothing() -> None:
    found = chosen(agent("a", local=None))
    assert (found.state, found.announces, told(found)) == ("default", True, [("a", "ConfigIgnored")])


def test_when_none_matches_the_node_announces_nothing() -> None:
    found = chosen(agent("a", selector=RACK), labels={"rack": "b"})
    assert (found.state, found.announces) == ("deselected", False)


def test_objects_of_other_namespaces_do_not_exist_in_the_narrow_scope() -> None:
    assert chosen(agent("a", namespace="other")).state == "default"


def test_without_labels_nothing_is_decided_as_soon_as_somebody_selects_by_them() -> None:
    for agents, known in (((agent("a", selector=RACK),), False), ((agent("a"),), True)):
        found = configuration(agents, labels=None, in_force=None, install_namespace="purelb")
        assert isinstance(found, Configuration) is known
        assert isinstance(found, LabelsUnknown) is not known


def test_an_expression_that_does_not_compile_leaves_the_old_configuration_and_a_fresh_process_announces_nothing() -> (
    None
):
    bad = agent("a", local=AgentConfig(local_interface="eth("))
    fresh = chosen(bad)
    assert (fresh.state, fresh.announces, told(fresh)) == ("invalid", False, [("a", "ConfigError")])
    before = chosen(agent("a", local=AgentConfig(local_interface="eth1", dummy_interface="lb9")))
    kept = chosen(bad, before=before)
    assert (kept.state, kept.announces, kept.settings.dummy_interface) == ("invalid", True, "lb9")


def node(**changes: object) -> Node:
    return Node(metadata=ObjectMeta(name="n1"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "excluded", "draining", "remote"),
    [
        (node(), False, False, True),
        (Node(metadata=ObjectMeta(name="n1", labels={EXCLUDE_LABEL: ""})), True, True, False),
        (Node(metadata=ObjectMeta(name="n1", annotations={"purelb.io/drain": ""})), True, True, False),
        (Node(metadata=ObjectMeta(name="n1", annotations={"purelb.io/drain": "false"})), False, False, True),
        (node(spec=NodeSpec(unschedulable=True)), False, True, True),
        (node(spec=NodeSpec(taints=(Taint(key="x", effect="NoExecute"),))), False, True, True),
        (node(spec=NodeSpec(taints=(Taint(key="x", effect="NoSchedule"),))), False, False, True),
        (
            node(spec=NodeSpec(taints=(Taint(key="node.kubernetes.io/unreachable", effect="NoExecute"),))),
            False,
            False,
            True,
        ),
        (
            node(spec=NodeSpec(taints=(Taint(key="node.kubernetes.io/out-of-service", effect="NoSchedule"),))),
            False,
            True,
            True,
        ),
        (
            node(status=NodeStatus(conditions=(NodeCondition(type="NetworkUnavailable", status="True"),))),
            False,
            True,
            False,
        ),
    ],
)
def test_the_own_node_says_whether_it_is_fit(found: Node, excluded: bool, draining: bool, remote: bool) -> None:
    judged = fitness(found, drain_on=EVERYTHING, not_ready_for=0.0)
    assert (judged.excluded, judged.draining, judged.serves_remote) == (excluded, draining, remote)
    if draining and not excluded:
        assert not fitness(found, drain_on=(), not_ready_for=99.0).draining


def test_a_sick_kubelet_drains_only_after_ten_seconds_and_where_it_is_asked_for() -> None:
    assert not fitness(node(), drain_on=EVERYTHING, not_ready_for=9.9).draining
    assert fitness(node(), drain_on=EVERYTHING, not_ready_for=10.0).draining
    assert not fitness(node(), drain_on=("Cordon",), not_ready_for=10.0).draining


VIP = ip_address("192.0.2.10")
CLAIM = Claim(ip=VIP, announce="local", services=("default/web",))


@pytest.mark.parametrize(
    ("changes", "liveness", "expected"),
    [
        ({}, "alive", 130.0),
        ({"failback": "Never"}, "alive", None),
        ({"unfit": True, "failback": "Never"}, "alive", 0.0),
        ({"unfit": True}, "draining", None),
        ({"candidate": False, "failback": "Never"}, "draining", 0.0),
    ],
)
def test_when_a_holder_gives(changes: dict[str, object], liveness: str, expected: float | None) -> None:
    view = view_of("me", {"q": Standing("q", liveness, (), 100.0)}, {})  # type: ignore[arg-type]
    base: dict[str, object] = {"unfit": False, "candidate": True, "failback": "Immediate"}
    assert give_at(CLAIM, "q", view, **{**base, **changes}) == expected  # type: ignore[arg-type]


def test_a_preferred_node_is_given_the_address_at_once() -> None:
    view = view_of("me", {"q": Standing("q", "alive", (), 100.0)}, {})
    wished = Claim(ip=VIP, announce="local", services=("default/web",), preferred="q")
    assert give_at(wished, "q", view, unfit=False, candidate=True, failback="Never") == 0.0


def test_an_expression_that_matches_nothing_is_refused_when_it_comes_and_kept_when_its_interfaces_go() -> None:
    def with_interface(text: str, *, before: Configuration | None, matches: bool) -> Configuration:
        found = configuration(
            [agent("a", local=AgentConfig(local_interface=text))],
            labels={},
            in_force=before,
            install_namespace="purelb",
            matches=lambda _: matches,
        )
        assert isinstance(found, Configuration)
        return found

    fresh = with_interface("nope0", before=None, matches=False)
    assert (fresh.state, fresh.announces, told(fresh)) == ("invalid", False, [("a", "ConfigError")])
    assert fresh.message == 'no interface matches "nope0"; announcing nothing'
    good = with_interface("^eth", before=fresh, matches=True)
    assert good.state == "configured"
    assert with_interface("^eth", before=good, matches=False).state == "configured"
    slip = with_interface("nope0", before=good, matches=False)
    assert (slip.state, slip.announces, slip.settings) == ("invalid", True, good.settings)


def test_a_dummy_interface_that_is_one_of_the_nodes_own_is_refused_under_the_name_it_was_written() -> None:
    def with_dummy(name: str, *, before: Configuration | None, why: str | None, v1: str = "") -> Configuration:
        found = configuration(
            [agent("a", local=AgentConfig(dummy_interface=name, extlbint=v1))],
            labels={},
            in_force=before,
            install_namespace="purelb",
            not_for_dummy=lambda _: why,
        )
        assert isinstance(found, Configuration)
        return found

    text = '"eth0" is the interface of the default route: name another, such as kube-lb0'
    fresh = with_dummy("", before=None, why="is the interface of the default route", v1="eth0")
    assert (fresh.state, fresh.announces, fresh.message) == ("invalid", False, f"extlbint {text}; announcing nothing")
    good = with_dummy("lb9", before=fresh, why=None)
    assert good.state == "configured"
    slip = with_dummy("eth0", before=good, why="is the interface of the default route")
    assert (slip.state, slip.announces, slip.settings) == ("invalid", True, good.settings)
    assert [(f.name, f.reason, f.text) for f in slip.findings] == [("a", "ConfigError", f"dummyInterface {text}")]
    assert with_dummy("lb9", before=slip, why=None).state == "configured"
    assert with_dummy("lb9", before=good, why="has changed").state == "configured", "it is in force"
