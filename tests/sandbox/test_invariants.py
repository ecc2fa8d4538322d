# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from purelb.sandbox.invariants import Published, every_address_has_one_holder, no_address_is_given_twice

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
