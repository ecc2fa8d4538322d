# SPDX-License-Identifier: Apache-2.0
"""What counts as worse than the committed results."""

import msgspec
import pytest

from purelb.sandbox.bench.comparing import compared, sentences
from purelb.sandbox.bench.results import Results, Unit
from tests.sandbox.bench.findings import HERE, results, run, timed


def took(value: float, *, day: int, unit: Unit = "ms") -> Results:
    return results(timed("api", "c", value, unit=unit), ran=run(when=f"2026-01-{day:02d}T00:00:00+00:00"))


@pytest.mark.parametrize(
    ("unit", "was", "now", "worse"),
    [
        ("ms", 100.0, 121.0, True),
        ("ms", 100.0, 119.0, False),
        ("ms", 100.0, 50.0, False),
        ("1/s", 121.0, 100.0, True),
        ("1/s", 100.0, 200.0, False),
        ("count", 1.0, 2.0, False),
        ("ms", 0.0, 5.0, False),
    ],
    ids=["a fifth longer", "a little longer", "faster", "fewer", "more", "a count has a budget", "of nothing"],
)
def test_a_time_may_not_grow_and_a_rate_not_shrink_by_more_than_a_fifth(
    unit: Unit, was: float, now: float, worse: bool
) -> None:
    found = compared(took(was, day=1, unit=unit), None, took(now, day=2, unit=unit))
    assert [each.case for each in found] == (["c"] if worse else [])


@pytest.mark.parametrize(
    ("before", "twice"),
    [(None, False), (100.0, False), (150.0, True)],
    ids=["no run before", "it was fine before", "it was bad before"],
)
def test_it_is_a_finding_only_when_two_runs_say_so(before: float | None, twice: bool) -> None:
    earlier = None if before is None else took(before, day=2)
    now = took(130.0, day=3)
    found = compared(took(100.0, day=1), earlier, now)
    assert [(each.factor, each.twice) for each in found] == [(1.3, twice)]
    (said,) = sentences(found, now)
    assert said.startswith("worse twice: api: c: 130 ms" if twice else "worse once, measure again: api: c: 130 ms")


def test_the_committed_results_themselves_are_not_the_run_before() -> None:
    committed = took(100.0, day=1)
    (found,) = compared(committed, committed, took(130.0, day=2))
    assert found.twice is False


@pytest.mark.parametrize("field", ["cpu", "kernel"])
def test_another_machine_is_not_compared(field: str) -> None:
    elsewhere = msgspec.structs.replace(HERE, **{field: "another"})
    now = results(timed("api", "c", 900.0), ran=run(when="2026-02-01T00:00:00+00:00", machine=elsewhere))
    assert compared(took(100.0, day=1), None, now) == ()


def test_a_noisy_run_says_that_it_is_one() -> None:
    now = results(timed("api", "c", 900.0), ran=run(when="2026-02-01T00:00:00+00:00", noisy=("busy",)))
    (said,) = sentences(compared(took(100.0, day=1), None, now), now)
    assert said.endswith("in a noisy run")
