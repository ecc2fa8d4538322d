# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from purelb.lbnodeagent.carrier import Carriers


def test_an_interface_seen_for_the_first_time_is_believed() -> None:
    carriers = Carriers()
    carriers.saw(2, carrier=True, now=0.0)
    carriers.saw(3, carrier=False, now=0.0)
    assert (carriers.usable(2, 0.0), carriers.usable(3, 0.0), carriers.usable(4, 0.0)) == (True, False, False)


def test_a_blink_shorter_than_half_a_second_changes_nothing() -> None:
    carriers = Carriers()
    carriers.saw(2, carrier=True, now=0.0)
    carriers.saw(2, carrier=False, now=10.0)
    assert carriers.deadline() == 10.5
    assert carriers.usable(2, 10.4)
    carriers.saw(2, carrier=True, now=10.4)
    assert (carriers.usable(2, 99.0), carriers.deadline()) == (True, None)


def test_after_a_loss_the_carrier_has_to_be_steady_and_longer_after_each_loss() -> None:
    carriers = Carriers()
    carriers.saw(2, carrier=True, now=0.0)
    now, waits = 10.0, []
    for _ in range(7):
        carriers.saw(2, carrier=False, now=now)
        assert not carriers.usable(2, now + 0.5)
        carriers.saw(2, carrier=True, now=now + 1.0)
        due = carriers.deadline()
        assert due is not None
        waits.append(due - now - 1.0)
        assert not carriers.usable(2, due - 0.01)
        assert carriers.usable(2, due)
        now = due + 1.0
    assert waits == [3.0, 6.0, 12.0, 24.0, 48.0, 60.0, 60.0]


def test_losses_older_than_ten_minutes_are_forgotten() -> None:
    carriers = Carriers()
    carriers.saw(2, carrier=True, now=0.0)
    for now in (10.0, 700.0):
        carriers.saw(2, carrier=False, now=now)
        assert not carriers.usable(2, now + 0.5)
        carriers.saw(2, carrier=True, now=now + 1.0)
        assert carriers.deadline() == now + 4.0
        assert carriers.usable(2, now + 4.0)
