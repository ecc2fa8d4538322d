# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from purelb.kube.keeper import Keeper
from purelb.kube.lease import Heartbeat
from tests.kube.small_server import Reply, SmallServer
from tests.virtual_clock import START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from purelb.kube.model import Lease

PATH = "/apis/coordination.k8s.io/v1/namespaces/sys/leases/node-n1"


def is_ours(lease: Lease) -> bool:
    return (lease.metadata.annotations or {}).get("instance") == "pod-1"


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock(chance=0.5)
        self.server = SmallServer(self.clock)
        self.subnets = "192.0.2.0/24"
        self.changes: list[float] = []
        heart = Heartbeat(interval=5, retry=2, timeout=3, mine=is_ours, rng=self.clock.random)
        self.keeper = Keeper(
            self.server.client(),
            namespace="sys",
            name="node-n1",
            heartbeat=heart,
            body=self.body,
            clock=self.clock,
            on_change=lambda: self.changes.append(self.clock.now() - START),
        )

    def body(self, known: Lease | None, now: str) -> Mapping[str, object]:
        metadata: dict[str, object] = {"annotations": {"instance": "pod-1", "subnets": self.subnets}}
        spec = {"holderIdentity": "n1", "leaseDurationSeconds": 15, "renewTime": now}
        if known is not None:
            return {"metadata": metadata, "spec": spec}
        metadata["name"] = "node-n1"
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.TaskGroup() as group:
            task: asyncio.Task[None] = group.create_task(self.keeper.run())
            yield task
            task.cancel()

    def calls(self) -> list[tuple[str, float]]:
        return [(call.method, call.at - START) for call in self.server.calls]


async def test_the_lease_is_created_and_renewed_at_its_interval_with_the_version_last_seen() -> None:
    world = World()
    async with world.running():
        await world.clock.advance(11)
    assert world.calls() == [("GET", 0), ("POST", 0), ("PATCH", 5), ("PATCH", 10)]
    assert world.server.calls[2].body["metadata"]["resourceVersion"] == "101"
    assert world.server.objects[PATH]["spec"]["renewTime"] == "2030-01-01T00:00:10.000000Z"
    assert world.keeper.heartbeat.last_ok_sent_at == START + 10
    assert world.keeper.lease is not None
    assert world.changes == [0, 0, 5, 10]


async def test_what_changed_is_written_at_once_but_at_most_twice_a_second() -> None:
    world = World()
    async with world.running():
        await world.clock.advance(2)
        for number in range(10):
            world.subnets = f"198.51.{number}.0/24"
            world.keeper.poke()
            await world.clock.advance(0.1)
    assert [at for _, at in world.calls()[2:]] == pytest.approx([2, 2.1, 3])
    assert world.server.objects[PATH]["metadata"]["annotations"]["subnets"] == "198.51.9.0/24"


async def test_what_changed_just_after_a_routine_renewal_does_not_wait_for_the_limit() -> None:
    world = World()
    async with world.running():
        await world.clock.advance(5.02)
        world.subnets = "198.51.100.0/24"
        world.keeper.poke()
        await world.clock.advance(0.01)
        assert [at for _, at in world.calls()[2:]] == pytest.approx([5, 5.02])


async def test_what_changed_while_a_renewal_was_in_flight_is_written_as_soon_as_that_is_answered() -> None:
    world = World()
    async with world.running():
        await world.clock.advance(4)
        world.server.delays = lambda _: (0.02, 0.02)
        await world.clock.advance(1.01)
        world.keeper.poke()
        await world.clock.advance(0.04)
    assert [at for _, at in world.calls()[2:]] == pytest.approx([5, 5.04])


async def test_a_poke_during_a_renewal_is_written_after_it() -> None:
    world = World()
    async with world.running():
        await world.clock.advance(4)
        world.server.delays = lambda _: (0.75, 0.75)
        await world.clock.advance(1.2)
        world.subnets = "198.51.100.0/24"
        world.keeper.poke()
        await world.clock.advance(3)
    assert world.calls()[2:] == [("PATCH", 5), ("PATCH", 6.5)]
    assert world.server.objects[PATH]["metadata"]["annotations"]["subnets"] == "198.51.100.0/24"


async def test_a_deleted_lease_is_created_again_at_the_next_renewal() -> None:
    world = World()
    async with world.running():
        await world.clock.advance(1)
        del world.server.objects[PATH]
        await world.clock.advance(5)
    assert world.calls()[2:] == [("PATCH", 5), ("POST", 5)]
    assert PATH in world.server.objects


async def test_an_edit_by_somebody_else_costs_a_read_and_is_repaired() -> None:
    world = World()
    async with world.running():
        await world.clock.advance(1)
        known = world.server.objects[PATH]
        edited = {"annotations": {**known["metadata"]["annotations"], "theirs": "x", "subnets": "garbage"}}
        world.server.put(PATH, {**known, "metadata": {**known["metadata"], **edited}})
        await world.clock.advance(5)
    assert world.calls()[2:] == [("PATCH", 5), ("GET", 5), ("PATCH", 5)]
    annotations = world.server.objects[PATH]["metadata"]["annotations"]
    assert annotations == {"instance": "pod-1", "subnets": "192.0.2.0/24", "theirs": "x"}


async def test_a_lease_of_another_instance_is_taken_only_after_it_stood_still_for_its_own_duration() -> None:
    world = World()
    spec = {"holderIdentity": "n1", "leaseDurationSeconds": 15, "renewTime": "r"}
    world.server.put(PATH, {"kind": "Lease", "metadata": {"annotations": {"instance": "pod-0"}}, "spec": spec})
    async with world.running():
        await world.clock.advance(14)
        assert world.keeper.heartbeat.passive
        assert [call for call in world.calls() if call[0] != "GET"] == []
        await world.clock.advance(2)
        assert not world.keeper.heartbeat.passive
    assert [call for call in world.calls() if call[0] != "GET"] == [("PATCH", 15)]


async def test_without_an_api_server_the_trouble_is_told_and_the_lease_kept_once_it_is_back() -> None:
    world = World()
    async with world.running():
        await world.clock.advance(6)
        world.server.trouble = lambda call: Reply(0) if call.at < START + 20 else None
        await world.clock.advance(10)
        assert world.keeper.trouble == "reset: the connection broke"
        assert world.keeper.heartbeat.last_ok_sent_at == START + 5
        await world.clock.advance(10)
        assert world.keeper.trouble is None
    assert [at for _, at in world.calls()[3:]] == [10, 12, 14, 16, 18, 20, 25]


@pytest.mark.parametrize("turns", range(1, 8))
async def test_cancelled_at_any_turn_no_task_is_left(turns: int) -> None:
    world = World()
    world.server.delays = lambda _: (0.1, 0.1)
    before = asyncio.all_tasks()
    async with world.running():
        for _ in range(turns):
            await world.clock.advance(0.07)
    assert asyncio.all_tasks() == before
    assert world.server.in_flight == 0
