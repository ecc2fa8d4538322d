# SPDX-License-Identifier: Apache-2.0
"""How late the event loop is."""

from purelb.process.lag import Lag


def test_the_worst_lag_of_the_last_minute_counts_and_is_forgotten_after_it() -> None:
    lag = Lag()
    lag.saw(3.0, now=100.0)
    lag.saw(0.1, now=100.5)
    lag.saw(0.2, now=130.0)
    assert lag.worst(130.0) == 3.0
    assert lag.worst(130.0, within=10.0) == 0.2
    lag.saw(0.0, now=161.0)
    assert lag.worst(161.0) == 0.2


def test_before_the_first_sample_there_is_no_lag() -> None:
    assert Lag().worst(0.0) == 0.0


def test_one_value_is_kept_per_second() -> None:
    lag = Lag()
    for step in range(4000):
        lag.saw(0.01, now=step * 0.25)
    assert len(lag._worst) <= 62
