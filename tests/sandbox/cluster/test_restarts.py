# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from purelb.sandbox.cluster.restarts import FORGIVEN_AFTER_S, Restarts


def test_each_end_in_a_row_waits_twice_as_long_up_to_a_minute() -> None:
    restarts = Restarts()
    assert [restarts.ended(ran_s=0.1) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert restarts.count == 8


def test_a_program_that_ran_for_a_minute_is_forgiven() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.ended(ran_s=0.1)
    assert restarts.ended(ran_s=FORGIVEN_AFTER_S) == 1
