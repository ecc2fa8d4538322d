# SPDX-License-Identifier: Apache-2.0
"""An edit that asks for what a Service has already moves none of its addresses, however many it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from purelb.allocator.occasions import of_change
from purelb.allocator.publish import Desired, Said
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.model import Condition
from tests.allocator.desk import Desk
from tests.allocator.objects import INSTALL, group, ip, service, v4, v6

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

RACKS = (v4("192.0.2.10-192.0.2.19"), v4("198.51.100.10-198.51.100.19", "198.51.100.0/24"))
BOTH = (v4("192.0.2.10-192.0.2.19"), v6("2001:db8::10-2001:db8::19"))


@pytest.mark.parametrize("noted", [{}, {"purelb.io/multi-pool": "true"}], ids=["by the group", "by its annotation"])
@pytest.mark.parametrize(
    "edit",
    [{"purelb.io/service-group": "default"}, {"purelb.io/multi-pool": "true", "purelb.io/service-group": "default"}],
    ids=["its group", "its group, and several"],
)
def test_who_has_one_address_per_entry_keeps_them(noted: dict[str, str], edit: dict[str, str]) -> None:
    desk = Desk(group("default", *RACKS, remote=True, pools={"multi_pool": not noted}))
    first = service("first", annotations=noted)
    assert desk.get(first) == ("192.0.2.10", "198.51.100.10")
    assert desk.get(service(annotations=noted)) == ("192.0.2.11", "198.51.100.11")
    desk.gone(first)
    assert desk.get(service(annotations=noted | edit)) == ("192.0.2.11", "198.51.100.11")
    assert desk.get(service(annotations=noted)) == ("192.0.2.11", "198.51.100.11")


@pytest.mark.parametrize(
    "edit",
    [
        {"purelb.io/service-group": "default"},
        {"purelb.io/addresses": "192.0.2.11"},
        {"purelb.io/addresses": "2001:db8::11"},
        {"purelb.io/addresses": "192.0.2.11,2001:db8::11"},
        {"purelb.io/multi-pool": "false"},
    ],
    ids=["its group", "its first", "its second", "both", "not several"],
)
def test_who_has_two_families_keeps_them(edit: dict[str, str]) -> None:
    dual = ("IPv4", "IPv6")
    desk = Desk(group("default", *BOTH))
    first = service("first", families=dual)
    desk.get(first)
    assert desk.get(service(families=dual)) == ("192.0.2.11", "2001:db8::11")
    desk.gone(first)
    assert desk.get(service(families=dual, annotations=edit)) == ("192.0.2.11", "2001:db8::11")
    assert desk.get(service(families=dual)) == ("192.0.2.11", "2001:db8::11")


def test_an_address_that_comes_with_a_refusal_is_told_by_its_name_and_the_refusal_by_an_event_of_its_own() -> None:
    refused = Said(False, "InUse", "192.0.2.10 is held by shop/b; keeps 192.0.2.10, 2001:db8::1")
    desired = Desired((ip("192.0.2.10"), ip("2001:db8::1")), (), refused, None)
    told = [(each.reason, each.note) for each in of_change(service(), desired, ours=(ip("192.0.2.10"),))]
    assert told == [("AddressAssigned", "192.0.2.10, 2001:db8::1"), ("InUse", refused.message)]


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ("old,default", "2001:db8::1 from default"),
        ("default", "2001:db8::1 from default"),
        ("old,default,more", "2001:db8::1"),
    ],
    ids=["of two groups", "of one", "nobody can tell which"],
)
def test_what_comes_beside_one_that_is_kept_is_told_with_its_own_group(sources: str, told: str) -> None:
    kept = Said(True, "AddressKept", "192.0.2.10, 2001:db8::1; no ServiceGroup contains 192.0.2.10 any more")
    noted = (("purelb.io/allocated-from", sources),)
    desired = Desired((ip("192.0.2.10"), ip("2001:db8::1")), noted, kept, None)
    events = of_change(service(ingress=("192.0.2.10",)), desired, ours=(ip("192.0.2.10"),))
    assert next((each.reason, each.note) for each in events) == ("AddressAssigned", told)


def test_some_of_what_was_wanted_is_told_by_one_event_that_says_what_came_and_what_is_missing() -> None:
    partly = Said(True, "AddressAssignedPartially", "192.0.2.10 from default; missing IPv6: FamilyUnavailable: none")
    desired = Desired((ip("192.0.2.10"),), (), partly, None)
    told = [(each.type, each.reason) for each in of_change(service(), desired, ours=()) if not each.silent]
    assert told == [("Warning", "AddressAssignedPartially")]


def test_one_more_of_several_addresses_is_told_although_some_are_still_missing() -> None:
    before = Condition(type="purelb.io/Allocated", status="True", reason="AddressAssignedPartially", message="one")
    partly = Said(True, "AddressAssignedPartially", "192.0.2.10, 198.51.100.10 from default; missing 203.0.113.0/24")
    has_one = service(ingress=("192.0.2.10",))
    assert has_one.status is not None
    has_one = replace(has_one, status=replace(has_one.status, conditions=(before,)))
    desired = Desired((ip("192.0.2.10"), ip("198.51.100.10")), (), partly, None)
    told = [(each.reason, each.note, each.silent) for each in of_change(has_one, desired, ours=(ip("192.0.2.10"),))]
    assert told == [("AddressAssigned", partly.message, False)]


def racks(*pools: tuple[str, str]) -> dict[str, Any]:
    entries = [{"pool": text, "subnet": subnet} for text, subnet in pools]
    return {"metadata": {"name": "default"}, "spec": {"remote": {"multiPool": True, "v4pools": entries}}}


@pytest.mark.parametrize("groups", [(racks(("192.0.2.10-192.0.2.19", "192.0.2.0/24")),)], ids=["one rack"])
async def test_addresses_that_come_beside_one_that_is_kept_are_told_by_an_event_of_their_own(cluster: Cluster) -> None:
    edited = racks(("192.0.2.30-192.0.2.39", "192.0.2.0/24"), ("198.51.100.10-198.51.100.19", "198.51.100.0/24"))
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(2.0)
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": edited["spec"]}, INSTALL)
        await cluster.clock.advance(20.0)
        assert await cluster.addresses() == ("192.0.2.30", "198.51.100.10", "192.0.2.10")
        reasons = {"AddressAssigned", "AddressKept", "AddressReleased"}
        told = [(reason, note) for _, reason, note in await cluster.events() if reason in reasons]
        assert sorted(told) == [
            ("AddressAssigned", "192.0.2.10 from default"),
            ("AddressAssigned", "192.0.2.30, 198.51.100.10 from default"),
            ("AddressKept", (await cluster.allocated())[2]),
        ]
