# SPDX-License-Identifier: Apache-2.0
"""The registry: what a scrape gets."""

import pytest

from purelb.kube.metrics import Metric, Sample
from purelb.process.metrics import SERIES_DROPPED, SERIES_MAX, Registry

WRITES = Metric(
    name="test_writes_total", kind="counter", labels=("result",), help="Writes.", known=(("ok",), ("failed",))
)
TURNS = Metric(name="test_turns_total", kind="counter", help="Turns.")
SECONDS = Metric(name="test_seconds", kind="histogram", help="Time.", buckets=(0.1, 1.0))
EACH = Metric(name="test_each", kind="gauge", labels=("service",), help="Each.", per_object=True)
OTHER = Metric(name="test_other", kind="gauge", labels=("service",), help="Other.", per_object=True)
POOL = Metric(name="test_pool_size", kind="gauge", labels=("pool",), help="Size.")


def text(registry: Registry) -> list[str]:
    return [line for line in registry.text().decode().splitlines() if line.startswith("test_")]


def test_a_known_label_value_exists_from_the_start_at_zero() -> None:
    registry = Registry([WRITES, TURNS])
    assert text(registry) == [
        'test_writes_total{result="ok"} 0.0',
        'test_writes_total{result="failed"} 0.0',
        "test_turns_total 0.0",
    ]


def test_counts_add_up() -> None:
    registry = Registry([WRITES])
    registry.count(WRITES, "ok")
    registry.count(WRITES, "ok", by=2)
    assert registry.value(WRITES, "ok") == 3
    assert 'test_writes_total{result="ok"} 3.0' in text(registry)


def test_an_observation_counts_in_its_bucket_and_all_above() -> None:
    registry = Registry([SECONDS])
    for value in (0.1, 0.5, 7.0):
        registry.observe(SECONDS, value)
    assert text(registry) == [
        'test_seconds_bucket{le="0.1"} 1.0',
        'test_seconds_bucket{le="1.0"} 2.0',
        'test_seconds_bucket{le="+Inf"} 3.0',
        "test_seconds_count 3.0",
        "test_seconds_sum 7.6",
    ]


def test_the_series_of_a_deleted_object_vanish_with_the_next_view() -> None:
    view = [Sample(POOL, 4.0, ("default",))]
    registry = Registry([POOL], samples=lambda: view)
    assert text(registry) == ['test_pool_size{pool="default"} 4.0']
    view.clear()
    assert text(registry) == []


def test_series_beyond_the_cap_are_left_out_and_counted() -> None:
    view = [Sample(metric, 1.0, (f"s{number}",)) for number in range(SERIES_MAX // 2 + 3) for metric in (EACH, OTHER)]
    registry = Registry([EACH, OTHER, SERIES_DROPPED], samples=lambda: view)
    assert len(text(registry)) == SERIES_MAX
    assert "purelb_metrics_series_dropped 6.0" in registry.text().decode()


def test_series_of_groups_are_not_capped_and_those_of_single_objects_can_be_left_out() -> None:
    view = [Sample(metric, 1.0, (f"s{number}",)) for number in range(SERIES_MAX + 3) for metric in (EACH, POOL)]
    registry = Registry([EACH, POOL, SERIES_DROPPED], samples=lambda: view, per_object=False)
    assert len(text(registry)) == SERIES_MAX + 3
    assert not any("test_each" in line for line in text(registry))
    assert "purelb_metrics_series_dropped 0.0" in registry.text().decode()


def test_a_metric_nobody_declared_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        Registry([WRITES]).count(TURNS)


def test_counters_of_single_objects_share_the_cap() -> None:
    one = Metric(name="test_one_total", kind="counter", labels=("service",), help="One.", per_object=True)
    registry = Registry([one, EACH, SERIES_DROPPED], samples=lambda: [Sample(EACH, 1.0, ("web",))])
    for number in range(SERIES_MAX + 4):
        registry.count(one, f"s{number}")
    assert len(text(registry)) == SERIES_MAX
    assert "purelb_metrics_series_dropped 5.0" in registry.text().decode()


def test_a_counter_that_somebody_else_keeps_is_read_at_the_scrape() -> None:
    lists = Metric(name="test_lists_total", kind="counter", help="Lists.", sampled=True)
    registry = Registry([lists], samples=lambda: [Sample(lists, 3.0)])
    assert text(registry) == ["test_lists_total 3.0"]


def test_a_histogram_with_known_labels_exists_from_the_start() -> None:
    took = Metric(
        name="test_took", kind="histogram", labels=("cause",), help="Took.", buckets=(1.0,), known=(("drain",),)
    )
    assert 'test_took_count{cause="drain"} 0.0' in text(Registry([took]))
