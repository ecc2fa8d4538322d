# SPDX-License-Identifier: Apache-2.0
"""Metrics as data, and the sink they are told to.

A room declares each metric once as a `Metric`; `process/` binds the declarations to an exposition library, this package
imports none. Names and label sets equal those of client-go and controller-runtime where they have one, so that existing
dashboards work. A label combination in `known` exists from the start at 0, or the first failure could not raise an alert
on a rate.
"""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

Kind = Literal["counter", "gauge", "histogram"]

DECADES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 60.0)


class Metric(Struct, frozen=True, kw_only=True):
    """One metric: its name as exposed (counters end in `_total`), kind, label names in order and help text.

    `known`: the label values that exist from the start. `per_object`: a series for each object of a kind that can be many; a
    process caps them. `sampled`: a counter that somebody else keeps and that is read at the scrape, like a gauge.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    help: str
    buckets: tuple[float, ...] = LATENCY
    known: tuple[tuple[str, ...], ...] = ()
    per_object: bool = False
    sampled: bool = False


class Sample(Struct, frozen=True):
    """The value of a gauge, or of a `sampled` counter, at the moment of a scrape; `labels` in the order of the metric's label names."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


class Sink(Protocol):
    """Where counts and observations go. Never raises, never blocks."""

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None: ...

    def observe(self, metric: Metric, value: float, *labels: str) -> None: ...


class _NoSink:
    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        pass

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        pass


NO_SINK: Sink = _NoSink()


def _counter(name: str, help_text: str, *labels: str, known: tuple[tuple[str, ...], ...] = ()) -> Metric:
    return Metric(name=name, kind="counter", labels=labels, help=help_text, known=known)


def _gauge(name: str, help_text: str, *labels: str) -> Metric:
    return Metric(name=name, kind="gauge", labels=labels, help=help_text)


def _histogram(name: str, help_text: str, *labels: str, buckets: tuple[float, ...] = LATENCY) -> Metric:
    return Metric(name=name, kind="histogram", labels=labels, help=help_text, buckets=buckets)


QUEUE_DEPTH = _gauge("workqueue_depth", "Keys that wait to be handled.", "name", "priority")
QUEUE_ADDS = _counter("workqueue_adds_total", "Keys added.", "name")
QUEUE_RETRIES = _counter("workqueue_retries_total", "Keys added again after a failure.", "name")
QUEUE_UNFINISHED = _gauge("workqueue_unfinished_work_seconds", "Age of the work in progress, summed.", "name")
QUEUE_LONGEST = _gauge("workqueue_longest_running_processor_seconds", "Age of the oldest work in progress.", "name")
QUEUE_WAIT = _histogram("workqueue_queue_duration_seconds", "Time a key waited.", "name", buckets=DECADES)
QUEUE_WORK = _histogram("workqueue_work_duration_seconds", "Time a key was worked on.", "name", buckets=DECADES)

CLIENT_REQUESTS = _counter("rest_client_requests_total", "Requests by answer.", "code", "method", "host")
CLIENT_DURATION = _histogram("rest_client_request_duration_seconds", "Time to an answer.", "verb", "host")
CLIENT_RETRIES = _counter("rest_client_request_retries_total", "Requests sent again.", "code", "verb", "host")

CLIENT_ACCESS = _counter(
    "rest_client_access_used_total",
    "Calls by the declared right that they used.",
    "group",
    "resource",
    "subresource",
    "verb",
)

RECONCILE_TOTAL = _counter("controller_runtime_reconcile_total", "Turns by result.", "controller", "result")
RECONCILE_ERRORS = _counter("controller_runtime_reconcile_errors_total", "Turns to repeat.", "controller")
RECONCILE_TERMINAL = _counter("controller_runtime_terminal_reconcile_errors_total", "Turns given up.", "controller")
RECONCILE_PANICS = _counter("controller_runtime_reconcile_panics_total", "Turns that raised.", "controller")
RECONCILE_TIME = _histogram("controller_runtime_reconcile_time_seconds", "Length of a turn.", "controller")

LEADER = _gauge("leader_election_master_status", "1 while this process leads.", "name")

REFLECTOR_LISTS = _counter("reflector_lists_total", "Lists done.", "resource")
REFLECTOR_LIST_DURATION = _histogram("reflector_list_duration_seconds", "Time a list took.", "resource")
REFLECTOR_ITEMS_PER_LIST = _histogram(
    "reflector_items_per_list", "Objects in a list.", "resource", buckets=(1, 10, 100, 1000, 10_000, 100_000)
)
REFLECTOR_WATCHES = _counter("reflector_watches_total", "Watches opened.", "resource")
REFLECTOR_SHORT_WATCHES = _counter("reflector_short_watches_total", "Watches that ended at once.", "resource")
REFLECTOR_WATCH_DURATION = _histogram(
    "reflector_watch_duration_seconds", "Length of a watch.", "resource", buckets=(1, 10, 60, 300, 600, 3600)
)
REFLECTOR_ITEMS_PER_WATCH = _histogram(
    "reflector_items_per_watch", "Events in a watch.", "resource", buckets=(0, 1, 10, 100, 1000, 10_000)
)
REFLECTOR_IDLE_CLOSES = _counter(
    "reflector_idle_closes_total", "Watches that were closed because they said nothing, or never ended.", "resource"
)
REFLECTOR_AUDIT_DIFFERENCES = _counter(
    "reflector_audit_differences_total", "Objects that an audit found otherwise than any event had said.", "resource"
)
REFLECTOR_UNDECODABLE = _counter("reflector_undecodable_total", "Objects that do not decode.", "resource")
REFLECTOR_BACKOFF = _gauge("reflector_backoff_seconds", "Wait before the next attempt; 0 = none.", "resource")

INFORMER_OBJECTS = _gauge("informer_objects", "Objects in the store.", "resource")
INFORMER_UNCHANGED = _counter("informer_unchanged_total", "Events that changed nothing but the version.", "resource")
INFORMER_OVERLAY_DROPPED = _counter("informer_overlay_dropped_total", "Events older than our own write.", "resource")
INFORMER_HANDLER_ERRORS = _counter("informer_handler_errors_total", "Handlers that raised.", "resource")
INFORMER_LAST_EVENT_AGE = _gauge("informer_last_event_age_seconds", "Time since the last event.", "resource")
INFORMER_SYNCED = _gauge("informer_synced", "1 once the first list was delivered.", "resource")

WRITER_WRITES = _counter("writer_writes_total", "Writes by result.", "resource", "result")
WRITER_UNCHANGED = _counter("writer_unchanged_total", "Writes that changed nothing.", "resource")
WRITER_DEPTH = _gauge("writer_queue_depth", "Writes that wait.")
WRITER_HOLD = _counter("writer_hold_seconds_total", "Time the server asked writers to wait.")

EVENTS_TOTAL = _counter(
    "event_recorder_events_total",
    "Events by fate; `known` was to be said once, and an Event of before says it.",
    "result",
    known=(("sent",), ("series",), ("known",), ("spam",), ("queue_full",), ("failed",)),
)
ACCESS_RELOADS = _counter("access_reloads_total", "Credentials read again.", "kind", "result")

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
