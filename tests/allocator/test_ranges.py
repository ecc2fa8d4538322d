# SPDX-License-Identifier: Apache-2.0
"""Free search against a naive set, and the order in which an entry hands its addresses out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from purelb.allocator.ranges import FreeSet, Layout
from tests.allocator.desk import Desk
from tests.allocator.objects import group, service, v4


def test_addresses_are_numbered_in_the_order_they_were_written() -> None:
    layout = Layout([(32, 33), (20, 20), (10, 12)])
    assert [layout.address_at(n) for n in range(layout.size)] == [32, 33, 20, 10, 11, 12]
    assert list(layout.intervals()) == [(10, 12), (20, 20), (32, 33)]


def test_an_address_between_the_items_has_no_number() -> None:
    layout = Layout([(32, 33), (10, 12)])
    assert [layout.number_of(a) for a in (9, 13, 31, 34)] == [None] * 4


def test_a_64_bit_entry_costs_what_a_small_one_costs() -> None:
    layout = Layout([(1 << 64, (1 << 65) - 1)])
    free = FreeSet(layout.size)
    for n in range(3):
        assert free.lowest() == n
        free.take(n)
    assert free.intervals() == ((3, (1 << 64) - 1),)


def test_an_entry_without_addresses_has_nothing_free() -> None:
    assert FreeSet(0).lowest() is None


def test_taking_what_is_taken_and_giving_what_is_free_are_mistakes() -> None:
    free = FreeSet(2)
    with pytest.raises(KeyError):
        free.give(1)
    free.take(1)
    with pytest.raises(KeyError):
        free.take(1)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 6)), max_size=12))
def test_number_and_address_are_each_others_inverse(items: list[tuple[int, int]]) -> None:
    seen: set[int] = set()
    intervals: list[tuple[int, int]] = []
    for low, length in items:
        if seen.isdisjoint(range(low, low + length + 1)):
            seen.update(range(low, low + length + 1))
            intervals.append((low, low + length))
    layout = Layout(intervals)
    written = [a for low, high in intervals for a in range(low, high + 1)]
    assert [layout.address_at(n) for n in range(layout.size)] == written
    assert [layout.number_of(a) for a in written] == list(range(layout.size))
    assert {a for a in range(410) if layout.number_of(a) is not None} == seen


class FreeSearchEqualsANaiveSet(RuleBasedStateMachine):
    @initialize(size=st.integers(1, 60))
    def start(self, size: int) -> None:
        self.size = size
        self.free = FreeSet(size)
        self.model = set(range(size))

    @precondition(lambda self: self.model)
    @rule(pick=st.integers(0))
    def take_any(self, pick: int) -> None:
        number = sorted(self.model)[pick % len(self.model)]
        self.free.take(number)
        self.model.discard(number)

    @precondition(lambda self: self.model)
    @rule()
    def take_the_lowest(self) -> None:
        number = self.free.lowest()
        assert number == min(self.model)
        self.free.take(number)
        self.model.discard(number)

    @precondition(lambda self: len(self.model) < self.size)
    @rule(pick=st.integers(0))
    def give_back(self, pick: int) -> None:
        taken = sorted(set(range(self.size)) - self.model)
        number = taken[pick % len(taken)]
        self.free.give(number)
        self.model.add(number)

    @invariant()
    def the_lowest_free_number_is_that_of_the_model(self) -> None:
        assert self.free.lowest() == min(self.model, default=None)

    @invariant()
    def membership_and_count_are_those_of_the_model(self) -> None:
        assert {n for n in range(-1, self.size + 1) if n in self.free} == self.model
        assert self.free.count == len(self.model)

    @invariant()
    def free_intervals_are_sorted_disjoint_and_not_adjacent(self) -> None:
        flat = [n for low, high in self.free.intervals() for n in range(low, high + 1)]
        assert flat == sorted(self.model)
        bounds = self.free.intervals()
        assert all(low <= high for low, high in bounds)
        assert all(bounds[i][1] + 1 < bounds[i + 1][0] for i in range(len(bounds) - 1))


TestFreeSearchEqualsANaiveSet = FreeSearchEqualsANaiveSet.TestCase


def test_an_edit_that_only_changes_the_order_of_the_items_changes_who_comes_next() -> None:
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.11,192.0.2.20-192.0.2.21")))
    assert desk.get(service()) == ("192.0.2.10",)
    desk.configure(group("default", v4("192.0.2.20-192.0.2.21,192.0.2.10-192.0.2.11")))
    assert desk.get(service("next")) == ("192.0.2.20",)
    assert (desk.held(service()), desk.get(service("third")), desk.get(service("last"))) == (
        ("192.0.2.10",),
        ("192.0.2.21",),
        ("192.0.2.11",),
    )
