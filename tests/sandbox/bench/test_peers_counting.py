# SPDX-License-Identifier: Apache-2.0
"""What the API server's own counter says: requests of all kinds, and the writes of load balancers among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.sandbox.bench import peers_counting
from tests.sandbox.bench.balancers import Cluster, at_once

if TYPE_CHECKING:
    import pytest

METRICS = """\
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",verb="GET"} 40
apiserver_request_total{code="201",verb="POST"} 2
apiserver_request_total_of_somebody_else{code="200"} 1000
apiserver_request_duration_seconds_count{verb="GET"} 7
"""


def line(count: int, **labels: str) -> str:
    said = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"apiserver_request_total{{{said}}} {count}\n"


OF_BALANCERS = (
    line(1, resource="services", subresource="status", verb="PUT", code="200")
    + line(2, resource="services", subresource="status", verb="PATCH", code="409")
    + line(4, resource="services", subresource="", verb="PATCH", code="200")
    + line(8, resource="events", subresource="", verb="POST", code="201")
    + line(16, resource="ipaddresspools", subresource="status", verb="APPLY", code="200")
    + line(32, resource="servicel2statuses", subresource="", verb="DELETE", code="200")
)
OF_OTHERS = (
    line(1000, resource="services", subresource="", verb="POST", code="201")
    + line(1000, resource="services", subresource="", verb="DELETE", code="200")
    + line(1000, resource="services", subresource="", verb="WATCH", code="200")
    + line(1000, resource="leases", subresource="", verb="PUT", code="200")
    + line(1000, resource="ipaddresses", subresource="", verb="POST", code="201")
    + line(1000, resource="endpointslices", subresource="", verb="POST", code="201")
)


def test_the_requests_of_all_kinds_are_added_up() -> None:
    assert peers_counting.counted(METRICS) == 42.0


def test_metrics_without_the_counter_are_not_zero() -> None:
    assert peers_counting.counted("go_goroutines 5\n") is None
    assert peers_counting.writes("go_goroutines 5\n") is None


def test_writes_are_those_that_neither_the_benchmark_nor_the_server_nor_a_clock_made() -> None:
    assert peers_counting.writes(OF_BALANCERS + OF_OTHERS) == 63.0
    assert peers_counting.writes(OF_OTHERS) == 0.0


def telling(*counts: int) -> Cluster:
    """A cluster whose API server tells these counts of writes, one after the other."""
    cluster, told = Cluster(), iter(counts)
    cluster.server.tell = lambda: line(next(told), resource="services", subresource="status", verb="PATCH")
    return cluster


async def test_the_writes_are_read_when_they_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    async with telling(1, 5, 5, 7, 7, 8, 8, 8, 8, 9).client as client:
        assert await peers_counting.settled(client, within_s=3600.0) == 8.0


async def test_writes_that_never_stand_still_are_read_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    async with telling(*range(100)).client as client:
        assert await peers_counting.settled(client, within_s=0.0) == 0.0


async def test_who_tells_no_metrics_is_not_waited_for() -> None:
    async with Cluster().client as client:
        assert await peers_counting.answered(client) is None
        assert await peers_counting.settled(client, within_s=3600.0) is None
