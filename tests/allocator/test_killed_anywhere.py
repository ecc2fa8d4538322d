# SPDX-License-Identifier: Apache-2.0
"""An allocator is killed wherever it can be in the middle of a burst, and another one takes over.

Wherever: at its first suspension after the burst has come, at its second, and so on, until a run is over before it would be
killed. A suspension is a moment at which any of its tasks gives control to the loop, so no `await` is left out. Killed means
that nothing it asks for from then on reaches the API server, and what was under way may have been carried out or not. Each
run has its own loop, clock and server; the judge reads every revision of every Service from the server's own watch.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest

from purelb.allocator.main import Allocator, Deps
from purelb.allocator.observed import published
from purelb.allocator.ranges import ip_text
from purelb.allocator.settings import AllocatorSettings
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.access import fixed_access
from purelb.kube.decode import Event
from purelb.kube.errors import TransportError
from purelb.kube.metrics import NO_SINK
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import ALLOCATOR, Cluster, pool
from tests.allocator.objects import INSTALL
from tests.installed import Recording
from tests.kube.cancelling import Turns, counted

if TYPE_CHECKING:
    from purelb.kube.model import Service
    from purelb.kube.transport import Request, Response
    from tests.virtual_clock import VirtualClock

SHARDS = 8
POINTS_MAX = 5000


class Story(NamedTuple):
    """How many Services want one of how many addresses."""

    services: int
    addresses: int
    settings: dict[str, Any]

    @property
    def served(self) -> int:
        return min(self.services, self.addresses)


BURST = Story(50, 60, {})
SCARCE = Story(4, 2, {"writers": 2})


class Cut(Recording):
    """The way to the API server of a process that may be killed."""

    dead = False

    async def exchange(self, request: Request) -> Response:
        if self.dead:
            raise TransportError("refused", "its process is gone")
        return await super().exchange(request)


class Process:
    """One allocator, from its start until it is killed."""

    def __init__(self, cluster: Cluster, settings: dict[str, Any]) -> None:
        self.way = Cut(cluster.core, clock=cluster.clock, user=ALLOCATOR)
        self.way.writes = cluster.writes
        component = Allocator(
            AllocatorSettings(**{"namespace": INSTALL, "leader_elect": False, **settings}),
            Deps(cluster.clock, NO_SINK, access=fixed_access("http://memory"), transport=Turns(self.way)),
        )
        self.task = asyncio.get_running_loop().create_task(component.run(), name="allocator")

    def kill(self) -> None:
        self.way.dead = True
        self.task.cancel()

    async def gone(self, clock: VirtualClock) -> None:
        self.kill()
        await clock.advance(5.0)
        assert self.task.done(), "a killed process goes on"


class Judge:
    """Reads every revision of every Service, and notes each address that two statuses had at once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._since = str(cluster.core.revision)
        self._held: dict[str, frozenset[str]] = {}
        self.seen = 0
        self.broken: list[str] = []

    async def run(self) -> None:
        async with self._cluster.admin.watch(SERVICES, rv=self._since, timeout_s=300.0) as stream:
            async for batch in stream:
                for event in batch:
                    assert isinstance(event, Event), event
                    if event.type != "BOOKMARK":
                        self._look(event.object, gone=event.type == "DELETED")

    def _look(self, service: Service, *, gone: bool) -> None:
        self.seen += 1
        name = service.metadata.name
        mine = self._held[name] = frozenset() if gone else frozenset(map(ip_text, published(service)))
        for other, theirs in self._held.items():
            if other != name and (both := mine & theirs):
                at = service.metadata.resource_version
                self.broken.append(f"{', '.join(both)} in the statuses of {name} and {other} at {at}")


class Sweep:
    """One run: the allocator is killed at suspension `point` after the burst has come, and another one is started."""

    def __init__(self, story: Story, point: int) -> None:
        self._story = story
        self._point = point
        self._victim: Process | None = None
        self._points = 0
        self.killed = False
        self.published_before = 0

    def run(self) -> Self:
        with asyncio.Runner() as runner:
            runner.run(self._run())
        return self

    def _suspended(self) -> None:
        if self._victim is None:
            return
        self._points += 1
        if self._points == self._point:
            self._victim.kill()
            self.killed = True

    async def _run(self) -> None:
        story, cluster, loop = self._story, Cluster(), asyncio.get_running_loop()
        clock = cluster.clock
        async with cluster.admin:
            await cluster.prepare()
            text = f"192.0.2.10-192.0.2.{9 + story.addresses}"
            await cluster.create(SERVICE_GROUPS, pool(text=text), INSTALL)
            judge = Judge(cluster)
            judging = loop.create_task(judge.run(), name="judge")
            loop.set_task_factory(self._task)
            victim = Process(cluster, story.settings)
            await clock.advance(1.0)
            for number in range(story.services):
                await cluster.serve(f"s{number:02}")
            self._victim = victim
            await clock.advance(2.0)
            self._victim = None
            await victim.gone(clock)
            before = await self._addresses(cluster)
            self.published_before = sum(map(bool, before.values()))
            heir = Process(cluster, story.settings)
            await clock.advance(10.0)
            after = await self._addresses(cluster)
            await heir.gone(clock)
            judging.cancel()
            await asyncio.wait({judging})
        where = f"killed at suspension {self._point}, when {self.published_before} had an address"
        changed = [name for name, held in before.items() if held and after[name] != held]
        assert not changed, f"{where}: the published addresses of {changed} have changed"
        given = [address for held in after.values() for address in held]
        assert len(given) == len(set(given)) == story.served, f"{where}: {len(given)} addresses in the statuses"
        assert not judge.broken, f"{where}: {judge.broken}"
        assert judge.seen >= story.services + story.served, "the judge has seen it all"

    def _task(self, loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        return asyncio.Task(counted(coro, self._suspended), loop=loop, **more)

    async def _addresses(self, cluster: Cluster) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        async for page in cluster.admin.list_pages(SERVICES):
            found |= {each.metadata.name: tuple(map(ip_text, published(each))) for each in page.objects}
        return found


def swept(story: Story, *, first: int, step: int) -> list[int]:
    """Kill at every `step`-th suspension from `first` on; how many had an address, each time, and last without a kill."""
    seen: list[int] = []
    for point in range(first, POINTS_MAX, step):
        run = Sweep(story, point).run()
        seen.append(run.published_before)
        if not run.killed:
            return seen
    raise AssertionError(f"the burst is not over after {POINTS_MAX} suspensions")


@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_at_every_suspension_of_a_burst_of_fifty_no_published_address_changes(shard: int) -> None:
    seen = swept(BURST, first=1 + shard, step=SHARDS)
    assert len(seen) > BURST.services / SHARDS
    assert seen[0] < BURST.services / 2
    assert seen[-1] == BURST.services
    assert any(0 < number < BURST.services for number in seen)


def test_killed_at_every_suspension_while_four_ask_for_two_addresses_two_keep_theirs_and_two_wait() -> None:
    seen = swept(SCARCE, first=1, step=1)
    assert set(seen) == {0, 1, 2}
