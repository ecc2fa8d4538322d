# SPDX-License-Identifier: Apache-2.0
"""Requested addresses: which of several objections is told, and whose group gives what was not requested."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.allocator.claims import Source
from purelb.allocator.planning import Planned
from tests.allocator.desk import Desk
from tests.allocator.objects import group, ip, key, service, v4, v6

DUAL = ("IPv4", "IPv6")
WANTED = "192.0.2.10"


def asking(*addresses: str, name: str = "web", **more: Any) -> Any:
    return service(name, annotations={"purelb.io/addresses": ",".join(addresses)}, **more)


# Each says no to the address, in the order in which the specification names them.
DRAINED = ("GroupDraining", "hands out no new addresses")
EXCLUDED = ("AddressReserved", "is excluded by default")
RESERVED = ("AddressReserved", "is an address of node n1")
OTHER_FAMILY = ("FamilyMismatch", "the Service wants IPv6")
HELD = ("InUse", "is held by bank/first")
QUOTA = ("QuotaExceeded", "namespace shop holds 1 of 1 IPv4 addresses")
IN_TURN = (DRAINED, EXCLUDED, RESERVED, OTHER_FAMILY, HELD, QUOTA)


@pytest.mark.parametrize("at", range(len(IN_TURN)), ids=[told[1] for told in IN_TURN])
def test_of_all_that_speaks_against_a_request_the_first_is_told(at: int) -> None:
    objections = IN_TURN[at:]
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.12")))
    assert desk.get(asking("192.0.2.12", name="mine")) == ("192.0.2.12",)
    if HELD in objections:
        assert desk.get(asking(WANTED, name="first", namespace="bank")) == (WANTED,)
    pool = v4("192.0.2.10-192.0.2.12", exclude=(WANTED,)) if EXCLUDED in objections else v4("192.0.2.10-192.0.2.12")
    desk.configure(
        group(
            "default", pool, v6("2001:db8::1/127"), quota_per_namespace=1, drain=True if DRAINED in objections else None
        )
    )
    if RESERVED in objections:
        desk.ledger.reserve(Source("node", "n1"), (ip(WANTED),))
    families = ("IPv6",) if OTHER_FAMILY in objections else ("IPv4",)
    refusal = desk.ask(asking(WANTED, families=families))
    assert refusal is not None
    reason, text = objections[0]
    assert refusal.reason == reason
    assert text in refusal.text


def test_a_family_without_a_request_comes_from_the_group_of_the_first_requested_address() -> None:
    near = group("near", v4("192.0.2.10"), v6("2001:db8:1::1/128", "2001:db8:1::/64"))
    far = group("far", v4("198.51.100.10", "198.51.100.0/24"), v6("2001:db8:2::1/128", "2001:db8:2::/64"))
    for asked, six in (
        (("192.0.2.10", "198.51.100.10"), "2001:db8:1::1"),
        (("198.51.100.10", "192.0.2.10"), "2001:db8:2::1"),
    ):
        desk = Desk(near, far)
        assert desk.get(asking(*asked, families=DUAL, policy="RequireDualStack")) == (*asked, six)


def test_a_family_that_is_added_comes_from_the_group_of_the_address_that_is_kept() -> None:
    def groups(first: int, second: int) -> tuple[Any, ...]:
        return (
            group("a", v4("192.0.2.10"), v6("2001:db8:1::1/128", "2001:db8:1::/64"), auto_assign=True, priority=first),
            group("b", v4("192.0.2.20"), v6("2001:db8:2::1/128", "2001:db8:2::/64"), auto_assign=True, priority=second),
        )

    desk = Desk(*groups(1, 2))
    assert desk.get(service()) == ("192.0.2.10",)
    desk.configure(*groups(2, 1))
    assert desk.get(service(families=DUAL)) == ("192.0.2.10", "2001:db8:1::1")


def test_an_address_that_is_kept_back_may_be_requested_by_the_same_name_in_the_same_namespace_alone() -> None:
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.12"), reuse_delay="10m"))
    assert desk.get(service()) == (WANTED,)
    desk.gone(service())
    for other in (asking(WANTED, name="another"), asking(WANTED, namespace="elsewhere")):
        refusal = desk.ask(other)
        assert refusal is not None
        assert refusal.reason == "InUse"
    assert isinstance(desk.plan(asking(WANTED, uid="another")), Planned)
    assert desk.get(asking(WANTED, uid="another")) == (WANTED,)


def test_who_wants_no_address_of_the_requested_family_any_more_is_told_so_at_once() -> None:
    """It was taken over with another one, which it keeps until its user says what is meant."""
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.12"), v6("2001:db8::1")))
    before = service(families=DUAL[::-1], policy="RequireDualStack")
    assert desk.get(before) == ("2001:db8::1", "192.0.2.10")
    desk.recorded[key("web")] = "addresses=192.0.2.12"
    for _ in range(2):
        refusal = desk.ask(asking("192.0.2.12", families=("IPv6",)))
        assert refusal is not None
        assert (refusal.reason, refusal.text) == ("FamilyMismatch", "192.0.2.12 is IPv4, the Service wants IPv6")
        assert desk.confirm(before) == ()
        assert desk.held(before) == ("2001:db8::1", "192.0.2.10")
