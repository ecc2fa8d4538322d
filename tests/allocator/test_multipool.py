# SPDX-License-Identifier: Apache-2.0
"""One address per pool entry: from which entries, what is added later, what is kept, and with what it cannot be combined."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.planning import Planned
from purelb.allocator.refusals import Refusal
from purelb.allocator.waits import EntryHasRoom, SubnetActive
from tests.allocator.desk import Desk
from tests.allocator.objects import group, service, v4, v6

if TYPE_CHECKING:
    from purelb.api.kinds import ServiceGroup

A, B, C = "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"
RACKS = (v4("192.0.2.10-192.0.2.11", A), v4("198.51.100.10-198.51.100.11", B), v4("203.0.113.10/32", C))
SIX = v6("2001:db8::1-2001:db8::2")
DUAL = ("IPv4", "IPv6")
WANTS = {"purelb.io/multi-pool": "true"}


def racks(*more: Any, flag: bool = True, remote: bool = False, **spec: Any) -> ServiceGroup:
    entries = [entry for entry in more if not isinstance(entry, dict)] or list(RACKS)
    return group("default", *entries, remote=remote, pools={"multi_pool": flag}, **spec)


def told(desk: Desk, asked: Any) -> tuple[str, tuple[str, ...]]:
    """The reason of what is missing and which entries it names; nothing is changed."""
    answer = desk.plan(asked)
    if isinstance(answer, Refusal):
        return answer.reason, ()
    shortfall = answer.plan.shortfall
    return shortfall.reason if shortfall is not None else "", answer.missing


def test_a_service_gets_one_address_of_each_entry_that_has_a_live_node() -> None:
    desk = Desk(racks())
    desk.live(A, C)
    assert desk.get(service()) == ("192.0.2.10", "203.0.113.10")
    assert told(desk, service()) == ("NoActiveSubnet", (B,))


@pytest.mark.parametrize(
    ("advertised", "active"),
    [
        (("198.51.100.0/24",), True),
        (("198.51.100.77/24",), True),
        (("198.51.0.0/16",), True),
        (("0.0.0.0/0",), True),
        (("198.51.100.0/25",), False),
        (("198.51.101.0/24",), False),
        (("2001:db8::/32",), False),
        (("::/0",), False),
    ],
    ids=str,
)
def test_an_entry_counts_when_its_subnet_or_a_larger_one_is_advertised(
    advertised: tuple[str, ...], active: bool
) -> None:
    desk = Desk(racks(v4("198.51.100.10", B)))
    desk.advertised = tuple(ip_network(text, strict=False) for text in advertised)
    assert (desk.get(service()) == ("198.51.100.10",)) is active


def test_all_entries_of_a_remote_group_count_whatever_nodes_advertise() -> None:
    assert Desk(racks(remote=True)).get(service()) == ("192.0.2.10", "198.51.100.10", "203.0.113.10")


def test_without_any_live_subnet_it_waits_for_one_and_is_told_which() -> None:
    refusal = Desk(racks()).ask(service())
    assert refusal is not None
    assert refusal.reason == "NoActiveSubnet"
    assert refusal.text == f"default: no live node advertises any of {A}, {B}, {C}"
    assert {wait.subnet.with_prefixlen for wait in refusal.waits if isinstance(wait, SubnetActive)} == {A, B, C}


def test_a_subnet_of_several_entries_is_named_once() -> None:
    refusal = Desk(racks(v4("192.0.2.10", A), v4("192.0.2.11", A), v4("198.51.100.10", B))).ask(service())
    assert refusal is not None
    assert refusal.text == f"default: no live node advertises any of {A}, {B}"


def test_an_entry_whose_subnet_comes_to_life_is_added_in_the_order_of_the_entries() -> None:
    desk = Desk(racks())
    desk.live(C)
    assert desk.get(service()) == ("203.0.113.10",)
    desk.live(A, B, C)
    assert desk.get(service()) == ("192.0.2.10", "198.51.100.10", "203.0.113.10")
    assert told(desk, service()) == ("", ())


def test_an_entry_that_loses_its_nodes_keeps_its_address() -> None:
    desk = Desk(racks())
    desk.live(A, B, C)
    everything = desk.get(service())
    desk.live()
    assert desk.get(service()) == everything
    assert told(desk, service()) == ("", ())


def test_an_entry_that_is_written_later_is_added_and_one_that_is_removed_keeps_its_address() -> None:
    desk = Desk(racks(*RACKS[:1]))
    desk.live(A, B, C)
    assert desk.get(service()) == ("192.0.2.10",)
    desk.configure(racks(*RACKS[:2]))
    assert desk.get(service()) == ("192.0.2.10", "198.51.100.10")
    desk.configure(racks(*RACKS[1:]))
    assert set(desk.get(service())) == {"192.0.2.10", "198.51.100.10", "203.0.113.10"}


def test_switching_the_flag_of_the_group_off_takes_nothing_away_and_on_again_adds() -> None:
    desk = Desk(racks(*RACKS[:2]))
    desk.live(A, B, C)
    both = desk.get(service())
    desk.configure(racks(flag=False))
    assert desk.get(service()) == both
    assert desk.get(service("new", created="2026-02-01T00:00:00Z")) == ("192.0.2.11",)
    desk.configure(racks())
    assert desk.get(service()) == (*both, "203.0.113.10")


def test_the_annotation_overrides_the_group_both_ways() -> None:
    desk = Desk(racks())
    desk.live(A, B, C)
    assert desk.get(service(annotations={"purelb.io/multi-pool": "false"})) == ("192.0.2.10",)
    desk = Desk(racks(flag=False))
    desk.live(A, B)
    assert desk.get(service(annotations=WANTS)) == ("192.0.2.10", "198.51.100.10")


def test_who_no_longer_asks_for_several_keeps_the_first_of_each_family() -> None:
    desk = Desk(racks(*RACKS, SIX, flag=False))
    desk.live(A, B, C, "2001:db8::/64")
    assert len(desk.get(service(annotations=WANTS, families=DUAL))) == 4
    assert desk.get(service(families=DUAL)) == ("192.0.2.10", "2001:db8::1")


def test_asking_for_several_keeps_what_is_held_and_adds_the_others() -> None:
    desk = Desk(racks(flag=False))
    desk.live(A, B, C)
    first = desk.get(service())
    assert desk.get(service(annotations=WANTS)) == (*first, "198.51.100.10", "203.0.113.10")


def test_a_full_entry_is_named_and_waited_for_alone() -> None:
    desk = Desk(racks())
    desk.live(A, B, C)
    desk.get(service("old", annotations={"purelb.io/addresses": "203.0.113.10"}))
    answer = desk.plan(service())
    assert isinstance(answer, Planned)
    assert answer.partial
    assert answer.missing == (C,)
    assert answer.plan.shortfall is not None
    assert answer.plan.shortfall.text == f"default: {C}: 1 of 1 IPv4 addresses in use"
    assert [type(wait) for wait in answer.plan.shortfall.waits] == [EntryHasRoom]


def test_who_finds_every_entry_full_is_told_of_each() -> None:
    desk = Desk(racks(remote=True))
    for number in range(2):
        desk.get(service(f"old-{number}"))
    refusal = desk.ask(service())
    assert refusal is not None
    full = f"{A}: 2 of 2 IPv4 addresses in use; {B}: 2 of 2 IPv4 addresses in use; {C}: 1 of 1 IPv4 addresses in use"
    assert (refusal.reason, refusal.text) == ("PoolExhausted", f"default: {full}")


def test_several_addresses_count_against_the_quota_together() -> None:
    desk = Desk(racks(quota_per_namespace=2))
    desk.live(A, B, C)
    for _ in range(2):  # while the addresses are given, and when they are held
        refusal = desk.ask(service())
        assert refusal is not None
        assert refusal.text == "default: namespace shop holds 2 of 2 IPv4 addresses"
        assert told(desk, service()) == ("QuotaExceeded", (C,))
        assert desk.get(service()) == ("192.0.2.10", "198.51.100.10")


def test_several_requested_addresses_count_against_the_quota_together() -> None:
    desk = Desk(racks(flag=False, quota_per_namespace=1))
    both = {"purelb.io/addresses": "192.0.2.10,198.51.100.10"}
    refusal = desk.ask(service(annotations=both))
    assert refusal is not None
    text = "default: namespace shop holds 0 of 1 IPv4 addresses and would hold 2"
    assert (refusal.reason, refusal.text) == ("QuotaExceeded", text)
    desk.get(service())
    refusal = desk.ask(service(annotations=both))
    assert refusal is not None
    assert (refusal.reason, desk.held(service())) == ("QuotaExceeded", ("192.0.2.10",))
    assert refusal.text == text.replace("holds 0", "holds 1")
    desk.get(service("other", namespace="bank"))
    both = {"purelb.io/addresses": "198.51.100.10,198.51.100.11"}
    refusal = desk.ask(service("third", namespace="bank", annotations=both))
    assert refusal is not None
    assert refusal.text == "default: namespace bank holds 1 of 1 IPv4 addresses", "nothing of what is requested is left"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("PreferDualStack", ("192.0.2.10", "198.51.100.10")),
        ("RequireDualStack", ()),
    ],
)
def test_families_follow_the_policy_and_entries_do_not(policy: str, expected: tuple[str, ...]) -> None:
    desk = Desk(racks(*RACKS, SIX))
    desk.live(A, B)
    assert desk.get(service(families=DUAL, policy=policy)) == expected
    desk.live(A, B, "2001:db8::/64")
    assert desk.get(service(families=DUAL, policy=policy)) == ("192.0.2.10", "198.51.100.10", "2001:db8::1")


@pytest.mark.parametrize(
    ("groups", "noted", "text"),
    [
        ([racks()], {"purelb.io/allow-shared-ip": "k"}, "multi-pool cannot be combined with a sharing key"),
        (
            [group("default", *RACKS, pools={"balance_pools": True})],
            WANTS,
            "multi-pool cannot be combined with balancePools",
        ),
    ],
    ids=["a sharing key", "balancePools"],
)
def test_what_cannot_be_combined_is_refused(groups: list[ServiceGroup], noted: dict[str, str], text: str) -> None:
    desk = Desk(*groups)
    desk.live(A, B, C)
    refusal = desk.ask(service(annotations=noted))
    assert refusal is not None
    assert (refusal.reason, refusal.text) == ("MultiPoolRefused", text)
    assert not desk.held(service())


def test_a_holder_that_asks_for_an_impossible_combination_keeps_what_it_has_and_the_record_of_its_wish() -> None:
    desk = Desk(racks(flag=False))
    desk.live(A, B, C)
    shares = {"purelb.io/allow-shared-ip": "k"}
    held = desk.get(service(annotations=shares))
    answer = desk.plan(service(annotations={**shares, **WANTS}))
    assert isinstance(answer, Planned)
    assert answer.plan.shortfall is not None
    assert (answer.plan.shortfall.reason, answer.partial, answer.agreed) == ("MultiPoolRefused", False, False)
    assert desk.get(service(annotations={**shares, **WANTS})) == held


def test_a_holder_with_a_sharing_key_is_left_alone_when_the_group_begins_to_give_several() -> None:
    desk = Desk(racks(flag=False))
    desk.live(A, B, C)
    sharer = service(annotations={"purelb.io/allow-shared-ip": "k"})
    held = desk.get(sharer)
    desk.configure(racks())
    assert desk.ask(sharer) is None
    assert desk.held(sharer) == held


def test_a_draining_group_gives_no_entry_more() -> None:
    desk = Desk(racks(*RACKS[:1]))
    desk.live(A, B, C)
    desk.get(service())
    desk.configure(racks(*RACKS[:2], drain=True))
    assert desk.get(service()) == ("192.0.2.10",)
    assert told(desk, service()) == ("GroupDraining", (B,))


def test_a_namespace_that_is_fenced_off_gets_no_entry_more_and_is_left_alone() -> None:
    desk = Desk(racks(*RACKS[:1]))
    desk.live(A, B, C)
    held = desk.get(service())
    desk.configure(racks(*RACKS[:2], namespaces=("bank",), enforce_namespaces=True))
    assert desk.get(service()) == held
    assert told(desk, service()) == ("", ())


def test_a_released_address_that_is_kept_back_returns_to_its_service_entry_by_entry() -> None:
    desk = Desk(racks(reuse_delay="10m"))
    desk.live(A, B, C)
    before = desk.get(service())
    desk.gone(service())
    desk.get(service("other"))
    assert desk.held(service("other")) == ("192.0.2.11", "198.51.100.11")
    assert desk.get(service()) == before


def dual(policy: str = "PreferDualStack", families: tuple[str, ...] = DUAL) -> Any:
    return service(families=families, policy=policy)


@pytest.mark.parametrize("policy", ["PreferDualStack", "RequireDualStack"])
@pytest.mark.parametrize(
    ("live", "holds", "lacks"),
    [
        pytest.param(
            (A, B, C), ("192.0.2.10", "198.51.100.10", "203.0.113.10", "10.0.0.1", "2001:db8::1"), (), id="all"
        ),
        pytest.param((B,), ("198.51.100.10", "10.0.0.1", "2001:db8::1"), (A, C), id="one"),
        pytest.param((), ("10.0.0.1", "2001:db8::1"), (A, B, C), id="none"),
    ],
)
def test_who_held_an_address_of_no_group_gets_one_of_each_entry_together_with_its_other_family(
    policy: str, live: tuple[str, ...], holds: tuple[str, ...], lacks: tuple[str, ...]
) -> None:
    """Decided once, and not the entries of what it had a decision later."""
    desk = Desk(group("old", v4("10.0.0.1/32", "10.0.0.0/24"), auto_assign=True))
    assert desk.get(dual()) == ("10.0.0.1",)
    desk.configure(racks(*RACKS, SIX))
    desk.live(*live, "2001:db8::/64")
    said = ("NoActiveSubnet" if lacks else "", lacks)
    assert told(desk, dual(policy)) == said
    assert desk.get(dual(policy)) == holds
    assert told(desk, dual(policy)) == said, "nothing has changed"


@pytest.mark.parametrize("policy", ["PreferDualStack", "RequireDualStack"])
@pytest.mark.parametrize("families", [DUAL, DUAL[::-1]], ids=str)
def test_who_holds_an_address_of_a_family_that_has_no_entries_lacks_nothing(
    policy: str, families: tuple[str, ...]
) -> None:
    desk = Desk(group("old", v4("10.0.0.1/32", "10.0.0.0/24"), auto_assign=True))
    assert desk.get(dual()) == ("10.0.0.1",)
    desk.configure(racks(SIX))
    desk.live("2001:db8::/64")
    for _ in range(2):
        assert desk.ask(dual(policy, families)) is None
        desk.confirm(dual())
        assert sorted(desk.held(dual())) == ["10.0.0.1", "2001:db8::1"]
