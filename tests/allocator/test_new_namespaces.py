# SPDX-License-Identifier: Apache-2.0
"""A namespace and a Service in it are made by one command, and the allocator hears of the Service first: two watches keep no order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from purelb.allocator.observed import condition, published
from purelb.allocator.ranges import ip_text
from purelb.api import reasons
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.model import LabelSelector, Namespace, ObjectMeta
from purelb.kube.resources import NAMESPACES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL, group, service, v4
from tests.allocator.theatre import Theatre

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLD = LabelSelector(match_labels={"tier": "gold"})
CLASS: dict[str, Any] = {"load_balancer_class": "purelb.io/purelb"}


def world(**spec: Any) -> Theatre:
    made = Theatre(0)
    made.put("groups", group("default", v4("192.0.2.10-192.0.2.19")))
    made.put("groups", group("gold", v4("198.51.100.1-198.51.100.9", "198.51.100.0/24"), **spec))
    made.begin()
    return made


def make(played: Theatre, labels: Mapping[str, str], **asked: Any) -> None:
    """Both are made, and only the Service is heard of."""
    played.put("namespaces", Namespace(metadata=ObjectMeta(name="shop", uid="n", labels=labels)))
    played.put("services", service("web", **CLASS, **asked))
    played.deliver("services")
    settle(played)


def settle(played: Theatre) -> None:
    """Whatever is to be done at this moment is done, and each write is answered."""
    while played.ready or played.writes:
        for sent in list(played.writes):
            played.answer(sent, "ok")
        if played.ready:
            played.step(next(iter(played.ready)))


def says(played: Theatre) -> tuple[tuple[str, ...], str, str]:
    """The addresses, and the reason and the message of `Allocated`."""
    found = played.there["services"]["shop/web"]
    told = condition(found, reasons.ALLOCATED)
    ips = tuple(map(ip_text, published(found)))
    return (ips, "", "") if told is None else (ips, told.reason, told.message)


@pytest.mark.parametrize(
    ("labels", "address"), [({"tier": "gold"}, "198.51.100.1"), ({}, "192.0.2.10")], ids=["selected", "not selected"]
)
def test_it_is_given_the_address_of_the_group_that_selects_its_namespace_and_is_told_once(
    labels: dict[str, str], address: str
) -> None:
    played = world(namespace_selector=GOLD)
    make(played, labels)
    assert says(played) == ((), "", ""), "for a moment it waits without a word"
    played.pass_time(0.5)
    played.deliver("namespaces")
    settle(played)
    assert says(played)[:2] == ((address,), "AddressAssigned")
    assert [reason for name, reason in played.told if name == "web"] == ["AddressAssigned"]


def test_who_waits_for_longer_is_told_why_and_served_as_soon_as_it_can_be() -> None:
    played = world(namespace_selector=GOLD)
    make(played, {"tier": "gold"})
    played.pass_time(1.9)
    settle(played)
    assert says(played)[1] == ""
    played.pass_time(0.2)
    settle(played)
    text = "no ServiceGroup can be chosen for namespace shop before its labels are known"
    assert says(played) == ((), "NoMatchingGroup", text)
    played.deliver("namespaces")
    settle(played)
    assert says(played)[0] == ("198.51.100.1",)


@pytest.mark.parametrize(
    ("spec", "asked", "address"),
    [
        pytest.param({"namespaces": ("bank",)}, {}, "192.0.2.10", id="no group selects namespaces"),
        pytest.param(
            {"namespace_selector": GOLD},
            {"annotations": {"purelb.io/service-group": "default"}},
            "192.0.2.10",
            id="it names its group",
        ),
        pytest.param(
            {"namespace_selector": GOLD},
            {"annotations": {"purelb.io/addresses": "198.51.100.7"}},
            "198.51.100.7",
            id="it names its address",
        ),
    ],
)
def test_who_does_not_depend_on_labels_waits_for_none(
    spec: dict[str, Any], asked: dict[str, Any], address: str
) -> None:
    played = world(**spec)
    make(played, {}, **asked)
    assert says(played)[:2] == ((address,), "AddressAssigned")


def fenced() -> Theatre:
    """`vault` keeps the namespace to itself, and to the groups that serve it besides."""
    made = Theatre(0)
    made.put("groups", group("vault", v4("192.0.2.10-192.0.2.19"), namespaces=("shop",), enforce_namespaces=True))
    made.put("groups", group("gold", v4("198.51.100.1-198.51.100.9", "198.51.100.0/24"), namespace_selector=GOLD))
    made.begin()
    return made


NAMED = {"purelb.io/service-group": "gold"}
PINNED = {"purelb.io/addresses": "198.51.100.7"}


@pytest.mark.parametrize(
    ("asked", "address"), [(NAMED, "198.51.100.1"), (PINNED, "198.51.100.7")], ids=["the group", "an address"]
)
def test_who_names_what_only_its_labels_allow_is_not_refused_before_they_are_known(
    asked: dict[str, str], address: str
) -> None:
    played = fenced()
    make(played, {"tier": "gold"}, annotations=asked)
    assert says(played) == ((), "", "")
    played.pass_time(0.5)
    played.deliver("namespaces")
    settle(played)
    assert says(played)[:2] == ((address,), "AddressAssigned")
    assert [reason for name, reason in played.told if name == "web"] == ["AddressAssigned"]


@pytest.mark.parametrize("labels", [{"tier": "gold"}, {}], ids=["selected", "not selected"])
def test_who_names_it_and_waits_for_longer_is_told_that_the_labels_are_not_known(labels: dict[str, str]) -> None:
    played = fenced()
    make(played, labels, annotations=NAMED)
    played.pass_time(2.1)
    settle(played)
    text = "gold serves namespaces by their labels, and those of shop are not known yet"
    assert says(played) == ((), "NamespaceDenied", text)
    played.deliver("namespaces")
    settle(played)
    if labels:
        assert says(played)[0] == ("198.51.100.1",)
    else:
        played.pass_time(61.0)
        settle(played)
        assert says(played) == ((), "NamespaceDenied", "namespace shop may use only vault")


def test_who_has_an_address_and_names_it_is_told_at_once_and_keeps_what_it_has_meanwhile() -> None:
    played = fenced()
    make(played, {"tier": "gold"}, annotations={"purelb.io/service-group": "vault"})
    has = played.there["services"]["shop/web"]
    noted = {**has.metadata.annotations, **NAMED}
    played.put("services", replace(has, metadata=replace(has.metadata, annotations=noted)))
    played.deliver("services")
    settle(played)
    text = "gold serves namespaces by their labels, and those of shop are not known yet; keeps 192.0.2.10"
    assert says(played) == (("192.0.2.10",), "NamespaceDenied", text)
    played.deliver("namespaces")
    settle(played)
    assert says(played)[:2] == (("198.51.100.1",), "AddressAssigned")


@pytest.mark.parametrize("labels", [{"tier": "gold"}, {}], ids=["selected", "not selected"])
def test_a_re_evaluation_is_not_over_before_the_labels_are_known(labels: dict[str, str]) -> None:
    played = fenced()
    make(played, labels, annotations=NAMED | {"purelb.io/re-evaluate": "true"})

    def noted() -> Mapping[str, str]:
        return played.there["services"]["shop/web"].metadata.annotations or {}

    assert (says(played)[1], noted().get("purelb.io/re-evaluate")) == ("", "true")
    played.pass_time(0.5)
    played.deliver("namespaces")
    settle(played)
    assert says(played)[1] == ("AddressAssigned" if labels else "NamespaceDenied")
    assert "purelb.io/re-evaluate" not in noted()


async def test_a_namespace_that_loses_its_label_moves_nobody_and_serves_nobody_new() -> None:
    cluster = Cluster()
    async with cluster.admin:
        await cluster.prepare()
        await cluster.create(SERVICE_GROUPS, pool("gold", namespaceSelector={"matchLabels": {"tier": "gold"}}), INSTALL)
        await cluster.patch(NAMESPACES, "shop", {"metadata": {"labels": {"tier": "gold"}}})
        async with cluster.allocator():
            await cluster.serve()
            await cluster.clock.advance(2.0)
            before = await cluster.service()
            await cluster.patch(NAMESPACES, "shop", {"metadata": {"labels": {"tier": None}}})
            await cluster.clock.advance(2.0)
            await cluster.serve("late")
            await cluster.clock.advance(2.0)
            assert await cluster.service() == before
            told = await cluster.condition(name="late")
            assert told is not None
            assert told.reason == "NoMatchingGroup"
            status = (await cluster.admin.get(SERVICE_GROUPS, "gold", namespace=INSTALL)).status
            assert status is not None
            assert (status.bound_namespaces or (), status.allocated_ipv4) == ((), 1)
        async with cluster.allocator():
            await cluster.clock.advance(2.0)
            assert await cluster.service() == before
