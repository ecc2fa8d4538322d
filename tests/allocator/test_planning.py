# SPDX-License-Identifier: Apache-2.0
"""What a Service gets, keeps, loses and is refused, as short stories at the desk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.claims import Source
from purelb.allocator.refusals import Refusal
from purelb.allocator.waits import AddressChanges, PoolHasRoom
from purelb.kube.model import LabelSelector
from tests.allocator.desk import Desk
from tests.allocator.objects import group, ip, key, service, v4, v6

if TYPE_CHECKING:
    from purelb.api.kinds import ServiceGroup
    from purelb.kube.model import Service

DUAL = ("IPv4", "IPv6")
BOTH = (v4("192.0.2.10-192.0.2.12"), v6("2001:db8::10-2001:db8::12"))


def reason(refusal: Refusal | None) -> str | None:
    return None if refusal is None else refusal.reason


def wishing(name: str = "web", **noted: str) -> dict[str, str]:
    return {f"purelb.io/{what.replace('_', '-')}": text for what, text in noted.items()}


def shared(name: str, port: int, *, with_key: str = "k", protocol: str = "TCP", **more: object) -> Service:
    return service(name, annotations={"purelb.io/allow-shared-ip": with_key}, ports=((protocol, port),), **more)  # type: ignore[arg-type]


# Order, exhaustion, release


def test_the_lowest_free_address_is_given_in_the_order_of_the_items() -> None:
    desk = Desk(group("default", v4("192.0.2.20/31,192.0.2.9,192.0.2.8")))
    given = [desk.get(service(f"s{n}")) for n in range(4)]
    assert given == [("192.0.2.20",), ("192.0.2.21",), ("192.0.2.9",), ("192.0.2.8",)]


def test_a_pool_of_one_serves_the_second_service_once_the_first_is_gone() -> None:
    desk = Desk(group("default", v4("192.0.2.7/32")))
    first, second = service("first"), service("second")
    assert desk.get(first) == ("192.0.2.7",)
    refusal = desk.ask(second)
    assert refusal is not None
    assert refusal.reason == "PoolExhausted"
    assert refusal.text == "default: 1 of 1 IPv4 addresses in use"
    assert refusal.waits == (PoolHasRoom("default", 4),)
    desk.gone(first)
    assert desk.get(second) == ("192.0.2.7",)


def test_an_address_is_not_free_before_its_going_is_confirmed() -> None:
    desk = Desk(group("default", v4("192.0.2.7/32"), v6("2001:db8::7")))
    desk.get(service("first", families=("IPv4",)))
    desk.ask(service("first", families=("IPv6",)))
    assert reason(desk.ask(service("second"))) == "PoolExhausted"
    assert desk.confirm(service("first")) == ("192.0.2.7",)
    assert desk.get(service("second")) == ("192.0.2.7",)


def test_refusing_changes_nothing() -> None:
    desk = Desk(group("default", v4("192.0.2.7/32")))
    desk.get(service("first"))
    before = (dict(desk.ledger.records), desk.ledger.pools.usage("default", 4))
    assert isinstance(desk.plan(service("second")), Refusal)
    assert (dict(desk.ledger.records), desk.ledger.pools.usage("default", 4)) == before


def test_deciding_twice_without_a_change_decides_the_same() -> None:
    desk = Desk(group("default", *BOTH))
    web = service(families=DUAL)
    desk.get(web)
    record = desk.ledger.records[key("web")]
    assert desk.ask(web) is None
    assert desk.ledger.records[key("web")] == record


# Families


def test_require_dual_stack_takes_nothing_when_one_family_is_missing() -> None:
    desk = Desk(group("default"))
    refusal = desk.ask(service(families=DUAL, policy="RequireDualStack"))
    assert reason(refusal) == "FamilyUnavailable"
    assert desk.held(service()) == ()


def test_a_family_that_a_group_lacks_is_told_before_that_it_is_full_unless_one_family_will_do() -> None:
    desk = Desk(group("default", v4("192.0.2.7/32")))
    desk.get(service("first"))
    lacking = desk.ask(service(families=DUAL, policy="RequireDualStack"))
    assert lacking is not None
    assert lacking.reason == "FamilyUnavailable"
    assert lacking.text == "default has no IPv6 addresses; 1 of 1 IPv4 addresses in use"
    assert reason(desk.ask(service(families=DUAL))) == "PoolExhausted"


def test_who_would_take_either_family_waits_for_both() -> None:
    desk = Desk(group("default", v4("192.0.2.7/32"), v6("2001:db8::7")))
    desk.get(service("first", families=DUAL))
    refusal = desk.ask(service(families=DUAL))
    assert refusal is not None
    assert refusal.waits == (PoolHasRoom("default", 4), PoolHasRoom("default", 6))
    assert refusal.text == "default: 1 of 1 IPv4 addresses in use; 1 of 1 IPv6 addresses in use"


def test_prefer_dual_stack_takes_what_there_is_and_the_rest_later() -> None:
    desk = Desk(group("default"))
    web = service(families=DUAL)
    assert reason(desk.ask(web)) == "FamilyUnavailable"
    assert desk.held(web) == ("192.0.2.10",)
    desk.configure(group("default", *BOTH))
    assert desk.get(web) == ("192.0.2.10", "2001:db8::10")


def test_going_from_one_family_to_two_and_back_never_changes_the_first_address() -> None:
    desk = Desk(group("default", *BOTH))
    assert desk.get(service()) == ("192.0.2.10",)
    assert desk.get(service(families=DUAL)) == ("192.0.2.10", "2001:db8::10")
    assert desk.get(service(families=DUAL, policy="RequireDualStack")) == ("192.0.2.10", "2001:db8::10")
    assert desk.get(service()) == ("192.0.2.10",)


def test_require_dual_stack_keeps_what_it_holds_when_the_second_family_is_refused() -> None:
    desk = Desk(group("default"))
    desk.get(service())
    assert reason(desk.ask(service(families=DUAL, policy="RequireDualStack"))) == "FamilyUnavailable"
    assert desk.held(service()) == ("192.0.2.10",)


def test_addresses_stand_in_the_order_of_the_families() -> None:
    desk = Desk(group("default", *BOTH))
    assert desk.get(service(families=("IPv6", "IPv4"))) == ("2001:db8::10", "192.0.2.10")


# Requests


def test_a_requested_address_is_given_and_the_other_family_comes_from_its_group() -> None:
    desk = Desk(
        group("default", *BOTH),
        group("far", v4("198.51.100.1-198.51.100.9", "198.51.100.0/24"), v6("2001:db8:1::1", "2001:db8:1::/64")),
    )
    web = service(families=DUAL, annotations=wishing(addresses="198.51.100.5"))
    assert desk.get(web) == ("198.51.100.5", "2001:db8:1::1")


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        pytest.param("203.0.113.1", "NotInAnyPool", id="outside every pool"),
        pytest.param("192.0.2.11", "InUse", id="held by somebody without a key"),
        pytest.param("192.0.2.12", "AddressReserved", id="excluded"),
        pytest.param("192.0.2.13", "AddressReserved", id="an address of a node"),
        pytest.param("2001:db8::10", "FamilyMismatch", id="of a family that is not wanted"),
        pytest.param("192.0.2.10,203.0.113.1", "NotInAnyPool", id="one good, one bad"),
        pytest.param("192.0.2.300", "InvalidRequest", id="no address"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_and_takes_nothing(addresses: str, expected: str) -> None:
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.20", exclude=("192.0.2.12",)), BOTH[1]))
    desk.get(service("holder", annotations=wishing(addresses="192.0.2.11")))
    desk.ledger.reserve(Source("node", "n1"), [ip("192.0.2.13")])
    before = dict(desk.ledger.claims)
    assert reason(desk.ask(service(annotations=wishing(addresses=addresses)))) == expected
    assert desk.ledger.claims == before


def test_reserved_addresses_are_never_handed_out() -> None:
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.11")))
    desk.ledger.reserve(Source("gateway", "n1"), [ip("192.0.2.10")])
    assert desk.get(service("a")) == ("192.0.2.11",)
    refusal = desk.ask(service("b"))
    assert refusal is not None
    assert refusal.text == "default: 1 of 2 IPv4 addresses in use, 1 reserved"
    assert desk.ledger.reserve(Source("gateway", "n1"), []) == (ip("192.0.2.10"),)
    assert desk.get(service("b")) == ("192.0.2.10",)


# Changed wishes


def test_another_address_is_planned_beside_the_old_one_which_leaves_when_confirmed() -> None:
    desk = Desk(group())
    desk.get(service())
    desk.ask(service(annotations=wishing(addresses="192.0.2.12")))
    record = desk.ledger.records[key("web")]
    assert (record.addresses, record.leaving) == ((ip("192.0.2.12"),), (ip("192.0.2.10"),))
    assert desk.confirm(service()) == ("192.0.2.10",)


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        ({"addresses": "203.0.113.1"}, "NotInAnyPool"),
        ({"addresses": "192.0.2.11"}, "InUse"),
        ({"service_group": "nowhere"}, "UnknownGroup"),
        ({"service_group": "full"}, "PoolExhausted"),
    ],
)
def test_a_refused_change_keeps_the_old_address(noted: dict[str, str], expected: str) -> None:
    full = group("full", v4("198.51.100.1/32", "198.51.100.0/24"))
    desk = Desk(group(), full)
    desk.get(service("other", annotations=wishing(service_group="full")))
    desk.get(service())
    desk.get(service("neighbour"))
    assert reason(desk.ask(service(annotations=wishing(**noted)))) == expected
    assert desk.held(service()) == ("192.0.2.10",)


@pytest.mark.parametrize(
    "asked",
    ["192.0.2.10", "192.0.2.10,192.0.2.11", "198.51.100.5"],
    ids=["another", "one more", "of another group"],
)
def test_who_pins_one_family_keeps_the_address_of_the_other(asked: str) -> None:
    far = group("far", v4("198.51.100.1-198.51.100.9", "198.51.100.0/24"), v6("2001:db8:1::1", "2001:db8:1::/64"))
    desk = Desk(group("default", *BOTH), far)
    desk.get(service("first", families=DUAL))
    web = service(families=DUAL)
    assert desk.get(web) == ("192.0.2.11", "2001:db8::11")
    desk.gone(service("first"))
    pinned = service(families=DUAL, annotations=wishing(addresses=asked))
    assert desk.get(pinned) == (*asked.split(","), "2001:db8::11")


def test_who_names_a_group_of_one_family_keeps_nothing_of_another_group_but_what_lies_in_it() -> None:
    desk = Desk(group("default", *BOTH), group("far", v4("198.51.100.1-198.51.100.9", "198.51.100.0/24")))
    desk.get(service(families=DUAL))
    assert desk.get(service(families=DUAL, annotations=wishing(service_group="far"))) == ("198.51.100.1",)


def test_a_wish_that_is_already_met_moves_nothing() -> None:
    desk = Desk(group())
    desk.get(service())
    for noted in ({"service_group": "default"}, {"addresses": "192.0.2.10"}, {}):
        assert desk.get(service(annotations=wishing(**noted))) == ("192.0.2.10",)


def test_a_held_address_nobody_recorded_a_wish_for_stays_where_it_is() -> None:
    desk = Desk(group(), group("far", v4("198.51.100.1/32", "198.51.100.0/24")))
    desk.get(service())
    desk.recorded.clear()
    assert desk.get(service(annotations=wishing(service_group="far"))) == ("192.0.2.10",)


def test_editing_groups_moves_nothing() -> None:
    desk = Desk(group())
    desk.get(service())
    for groups in (
        [group("default", v4("192.0.2.100/32"))],
        [],
        [group("renamed", v4("192.0.2.0/24"), auto_assign=True)],
        [group(drain=True)],
        [group("default", v4("192.0.2.10-192.0.2.12", exclude=("192.0.2.10",)))],
    ):
        desk.configure(*groups)
        assert desk.ask(service()) is None
        assert desk.held(service()) == ("192.0.2.10",)


def test_re_evaluate_moves_what_could_not_be_given_today_and_only_that() -> None:
    desk = Desk(group())
    desk.get(service("good"))
    desk.get(service("bad"))
    desk.configure(group("default", v4("192.0.2.10-192.0.2.12", exclude=("192.0.2.11",))))
    asked = {"purelb.io/re-evaluate": "true"}
    assert desk.get(service("good", annotations=asked)) == ("192.0.2.10",)
    assert desk.get(service("bad", annotations=asked)) == ("192.0.2.12",)


# Sharing


def test_services_with_one_key_and_different_ports_share_an_address() -> None:
    desk = Desk(group())
    assert desk.get(shared("a", 80)) == ("192.0.2.10",)
    assert desk.get(shared("b", 443)) == ("192.0.2.10",)
    assert desk.get(shared("dns", 80, protocol="UDP")) == ("192.0.2.10",)
    assert desk.get(shared("c", 80, with_key="other")) == ("192.0.2.11",)


@pytest.mark.parametrize(
    ("asking", "expected"),
    [
        pytest.param(shared("b", 80), "SharingPortClash", id="the same port"),
        pytest.param(
            shared("b", 81, external_traffic_policy="Local", selector={"app": "b"}),
            "SharingPolicyMismatch",
            id="Local, other Pods",
        ),
        pytest.param(
            service("b", annotations=wishing(addresses="192.0.2.10", allow_shared_ip="other"), ports=(("TCP", 81),)),
            "SharingKeyMismatch",
            id="pinned with another key",
        ),
        pytest.param(service("b", annotations=wishing(addresses="192.0.2.10")), "InUse", id="pinned without a key"),
        pytest.param(
            service("b", annotations=wishing(addresses="192.0.2.11", allow_shared_ip="k"), ports=(("TCP", 81),)),
            "SharingKeyBound",
            id="the key is bound elsewhere",
        ),
    ],
)
def test_sharing_is_refused_when(asking: Service, expected: str) -> None:
    desk = Desk(group(remote=True))
    desk.get(shared("a", 80))
    refusal = desk.ask(asking)
    assert reason(refusal) == expected
    assert desk.held(asking) == ()
    assert refusal is not None
    assert AddressChanges(ip("192.0.2.10")) in refusal.waits


def test_a_bound_key_that_cannot_be_joined_does_not_spill_over() -> None:
    desk = Desk(
        group(priority=1), group("second", v4("198.51.100.1/32", "198.51.100.0/24"), auto_assign=True, priority=2)
    )
    desk.get(shared("a", 80))
    assert reason(desk.ask(shared("b", 80))) == "SharingPortClash"


def test_an_address_is_free_only_when_the_last_sharer_left_and_the_key_with_it() -> None:
    desk = Desk(group())
    for name, port in (("a", 80), ("b", 81), ("c", 82)):
        desk.get(shared(name, port))
    for name, port in (("b", 81), ("a", 80), ("c", 82)):
        assert desk.ledger.index.bound("default", 4, "k") == ip("192.0.2.10")
        desk.gone(shared(name, port))
    assert desk.ledger.index.bound("default", 4, "k") is None
    assert desk.get(service("next")) == ("192.0.2.10",)


def test_alone_on_its_address_a_service_changes_key_and_ports_freely() -> None:
    desk = Desk(group())
    assert desk.get(shared("a", 80)) == ("192.0.2.10",)
    assert desk.get(shared("a", 99, with_key="new")) == ("192.0.2.10",)
    assert desk.get(shared("b", 80, with_key="new")) == ("192.0.2.10",)
    assert desk.ledger.index.bound("default", 4, "k") is None


def test_a_sharer_that_edits_its_ports_into_a_clash_loses_the_address_at_once() -> None:
    desk = Desk(group("default", v4("192.0.2.10/32")))
    desk.get(shared("a", 80))
    desk.get(shared("b", 81))
    refusal = desk.ask(shared("b", 80))
    assert reason(refusal) == "SharingPortClash"
    assert desk.held(shared("b", 80)) == ()
    assert desk.held(shared("a", 80)) == ("192.0.2.10",)


def test_a_sharer_that_gives_up_its_key_gets_an_address_of_its_own() -> None:
    desk = Desk(group())
    desk.get(shared("a", 80))
    desk.get(shared("b", 81))
    assert desk.get(service("b", ports=(("TCP", 81),))) == ("192.0.2.11",)
    assert desk.held(shared("a", 80)) == ("192.0.2.10",)


def test_a_sharer_that_cannot_get_an_address_of_its_own_stays_contested_and_nobody_joins() -> None:
    desk = Desk(group("default", v4("192.0.2.10/32")))
    desk.get(shared("a", 80))
    desk.get(shared("b", 81))
    refusal = desk.ask(service("b", ports=(("TCP", 81),)))
    assert reason(refusal) == "InUse"
    assert desk.held(service("b")) == ("192.0.2.10",)
    assert desk.ask(shared("c", 82)) is not None
    desk.configure(group("default", v4("192.0.2.10/31")))
    assert desk.get(service("b", ports=(("TCP", 81),))) == ("192.0.2.11",)
    assert desk.get(shared("c", 82)) == ("192.0.2.10",)


# Groups


def test_who_stays_on_an_address_it_should_not_share_has_its_families_in_their_order() -> None:
    desk = Desk(group("default", v4("192.0.2.10/32"), v6("2001:db8::1-2001:db8::2")))
    policy = "PreferDualStack"
    shared = {"purelb.io/allow-shared-ip": "k"}
    assert desk.get(service("one", annotations=shared)) == ("192.0.2.10",)
    dual = service("two", annotations=shared, ports=(("TCP", 81),), families=("IPv6", "IPv4"), policy=policy)
    assert desk.get(dual) == ("2001:db8::1", "192.0.2.10")
    alone = service("two", ports=(("TCP", 81),), families=("IPv4", "IPv6"), policy=policy)
    assert desk.get(alone) == ("192.0.2.10", "2001:db8::1")


def test_priority_is_an_invitation_to_spill_over_and_its_absence_is_not() -> None:
    far = v4("198.51.100.1/32", "198.51.100.0/24")
    serving: dict[str, Any] = {"namespaces": ("shop",)}
    desk = Desk(group("one", v4("192.0.2.10/32"), priority=1, **serving), group("two", far, priority=2, **serving))
    assert desk.get(service("a")) == ("192.0.2.10",)
    assert desk.get(service("b")) == ("198.51.100.1",)
    refusal = desk.ask(service("c"))
    assert refusal is not None
    assert (
        refusal.text
        == "one: PoolExhausted (1 of 1 IPv4 addresses in use); two: PoolExhausted (1 of 1 IPv4 addresses in use)"
    )
    desk = Desk(group("one", v4("192.0.2.10/32"), priority=1, **serving), group("two", far, **serving))
    desk.get(service("a"))
    assert reason(desk.ask(service("b"))) == "PoolExhausted"


def test_two_groups_that_serve_a_namespace_alike_are_ambiguous_unless_an_open_default_stands_by() -> None:
    far, near = v4("198.51.100.1/32", "198.51.100.0/24"), v4("203.0.113.1/32", "203.0.113.0/24")
    serving = [group("one", far, namespaces=("shop",)), group("two", near, namespaces=("shop",))]
    assert reason(Desk(*serving).ask(service())) == "AmbiguousGroup"
    desk = Desk(*serving, group())
    assert desk.get(service()) == ("192.0.2.10",)


def test_a_fence_keeps_strangers_out_and_its_own_in() -> None:
    fenced = group(
        "fenced", v4("198.51.100.1-198.51.100.9", "198.51.100.0/24"), namespaces=("shop",), enforce_namespaces=True
    )
    desk = Desk(group(), fenced)
    assert desk.get(service()) == ("198.51.100.1",)
    assert reason(desk.ask(service("b", annotations=wishing(service_group="default")))) == "NamespaceDenied"
    assert (
        reason(desk.ask(service("c", namespace="bank", annotations=wishing(service_group="fenced"))))
        == "NamespaceDenied"
    )
    assert (
        reason(desk.ask(service("d", namespace="bank", annotations=wishing(addresses="198.51.100.5"))))
        == "NamespaceDenied"
    )


def test_a_selector_over_namespace_labels_serves_the_namespaces_that_match() -> None:
    gold = group(
        "gold",
        v4("198.51.100.1/32", "198.51.100.0/24"),
        namespace_selector=LabelSelector(match_labels={"tier": "gold"}),
    )
    desk = Desk(group(), gold)
    desk.labels["shop"] = {"tier": "gold"}
    assert desk.get(service()) == ("198.51.100.1",)
    assert desk.get(service("b", namespace="bank")) == ("192.0.2.10",)


def test_a_quota_counts_addresses_of_a_namespace_and_shared_ones_once() -> None:
    desk = Desk(group(quota_per_namespace=1))
    desk.get(shared("a", 80))
    assert desk.get(shared("b", 81)) == ("192.0.2.10",)
    refusal = desk.ask(service("c"))
    assert refusal is not None
    assert refusal.text == "default: namespace shop holds 1 of 1 IPv4 addresses"
    assert desk.get(service("d", namespace="bank")) == ("192.0.2.11",)


def test_a_released_address_is_kept_back_for_its_former_service() -> None:
    desk = Desk(group(reuse_delay="10m"))
    desk.get(service("a"))
    desk.gone(service("a"))
    assert desk.get(service("b")) == ("192.0.2.11",)
    assert desk.get(service("a")) == ("192.0.2.10",)
    desk.gone(service("a"))
    assert desk.ledger.quarantine.deadline() == 600.0
    assert desk.ledger.expire(600.0) == (ip("192.0.2.10"),)
    desk.check()


def test_balancing_takes_the_entry_with_the_fewest_addresses_in_use() -> None:
    desk = Desk(
        group(
            "default",
            v4("192.0.2.10-192.0.2.12"),
            v4("198.51.100.1/30", "198.51.100.0/24"),
            pools={"balance_pools": True},
        )
    )
    given = [desk.get(service(f"s{n}"))[0] for n in range(4)]
    assert given == ["192.0.2.10", "198.51.100.1", "192.0.2.11", "198.51.100.2"]


FENCE: dict[str, Any] = {"namespaces": ("shop",), "enforce_namespaces": True}


@pytest.mark.parametrize(
    ("groups", "noted", "expected", "text"),
    [
        ([], {}, "NoMatchingGroup", "no ServiceGroup serves namespace shop and none is named default"),
        (
            [group("theirs", namespaces=("bank",))],
            {},
            "NoMatchingGroup",
            "no ServiceGroup serves namespace shop and none is named default",
        ),
        (
            [group("default", v4("192.0.2.9-192.0.2.1")), group("web", v4("198.51.100.1", "198.51.100.0/24"))],
            {},
            "NoMatchingGroup",
            "no ServiceGroup can be chosen for namespace shop: default is refused (InvalidSpec); web has to be named (autoAssign)",
        ),
        (
            [
                group(auto_assign=False),
                group(
                    "gold",
                    v4("198.51.100.1", "198.51.100.0/24"),
                    service_selector=LabelSelector(match_labels={"tier": "gold"}),
                ),
            ],
            {},
            "NoMatchingGroup",
            "no ServiceGroup can be chosen for namespace shop: default has to be named (autoAssign); the serviceSelector of gold does not match",
        ),
        (
            [group(namespaces=("bank",))],
            {},
            "NoMatchingGroup",
            "no ServiceGroup can be chosen for namespace shop: default serves other namespaces",
        ),
        (
            [group(), group("fence", v4("198.51.100.1", "198.51.100.0/24"), **FENCE, auto_assign=False)],
            {},
            "NoMatchingGroup",
            "no ServiceGroup can be chosen for namespace shop: default does not serve a namespace that is fenced; fence has to be named (autoAssign)",
        ),
        (
            [group(f"g{n:02}", v4(f"198.51.{n}.1", f"198.51.{n}.0/24")) for n in range(10)],
            {},
            "NoMatchingGroup",
            "no ServiceGroup can be chosen for namespace shop: "
            + "; ".join(f"g{n:02} has to be named (autoAssign)" for n in range(8))
            + "; and 2 more",
        ),
        (
            [group()],
            {"service_group": "gone"},
            "UnknownGroup",
            'ServiceGroup "gone" does not exist in namespace purelb-system',
        ),
        (
            [group("bad", v4("192.0.2.9-192.0.2.1"))],
            {"service_group": "bad"},
            "GroupNotReady",
            'ServiceGroup bad is not usable: InvalidSpec: v4pools[0].pool: "192.0.2.9-192.0.2.1" ends before it starts: swap the two addresses',
        ),
        ([group(drain=True)], {}, "GroupDraining", "default hands out no new addresses"),
    ],
)
def test_a_service_is_told_why_no_group_serves_it(
    groups: list[ServiceGroup], noted: dict[str, str], expected: str, text: str | None
) -> None:
    refusal = Desk(*groups).ask(service(annotations=wishing(**noted)))
    assert refusal is not None
    assert refusal.reason == expected
    assert text is None or refusal.text == text


def test_a_group_of_the_same_name_that_nobody_reads_does_not_speak_for_the_one_that_is_refused() -> None:
    ignored = group("web", namespace="shop", created="2025-01-01T00:00:00Z")
    later = group("web", namespace="zoo", created="2026-12-01T00:00:00Z")
    broken = group("web", v4("192.0.2.9-192.0.2.1"))
    desk = Desk(ignored, broken, later)
    refusal = desk.ask(service(annotations=wishing(service_group="web")))
    assert refusal is not None
    assert refusal.text.startswith("ServiceGroup web is not usable: InvalidSpec: ")
    assert desk.groups.refused == {"web": "purelb-system"}
    assert Desk(ignored, later).groups.refused.keys() == {"web"}


def test_who_has_no_sharing_key_is_told_that_it_is_he_who_has_none() -> None:
    desk = Desk(group())
    desk.get(shared("a", 80))
    desk.get(service("z", annotations=wishing(addresses="192.0.2.12")))
    wants = {"a": "192.0.2.10", "z": "192.0.2.12"}
    told = {}
    for holder, address in wants.items():
        refusal = desk.ask(service("b", annotations=wishing(addresses=address), ports=(("TCP", 81),)))
        assert refusal is not None
        told[holder] = refusal.text
    assert told == {
        "a": "192.0.2.10 is held by shop/a, and this Service has no sharing key",
        "z": "192.0.2.12 is held by shop/z without a sharing key",
    }


def test_the_older_of_two_groups_keeps_the_addresses_both_claim() -> None:
    old = group("zzz", v4("192.0.2.10-192.0.2.20"), created="2026-01-01T00:00:00Z")
    young = group("aaa", v4("192.0.2.0/24"), created="2026-02-01T00:00:00Z")
    for order in ([old, young], [young, old]):
        standing = Desk(*order).groups.standings
        assert standing["purelb-system", "zzz"].ready
        assert standing["purelb-system", "aaa"].reason == "Overlap"
        assert standing["purelb-system", "aaa"].text == "shares 192.0.2.10-192.0.2.20 with zzz"


@pytest.mark.parametrize(
    ("older", "younger"),
    [
        pytest.param("192.0.2.10-192.0.2.20", "192.0.2.12", id="the younger lies inside"),
        pytest.param("192.0.2.12", "192.0.2.10-192.0.2.20", id="the older lies inside"),
        pytest.param("192.0.2.10-192.0.2.12", "192.0.2.12-192.0.2.14", id="they share the end of one"),
        pytest.param("192.0.2.12-192.0.2.14", "192.0.2.10-192.0.2.12", id="they share the start of one"),
    ],
)
def test_of_two_groups_with_an_address_in_common_the_younger_is_refused_whatever_its_name(
    older: str, younger: str
) -> None:
    for first, second in (("aaa", "default"), ("default", "aaa")):
        old = group(first, v4(older), created="2026-01-01T00:00:00Z")
        young = group(second, v4(younger), created="2026-01-02T00:00:00Z")
        for order in ([old, young], [young, old]):
            standing = Desk(*order).groups.standings
            assert standing["purelb-system", first].ready
            refused = standing["purelb-system", second]
            assert (refused.ready, refused.reason) == (False, "Overlap")
            assert "192.0.2.12" in refused.text
            assert refused.text.endswith(f"with {first}")


def test_without_first_and_last_a_full_24_serves_254_and_says_so() -> None:
    desk = Desk(group("default", v4("192.0.2.0/24", exclude_first_last=True)))
    given = [desk.get(service(f"s{n}")) for n in range(254)]
    assert given[0] == ("192.0.2.1",)
    assert given[-1] == ("192.0.2.254",)
    refusal = desk.ask(service("late"))
    assert refusal is not None
    assert refusal.text == "default: 254 of 254 IPv4 addresses in use"


def test_who_leaves_a_share_is_not_given_it_again_because_it_has_not_left_yet() -> None:
    desk, shares = Desk(group()), {"purelb.io/allow-shared-ip": "key"}
    assert desk.get(service("stays", annotations=shares)) == ("192.0.2.10",)
    assert desk.get(service(annotations=shares, ports=(("TCP", 81),))) == ("192.0.2.10",)
    assert desk.ask(service(ports=(("TCP", 81),))) is None
    assert desk.held(service()) == ("192.0.2.11",), "without a key it has to go"
    assert desk.ask(service(ports=(("TCP", 82),))) is None, "it is edited once more before that was published"
    assert desk.held(service()) == ("192.0.2.11",)


def test_what_is_kept_back_for_a_service_counts_against_the_quota_when_it_comes_again() -> None:
    desk = Desk(group(reuse_delay="10m", quota_per_namespace=1))
    assert desk.get(service()) == ("192.0.2.10",)
    desk.gone(service())
    assert desk.get(service("other")) == ("192.0.2.11",)
    refusal = desk.ask(service(uid="another"))
    assert refusal is not None
    assert (refusal.reason, desk.held(service())) == ("QuotaExceeded", ())
