# SPDX-License-Identifier: Apache-2.0
"""Answers that get lost in a crowd: everybody is told of its address once, and finding out costs each of them the same however many they are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from purelb.allocator.observed import published
from purelb.kube.owner import After
from tests.allocator.objects import group, service, v4
from tests.allocator.theatre import Outcome, Theatre, finish

if TYPE_CHECKING:
    from types import FrameType

OUTCOMES: tuple[Outcome, ...] = ("ok", "conflict", "lost", "lost and refused", "unsent", "refused")


def crowd(seed: int, many: int) -> Theatre:
    """So many Services of ours, all seen, and a pool that has an address for each."""
    world = Theatre(seed)
    world.put("groups", group("default", v4("192.0.0.0/18", "192.0.0.0/18"), remote=True))
    for number in range(many):
        made = service(f"s{number}", load_balancer_class="purelb.io/purelb")
        world.put("services", replace(made, status=None))
    world.begin()
    return world


@pytest.mark.parametrize("shard", range(4))
def test_whatever_becomes_of_answers_each_address_is_told_once(shard: int) -> None:
    for seed in range(shard, 60, 4):
        world = crowd(seed, 5)
        rng = world.rng
        for _ in range(150):
            match rng.choices(("step", "deliver", "answer", "read", "time", "label"), (10, 8, 8, 2, 2, 1))[0]:
                case "step" if world.ready:
                    world.step(rng.choice([*world.ready]))
                case "deliver":
                    world.deliver("services", rng.choice((1, 3, 100)))
                case "answer" if world.writes:
                    world.answer(rng.choice(world.writes), rng.choice(OUTCOMES))
                case "read" if world.reads:
                    world.read_again(world.reads[0])
                case "time":
                    world.pass_time(rng.choice((1 / 64, 0.25, 1.0, 30.0, 100.0)))
                case "label":
                    labels = {"turn": str(world.rv)}
                    where = f"shop/s{rng.randrange(5)}"
                    world.edit(where, lambda found: replace(found, metadata=replace(found.metadata, labels=labels)))  # noqa: B023
                case _:
                    pass
        world.heal(seconds=100.0)
        assert all(published(found) for found in world.there["services"].values())
        assigned = sorted(name for name, reason in world.told if reason == "AddressAssigned")
        assert assigned == [f"s{number}" for number in range(5)], f"seed {seed}"


def calls(world: Theatre) -> int:
    """How many functions of the allocator are called in the turns of all who are asked. Nobody checks the ledger meanwhile."""
    count = 0

    def called(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and "/purelb/allocator/" in frame.f_code.co_filename

    while world.ready:
        key = next(iter(world.ready))
        del world.ready[key]
        sys.setprofile(called)
        try:
            outcome = finish(world.reconciler.step(key, world.time))
        finally:
            sys.setprofile(None)
        if isinstance(outcome, After):
            world.later(key, outcome.delay)
    return count


def calls_to_find_out(many: int) -> int:
    """From the loss of so many answers until everybody is told."""
    world = crowd(1, many)
    calls(world)
    for sent in list(world.writes):
        world.answer(sent, "lost")
    count = calls(world)
    world.pass_time(0.25)
    count += calls(world)
    assert len(world.reads) == many
    for each in list(world.reads):
        world.read_again(each)
    count += calls(world)
    assert [reason for _, reason in world.told].count("AddressAssigned") == many
    return count


def test_finding_out_about_many_writes_at_once_costs_each_of_them_the_same() -> None:
    few, many = calls_to_find_out(50), calls_to_find_out(500)
    assert many <= 10 * few + 500
