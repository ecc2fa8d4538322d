# SPDX-License-Identifier: Apache-2.0
"""What counts as a pause, and what proves that we hear again."""

from __future__ import annotations

import pytest

from purelb.lbnodeagent.deaf import LAG_S, PULSE_S, Deafness, Pulse


@pytest.mark.parametrize("late, told", [(0.0, 0.0), (LAG_S - 0.01, 0.0), (LAG_S, LAG_S), (27.0, 27.0)])
def test_a_beat_that_is_a_second_late_is_a_pause(late: float, told: float) -> None:
    pulse = Pulse(100.0)
    assert pulse.beat(100.0 + PULSE_S + late) == (told > 0)
    assert pulse.pause(100.0 + PULSE_S + late) == pytest.approx(told)


def test_an_owner_that_runs_before_the_pulse_does_notices_the_pause_and_takes_note_of_it_once() -> None:
    pulse = Pulse(100.0)
    assert pulse.pause(127.5) == pytest.approx(27.0)
    assert not pulse.beat(127.6)
    assert pulse.pause(127.7) == 0.0


def test_a_turn_of_the_owner_that_took_a_second_is_a_pause_though_the_loop_ran() -> None:
    pulse = Pulse(100.0)
    for tenth in range(1, 20):
        assert not pulse.beat(100.0 + tenth / 10)
    pulse.worked(100.1, 101.9)
    assert pulse.pause(101.9) == pytest.approx(1.8)


def test_only_an_echo_of_a_renewal_that_was_sent_after_the_gap_was_noticed_counts() -> None:
    deaf = Deafness()
    deaf.begin(100.0, services=False)
    assert deaf.echoed(99.9) == "wait"
    assert deaf.echoed(100.0) == "proved"


def test_after_a_pause_the_services_are_listed_again_once_and_after_the_echo() -> None:
    deaf = Deafness()
    deaf.begin(100.0, services=True)
    assert (deaf.echoed(99.0), deaf.echoed(100.1), deaf.echoed(100.2)) == ("wait", "list", "wait")


def test_a_second_pause_makes_the_proof_of_the_first_worthless() -> None:
    deaf = Deafness()
    deaf.begin(100.0, services=True)
    assert deaf.echoed(100.1) == "list"
    asked_in = deaf.number
    deaf.begin(101.0, services=True)
    assert deaf.number != asked_in
    assert (deaf.echoed(100.1), deaf.echoed(101.1)) == ("wait", "list")


def test_a_lease_that_was_not_renewed_asks_for_nothing_more_while_a_pause_is_being_proved() -> None:
    deaf = Deafness()
    deaf.begin(100.0, services=True)
    number = deaf.number
    deaf.begin(100.5, services=False)
    assert (deaf.number, deaf.since, deaf.echoed(100.1)) == (number, 100.0, "list")
