# SPDX-License-Identifier: Apache-2.0
"""Dashboards made for client-go and controller-runtime find their series: names and labels are theirs, and only we add to them."""

import pytest

from purelb.kube.metrics import METRICS

# Kind and labels by name. What stands first is theirs; what begins with informer_, writer_, event_ and access_ is ours.
WANTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "workqueue_depth": ("gauge", ("name", "priority")),
    "workqueue_adds_total": ("counter", ("name",)),
    "workqueue_retries_total": ("counter", ("name",)),
    "workqueue_unfinished_work_seconds": ("gauge", ("name",)),
    "workqueue_longest_running_processor_seconds": ("gauge", ("name",)),
    "workqueue_queue_duration_seconds": ("histogram", ("name",)),
    "workqueue_work_duration_seconds": ("histogram", ("name",)),
    "rest_client_requests_total": ("counter", ("code", "method", "host")),
    "rest_client_request_duration_seconds": ("histogram", ("verb", "host")),
    "rest_client_request_retries_total": ("counter", ("code", "verb", "host")),
    "controller_runtime_reconcile_total": ("counter", ("controller", "result")),
    "controller_runtime_reconcile_errors_total": ("counter", ("controller",)),
    "controller_runtime_terminal_reconcile_errors_total": ("counter", ("controller",)),
    "controller_runtime_reconcile_panics_total": ("counter", ("controller",)),
    "controller_runtime_reconcile_time_seconds": ("histogram", ("controller",)),
    "leader_election_master_status": ("gauge", ("name",)),
    "reflector_lists_total": ("counter", ("resource",)),
    "reflector_list_duration_seconds": ("histogram", ("resource",)),
    "reflector_items_per_list": ("histogram", ("resource",)),
    "reflector_watches_total": ("counter", ("resource",)),
    "reflector_short_watches_total": ("counter", ("resource",)),
    "reflector_watch_duration_seconds": ("histogram", ("resource",)),
    "reflector_items_per_watch": ("histogram", ("resource",)),
    "reflector_idle_closes_total": ("counter", ("resource",)),
    "reflector_undecodable_total": ("counter", ("resource",)),
    "reflector_audit_differences_total": ("counter", ("resource",)),
    "reflector_backoff_seconds": ("gauge", ("resource",)),
    "informer_objects": ("gauge", ("resource",)),
    "informer_unchanged_total": ("counter", ("resource",)),
    "informer_overlay_dropped_total": ("counter", ("resource",)),
    "informer_handler_errors_total": ("counter", ("resource",)),
    "informer_last_event_age_seconds": ("gauge", ("resource",)),
    "informer_synced": ("gauge", ("resource",)),
    "writer_writes_total": ("counter", ("resource", "result")),
    "writer_unchanged_total": ("counter", ("resource",)),
    "writer_queue_depth": ("gauge", ()),
    "writer_hold_seconds_total": ("counter", ()),
    "event_recorder_events_total": ("counter", ("result",)),
    "access_reloads_total": ("counter", ("kind", "result")),
}
BY_NAME = {metric.name: metric for metric in METRICS}


@pytest.mark.parametrize("name", WANTED)
def test_a_metric_has_the_kind_and_the_labels_that_dashboards_ask_for(name: str) -> None:
    assert (BY_NAME[name].kind, BY_NAME[name].labels) == WANTED[name]


@pytest.mark.parametrize("name", ["workqueue_queue_duration_seconds", "workqueue_work_duration_seconds"])
def test_the_histograms_of_a_queue_have_a_bucket_for_each_decade(name: str) -> None:
    assert BY_NAME[name].buckets == tuple(10.0**power for power in range(-8, 2))


def test_each_fate_of_an_event_is_a_series_from_the_start() -> None:
    fates = {labels for (labels,) in BY_NAME["event_recorder_events_total"].known}
    assert fates == {"sent", "series", "known", "spam", "queue_full", "failed"}


def test_no_metric_is_declared_twice() -> None:
    assert len(BY_NAME) == len(METRICS)
