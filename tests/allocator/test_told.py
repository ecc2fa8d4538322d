# SPDX-License-Identifier: Apache-2.0
"""From what nodes report to what a Service says of it: one table of reports, and the words for each."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.announcements import Announcements
from purelb.allocator.folding import TWICE_FOR, Wanted, fold
from purelb.allocator.publish import Said
from purelb.api.kinds import Announced, NodeReport, RemoteReport, Withheld
from purelb.api.pieces import at_once
from tests.allocator.objects import ip

if TYPE_CHECKING:
    from collections.abc import Mapping

A, B, FAR, SIX = "192.0.2.10", "192.0.2.11", "198.51.100.1", "2001:db8::10"
SUBNETS = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/64"))
ON_DUMMIES = "on the dummy interface of the nodes"


def here(*entries: tuple[str, str]) -> NodeReport:
    """Announced on real interfaces."""
    return NodeReport(announced=tuple(Announced(ip=text, interface=interface) for text, interface in entries))


def there(*ips: str, **more: Any) -> NodeReport:
    """On the dummy interface."""
    texts = tuple(f"{text}/32" for text in ips)
    return NodeReport(remote=RemoteReport(interface="kube-lb0", count=len(ips), addresses=texts), **more)


def withheld(text: str, reason: str, message: str = "") -> NodeReport:
    return NodeReport(withheld=(Withheld(ip=text, reason=reason, message=message),))


def local(text: str, *, dummy: bool = False) -> Wanted:
    return Wanted(ip(text), local=True, off_subnet=dummy)


def remote(text: str) -> Wanted:
    return Wanted(ip(text), local=False)


def seen(reports: Mapping[str, NodeReport], *, now: float = 0.0) -> Announcements:
    """Nodes of one subnet of each family that live, with these reports."""
    made = Announcements()
    at_once(made.lives(dict.fromkeys(reports, SUBNETS), now))
    for node, report in reports.items():
        at_once(made.reported(node, report, now))
    return made


def told(reports: Mapping[str, NodeReport], *wanted: Wanted, now: float = 0.0) -> tuple[bool, str, str]:
    found = fold(seen(reports), wanted, None, service="shop/web", noted={}, now=now).said
    assert found is not None
    return found.status, found.reason, found.message


@pytest.mark.parametrize(
    ("reports", "wanted", "reason", "message"),
    [
        pytest.param({"n1": here((A, "eth0"))}, (local(A),), "AnnouncingLocal", f"{A} by n1 on eth0", id="by one"),
        pytest.param(
            {"n1": here((A, "eth0"), (A, "eth1"))},
            (local(A),),
            "AnnouncingLocal",
            f"{A} by n1 on eth0; {A} by n1 on eth1",
            id="by one on two of its interfaces",
        ),
        pytest.param(
            {"n2": here((A, "eth0")), "n1": here((SIX, "eth1"))},
            (local(A), local(SIX)),
            "AnnouncingLocal",
            f"{A} by n2 on eth0; {SIX} by n1 on eth1",
            id="two addresses by two",
        ),
        pytest.param(
            {"n1": there(FAR, B)},
            (remote(FAR), remote(B)),
            "AnnouncingNonLocal",
            f"{FAR}, {B} {ON_DUMMIES}",
            id="remote ones",
        ),
        pytest.param(
            {"n1": here((A, "eth0")), "n2": there(FAR)},
            (remote(FAR), local(A)),
            "AnnouncingLocal",
            f"{A} by n1 on eth0; {FAR} {ON_DUMMIES}",
            id="one of each",
        ),
        pytest.param(
            {"n1": there(A)}, (local(A, dummy=True),), "AnnouncingNonLocal", f"{A} {ON_DUMMIES}", id="off its subnet"
        ),
        pytest.param(
            {"n1": here((A, "eth0")), "n2": there(A)},
            (local(A, dummy=True),),
            "AnnouncingLocal",
            f"{A} by n1 on eth0",
            id="off its subnet on some nodes only",
        ),
    ],
)
def test_it_is_announced(
    reports: Mapping[str, NodeReport], wanted: tuple[Wanted, ...], reason: str, message: str
) -> None:
    for now in (0.0, TWICE_FOR + 1):
        found = fold(seen(reports), wanted, None, service="shop/web", noted={}, now=now)
        assert found.said == Said(True, reason, message)
        assert found.due is None, "it stays like that"


UNKNOWN = "n1: What?ever one? two"


@pytest.mark.parametrize(
    ("reports", "wanted", "reason", "message"),
    [
        pytest.param({}, (local(A),), "NoLiveAgent", "no node agent is alive", id="nobody lives"),
        pytest.param({"n1": here()}, (local(A),), "AwaitingNode", f"no node has reported {A} yet", id="nobody says it"),
        pytest.param(
            {"n1": here()},
            (local("203.0.113.1"),),
            "NoNodeInSubnet",
            "no live node advertises a subnet containing 203.0.113.1",
            id="nobody is in its subnet",
        ),
        pytest.param(
            {"n1": here()},
            (local("203.0.113.1", dummy=True),),
            "AwaitingNode",
            "no node has reported 203.0.113.1 yet",
            id="nobody has to be in its subnet",
        ),
        pytest.param(
            {"n1": here()}, (remote(FAR),), "AwaitingNode", f"no node has reported {FAR} yet", id="a remote one"
        ),
        pytest.param(
            {"n1": there(A)}, (local(A),), "AwaitingNode", f"no node has reported {A} yet", id="on a dummy, for nothing"
        ),
        pytest.param(
            {"n1": here((A, "eth0"))}, (remote(A),), "AwaitingNode", f"no node has reported {A} yet", id="nor by a node"
        ),
        pytest.param(
            {"n1": here((B, "eth0"))},
            (local(A), local(B), local("203.0.113.1")),
            "AwaitingNode",
            f"no node has reported {A} yet",
            id="the first that is not",
        ),
        pytest.param(
            {"n1": withheld(A, "NoLocalEndpoint", "anything")},
            (local(A),),
            "NoLocalEndpoint",
            "externalTrafficPolicy is Local and no eligible node has a ready endpoint",
            id="no endpoint",
        ),
        pytest.param(
            {"n1": withheld(A, "DuplicateOnLAN")},
            (local(A),),
            "DuplicateOnLAN",
            f"another host answers for {A}",
            id="somebody else, nobody says who",
        ),
        pytest.param(
            {"n1": withheld(A, "NodeUnfit", "n1 is draining")}, (local(A),), "NodeUnfit", "n1 is draining", id="unfit"
        ),
        pytest.param(
            {"n1": withheld(A, "AnnouncementFailed", "no such device")},
            (local(A),),
            "AnnouncementFailed",
            "n1: no such device",
            id="the kernel refused",
        ),
        pytest.param(
            {"n1": withheld(A, "What\x00ever", "one\x00 two")},
            (local(A),),
            "AnnouncementFailed",
            UNKNOWN,
            id="a word of the future",
        ),
        pytest.param(
            {"n2": withheld(A, "NodeUnfit", "n2 is fenced"), "n1": withheld(A, "NoLocalEndpoint")},
            (local(A),),
            "NoLocalEndpoint",
            "externalTrafficPolicy is Local and no eligible node has a ready endpoint",
            id="the first by name",
        ),
        pytest.param(
            {"n1": withheld(B, "NodeUnfit", "n1 is fenced")},
            (local(A),),
            "AwaitingNode",
            f"no node has reported {A} yet",
            id="withheld is another",
        ),
    ],
)
def test_it_is_not_announced(
    reports: Mapping[str, NodeReport], wanted: tuple[Wanted, ...], reason: str, message: str
) -> None:
    assert told(reports, *wanted) == (False, reason, message)


def test_that_two_nodes_answer_is_told_after_fifteen_seconds_of_the_first_two_by_name() -> None:
    made = seen({"n3": here((A, "eth0")), "n1": here((A, "eth0"), (A, "eth1")), "n2": here((A, "eth0"))})
    by_all = f"{A} by n1 on eth0; {A} by n1 on eth1; {A} by n2 on eth0; {A} by n3 on eth0"
    early = fold(made, (local(A),), None, service="shop/web", noted={}, now=TWICE_FOR - 1)
    assert (early.said, early.due) == (Said(True, "AnnouncingLocal", by_all), TWICE_FOR)
    late = fold(made, (local(A),), early.said, service="shop/web", noted={}, now=TWICE_FOR)
    assert (late.said, late.due) == (Said(True, "AnnouncedTwice", f"{A} by n1 and n2"), None)


def test_the_annotations_are_of_real_interfaces_by_family_and_of_32_entries_at_most() -> None:
    many = {f"n{number:02}": here((A, "eth0")) for number in range(40)}
    found = fold(
        seen(many | {"n99": here((SIX, "eth0"))}), (local(A), local(SIX)), None, service="s", noted={}, now=0.0
    )
    assert found.announcing[6] == f"n99,eth0,{SIX}"
    assert (found.announcing[4] or "").split() == [f"n{number:02},eth0,{A}" for number in range(32)]
    none = fold(seen({"n1": there(FAR)}), (remote(FAR),), None, service="s", noted={}, now=0.0)
    assert none.announcing == {4: None, 6: None}
