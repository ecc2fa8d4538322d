# SPDX-License-Identifier: Apache-2.0
"""A running allocator counts one group a minute again; one whose numbers are wrong ends itself, because the next one rebuilds the truth."""

from __future__ import annotations

import pytest

from purelb.allocator.keys import Deadline
from purelb.kube.owner import Fatal
from tests.allocator.objects import group, ip, v4
from tests.allocator.theatre import Theatre


@pytest.fixture
def stage() -> Theatre:
    made = Theatre(1)
    made.put("groups", group("default", v4("192.0.2.10-192.0.2.11")))
    made.put("groups", group("other", v4("192.0.2.20")))
    made.heal(seconds=1.0)
    return made


def a_minute_passes(stage: Theatre) -> None:
    stage.pass_time(60.0)
    assert Deadline() in stage.ready, "the one timer of the core comes once a minute, whatever else it has to do"
    stage.ready.pop(Deadline())
    stage.step(Deadline())


def test_each_group_has_its_minute_and_nothing_comes_of_it_while_its_numbers_are_right(stage: Theatre) -> None:
    told = []
    for _ in range(4):
        a_minute_passes(stage)
        told.append(stage.state.audited)
    assert told == ["default", "other", "default", "other"]


def test_a_number_that_is_wrong_ends_the_process_in_the_minute_of_its_group(stage: Theatre) -> None:
    stage.state.ledger.pools.move(ip("192.0.2.20"), "free", "claimed")  # there is no such claim
    stage.check = lambda: None  # type: ignore[method-assign]  # it sees more than a running allocator, and at once
    a_minute_passes(stage)
    with pytest.raises(
        Fatal, match=r"the ledger does not agree with itself: I3: .*other.* counts 1 claims, there are 0"
    ):
        a_minute_passes(stage)


def test_it_is_not_counted_again_before_its_minute_is_over(stage: Theatre) -> None:
    a_minute_passes(stage)
    stage.pass_time(30.0)
    stage.step(Deadline())
    assert stage.state.audited == "default"
