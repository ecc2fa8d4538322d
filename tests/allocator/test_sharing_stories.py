# SPDX-License-Identifier: Apache-2.0
"""Services that share an address come, change and go, in every order."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.planning import Planned
from tests.allocator.desk import Desk
from tests.allocator.objects import group, ip, key, service, v4, v6

if TYPE_CHECKING:
    from purelb.kube.model import Service

KEY = {"purelb.io/allow-shared-ip": "k"}


def sharer(name: str, port: int, *, protocol: str = "TCP", **spec: Any) -> Service:
    return service(name, annotations=KEY, ports=((protocol, port),), **spec)


def reason(refusal: Any) -> str | None:
    return None if refusal is None else str(refusal.reason)


def test_one_port_of_two_protocols_is_two_ports() -> None:
    desk = Desk(group("default", v4("192.0.2.10/32")))
    assert desk.get(sharer("tcp", 53)) == ("192.0.2.10",)
    assert desk.get(sharer("udp", 53, protocol="UDP")) == ("192.0.2.10",)


def test_a_port_that_was_given_up_is_there_for_a_third() -> None:
    desk = Desk(group("default", v4("192.0.2.10/32")))
    for port in (81, 82, 81):
        desk.get(sharer("a", 80))
        assert desk.get(sharer("b", port)) == ("192.0.2.10",)
    assert reason(desk.ask(sharer("c", 81))) == "SharingPortClash"
    assert desk.get(sharer("c", 82)) == ("192.0.2.10",)
    assert desk.get(sharer("b", 83)) == ("192.0.2.10",)
    assert desk.get(sharer("d", 81)) == ("192.0.2.10",)


@pytest.mark.parametrize("order", list(permutations("abc")), ids="".join)
def test_the_address_of_three_is_free_with_the_last_of_them(order: tuple[str, ...]) -> None:
    desk = Desk(group("default", v4("192.0.2.10/32")))
    ports = {"a": 80, "b": 81, "c": 82}
    for name, port in ports.items():
        desk.get(sharer(name, port))
    for name in order:
        assert reason(desk.ask(service("waits"))) == "PoolExhausted"
        assert desk.ledger.index.bound("default", 4, "k") == ip("192.0.2.10")
        desk.gone(sharer(name, ports[name]))
    assert desk.ledger.index.bound("default", 4, "k") is None
    assert desk.get(service("waits")) == ("192.0.2.10",)


@pytest.mark.parametrize("noted", [{}, {"purelb.io/allow-shared-ip": "k2"}], ids=["no key", "another key"])
def test_who_left_the_sharing_while_the_pool_was_full_gets_its_own_address_when_there_is_one(
    noted: dict[str, str],
) -> None:
    desk = Desk(group("default", v4("192.0.2.10/32")))
    desk.get(sharer("a", 80))
    desk.get(sharer("b", 81))
    left = service("a", annotations=noted)
    refusal = desk.ask(left)
    assert refusal is not None
    assert refusal.text.endswith("; no other address: default: 1 of 1 IPv4 addresses in use")
    assert desk.held(left) == desk.held(sharer("b", 81)) == ("192.0.2.10",)
    desk.configure(group("default", v4("192.0.2.10-192.0.2.11")))
    assert desk.get(left) == ("192.0.2.11",)
    assert desk.get(sharer("b", 81)) == ("192.0.2.10",)


def test_who_can_leave_the_sharing_with_one_family_only_stays_contested_with_the_other() -> None:
    dual: dict[str, Any] = {"families": ("IPv4", "IPv6"), "policy": "PreferDualStack"}
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.11"), v6("2001:db8::1")))
    assert desk.get(sharer("a", 80, **dual)) == ("192.0.2.10", "2001:db8::1")
    assert desk.get(sharer("b", 81, **dual)) == ("192.0.2.10", "2001:db8::1")
    left = service("a", annotations={"purelb.io/allow-shared-ip": "k2"}, **dual)
    refusal = desk.ask(left)
    assert refusal is not None
    assert refusal.reason == "SharingKeyMismatch"
    assert refusal.text.startswith("2001:db8::1 is held by shop/b with another sharing key")
    desk.confirm(left)
    assert desk.held(left) == ("192.0.2.11", "2001:db8::1")
    assert desk.ask(left) is not None, "it still has to go"
    desk.configure(group("default", v4("192.0.2.10-192.0.2.11"), v6("2001:db8::1-2001:db8::2")))
    assert desk.get(left) == ("192.0.2.11", "2001:db8::2")
    assert desk.get(sharer("b", 81, **dual)) == ("192.0.2.10", "2001:db8::1")


def test_who_left_the_sharing_and_lacks_a_family_is_told_of_the_family() -> None:
    dual: dict[str, Any] = {"families": ("IPv4", "IPv6"), "policy": "PreferDualStack"}
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.11")))
    desk.get(sharer("a", 80, **dual))
    desk.get(sharer("b", 81, **dual))
    missing = desk.ask(service("a", **dual))
    assert missing is not None
    assert missing.text == "default has no IPv6 addresses"
    assert desk.held(service("a")) == ("192.0.2.11",)


def test_who_stays_on_an_address_that_another_should_leave_may_still_change_its_ports() -> None:
    desk = Desk(group("default", v4("192.0.2.10/32")))
    desk.get(sharer("a", 80))
    desk.get(sharer("b", 81))
    desk.get(service("a"))  # it has no key any more, and nowhere to go
    desk.configure(group("default", v4("192.0.2.10-192.0.2.11")))
    assert desk.ask(sharer("b", 82)) is None, "the one that did not change keeps the address, whatever else it edits"
    assert desk.held(sharer("b", 82)) == ("192.0.2.10",)
    assert desk.get(service("a")) == ("192.0.2.11",)
    assert desk.ask(sharer("b", 80)) is None, "the port is free with the one that had it"


def test_who_takes_a_port_of_the_one_that_should_leave_loses_the_address_all_the_same() -> None:
    desk = Desk(group("default", v4("192.0.2.10/32")))
    desk.get(sharer("a", 80))
    desk.get(sharer("b", 81))
    desk.get(service("a"))
    desk.ask(sharer("b", 80))
    assert desk.held(sharer("b", 80)) == ()
    assert desk.held(service("a")) == ("192.0.2.10",)


def test_under_local_only_services_with_the_same_pods_share_and_under_cluster_all_do() -> None:
    desk = Desk(group(remote=True))
    local: dict[str, Any] = {"external_traffic_policy": "Local"}
    desk.get(sharer("a", 80, selector={"app": "x"}, **local))
    other = sharer("b", 81, selector={"app": "y"}, **local)
    refusal = desk.ask(other)
    assert reason(refusal) == "SharingPolicyMismatch"
    assert refusal is not None
    assert refusal.text == (
        "192.0.2.10 is shared with shop/a, which selects other Pods under externalTrafficPolicy Local"
    )
    assert desk.get(sharer("same", 82, selector={"app": "x"}, **local)) == ("192.0.2.10",)
    elsewhere = sharer("far", 83, namespace="bank", selector={"app": "x"}, **local)
    assert reason(desk.ask(elsewhere)) == "SharingPolicyMismatch"
    for name, port in (("a", 80), ("same", 82)):
        desk.get(sharer(name, port, selector={"app": "x"}))
    assert desk.get(sharer("b", 81, selector={"app": "y"})) == ("192.0.2.10",)


def test_whose_own_policy_is_local_is_not_told_that_the_other_has_it() -> None:
    desk = Desk(group(remote=True))
    local: dict[str, Any] = {"external_traffic_policy": "Local"}
    own = "192.0.2.10 is shared with shop/a, which selects other Pods, and this Service has externalTrafficPolicy Local"
    desk.get(sharer("a", 80, selector={"app": "x"}))
    asks = desk.ask(sharer("b", 81, selector={"app": "y"}, **local))
    assert (reason(asks), asks and asks.text) == ("SharingPolicyMismatch", own)
    assert desk.get(sharer("b", 81, selector={"app": "y"})) == ("192.0.2.10",)
    desk.configure(group("default", v4("192.0.2.10/32"), remote=True))
    edits = desk.ask(sharer("b", 81, selector={"app": "y"}, **local))
    assert reason(edits) == "SharingPolicyMismatch"
    assert edits is not None
    assert edits.text.startswith(own)
    assert desk.held(sharer("b", 81)) == ("192.0.2.10",)


def test_a_key_is_joined_in_the_group_where_it_is_bound_even_when_that_is_full() -> None:
    first = group("first", v4("192.0.2.10/32"), auto_assign=True, priority=1)
    second = group("second", v4("198.51.100.1/32", "198.51.100.0/24"), auto_assign=True, priority=2)
    desk = Desk(first, second)
    assert desk.get(service("early")) == ("192.0.2.10",)
    assert desk.get(sharer("a", 80)) == ("198.51.100.1",), "the first is full"
    desk.gone(service("early"))
    assert desk.get(sharer("b", 81)) == ("198.51.100.1",), "the first has room again, the key is bound in the second"
    assert desk.get(service("late")) == ("192.0.2.10",)
    assert desk.get(sharer("c", 82)) == ("198.51.100.1",), "both are full"
    assert set(desk.ledger.claims[ip("198.51.100.1")].holders) == {key("a"), key("b"), key("c")}


def test_who_may_not_join_a_contested_address_is_told_of_the_holder_that_stands_in_the_way() -> None:
    desk = Desk(group("default", v4("192.0.2.10/32")))
    desk.get(sharer("a", 80))
    desk.get(sharer("b", 81))
    desk.ask(service("b", ports=(("TCP", 81),)))  # it has no key any more, and nowhere to go
    refusal = desk.ask(sharer("c", 82))
    assert refusal is not None
    assert (refusal.reason, refusal.text) == ("InUse", "192.0.2.10 is held by shop/b without a sharing key")


def test_who_could_share_with_each_holder_of_a_contested_address_is_told_who_may_not_stay() -> None:
    desk = Desk(group("default", v4("192.0.2.10/32"), remote=True))
    pods: dict[str, Any] = {"selector": {"app": "x"}}
    desk.get(sharer("a", 80, external_traffic_policy="Local", **pods))
    desk.get(sharer("b", 81, **pods))
    moved = desk.ask(sharer("b", 81, selector={"app": "y"}))
    assert moved is not None
    assert moved.reason == "SharingPolicyMismatch"
    refusal = desk.ask(sharer("c", 82, **pods))
    assert refusal is not None
    text = "192.0.2.10 is contested: shop/b may not share it with its other holders any more"
    assert (refusal.reason, refusal.text) == ("InUse", text)
    desk.gone(sharer("b", 81))
    assert desk.get(sharer("c", 82, **pods)) == ("192.0.2.10",)


PINNED = {"purelb.io/addresses": "192.0.2.10"}


@pytest.mark.parametrize("policy", ["RequireDualStack", "PreferDualStack"])
@pytest.mark.parametrize("changed", [False, True], ids=["the same request", "another request"])
def test_who_is_contested_where_it_asked_to_be_and_lacks_a_family_is_told_of_both(policy: str, changed: bool) -> None:
    dual: dict[str, Any] = {"families": ("IPv4", "IPv6"), "policy": policy, "annotations": PINNED}
    desk = Desk(group("default", v4("192.0.2.10/32")))
    pinned = service("a", annotations=PINNED | KEY)
    assert desk.get(service("a", annotations=KEY if changed else PINNED | KEY)) == ("192.0.2.10",)
    assert desk.get(sharer("b", 81)) == ("192.0.2.10",)
    assert desk.ask(pinned) is None
    refusal = desk.ask(service("a", **dual))
    assert refusal is not None
    assert refusal.reason == "InUse"
    missing = "default has no IPv6 addresses"
    assert refusal.text == f"192.0.2.10 is held by shop/b, and this Service has no sharing key; {missing}"
    assert desk.held(pinned) == desk.held(sharer("b", 81)) == ("192.0.2.10",)
    answer = desk.plan(service("a", **dual))
    assert isinstance(answer, Planned)
    assert not answer.partial, "what it asks for it has not got"
    desk.gone(sharer("b", 81))
    refusal = desk.ask(service("a", **dual))
    assert refusal is not None
    assert refusal.text == missing
    desk.configure(group("default", v4("192.0.2.10/32"), v6("2001:db8::1")))
    assert desk.get(service("a", **dual)) == ("192.0.2.10", "2001:db8::1")
