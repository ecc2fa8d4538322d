# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from purelb.sandbox.rig.probing import Record


def test_nothing_lost_means_no_gap() -> None:
    record = Record()
    record.answered("n1", sent_at=0.0)
    record.answered("n1", sent_at=5.0)
    assert record.summary().longest_gap_s == 0.0


def test_a_gap_runs_from_the_first_lost_probe_to_the_next_answered_one() -> None:
    record = Record()
    for sent_at, node in ((0.0, "n1"), (0.5, None), (1.0, None), (1.5, "n2"), (2.0, None), (2.5, "n2")):
        if node is None:
            record.lost(sent_at=sent_at)
        else:
            record.answered(node, sent_at=sent_at)
    summary = record.summary()
    assert (summary.sent, summary.lost, summary.longest_gap_s, summary.nodes) == (6, 3, 1.0, ("n1", "n2"))


def test_the_order_in_which_results_arrive_changes_nothing() -> None:
    record = Record()
    record.answered("n2", sent_at=2.0)
    record.lost(sent_at=1.0)
    record.answered("n1", sent_at=0.0)
    summary = record.summary()
    assert (summary.longest_gap_s, summary.nodes) == (1.0, ("n1", "n2"))


def test_the_last_gap_is_the_latest_not_the_longest() -> None:
    record = Record()
    assert record.summary().last_gap_s == 0.0
    for sent_at, node in ((0.0, "n1"), (1.0, None), (4.0, "n1"), (5.0, None), (5.5, "n1"), (6.0, "n1")):
        if node is None:
            record.lost(sent_at=sent_at)
        else:
            record.answered(node, sent_at=sent_at)
    summary = record.summary()
    assert (summary.last_gap_s, summary.longest_gap_s) == (0.5, 3.0)


def test_an_outage_that_lasts_counts_up_to_the_last_probe() -> None:
    record = Record()
    record.answered("n1", sent_at=0.0)
    record.lost(sent_at=1.0)
    record.lost(sent_at=4.0)
    assert record.summary().longest_gap_s == 3.0
    assert record.summary().last_gap_s == 3.0
