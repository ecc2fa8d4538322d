# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from purelb.sandbox.invariants import (
    Published,
    Sight,
    every_address_has_one_holder,
    never_two_holders,
    never_without_holder,
    no_address_is_given_twice,
    no_agent_writes_a_service,
    nothing_moved,
    only_leases_are_written,
    published_addresses_stay,
    what_is_not_ours_is_untouched,
)

HTTP = frozenset({("TCP", 80)})
HTTPS = frozenset({("TCP", 443)})


def service(name: str, *, ports: frozenset[tuple[str, int]] = HTTP, key: str = "", **more: object) -> Published:
    return Published(name=name, addresses=("192.0.2.1",), ports=ports, sharing_key=key, **more)  # type: ignore[arg-type]


def test_an_address_of_two_services_without_a_key_is_named_with_both() -> None:
    (broken,) = no_address_is_given_twice([service("a"), service("b", ports=HTTPS)])
    assert "192.0.2.1" in broken
    assert "default/a" in broken
    assert "default/b" in broken


def test_services_with_one_key_may_share_as_long_as_no_port_is_common() -> None:
    assert no_address_is_given_twice([service("a", key="k"), service("b", ports=HTTPS, key="k")]) == ()
    (broken,) = no_address_is_given_twice([service("a", key="k"), service("b", key="k")])
    assert "both use TCP/80" in broken


def test_one_number_of_two_protocols_is_no_clash() -> None:
    udp = frozenset({("UDP", 80)})
    assert no_address_is_given_twice([service("a", key="k"), service("b", ports=udp, key="k")]) == ()


def test_different_keys_do_not_share() -> None:
    assert no_address_is_given_twice([service("a", key="k"), service("b", ports=HTTPS, key="l")])


def test_local_traffic_with_other_pods_does_not_share() -> None:
    one = service("a", key="k", local_policy=True, selector={"app": "a"})
    other = service("b", ports=HTTPS, key="k", selector={"app": "b"})
    assert no_address_is_given_twice([one, other])
    same = service("b", ports=HTTPS, key="k", selector={"app": "a"})
    assert no_address_is_given_twice([one, same]) == ()


def test_one_holder_each_is_what_is_promised() -> None:
    assert every_address_has_one_holder([service("a")], {"192.0.2.1": ["n1"]}) == ()


def test_no_holder_two_holders_and_a_stray_address_are_each_told() -> None:
    services = [service("a")]
    assert every_address_has_one_holder(services, {}) == ("192.0.2.1 of default/a is on no node",)
    (twice,) = every_address_has_one_holder(services, {"192.0.2.1": ["n2", "n1"]})
    assert twice == "192.0.2.1 of default/a is on 2 nodes at once: n1, n2"
    (stray,) = every_address_has_one_holder(services, {"192.0.2.1": ["n1"], "192.0.2.9": ["n3"]})
    assert stray == "192.0.2.9 is on n3 and belongs to no Service"


def test_a_service_whose_address_changed_is_told_with_both_and_those_that_came_or_went_are_not() -> None:
    held, lost = service("a"), Published(name="a")
    assert published_addresses_stay([held, service("gone")], [held, service("new")]) == ()
    assert published_addresses_stay([lost], [held]) == ()
    assert published_addresses_stay([held], [lost]) == ("default/a had 192.0.2.1 and has nothing",)


def test_an_address_that_is_elsewhere_is_told() -> None:
    assert nothing_moved({"192.0.2.1": ["n1"]}, {"192.0.2.1": {"n1"}, "192.0.2.2": []}) == ()
    (moved,) = nothing_moved({"192.0.2.1": ["n1"]}, {"192.0.2.1": ["n2"]})
    assert moved == "192.0.2.1 was on n1 and is on n2"


def sights(*seen: tuple[float, str]) -> list[Sight]:
    return [Sight(at, {"192.0.2.1": frozenset(nodes.split())}) for at, nodes in seen]


def test_a_gap_counts_from_the_look_that_saw_it_to_the_next_that_did_not() -> None:
    history = sights((1.0, "n1"), (2.0, ""), (3.0, ""), (4.5, "n2"))
    assert never_without_holder(history, "192.0.2.1", longer_than=2.5) == ()
    (gap,) = never_without_holder(history, "192.0.2.1", longer_than=2.4)
    assert gap == "192.0.2.1 was on no node for 2.500 s from 2.000"


def test_a_gap_of_no_length_is_a_gap_where_none_is_allowed_and_one_at_the_end_is_seen() -> None:
    assert never_without_holder(sights((1.0, "n1"), (2.0, ""), (2.0, "n2")), "192.0.2.1")
    assert never_without_holder(sights((1.0, "n1"), (2.0, "")), "192.0.2.1")
    assert never_without_holder(sights((1.0, "n1"), (2.0, "n2")), "192.0.2.1") == ()


def test_two_holders_for_too_long_are_told() -> None:
    history = sights((1.0, "n1"), (2.0, "n1 n2"), (6.0, "n2"))
    assert never_two_holders(history, "192.0.2.1", longer_than=4.0) == ()
    assert never_two_holders(history, "192.0.2.1", longer_than=3.0)


def test_at_rest_any_write_but_the_renewal_of_a_lease_is_told() -> None:
    lease = "/apis/coordination.k8s.io/v1/namespaces/purelb/leases/purelb-node-n1"
    assert only_leases_are_written([("PATCH", lease), ("PUT", lease)]) == ()
    assert only_leases_are_written([("DELETE", lease)])
    assert only_leases_are_written([("PATCH", "/api/v1/namespaces/shop/services/web/status")])


def test_an_agent_that_writes_a_service_is_told() -> None:
    assert no_agent_writes_a_service([("POST", "/apis/events.k8s.io/v1/namespaces/shop/events")]) == ()
    assert no_agent_writes_a_service([("PATCH", "/api/v1/namespaces/shop/services/web")])


def test_what_is_not_ours_may_neither_go_nor_come() -> None:
    assert what_is_not_ours_is_untouched(["a", "b"], ["b", "a"]) == ()
    assert what_is_not_ours_is_untouched(["a"], []) == ("a was not ours and is gone",)
    assert what_is_not_ours_is_untouched([], ["a"]) == ("a is not ours and is new",)
