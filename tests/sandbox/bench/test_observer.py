# SPDX-License-Identifier: Apache-2.0
"""Whoever measures must not take the processor from what is measured."""

import pytest

from purelb.sandbox.bench.observer import NOTICED_EVERY_S, pause_after


@pytest.mark.parametrize("look_s", [0.0, 0.0001, 0.001, 0.02])
def test_looking_takes_at_most_a_fiftieth_of_a_core(look_s: float) -> None:
    assert look_s / (look_s + pause_after(look_s)) <= 1 / 50


def test_what_is_quickly_looked_at_is_noticed_soon() -> None:
    assert pause_after(0.00001) == NOTICED_EVERY_S
