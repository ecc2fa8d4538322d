# SPDX-License-Identifier: Apache-2.0
"""Which group a Service that names none is given its address from, and where it goes when that one cannot serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.groups import Groups
from purelb.allocator.planning import Planned
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.model import LabelSelector
from purelb.kube.resources import NAMESPACES, SERVICES
from tests.allocator.cluster import pool
from tests.allocator.desk import Desk
from tests.allocator.objects import INSTALL, group, service, v4, v6

if TYPE_CHECKING:
    from purelb.api.kinds import ServiceGroup
    from tests.allocator.cluster import Cluster

SHOP: dict[str, Any] = {"namespaces": ("shop",)}
GOLD = LabelSelector(match_labels={"tier": "gold"})
LABELS = {"tier": "gold"}


def numbered(name: str, number: int, **spec: Any) -> ServiceGroup:
    """A group with one address, which tells it from the others: 198.51.`number`.1."""
    return group(name, v4(f"198.51.{number}.1/32", f"198.51.{number}.0/24"), **spec)


def order(*groups: ServiceGroup, many: int = 1, **asked: Any) -> list[object]:
    """For one Service after the other, each with the same labels: the number of the group that serves it, or why none does."""
    desk, found = Desk(*groups), list[object]()
    for number in range(many):
        wanted = service(f"s{number}", labels=LABELS, **asked)
        refusal = desk.ask(wanted)
        held = desk.held(wanted)
        found.append(int(held[0].split(".")[2]) if held else refusal.reason if refusal is not None else None)
    return found


def refused(desk: Desk, *, after: int = 0) -> str:
    """Why the next Service, after so many that were served, gets no address."""
    for number in range(after):
        desk.get(service(f"s{number}"))
    refusal = desk.ask(service("late"))
    assert refusal is not None
    return refusal.text


FULL = "PoolExhausted (1 of 1 IPv4 addresses in use)"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(
            {"service_selector": GOLD},
            {"namespace_default": True, "priority": 1},
            id="who selects the Service is first",
        ),
        pytest.param({"namespace_default": True}, {"priority": 1}, id="then who is the default of the namespace"),
        pytest.param({"priority": 10}, {"priority": 20}, id="then who has the lower priority"),
        pytest.param({"priority": 65535}, {}, id="whoever has none comes last"),
    ],
)
def test_of_two_that_serve_the_namespace(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert order(numbered("zzz", 1, **SHOP, **first), numbered("aaa", 2, **SHOP, **second)) == [1]
    assert order(numbered("aaa", 1, **SHOP, **first), numbered("zzz", 2, **SHOP, **second)) == [1]


@pytest.mark.parametrize("marks", [{}, {"namespace_default": True}], ids=["unmarked", "both marked"])
def test_of_two_alike_the_one_named_default_is_taken_and_of_two_others_neither(marks: dict[str, Any]) -> None:
    alike = {**SHOP, **marks}
    assert order(numbered("aaa", 1, **alike), numbered("default", 2, **alike)) == [2]
    assert order(numbered("aaa", 1, **alike), numbered("bbb", 2, **alike)) == ["AmbiguousGroup"]


def test_the_message_says_whether_none_or_several_are_marked() -> None:
    for marks, said in (({}, "none is"), ({"namespace_default": True}, "several are")):
        desk = Desk(
            numbered("bbb", 1, **SHOP, **marks), numbered("aaa", 2, **SHOP, **marks), numbered("ccc", 3, **SHOP)
        )
        names = "aaa, bbb" if marks else "aaa, bbb, ccc"
        assert refused(desk) == f"{names} serve namespace shop and {said} marked namespaceDefault"


def test_an_ambiguous_choice_falls_to_the_open_default_unless_the_namespace_is_fenced() -> None:
    alike = [numbered("aaa", 1, **SHOP), numbered("bbb", 2, **SHOP)]
    assert order(*alike, numbered("default", 3)) == [3]
    assert order(*alike, numbered("default", 3, namespaces=("bank",))) == ["AmbiguousGroup"]
    assert order(*alike, numbered("default", 3, auto_assign=False)) == ["AmbiguousGroup"]
    fenced = numbered("fence", 4, **SHOP, enforce_namespaces=True, auto_assign=False)
    assert order(*alike, numbered("default", 3), fenced) == ["AmbiguousGroup"]


def test_a_group_that_serves_the_namespace_comes_before_an_open_one_whatever_that_says_of_itself() -> None:
    assert order(numbered("aaa", 1, **SHOP), numbered("default", 2, priority=1, service_selector=GOLD)) == [1]


def test_groups_are_filled_by_priority_and_whoever_has_none_is_no_way_out() -> None:
    groups = [numbered("a", 1, **SHOP), numbered("b", 2, **SHOP, priority=20), numbered("c", 3, **SHOP, priority=10)]
    assert order(*groups, many=3) == [3, 2, "PoolExhausted"]
    desk = Desk(*groups)
    assert refused(desk, after=2) == f"c: {FULL}; b: {FULL}; not tried for want of a priority: a"
    desk.configure(*groups[1:], numbered("a", 1, **SHOP, drain=True))
    assert refused(desk) == f"c: {FULL}; b: {FULL}", "it would not help"
    desk.configure(numbered("a", 1, **SHOP, priority=30), *groups[1:])
    assert desk.get(service("late")) == ("198.51.1.1",)


def test_open_groups_are_filled_one_after_the_other_with_a_priority_or_without() -> None:
    groups = [
        numbered("b", 1, auto_assign=True),
        numbered("default", 2),
        numbered("a", 3, auto_assign=True),
        numbered("c", 4, auto_assign=True, priority=7),
    ]
    assert order(*groups, many=5) == [4, 2, 3, 1, "PoolExhausted"]
    assert refused(Desk(*groups), after=4) == f"c: {FULL}; default: {FULL}; a: {FULL}; b: {FULL}"


def test_of_two_open_groups_alike_the_first_by_name_is_taken_and_nobody_calls_that_ambiguous() -> None:
    assert order(numbered("b", 1, auto_assign=True), numbered("a", 2, auto_assign=True), many=3) == [
        2,
        1,
        "PoolExhausted",
    ]


def test_a_default_that_serves_the_namespace_as_well_is_no_open_one_to_fall_back_on() -> None:
    alike = [numbered(name, at, **SHOP, namespace_default=True) for at, name in enumerate(("aaa", "bbb"))]
    assert order(*alike, numbered("default", 3, **SHOP)) == ["AmbiguousGroup"]


def test_a_group_whose_selector_does_not_match_is_no_way_out_either() -> None:
    other = LabelSelector(match_labels={"tier": "tin"})
    groups = [numbered("a", 1, **SHOP, priority=1), numbered("b", 2, **SHOP, priority=2, service_selector=other)]
    assert order(*groups, many=2) == [1, "PoolExhausted"]


def test_a_group_that_is_named_needs_neither_selector_nor_permission_to_be_chosen() -> None:
    other = LabelSelector(match_labels={"tier": "tin"})
    named: dict[str, Any] = {"annotations": {"purelb.io/service-group": "it"}}
    it = numbered("it", 1, **SHOP, service_selector=other, auto_assign=False, priority=65535)
    assert order(it, numbered("default", 2, **SHOP, priority=1), **named) == [1]
    assert order(it, numbered("default", 2, **SHOP, priority=1), many=2, **named) == [1, "PoolExhausted"]


def test_a_fence_names_the_groups_that_are_left() -> None:
    fence = numbered("fence", 1, **SHOP, enforce_namespaces=True)
    beside = numbered("beside", 2, namespaces=("shop", "bank"))
    desk = Desk(fence, beside, numbered("default", 3))
    refusal = desk.ask(service(annotations={"purelb.io/service-group": "default"}))
    assert refusal is not None
    assert (refusal.reason, refusal.text) == ("NamespaceDenied", "namespace shop may use only beside, fence")
    assert desk.get(service(annotations={"purelb.io/service-group": "beside"})) == ("198.51.2.1",)
    stranger = desk.ask(service(namespace="bank", annotations={"purelb.io/service-group": "fence"}))
    assert stranger is not None
    assert (stranger.reason, stranger.text) == ("NamespaceDenied", "fence does not serve namespace bank")


def test_who_requests_an_address_that_it_may_not_have_is_told_of_which_group_it_is() -> None:
    fence = numbered("fence", 1, **SHOP, enforce_namespaces=True)
    desk = Desk(fence, numbered("default", 3))
    outside = desk.ask(service(annotations={"purelb.io/addresses": "198.51.3.1"}))
    text = "198.51.3.1 is in default: namespace shop may use only fence"
    assert outside is not None
    assert (outside.reason, outside.text) == ("NamespaceDenied", text)
    stranger = desk.ask(service(namespace="bank", annotations={"purelb.io/addresses": "198.51.1.1"}))
    text = "198.51.1.1 is in fence: fence does not serve namespace bank"
    assert stranger is not None
    assert (stranger.reason, stranger.text) == ("NamespaceDenied", text)


@pytest.mark.parametrize("groups", [(pool(),)], ids=["default"])
async def test_who_requests_an_address_that_a_refused_group_had_given_is_asked_again_when_it_is_free(
    cluster: Cluster,
) -> None:
    async with cluster.allocator():
        await cluster.serve("holds")
        await cluster.clock.advance(2.0)
        backwards = {"spec": {"local": {"v4pool": {"pool": "192.0.2.99-192.0.2.1"}}}}
        await cluster.patch(SERVICE_GROUPS, "default", backwards, INSTALL)
        await cluster.clock.advance(2.0)
        await cluster.serve(annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.clock.advance(2.0)
        assert (await cluster.allocated())[1] == "GroupNotReady"
        await cluster.admin.delete(SERVICES, "holds", namespace="shop")
        await cluster.clock.advance(100.0)
        assert await cluster.allocated() == ("False", "NotInAnyPool", "192.0.2.10 is in no ServiceGroup")
    before = await cluster.service()
    async with cluster.allocator():
        await cluster.clock.advance(100.0)
    assert await cluster.service() == before


SLIP = "no ServiceGroup can be chosen for namespace shop: "
NOBODY = "no ServiceGroup serves namespace shop and none is named default"


@pytest.mark.parametrize(
    ("lists", "told"),
    [
        pytest.param({"typed": ("sohp",)}, f"{SLIP}typed serves sohp, not shop", id="a slip is named"),
        pytest.param({"default": ("sho",)}, f"{SLIP}default serves sho, not shop", id="that of default too"),
        pytest.param({"other": ("bank",)}, NOBODY, id="another name is somebody else's"),
        pytest.param({"a": ("shop1",), "b": ("shop2",)}, NOBODY, id="two such names are a series"),
        pytest.param({"long": ("shopp", *(f"n{n}" for n in range(8)))}, NOBODY, id="a long list is not searched"),
    ],
)
def test_a_slip_in_the_namespaces_of_a_group_is_named(lists: dict[str, tuple[str, ...]], told: str) -> None:
    groups = [numbered(name, at, namespaces=names) for at, (name, names) in enumerate(lists.items())]
    assert refused(Desk(*groups)) == told


@pytest.mark.parametrize("groups", [(pool(namespaces=["shpo"]),)], ids=["a slip"])
@pytest.mark.parametrize("there", [False, True], ids=["comes", "goes"])
async def test_what_is_said_of_a_slip_does_not_depend_on_another_namespace(cluster: Cluster, there: bool) -> None:
    if there:
        await cluster.create(NAMESPACES, {"metadata": {"name": "shpo"}})
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(2.0)
        assert await cluster.allocated() == ("False", "NoMatchingGroup", f"{SLIP}default serves shpo, not shop")
        if there:
            await cluster.admin.delete(NAMESPACES, "shpo")
        else:
            await cluster.create(NAMESPACES, {"metadata": {"name": "shpo"}})
        await cluster.clock.advance(100.0)
    before = await cluster.service()
    async with cluster.allocator():
        await cluster.clock.advance(100.0)
    assert await cluster.service() == before


@pytest.mark.parametrize(
    "spec", [{}, {"auto_assign": False}, {"drain": True}], ids=["plain", "to be named", "draining"]
)
@pytest.mark.parametrize("wish", ["service-group", "addresses"])
def test_nobody_outside_gets_through_a_fence_by_naming_the_group_or_an_address(spec: dict[str, Any], wish: str) -> None:
    desk = Desk(numbered("fence", 1, **SHOP, enforce_namespaces=True, **spec), numbered("default", 3))
    asked = {f"purelb.io/{wish}": "fence" if wish == "service-group" else "198.51.1.1"}
    refusal = desk.ask(service(namespace="bank", annotations=asked))
    assert refusal is not None
    assert refusal.reason == "NamespaceDenied"


@pytest.mark.parametrize("policy", ["PreferDualStack", "RequireDualStack"])
def test_who_wants_both_families_gets_them_from_the_first_group_that_has_both(policy: str) -> None:
    both = group("b", v4("198.51.2.1/32", "198.51.2.0/24"), v6("2001:db8::1"), auto_assign=True, priority=2)
    dual: dict[str, Any] = {"families": ("IPv4", "IPv6"), "policy": policy}
    desk = Desk(numbered("a", 1, auto_assign=True, priority=1), both)
    assert desk.get(service("first", **dual)) == ("198.51.2.1", "2001:db8::1")
    second = service("second", **dual)
    expected = ("198.51.1.1",) if policy == "PreferDualStack" else ()
    assert desk.get(second) == expected, "then one family of the first that has any, or nothing"
    assert desk.get(service("third")) == (() if expected else ("198.51.1.1",))


def test_who_wants_a_single_family_gets_the_first_of_two() -> None:
    desk = Desk(group("default", v4("192.0.2.10"), v6("2001:db8::10")))
    assert desk.get(service(families=("IPv6", "IPv4"), policy="SingleStack")) == ("2001:db8::10",)


def test_what_a_service_gives_up_does_not_count_against_what_it_asks_for() -> None:
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.19"), quota_per_namespace=1))
    assert desk.get(service()) == ("192.0.2.10",)
    assert desk.get(service(annotations={"purelb.io/addresses": "192.0.2.15"})) == ("192.0.2.15",)
    key = {"purelb.io/allow-shared-ip": "k"}
    assert desk.get(service(annotations={**key, "purelb.io/addresses": "192.0.2.15"})) == ("192.0.2.15",)
    beside = service("beside", annotations=key, ports=(("TCP", 81),))
    assert desk.get(beside) == ("192.0.2.15",)
    refusal = desk.ask(service("beside", annotations={"purelb.io/addresses": "192.0.2.16"}, ports=(("TCP", 81),)))
    assert refusal is not None
    assert refusal.text.endswith("; no other address: default: namespace shop holds 1 of 1 IPv4 addresses"), (
        "the other one stays on the address they share"
    )


def test_addresses_stand_in_the_order_of_the_families_and_then_of_the_request() -> None:
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.19"), v6("2001:db8::10-2001:db8::19")))
    asked = {"purelb.io/addresses": "192.0.2.15,2001:db8::12,192.0.2.11,2001:db8::11"}
    wanted = service(families=("IPv6", "IPv4"), annotations=asked)
    assert desk.get(wanted) == ("2001:db8::12", "2001:db8::11", "192.0.2.15", "192.0.2.11")


def test_who_shares_takes_the_first_entry_and_leaves_balancing_to_the_others() -> None:
    """Else where a key stands would depend on how full the entries happen to be when its first Service comes."""
    entries = (v4("192.0.2.10-192.0.2.19"), v4("198.51.100.1-198.51.100.9", "198.51.100.0/24"))
    desk = Desk(group("default", *entries, pools={"balance_pools": True}))
    assert desk.get(service("a")) == ("192.0.2.10",)
    assert desk.get(service("b", annotations={"purelb.io/allow-shared-ip": "k"})) == ("192.0.2.11",)
    assert desk.get(service("c")) == ("198.51.100.1",)


def test_white_space_around_the_name_of_a_namespace_means_nothing() -> None:
    """Stored before admission refused it."""
    assert order(numbered("theirs", 1, namespaces=(" shop ", "")), numbered("default", 2)) == [1]


@pytest.mark.parametrize(
    ("fence", "denied"),
    [
        pytest.param(
            {"enforce_namespaces": True, "namespaces": ("bank",)},
            "default does not serve namespace shop",
            id="of its group",
        ),
        pytest.param({}, "namespace shop may use only own", id="around its namespace"),
    ],
)
@pytest.mark.parametrize("policy", ["PreferDualStack", "RequireDualStack"])
def test_who_holds_an_address_behind_a_fence_keeps_it_and_gets_no_more_there(
    fence: dict[str, Any], denied: str, policy: str
) -> None:
    both = (v4("192.0.2.10-192.0.2.19"), v6("2001:db8::10-2001:db8::19"))
    desk = Desk(group("default", *both))
    assert desk.get(service()) == ("192.0.2.10",)
    own = group("own", v4("192.0.2.30"), v6("2001:db8::30"), namespaces=("shop",), enforce_namespaces=True)
    desk.configure(group("default", *both, **fence), *([] if fence else [own]))
    wants = service(families=("IPv4", "IPv6"), policy=policy)
    refusal = desk.ask(wants)
    assert refusal is not None
    assert (refusal.reason, refusal.text, desk.held(wants)) == ("NamespaceDenied", denied, ("192.0.2.10",))
    planned = desk.plan(wants)
    assert isinstance(planned, Planned)
    assert planned.partial == (policy == "PreferDualStack")
    pinned = service(families=("IPv4", "IPv6"), policy=policy, annotations={"purelb.io/addresses": "192.0.2.10"})
    assert desk.get(pinned) == ("192.0.2.10",), "who asks for the one it has, too"
    desk.configure(group("default", *both))
    assert desk.get(wants) == ("192.0.2.10", "2001:db8::10")


def test_balancing_looks_at_what_is_in_use_and_not_at_what_is_left() -> None:
    """Of two entries the smaller one is not spared: ties go to the first."""
    entries = (v4("192.0.2.10-192.0.2.12"), v4("192.0.2.20-192.0.2.99"))
    desk = Desk(group("default", *entries, pools={"balance_pools": True}))
    given = [desk.get(service(f"s{number}"))[0] for number in range(7)]
    assert [address.rpartition(".")[2] for address in given] == ["10", "20", "11", "21", "12", "22", "23"]
    desk.gone(service("s1"))
    desk.gone(service("s3"))
    assert desk.get(service("next")) == ("192.0.2.20",)


BANK: dict[str, Any] = {"namespaces": ("bank",), "enforce_namespaces": True, "created": "2026-02-01T00:00:00Z"}
REFUSED = [
    pytest.param(group("vault", v4("192.0.2.300"), **BANK), "InvalidSpec", id="that nobody can read"),
    pytest.param(
        group("vault", v4("192.0.2.30", exclude=("192.0.2.30",)), **BANK), "NoAddresses", id="without addresses"
    ),
    pytest.param(group("vault", v4("192.0.2.10"), **BANK), "Overlap", id="that claims another one's addresses"),
]


@pytest.mark.parametrize(("vault", "reason"), REFUSED)
def test_the_fence_of_a_group_that_is_refused_stands(vault: ServiceGroup, reason: str) -> None:
    """A slip of whoever edits it sends nobody of its namespace into a pool that is open to all."""
    desk = Desk(group(), vault)
    assert desk.groups.standings[INSTALL, "vault"].reason == reason
    told: list[tuple[str, str]] = []
    for noted in ({}, {"purelb.io/service-group": "default"}, {"purelb.io/addresses": "192.0.2.11"}):
        refusal = desk.ask(service(namespace="bank", annotations=noted))
        assert refusal is not None
        told.append((refusal.reason, refusal.text))
    only = "namespace bank may use only vault"
    assert told[0][0] == "NoMatchingGroup"
    assert f"vault is refused ({reason})" in told[0][1]
    assert told[1:] == [("NamespaceDenied", only), ("NamespaceDenied", f"192.0.2.11 is in default: {only}")]
    assert desk.get(service()) == ("192.0.2.10",), "nobody else is concerned"
    desk.configure(group())
    assert desk.get(service("it", namespace="bank")) == ("192.0.2.11",), "it is gone, and its fence with it"


def test_a_group_that_is_not_read_or_not_the_one_of_its_name_is_no_fence() -> None:
    elsewhere = group("vault", v4("192.0.2.300"), namespace="other", **BANK)
    desk = Desk(group(), elsewhere)
    assert desk.groups.standings["other", "vault"].reason == "OutOfScope"
    assert desk.get(service(namespace="bank")) == ("192.0.2.10",)
    several = Groups((group(), elsewhere, group("vault", v4("192.0.2.30"))), install_namespace=INSTALL, scope="all")
    assert (several.standings["other", "vault"].reason, dict(several.fenced)) == ("InvalidSpec", {})


async def test_who_waits_behind_the_fence_of_a_refused_group_is_served_when_that_is_repaired(cluster: Cluster) -> None:
    fence: dict[str, Any] = {"namespaces": ["shop"], "enforceNamespaces": True}
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await cluster.create(SERVICE_GROUPS, pool("vault", "192.0.2.10", **fence), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(2.0)
        assert (await cluster.allocated())[1] == "NoMatchingGroup"
        await cluster.patch(SERVICE_GROUPS, "vault", {"spec": pool("vault", "192.0.2.30")["spec"]}, INSTALL)
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.30",)


def test_who_shares_goes_where_its_key_stands_for_an_address_whatever_else_speaks_for_another_group() -> None:
    default, spare = group("default", v4("192.0.2.10"), priority=1), group("spare", v4("192.0.2.20"), auto_assign=True)
    chosen = group("chosen", v4("192.0.2.30"), service_selector=GOLD, priority=1)
    desk, shares = Desk(default, spare), {"purelb.io/allow-shared-ip": "key"}
    assert desk.get(service("first")) == ("192.0.2.10",)
    assert desk.get(service("one", annotations=shares)) == ("192.0.2.20",), "the first group was full"
    desk.gone(service("first"))
    assert desk.get(service("two", annotations=shares, ports=(("TCP", 81),))) == ("192.0.2.20",)
    desk.configure(default, spare, chosen)
    third = service("three", annotations=shares, ports=(("TCP", 82),), labels=LABELS)
    assert desk.get(third) == ("192.0.2.20",)
    assert desk.get(service("alone", labels=LABELS)) == ("192.0.2.30",)


def test_where_no_group_has_both_families_the_first_that_has_one_serves_who_prefers_both() -> None:
    one, two = group("one", v4("192.0.2.10"), priority=1), group("two", v4("192.0.2.20"), priority=2, auto_assign=True)
    first = group("default", v6("2001:db8::1"), priority=3)
    desk = Desk(one, two, first)
    assert desk.get(service(families=("IPv4", "IPv6"))) == ("192.0.2.20",), "one has to be named"
    assert desk.get(service("next", families=("IPv4", "IPv6"))) == ("2001:db8::1",)


@pytest.mark.parametrize("noted", [{"purelb.io/service-group": "far"}, {"purelb.io/addresses": "192.0.2.50"}])
def test_who_is_re_evaluated_behind_a_fence_is_told_of_it_and_keeps_what_it_has(noted: dict[str, str]) -> None:
    desk = Desk(group(), group("far", v4("192.0.2.50")))
    assert desk.get(service(annotations=noted)) == ("192.0.2.50",)
    desk.configure(group(), group("far", v4("192.0.2.50"), namespaces=("bank",), enforce_namespaces=True))
    assert desk.ask(service(annotations=noted)) is None, "nobody asked"
    refusal = desk.ask(service(annotations={**noted, "purelb.io/re-evaluate": "true"}))
    assert refusal is not None
    assert (refusal.reason, desk.held(service())) == ("NamespaceDenied", ("192.0.2.50",))


def test_who_is_re_evaluated_gets_its_other_family_from_the_group_of_what_it_asks_for() -> None:
    far = group("far", v4("192.0.2.50"), v6("2001:db8::50-2001:db8::51"))
    desk, both = Desk(group("default", v6("2001:db8::10")), far), ("IPv4", "IPv6")
    assert desk.get(service(families=("IPv6",))) == ("2001:db8::10",)
    pinned = {"purelb.io/addresses": "192.0.2.50"}
    assert desk.get(service(families=both, annotations=pinned)) == ("192.0.2.50", "2001:db8::10"), "it stays"
    again = {**pinned, "purelb.io/re-evaluate": "true"}
    assert desk.get(service(families=both, annotations=again)) == ("192.0.2.50", "2001:db8::50")
    assert desk.get(service(families=both, annotations=again)) == ("192.0.2.50", "2001:db8::50"), "it is there"
