# SPDX-License-Identifier: Apache-2.0
"""Which news of an object asks for a turn: in a cluster at rest nodes and leases change every few seconds, and nothing follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from purelb.allocator.keys import AgentsDue, GroupsChanged, NamespaceChanged, NodeChanged, ServiceKey, StatusDue
from purelb.api.kinds import ServiceGroupStatus
from purelb.kube.model import Namespace, Node, NodeAddress, NodeStatus, ObjectMeta
from tests.allocator.objects import INSTALL, group, service
from tests.allocator.theatre import Theatre

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.allocator.keys import Key

NODE = Node(
    metadata=ObjectMeta(name="n1", uid="n1"),
    status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address="192.0.2.1"),)),
)
SHOP = Namespace(metadata=ObjectMeta(name="shop", uid="shop", labels={"tier": "gold"}))
WEB = service(load_balancer_class="purelb.io/purelb")


def noted(obj: Any, **meta: Any) -> Any:
    return replace(obj, metadata=replace(obj.metadata, **meta))


def asked(played: Theatre, kind: str, obj: Any) -> set[Key]:
    """What an object that is new, or another than before, asks for."""
    played.ready.clear()
    played.put(kind, obj)
    played.deliver(kind)
    return set(played.ready)


@pytest.mark.parametrize(
    ("kind", "first", "change", "expected"),
    [
        pytest.param("nodes", NODE, lambda o: noted(o, annotations={"beat": "1"}), set(), id="a node's heartbeat"),
        pytest.param("nodes", NODE, lambda o: noted(o, labels={"rack": "a"}), {AgentsDue()}, id="a node's labels"),
        pytest.param("nodes", NODE, lambda o: replace(o, status=None), {NodeChanged("n1")}, id="a node's addresses"),
        pytest.param("namespaces", SHOP, lambda o: noted(o, annotations={"a": "b"}), set(), id="a namespace's notes"),
        pytest.param(
            "namespaces", SHOP, lambda o: noted(o, labels=None), {NamespaceChanged("shop")}, id="a namespace's labels"
        ),
        pytest.param(
            "groups",
            group(),
            lambda o: replace(o, spec=replace(o.spec, drain=True)),
            {GroupsChanged()},
            id="a group's spec",
        ),
        pytest.param(
            "groups",
            group(),
            lambda o: replace(o, status=ServiceGroupStatus(allocated_ipv4=7)),
            {StatusDue(INSTALL, "default")},
            id="a group's status",
        ),
        pytest.param("groups", group(), lambda o: noted(o, labels={"a": "b"}), set(), id="a group's labels"),
        pytest.param(
            "services", WEB, lambda o: noted(o, labels={"a": "b"}), {ServiceKey("shop", "web")}, id="a Service's labels"
        ),
    ],
)
def test_what_asks_for_a_turn(kind: str, first: Any, change: Callable[[Any], Any], expected: set[Key]) -> None:
    played = Theatre(0)
    played.begin()
    assert asked(played, kind, first)
    assert asked(played, kind, change(first)) == expected
