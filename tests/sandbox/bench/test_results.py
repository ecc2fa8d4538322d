# SPDX-License-Identifier: Apache-2.0
"""Figures, budgets and their table."""

import pytest

from purelb.sandbox.bench.results import Budget, Ratio, percentile, row


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 50), (0.95, 95), (1.0, 100), (0.001, 1)], ids=["p50", "p95", "all", "least"]
)
def test_a_percentile_is_the_nearest_rank(share: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


def test_a_row_within_its_budget_is_ok_and_one_beyond_is_not() -> None:
    def judged(budget: Budget) -> bool | None:
        ratio = Ratio(to="bare", value=0.8)
        return row(suite="s", case="c", unit="ms", values=[1.0, 2.0, 9.0], ratio=ratio, budget=budget).ok

    assert judged(Budget(of="p50", at_most=2.0)) is True
    assert judged(Budget(of="p95", at_most=8.0)) is False
    assert judged(Budget(of="ratio", at_least=0.8)) is True
    assert judged(Budget(of="ratio", at_least=0.81)) is False


def test_a_ratio_that_was_not_measured_keeps_no_budget() -> None:
    assert row(suite="s", case="c", unit="1/s", values=[1.0], budget=Budget(of="ratio", at_least=0.1)).ok is False


def test_a_row_without_a_budget_is_not_judged() -> None:
    assert row(suite="s", case="c", unit="count", values=[1.0]).ok is None
