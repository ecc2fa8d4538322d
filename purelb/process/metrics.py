# SPDX-License-Identifier: Apache-2.0
"""Where a process keeps its counts, and how they are exposed.

Rooms declare metrics as data (`purelb.kube.metrics.Metric`) and tell them to a `Sink`. This registry is that sink: one
dictionary per metric, no locks, since one loop writes and the scrape runs on the same loop. Gauges are computed at the
scrape from what the component answers, so the series of a deleted object vanish with the next view. The text format is
prometheus-client's. A name or label set that nobody declared is an error of ours and raises.

Rejected: prometheus-client's own Counter objects; each takes a lock per increment and keeps `_created` series.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from purelb.kube.metrics import Metric, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric as Family

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

BUILD_INFO: Final = Metric(
    name="purelb_build_info", kind="gauge", labels=("version", "revision", "python"), help="Always 1."
)
PROCESS_PHASE: Final = Metric(
    name="purelb_process_phase", kind="gauge", labels=("phase",), help="1 for the phase the process is in."
)
LOOP_LAG: Final = Metric(
    name="purelb_event_loop_lag_seconds", kind="gauge", help="Worst lag of the event loop in the last 60 s."
)
SERIES_DROPPED: Final = Metric(
    name="purelb_metrics_series_dropped", kind="gauge", help="Series left out of this scrape by the cap."
)
LINES_SUPPRESSED: Final = Metric(
    name="purelb_log_lines_suppressed_total", kind="counter", help="Log lines that were not written."
)
UPDATES: Final = Metric(name="purelb_k8s_client_updates_total", kind="counter", help="Turns of the owner.")
UPDATE_ERRORS: Final = Metric(
    name="purelb_k8s_client_update_errors_total", kind="counter", help="Turns of the owner that failed."
)
OWNER_TURN: Final = Metric(
    name="purelb_owner_turn_duration_seconds", kind="histogram", help="How long turns of the owner took."
)
CONFIG_LOADED: Final = Metric(
    name="purelb_k8s_client_config_loaded_bool", kind="gauge", help="1 once a configuration is in force."
)
METRICS: Final = (
    BUILD_INFO,
    PROCESS_PHASE,
    LOOP_LAG,
    SERIES_DROPPED,
    LINES_SUPPRESSED,
    UPDATES,
    UPDATE_ERRORS,
    OWNER_TURN,
    CONFIG_LOADED,
)

SERIES_MAX: Final = 2000
"""Of all metrics `per_object` together: what is beyond it is left out of the scrape and counted in `metrics_series_dropped`."""


LIMITS: Final = frozenset(
    {
        "purelb_log_lines_suppressed_total",
        "purelb_lbnodeagent_netlink_overruns_total",
        "writer_hold_seconds_total",
        "reflector_undecodable_total",
        "informer_handler_errors_total",
    }
)
"""Counters that grow when something was cut, dropped or held back."""


class _Histogram:
    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.total = 0.0


class Registry:
    """The sink of one process, and the text a scrape gets. `per_object`: whether metrics of single objects are in it."""

    def __init__(
        self,
        metrics: Iterable[Metric],
        *,
        samples: Callable[[], Iterable[Sample]] = tuple,
        per_object: bool = True,
    ) -> None:
        self._per_object = per_object
        self._declared = {metric.name: metric for metric in metrics}
        self._counters: dict[str, dict[tuple[str, ...], float]] = {}
        self._histograms: dict[str, dict[tuple[str, ...], _Histogram]] = {}
        for metric in self._declared.values():
            if metric.kind == "counter" and not metric.sampled:
                empty: dict[tuple[str, ...], float] = dict.fromkeys(metric.known, 0.0)
                self._counters[metric.name] = empty if metric.labels else {(): 0.0}
            elif metric.kind == "histogram":
                known = metric.known if metric.labels else ((),)
                self._histograms[metric.name] = {labels: _Histogram(len(metric.buckets)) for labels in known}
        self.samples = samples
        self._dropped = 0
        self._exposition = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._exposition)
        self._exposition.register(self)

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        series = self._counters[metric.name]
        series[labels] = series.get(labels, 0.0) + by

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        series = self._histograms[metric.name]
        found = series.get(labels)
        if found is None:
            found = series[labels] = _Histogram(len(metric.buckets))
        found.counts[bisect_left(metric.buckets, value)] += 1
        found.total += value

    def value(self, metric: Metric, *labels: str) -> float:
        """The present value of a counter; 0 for a series that does not exist yet."""
        return self._counters[metric.name].get(labels, 0.0)

    def limits(self) -> Mapping[str, float]:
        """The limits that were reached, by the counters that say so and by what the last scrape left out."""
        dropped = {SERIES_DROPPED.name: float(self._dropped)} if self._dropped else {}
        return dropped | {
            ",".join((name, *labels)): value
            for name in LIMITS & self._counters.keys()
            for labels, value in sorted(self._counters[name].items())
            if value
        }

    def text(self) -> bytes:
        """What `/metrics` answers, in the text format of Prometheus."""
        return generate_latest(self._exposition)

    def describe(self) -> Iterator[Family]:
        yield from ()

    def collect(self) -> Iterator[Family]:
        """Called by prometheus-client at each scrape."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for metric in self._declared.values():
            if metric.kind != "histogram":
                made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                families[metric.name] = made(metric.name, metric.help, labels=metric.labels)
        shown = dropped = 0
        for sample in (*self._counted(), *self.samples()):
            if sample.metric.per_object:
                if not self._per_object:
                    continue
                if shown == SERIES_MAX:
                    dropped += 1
                    continue
                shown += 1
            families[sample.metric.name].add_metric(sample.labels, sample.value)
        if SERIES_DROPPED.name in families:
            families[SERIES_DROPPED.name].add_metric((), dropped)
        yield from families.values()
        for name, observed in self._histograms.items():
            yield self._histogram_family(self._declared[name], observed)

    def _counted(self) -> Iterator[Sample]:
        for name, series in self._counters.items():
            metric = self._declared[name]
            yield from (Sample(metric, value, labels) for labels, value in series.items())

    @staticmethod
    def _histogram_family(metric: Metric, observed: dict[tuple[str, ...], _Histogram]) -> HistogramMetricFamily:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, histogram in observed.items():
            seen = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*map(str, metric.buckets), "+Inf"), histogram.counts, strict=True):
                seen += count
                buckets.append((bound, seen))
            family.add_metric(labels, buckets=buckets, sum_value=histogram.total)
        return family


def process_samples(*, version: str, revision: str, phase: str, phases: Iterable[str], lag: float) -> Iterator[Sample]:
    """The gauges that every process has."""
    yield Sample(BUILD_INFO, 1.0, (version, revision, platform.python_version()))
    for known in phases:
        yield Sample(PROCESS_PHASE, 1.0 if known == phase else 0.0, (known,))
    yield Sample(LOOP_LAG, lag)
