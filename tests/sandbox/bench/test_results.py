# SPDX-License-Identifier: Apache-2.0
"""Figures, budgets, and the file that keeps them."""

import json
from pathlib import Path

import msgspec
import pytest

from purelb.sandbox.bench.results import Budget, Ratio, decoded, encoded, only, percentile, row
from tests.sandbox.bench.findings import against, results, run, timed

COMMITTED = Path(__file__).parents[3] / "bench" / "results.json"


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


def test_the_file_has_the_fields_that_are_promised_and_none_that_were_not_measured() -> None:
    written = json.loads(encoded(results(against("api", "one", 3.0, at_most=2.0), timed("runtime", "two", 5.0))))
    assert list(written) == [
        "schema", "when", "revision", "dirty", "machine", "versions", "runs", "suites",
    ]  # fmt: skip
    assert written["schema"] == 1
    assert set(written["machine"]) == {"cpu", "cores", "kernel", "memory"}
    plain, judged = written["suites"]
    assert set(plain) == {"name", "case", "unit", "n", "p50", "p95", "max", "mean", "pass"}
    assert (plain["name"], plain["pass"]) == ("runtime", None)
    assert set(judged) - set(plain) == {"ratio", "budget"}
    assert (judged["pass"], judged["ratio"]) == (False, {"to": "the bare one", "value": 3.0})


def test_a_few_values_are_kept_one_by_one_and_many_are_not() -> None:
    assert row(suite="s", case="c", unit="ms", values=[3.0, 1.0, 2.0]).samples == (3.0, 1.0, 2.0)
    assert row(suite="s", case="c", unit="ms", values=[1.0] * 11).samples == ()


def test_what_is_written_is_read_again() -> None:
    made = results(against("api", "one", 3.0, at_most=2.0), ran=run(noisy=("load 9 on 2 cores at the start",)))
    assert decoded(encoded(made)) == made


def test_another_schema_is_not_read_as_this_one() -> None:
    older = json.loads(encoded(results(timed("api", "one", 1.0)))) | {"schema": 2}
    with pytest.raises(msgspec.DecodeError):
        decoded(json.dumps(older).encode())


def test_a_suite_replaces_its_own_results_whole_and_leaves_those_of_the_others() -> None:
    first, second = run(when="2026-01-01T00:00:00+00:00"), run(when="2026-02-01T00:00:00+00:00", noisy=("busy",))
    before = results(timed("allocate", "rate", 1.0), timed("api", "old", 1.0), timed("api", "both", 1.0), ran=first)
    after = results(timed("api", "both", 2.0), timed("runtime", "new", 3.0), ran=second, over=before)
    assert [(found.suite, found.case, found.p50) for found in after.rows] == [
        ("runtime", "new", 3.0),
        ("api", "both", 2.0),
        ("allocate", "rate", 1.0),
    ]
    assert after.runs == {"runtime": second, "api": second, "allocate": first}
    assert after.when == second.when


def test_a_part_of_the_results_has_nothing_of_the_other_suites() -> None:
    part = only(results(timed("api", "a", 1.0), timed("runtime", "b", 1.0)), {"api"})
    assert (list(part.runs), [found.case for found in part.rows]) == (["api"], ["a"])


def test_the_committed_results_can_be_read_and_each_suite_says_when_it_was_measured() -> None:
    committed = decoded(COMMITTED.read_bytes())
    assert committed.rows
    assert set(committed.runs) == {found.suite for found in committed.rows}
