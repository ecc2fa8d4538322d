# SPDX-License-Identifier: Apache-2.0
"""What a stranger sees of Services; and whoever measures must not take the processor from what is measured."""

from __future__ import annotations

import asyncio

import pytest

from purelb.kube.resources import NAMESPACES, SERVICES
from purelb.sandbox.bench.observer import NOTICED_EVERY_S, Observer, Version, observing, pause_after
from purelb.sandbox.bench.suites import NAMESPACE, single, until_quiet
from tests.sandbox.bench.balancers import Cluster, at_once


@pytest.mark.parametrize("look_s", [0.0, 0.0001, 0.001, 0.02])
def test_looking_takes_at_most_a_fiftieth_of_a_core(look_s: float) -> None:
    assert look_s / (look_s + pause_after(look_s)) <= 1 / 50


def test_what_is_quickly_looked_at_is_noticed_soon() -> None:
    assert pause_after(0.00001) == NOTICED_EVERY_S


def test_all_are_served_when_each_was_seen_with_an_address_and_the_newest_version_says_who_is_announced() -> None:
    seen = Observer()
    seen.versions = {
        "a": [Version(1.0, "1", None, ()), Version(2.0, "2", "192.0.2.1", ("AnnouncingLocal",))],
        "b": [Version(1.0, "3", "192.0.2.2", ("AnnouncingLocal",)), Version(3.0, "4", "192.0.2.2", ("NoLiveAgent",))],
        "c": [Version(4.0, "5", None, ())],
    }
    assert (seen.all_served(["a", "b"]), seen.all_served(["a", "b", "c"]), seen.all_served(["d"])) == (
        True,
        False,
        False,
    )
    assert [seen.announced(name) for name in ("a", "b", "c")] == [True, False, False]
    assert seen.writes() == 5


async def test_a_single_service_is_waited_for_and_leaves_nothing() -> None:
    cluster = Cluster()
    async with cluster.client, asyncio.TaskGroup() as group:
        await cluster.client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        balancer = group.create_task(cluster.balance())
        async with observing(cluster.client, NAMESPACE, links=False) as seen:
            began = asyncio.get_running_loop().time()
            waited_ms = await single(cluster.client, seen, "web")
            assert waited_ms <= (asyncio.get_running_loop().time() - began) * 1000
            assert seen.address("web") == "192.0.2.1"
        assert not (await cluster.client.list_page(SERVICES, namespace=NAMESPACE)).objects
        balancer.cancel()


class Restless(Observer):
    """Another version is seen at each third look, `changes` times."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self.looks = 0
        self.changes = changes

    def writes(self) -> int:
        self.looks += 1
        return min(self.looks // 3, self.changes)


async def test_it_is_quiet_when_so_many_looks_in_a_row_have_shown_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    seen = Restless(changes=4)
    await until_quiet(seen, looks=5)
    assert seen.looks == 3 * 4 + 5


async def test_services_that_are_written_without_end_are_not_waited_for_longer_than_was_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once(monkeypatch)
    with pytest.raises(RuntimeError, match=r"Services were still being written after 0\.05 s"):
        await until_quiet(Restless(changes=10**9), looks=5, within_s=0.05)
