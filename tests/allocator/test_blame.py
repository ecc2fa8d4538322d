# SPDX-License-Identifier: Apache-2.0
"""Two Services share an address, one of them is edited so that they may not: a restart blames the one that was edited, not the younger."""

from __future__ import annotations

from functools import partial
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from purelb.allocator.keys import ServiceKey
from purelb.allocator.observed import condition, published
from purelb.allocator.ranges import ip_text
from purelb.kube.model import ServicePort
from tests.allocator.objects import group, service, v4
from tests.allocator.theatre import Theatre

if TYPE_CHECKING:
    from purelb.kube.model import Service

KEY = "purelb.io/allow-shared-ip"
OTHER_KEY = "192.0.2.10 is held by shop/young with another sharing key"
CLASS = "purelb.io/purelb"


def on_stage(
    pool: str = "192.0.2.10/32", *, names: tuple[str, ...] = ("old", "young"), noted: dict[str, str] | None = None
) -> Theatre:
    """These share 192.0.2.10, the oldest first, and all is at rest; `noted` are further annotations of all."""
    world = Theatre(0)
    world.put("groups", group("default", v4(pool)))
    for number, name in enumerate(names):
        ports = (("TCP", 80 + number),)
        created = f"2026-01-0{number + 1}T00:00:00Z"
        made = service(
            name,
            created=created,
            annotations={KEY: "k", **(noted or {})},
            ports=ports,
            load_balancer_class=CLASS,
            cluster_ip=f"10.96.0.{number + 1}",
        )
        world.put("services", replace(made, status=None))
    world.begin()
    world.heal(seconds=5.0)
    assert {tuple(addresses(world, name)) for name in names} == {("192.0.2.10",)}
    return world


def restart(world: Theatre) -> None:
    world.begin()
    world.heal(seconds=100.0)


def note(world: Theatre, name: str, key: str | None) -> None:
    """The user of a Service gives it another sharing key, or none."""

    def change(found: Service) -> Service:
        noted = {word: text for word, text in (found.metadata.annotations or {}).items() if word != KEY}
        noted |= {KEY: key} if key is not None else {}
        return replace(found, metadata=replace(found.metadata, annotations=noted))

    world.edit(f"shop/{name}", change)


def addresses(world: Theatre, name: str) -> list[str]:
    return [ip_text(address) for address in published(world.there["services"][f"shop/{name}"])]


def said(world: Theatre, name: str) -> tuple[str, str, str]:
    found = condition(world.there["services"][f"shop/{name}"], "purelb.io/Allocated")
    assert found is not None
    return found.status, found.reason, found.message


@pytest.mark.parametrize("guilty", ["old", "young"])
@pytest.mark.parametrize("key", ["k2", None])
def test_who_changed_its_key_is_told_the_same_after_a_restart_and_the_other_one_nothing(
    guilty: str, key: str | None
) -> None:
    world = on_stage()
    note(world, guilty, key)
    world.heal(seconds=100.0)
    before = {name: said(world, name) for name in ("old", "young")}
    assert [name for name, told in before.items() if told[0] == "False"] == [guilty]
    world.told.clear()
    version = world.rv
    restart(world)
    assert {name: said(world, name) for name in ("old", "young")} == before
    assert world.told == [], "a restart is no occasion"
    assert world.rv == version, "there is nothing to write"


EDITS = list(product("abc", ("k2", "k3", None), "abc", ("k", "k2", None)))


@pytest.mark.parametrize("edits", EDITS, ids=str)
def test_of_three_whoever_has_to_go_is_told_the_same_after_a_restart_and_the_others_nothing(
    edits: tuple[str, str | None, str, str | None],
) -> None:
    world = on_stage(names=("a", "b", "c"))
    for who, key in (edits[:2], edits[2:]):
        note(world, who, key)
        world.heal(seconds=100.0)
    before = {name: said(world, name)[:2] for name in "abc"}
    world.told.clear()
    restart(world)
    assert {name: said(world, name)[:2] for name in "abc"} == before
    assert world.told == []


def test_who_waits_to_leave_a_share_still_gets_an_address_of_its_own_after_a_restart() -> None:
    world = on_stage()
    note(world, "old", "k2")
    world.heal(seconds=5.0)
    restart(world)
    grown = group("default", v4("192.0.2.10-192.0.2.11"))
    world.put("groups", replace(grown, metadata=replace(grown.metadata, generation=2)))
    world.heal(seconds=5.0)
    assert (addresses(world, "old"), addresses(world, "young")) == (["192.0.2.11"], ["192.0.2.10"])


def test_who_waits_to_leave_a_share_goes_where_another_one_takes_its_key() -> None:
    world = on_stage("192.0.2.10-192.0.2.11")
    alone = service("alone", ports=(("TCP", 90),), load_balancer_class=CLASS, cluster_ip="10.96.0.9")
    world.put("services", replace(alone, status=None))
    world.heal(seconds=5.0)
    note(world, "old", "k2")
    world.heal(seconds=5.0)
    assert (addresses(world, "old"), addresses(world, "alone")) == (["192.0.2.10"], ["192.0.2.11"])
    note(world, "alone", "k2")
    world.heal(seconds=5.0)
    assert (addresses(world, "old"), said(world, "old")[0]) == (["192.0.2.11"], "True")


def test_who_pinned_the_address_it_should_leave_stays_to_blame_after_a_restart() -> None:
    world = on_stage(noted={"purelb.io/addresses": "192.0.2.10"})
    note(world, "old", "k2")
    world.heal(seconds=5.0)
    before = said(world, "old")
    assert before == ("False", "SharingKeyMismatch", f"{OTHER_KEY}; keeps 192.0.2.10")
    restart(world)
    assert said(world, "old") == before
    assert said(world, "young")[0] == "True"


def test_where_nothing_says_who_changed_the_younger_is_told() -> None:
    world = on_stage()
    note(world, "old", "k2")
    restart(world)  # the edit was made while nobody led
    assert said(world, "old")[0] == "True"
    assert said(world, "young")[1] == "AddressConflict"
    assert addresses(world, "old") == addresses(world, "young") == ["192.0.2.10"]


def test_a_refusal_that_is_about_another_address_blames_nobody() -> None:
    world = on_stage("192.0.2.10-192.0.2.11")
    world.put("services", replace(service("third", load_balancer_class=CLASS, cluster_ip="10.96.0.9"), status=None))
    world.heal(seconds=5.0)

    def pin(found: Service) -> Service:
        noted = {**(found.metadata.annotations or {}), "purelb.io/addresses": "192.0.2.11"}
        return replace(found, metadata=replace(found.metadata, annotations=noted))

    world.edit("shop/old", pin)
    world.heal(seconds=5.0)
    assert said(world, "old")[1:] == (
        "InUse",
        "192.0.2.11 is held by shop/third without a sharing key; keeps 192.0.2.10",
    )
    note(world, "young", None)
    restart(world)
    assert said(world, "old")[1] == "InUse"
    assert said(world, "young")[1] == "AddressConflict", "by age, for nobody was told to go"


def test_a_word_that_is_not_true_any_more_blames_nobody() -> None:
    world = on_stage()
    note(world, "old", "k2")
    world.heal(seconds=5.0)
    note(world, "old", "k")  # taken back, and the other one has left the share, while nobody led
    note(world, "young", None)
    restart(world)
    assert said(world, "old")[0] == "True"
    assert said(world, "young")[1] == "AddressConflict"


def test_who_took_a_port_while_nobody_led_is_judged_by_age_whatever_was_said() -> None:
    world = on_stage()
    note(world, "old", "k2")
    world.heal(seconds=5.0)

    def take(found: Service) -> Service:
        assert found.spec is not None
        return replace(found, spec=replace(found.spec, ports=(ServicePort(protocol="TCP", port=80),)))

    world.edit("shop/young", take)
    restart(world)
    assert (addresses(world, "old"), addresses(world, "young")) == (["192.0.2.10"], [])


def test_who_comes_back_to_the_key_of_those_who_stay_is_told_so_at_once_and_not_by_a_restart() -> None:
    world = on_stage(names=("a", "b", "c"))
    for who, key in (("c", "k2"), ("b", "k2"), ("c", "k")):
        note(world, who, key)
        world.heal(seconds=70.0)
    before = {name: said(world, name)[:2] for name in "abc"}
    assert before == {
        "a": ("True", "AddressAssigned"),
        "b": ("False", "SharingKeyMismatch"),
        "c": ("True", "AddressAssigned"),
    }
    restart(world)
    assert {name: said(world, name)[:2] for name in "abc"} == before


def test_who_takes_a_port_of_one_that_has_to_go_loses_the_address_all_the_same() -> None:
    world = on_stage(names=("a", "b", "c"))
    note(world, "b", "k2")
    world.heal(seconds=5.0)

    def take(found: Service) -> Service:
        assert found.spec is not None
        return replace(found, spec=replace(found.spec, ports=(ServicePort(protocol="TCP", port=81),)))

    world.edit("shop/c", take)
    world.heal(seconds=5.0)
    assert (addresses(world, "b"), addresses(world, "c")) == (["192.0.2.10"], [])


@pytest.mark.parametrize("first", ["b", "c"])
def test_when_the_one_that_stayed_is_gone_one_of_those_that_had_to_go_stays(first: str) -> None:
    world = on_stage(names=("a", "b", "c"))
    for who, key in (("b", "k2"), ("c", "k3")):
        note(world, who, key)
        world.heal(seconds=70.0)
    world.edit(f"shop/{first}", lambda found: replace(found, metadata=replace(found.metadata, labels={"v": "2"})))
    world.delete("shop/a")
    world.heal(seconds=70.0)
    before = {name: said(world, name) for name in "bc"}
    assert sorted(told[0] for told in before.values()) == ["False", "True"]
    world.told.clear()
    restart(world)
    assert {name: said(world, name) for name in "bc"} == before
    assert world.told == []


def test_of_those_nobody_was_told_about_the_oldest_stays_whoever_is_asked_first() -> None:
    world = on_stage(names=("a", "b", "c"))
    for who, key in (("b", "k2"), ("c", "k3")):
        note(world, who, key)
    restart(world)  # the edits were made while nobody led
    assert [said(world, name)[1] for name in "abc"] == ["AddressAssigned", "AddressConflict", "AddressConflict"]
    world.delete("shop/a")
    world.deliver("services")
    world.step(ServiceKey("shop", "a"))
    for name in "cb":
        world.step(ServiceKey("shop", name))
    world.heal(seconds=70.0)
    assert [said(world, name)[1] for name in "bc"] == ["AddressAssigned", "AddressConflict"]


def test_who_was_told_of_a_conflict_is_told_of_it_after_a_restart_although_another_one_has_to_go_now() -> None:
    world = on_stage(names=("a", "b", "c"))
    note(world, "b", "k3")
    restart(world)  # the edit was made while nobody led
    note(world, "a", "k2")
    world.heal(seconds=70.0)
    before = {name: said(world, name)[:2] for name in "abc"}
    assert before == {
        "a": ("False", "SharingKeyMismatch"),
        "b": ("False", "AddressConflict"),
        "c": ("True", "AddressAssigned"),
    }
    world.told.clear()
    restart(world)
    assert {name: said(world, name)[:2] for name in "abc"} == before
    assert world.told == []


def test_who_lost_its_address_to_an_older_one_is_told_the_same_by_the_next_term() -> None:
    world = on_stage()
    world.edit("shop/young", partial(respec, {"ports": (ServicePort(protocol="TCP", port=80),)}))
    restart(world)  # the edit was made while nobody led
    assert addresses(world, "young") == []
    before = said(world, "young")
    assert before == ("False", "AddressConflict", "192.0.2.10 was also published for shop/old, which is older")
    world.told.clear()
    version = world.rv
    restart(world)
    assert said(world, "young") == before
    assert (world.told, world.rv) == ([], version)
    world.delete("shop/old")
    world.heal(seconds=70.0)
    assert (addresses(world, "young"), said(world, "young")[0]) == (["192.0.2.10"], "True")


@pytest.mark.parametrize("shard", range(4))
def test_whatever_sharers_edit_and_whoever_leads_a_restart_has_nothing_to_tell_them(shard: int) -> None:
    for seed in range(shard, 160, 4):
        rng, names = Random(seed), "abcd"
        world = on_stage(names=tuple(names))
        for _ in range(rng.randint(1, 6)):
            where = f"shop/{rng.choice(names)}"
            what = rng.choice(("key", "key", "key", "selector", "policy", "port", "gone", "start", "rest"))
            if what == "key":
                note(world, where.removeprefix("shop/"), rng.choice(("k", "k2", "k3", None)))
            elif what == "gone":
                world.delete(where)
            elif what == "start":
                world.begin()
            elif what == "rest":
                world.heal(seconds=70.0)
            else:
                shapes: dict[str, dict[str, Any]] = {
                    "selector": {"selector": {"app": rng.choice("xy")}},
                    "policy": {"external_traffic_policy": rng.choice(("Local", "Cluster"))},
                    "port": {"ports": (ServicePort(protocol="TCP", port=rng.choice((80, 81, 90))),)},
                }
                world.edit(where, partial(respec, shapes[what]))
        world.heal(seconds=70.0)
        left = [name for name in names if f"shop/{name}" in world.there["services"]]
        before = {name: (addresses(world, name), said(world, name)[:2]) for name in left}
        world.told.clear()
        restart(world)
        assert {name: (addresses(world, name), said(world, name)[:2]) for name in left} == before, seed
        assert world.told == [], seed


def respec(wanted: dict[str, Any], found: Service) -> Service:
    """With other fields of its spec, where a policy Local may stay."""
    noted = {**(found.metadata.annotations or {}), "purelb.io/allow-local": ""}
    assert found.spec is not None
    meta = replace(found.metadata, annotations=noted)
    return replace(found, metadata=meta, spec=replace(found.spec, **wanted))
