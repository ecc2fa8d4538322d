# SPDX-License-Identifier: Apache-2.0
"""The suite `decide` without its figures: that a rehearsal allocates, waits, restarts and rests as the allocator does."""

from __future__ import annotations

import pytest

from purelb.allocator.keys import GroupsChanged, ServiceKey
from purelb.sandbox.bench import clusters, deciding
from purelb.sandbox.bench.rehearsal import Rehearsal


def held(rehearsal: Rehearsal) -> list[str]:
    found = []
    for service in rehearsal.services():
        balancer = service.status.load_balancer if service.status is not None else None
        found += [entry.ip for entry in (balancer.ingress if balancer is not None else None) or ()]
    return found


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "HOLDERS", 40)
    monkeypatch.setattr(deciding, "SHARE", 20)
    monkeypatch.setattr(deciding, "TRIALS", 1)
    monkeypatch.setattr(deciding, "HOUR", 60.0)
    monkeypatch.setattr(deciding, "ITEMS", 80)


def test_each_waiting_service_is_written_once_and_the_lowest_addresses_are_given() -> None:
    rehearsal = clusters.begun(clusters.services(5), "192.0.2.0-192.0.2.99", "192.0.2.0/24")
    rehearsal.run()
    assert sum(write.service for write in rehearsal.writes) == 5
    rehearsal.settle()
    assert held(rehearsal) == [f"192.0.2.{number}" for number in range(5)]
    assert not rehearsal.writes


def test_a_restart_over_what_was_written_writes_nothing_and_an_edit_that_changes_nothing_asks_nobody() -> None:
    rehearsal = Rehearsal(groups=[clusters.group(clusters.SUBNET, clusters.SUBNET)], services=clusters.allocated(40))
    rehearsal.begin()
    rehearsal.run()
    assert not any(write.service for write in rehearsal.writes)
    rehearsal.settle()
    rehearsal.steps.clear()
    rehearsal.put_group(clusters.group(clusters.SUBNET, clusters.SUBNET, priority=3))
    rehearsal.settle()
    asked = [key for key, _ in rehearsal.steps]
    assert GroupsChanged() in asked
    assert not any(isinstance(key, ServiceKey) for key in asked)


def test_every_count_of_the_suite_keeps_its_budget_on_a_small_cluster() -> None:
    rows = [*deciding.releasing(), *deciding.rebuilding(), *deciding.editing(), *deciding.pausing()]
    rows += [*deciding.dying(), *deciding.resting()]
    counts = [found for found in rows if found.unit == "count"]
    assert len(counts) == 5
    assert [found.case for found in counts if not found.ok] == []


def test_a_late_allocation_is_measured_where_that_many_addresses_are_held() -> None:
    assert deciding.served("192.0.2.0/24", 50, "IPv4") > 0
    assert deciding.served("2001:db8::/64", 50, "IPv6") > 0
