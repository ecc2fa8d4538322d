# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from purelb.sandbox.cluster.probe_results import TARGETS_MAX, ProbeResult, ProbeResults


def result(address: str, *, sent: int = 50, gap: float = 0.0) -> ProbeResult:
    return ProbeResult(
        address=address, port=80, sent=sent, lost=int(gap > 0), last_gap_s=gap, longest_gap_s=gap, node="n1"
    )


def test_the_last_word_on_a_target_counts_and_the_latest_target_stands_first() -> None:
    results = ProbeResults()
    for address, sent, at in (("192.0.2.1", 50, 1.0), ("192.0.2.2", 50, 2.0), ("192.0.2.1", 100, 3.0)):
        results.heard(result(address, sent=sent), now=at)
    shown = [(one["address"], one["sent"], one["secondsAgo"]) for one in results.shown(now=5.0)]
    assert shown == [("192.0.2.1", 100, 2.0), ("192.0.2.2", 50, 3.0)]


def test_of_more_targets_than_are_kept_the_oldest_is_forgotten() -> None:
    results = ProbeResults()
    for number in range(TARGETS_MAX + 1):
        results.heard(result(f"192.0.2.{number}", gap=0.25), now=float(number))
    shown = results.shown(now=100.0)
    assert len(shown) == TARGETS_MAX
    assert "192.0.2.0" not in {one["address"] for one in shown}
    assert {one["lastGapSeconds"] for one in shown} == {0.25}
