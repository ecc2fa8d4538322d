# SPDX-License-Identifier: Apache-2.0
"""Very many who wait: each release costs a handful of decisions, the oldest are served, and whoever waits for something else sleeps on.

Played in the rehearsal of the benchmarks: the real steps and the real queue, without a server.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec.structs import replace

from purelb.allocator.keys import ServiceKey
from purelb.allocator.observed import published
from purelb.api.kinds import ServiceGroup
from purelb.sandbox.bench import objects
from purelb.sandbox.bench.clusters import services
from purelb.sandbox.bench.components import INSTALL_NAMESPACE
from purelb.sandbox.bench.rehearsal import Rehearsal

if TYPE_CHECKING:
    from purelb.kube.model import Service

MANY = 1000
RELEASED = 100
QUOTA = 5
DECISIONS_MAX = 300


def default(text: str, **spec: object) -> ServiceGroup:
    return msgspec.convert(
        objects.pool("default", text, "192.0.2.0/24", install_namespace=INSTALL_NAMESPACE, **spec), ServiceGroup
    )


def another(generation: int, **spec: object) -> ServiceGroup:
    made = objects.pool("another", "198.51.100.0/24", "198.51.100.0/24", install_namespace=INSTALL_NAMESPACE)
    made = {**made, "metadata": {**made["metadata"], "generation": generation}, "spec": {**made["spec"], **spec}}
    return msgspec.convert(made, ServiceGroup)


def put(each: Service, namespace: str, *, created: str) -> Service:
    """The same Service in another namespace, made at another time."""
    return replace(each, metadata=replace(each.metadata, namespace=namespace, creation_timestamp=created))


def test_a_hundred_releases_serve_the_hundred_oldest_of_a_thousand_and_wake_none_of_a_thousand_with_a_quota() -> None:
    made = iter(services(RELEASED + QUOTA + 2 * MANY))
    holders = [put(next(made), f"holders-{n % 50}", created="2026-01-01T00:00:00Z") for n in range(RELEASED)]
    fed = [put(next(made), "greedy", created="2026-01-01T00:00:00Z") for _ in range(QUOTA)]
    hungry = [put(next(made), "greedy", created="2026-01-02T00:00:00Z") for _ in range(MANY)]
    waiting = [
        put(next(made), f"waiting-{n % 250}", created=f"2026-02-01T00:{n // 60:02}:{n % 60:02}Z") for n in range(MANY)
    ]
    rehearsal = Rehearsal(groups=[default("192.0.2.0-192.0.2.104", quotaPerNamespace=QUOTA)], services=[*holders, *fed])
    rehearsal.begin()
    rehearsal.settle()
    for each in (*hungry, *reversed(waiting)):
        rehearsal.put_service(each)
    rehearsal.settle()
    rehearsal.steps.clear()
    for each in holders:
        rehearsal.delete_service(f"{each.metadata.namespace}/{each.metadata.name}")
        rehearsal.settle()
    asked = [key for key, _ in rehearsal.steps if isinstance(key, ServiceKey) and "holders" not in key.namespace]
    assert not [key for key in asked if key.namespace == "greedy"], "no place of its quota was given back"
    assert len(asked) <= DECISIONS_MAX
    served = {
        each.metadata.name for each in rehearsal.services() if published(each) and "waiting" in each.metadata.namespace
    }
    assert served == {each.metadata.name for each in waiting[:RELEASED]}


@pytest.mark.parametrize(
    ("edit", "asked"),
    [
        ({"priority": 5}, 200),
        ({"drain": False, "autoAssign": False}, 200),
        ({"namespaces": ["elsewhere"]}, 200),
        ({"reuseDelay": "1m"}, 0),
        ({"local": {"v4pool": {"pool": "198.51.100.0/25", "subnet": "198.51.100.0/24"}}}, 0),
    ],
    ids=["its priority", "whether it may be chosen", "its namespaces", "its reuseDelay", "its pool"],
)
def test_an_edit_of_another_group_asks_everybody_who_waits_only_if_it_may_serve_them_now(
    edit: dict[str, object], asked: int
) -> None:
    """ADR 15: each is asked once, and what cannot help is not tried."""
    other: dict[str, object] = {"namespaces": ["nobody"], "drain": True}
    rehearsal = Rehearsal(groups=[default("192.0.2.0-192.0.2.9"), another(1, **other)], services=services(210))
    rehearsal.begin()
    rehearsal.settle()
    assert len(rehearsal.state.waiting) == 200
    rehearsal.steps.clear()
    rehearsal.put_group(another(2, **(other | edit)))
    rehearsal.settle()
    decisions = [key for key, _ in rehearsal.steps if isinstance(key, ServiceKey)]
    assert (len(decisions), len(set(decisions))) == (asked, asked)


@pytest.mark.parametrize("seed", range(5))
def test_in_whatever_order_they_come_as_many_are_served_as_there_are_addresses(seed: int) -> None:
    made = list(services(40))
    random.Random(seed).shuffle(made)
    rehearsal = Rehearsal(groups=[default("192.0.2.0-192.0.2.24")])
    rehearsal.begin()
    for each in made:
        rehearsal.put_service(each)
    rehearsal.settle()
    given = [address for each in rehearsal.services() for address in published(each)]
    assert len(given) == len(set(given)) == 25
    waits = [each for each in rehearsal.services() if not published(each)]
    assert len(waits) == len(rehearsal.state.waiting) == 15


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        ({"local": {"v4pool": {"pool": "192.0.2.0-192.0.2.99", "subnet": "192.0.2.0/24"}}}, 0),
        ({"drain": True}, 0),
        ({"quotaPerNamespace": 1}, 0),
        ({"namespaces": ["elsewhere"], "enforceNamespaces": True}, 0),
        ({"local": {"v4pool": {"pool": "192.0.2.0-192.0.2.39", "subnet": "192.0.2.0/24"}}}, 10),
        ({"remote": {"v4pool": {"pool": "192.0.2.0-192.0.2.49", "subnet": "192.0.2.0/24"}}, "local": None}, 50),
    ],
    ids=["wider", "drained", "a quota", "a fence", "narrower by ten", "remote"],
)
def test_an_edit_asks_only_those_holders_of_whom_something_visible_changes(spec: dict[str, object], asked: int) -> None:
    before = objects.pool(
        "default", "192.0.2.0-192.0.2.49", "192.0.2.0/24", install_namespace=INSTALL_NAMESPACE, priority=5
    )
    after = {**before, "metadata": {**before["metadata"], "generation": 2}, "spec": {**before["spec"], **spec}}
    rehearsal = Rehearsal(groups=[msgspec.convert(before, ServiceGroup)], services=services(50))
    rehearsal.begin()
    rehearsal.settle()
    held = [published(each) for each in rehearsal.services()]
    assert all(held)
    rehearsal.steps.clear()
    rehearsal.put_group(msgspec.convert(after, ServiceGroup))
    rehearsal.settle()
    assert len({key for key, _ in rehearsal.steps if isinstance(key, ServiceKey)}) == asked
    assert [published(each) for each in rehearsal.services()] == held


def test_an_edit_that_shows_in_the_addresses_of_one_group_asks_no_holder_of_another() -> None:
    rehearsal = Rehearsal(
        groups=[default("192.0.2.0-192.0.2.49"), another(1, namespaces=["nobody"])], services=services(50)
    )
    rehearsal.begin()
    rehearsal.settle()
    assert all(published(each) for each in rehearsal.services())
    rehearsal.steps.clear()
    pools = {"v4pool": {"pool": "198.51.100.0/24", "subnet": "198.51.100.0/24"}}
    rehearsal.put_group(another(2, namespaces=["nobody"], local=None, remote=pools))
    rehearsal.settle()
    assert not [key for key, _ in rehearsal.steps if isinstance(key, ServiceKey)]
