# SPDX-License-Identifier: Apache-2.0
"""An agent that comes back while its kernel still has what a peer took over meanwhile: one of the two lets go, never both.

The addresses are one for each order of three nodes, so that in each story whoever was killed ranks first, second and last.
Time counts from the return; what a dead agent's kernel does before is another matter. Every change of a kernel is a sight.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest

from purelb.kube.queue import INITIAL, LIVE, WorkQueue
from purelb.kube.resources import LEASES
from purelb.lbnodeagent import keys
from purelb.sandbox.invariants import Sight, never_two_holders, never_without_holder
from tests.lbnodeagent.lan import INSTALL, Crew, Host, Lan

ADDRESSES = ("192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.18", "192.0.2.30")
B_OVERLAP = 3.0
LEASE = 10.0
FOLD_EVERY_S = 1.0

Mark = Literal["before its death", "after its death", "never"]


class Watched(Lan):
    """Remembers who answered for each address at every moment; plays the allocator while `folds`."""

    def __init__(self) -> None:
        super().__init__()
        self.folds = True
        self.sights: list[Sight] = []

    def look(self) -> None:
        holders = {ip: frozenset(host.name for host in self.hosts if host.present(ip)) for ip in ADDRESSES}
        if not self.sights or self.sights[-1].holders != holders:
            self.sights.append(Sight(self.clock.now(), holders))

    def changed(self, host: Host) -> None:
        self.look()

    async def pass_time(self, seconds: float) -> None:
        left = seconds
        while left > 0:
            if self.folds:
                await self.fold()
            await self.clock.advance(min(FOLD_EVERY_S, left))
            left -= FOLD_EVERY_S

    async def mark(self, node: str) -> None:
        """What its agent sent before it died is committed."""
        note = {"metadata": {"annotations": {"purelb.io/draining": "true"}}}
        await self.patch(LEASES, f"purelb-node-{node}", note, INSTALL)

    def judge(self, since: float, *, overlap: float = B_OVERLAP) -> None:
        self.sights.append(Sight(self.clock.now(), self.sights[-1].holders))
        before = [sight for sight in self.sights if sight.at <= since]
        returned = [Sight(since, before[-1].holders), *(sight for sight in self.sights if sight.at > since)]
        broken: list[str] = []
        for ip in ADDRESSES:
            broken += never_without_holder(self.sights, ip)
            broken += never_two_holders(returned, ip, longer_than=overlap)
        assert not broken, "\n".join(broken)
        assert [len(self.answering(ip)) for ip in ADDRESSES] == [1] * len(ADDRESSES)


async def everything_on(cluster: Watched, crew: Crew, holder: str, *others: str) -> None:
    """All addresses on one node, whoever is first for them."""
    for number, ip in enumerate(ADDRESSES):
        await cluster.serve(f"web{number}", ip)
    await cluster.pass_time(3.0)
    for name in others:
        crew.start(name)
    await cluster.pass_time(5.0)
    assert [cluster.answering(ip) for ip in ADDRESSES] == [[holder]] * len(ADDRESSES)
    cluster.sights.clear()
    cluster.look()


async def dies(cluster: Watched, crew: Crew, name: str, mark: Mark) -> None:
    if mark == "before its death":
        await cluster.mark(name)
    await crew.kill(name)
    if mark == "after its death":
        await cluster.pass_time(0.1)
        await cluster.mark(name)


@pytest.mark.parametrize("folds", [True, False], ids=["with an allocator", "without an allocator"])
@pytest.mark.parametrize("holder", ["n1", "n3"])
@pytest.mark.parametrize(
    ("mark", "away"),
    [
        *(("before its death", away) for away in (0.5, 2.0, 8.0)),
        *(("after its death", away) for away in (0.5, 1.0, 2.0, 4.0, 12.0)),
        *(("never", away) for away in (2.0, 10.5, 12.0)),
    ],
)
async def test_of_a_returning_agent_and_who_took_over_one_lets_go(
    holder: str, mark: Mark, away: float, folds: bool
) -> None:
    cluster = Watched()
    await cluster.prepare(failback="Never")
    others = [host.name for host in cluster.hosts if host.name != holder]
    async with cluster.running(holder) as crew:
        await everything_on(cluster, crew, holder, *others)
        cluster.folds = folds
        await dies(cluster, crew, holder, mark)
        await cluster.pass_time(away)
        crew.start(holder)
        back = cluster.clock.now()
        await cluster.pass_time(40.0)
        cluster.judge(back)


@pytest.mark.parametrize("holder", ["n1", "n2", "n3"])
async def test_when_a_third_node_is_first_for_it_one_of_the_two_that_have_it_keeps_it(holder: str) -> None:
    cluster = Watched()
    await cluster.prepare(failback="Never")
    heir, third = (host.name for host in cluster.hosts if host.name != holder)
    async with cluster.running(holder) as crew:
        await everything_on(cluster, crew, holder, heir)
        await dies(cluster, crew, holder, "after its death")
        await cluster.pass_time(1.0)
        crew.start(third)
        await cluster.pass_time(2.0)
        crew.start(holder)
        back = cluster.clock.now()
        await cluster.pass_time(40.0)
        cluster.judge(back)


@pytest.mark.parametrize("folds", [True, False], ids=["with an allocator", "without an allocator"])
@pytest.mark.parametrize("apart", [0.0, 0.001, 0.3, 2.0])
async def test_when_the_heir_is_killed_as_well_and_both_come_back_together_one_of_them_keeps_it(
    apart: float, folds: bool
) -> None:
    cluster = Watched()
    await cluster.prepare(failback="Never")
    async with cluster.running("n1") as crew:
        await everything_on(cluster, crew, "n1", "n2")
        cluster.folds = folds
        await dies(cluster, crew, "n1", "after its death")
        await cluster.pass_time(1.0)
        crew.start("n3")
        await cluster.pass_time(1.0)
        await crew.kill("n2")
        crew.start("n1")
        await cluster.clock.advance(apart)
        crew.start("n2")
        back = cluster.clock.now()
        await cluster.pass_time(40.0)
        cluster.judge(back)


async def test_an_agent_that_dies_again_right_after_its_return_settles_it_with_its_second_return() -> None:
    for alive in (0.0, 0.001, 0.1, 0.5, 3.0):
        cluster = Watched()
        await cluster.prepare(failback="Never")
        async with cluster.running("n1") as crew:
            await everything_on(cluster, crew, "n1", "n2", "n3")
            await dies(cluster, crew, "n1", "after its death")
            await cluster.pass_time(1.0)
            crew.start("n1")
            await cluster.clock.advance(alive)
            await crew.kill("n1")
            await cluster.pass_time(2.0)
            crew.start("n1")
            back = cluster.clock.now()
            await cluster.pass_time(40.0)
            cluster.judge(back)


async def test_a_lease_that_somebody_deletes_meanwhile_settles_it_as_well() -> None:
    for away in (0.5, 2.0, 8.0):
        cluster = Watched()
        await cluster.prepare(failback="Never")
        async with cluster.running("n1") as crew:
            await everything_on(cluster, crew, "n1", "n2", "n3")
            await crew.kill("n1")
            await cluster.admin.delete(LEASES, "purelb-node-n1", namespace=INSTALL)
            await cluster.pass_time(away)
            crew.start("n1", pod_uid="another")
            back = cluster.clock.now()
            await cluster.pass_time(40.0)
            cluster.judge(back)


@pytest.mark.parametrize("first", range(8))
async def test_a_holder_that_dies_while_it_gives_back_what_is_not_its_own_settles_it_when_it_returns(
    first: int,
) -> None:
    """Steps of 25 ms through the time in which a node that has been alive for 30 s takes what it is offered."""
    for step in range(first, 24, 8):
        cluster = Watched()
        await cluster.prepare()
        async with cluster.running("n1") as crew:
            await everything_on(cluster, crew, "n1")
            crew.start("n3")
            await cluster.clock.advance(29.5)
            while not any("n3" in cluster.answering(ip) for ip in ADDRESSES):
                await cluster.clock.advance(0.01)
            await cluster.clock.advance(step * 0.025)
            await crew.kill("n1")
            await cluster.pass_time(1.0)
            crew.start("n1")
            back = cluster.clock.now()
            await cluster.pass_time(20.0)
            cluster.judge(back)


async def test_a_node_that_returns_with_an_empty_kernel_is_told_and_takes_nothing() -> None:
    cluster = Watched()
    await cluster.prepare(failback="Never")
    async with cluster.running("n1") as crew:
        await everything_on(cluster, crew, "n1", "n2", "n3")
        await crew.leave("n1")
        await cluster.pass_time(5.0)
        holders = {ip: cluster.answering(ip) for ip in ADDRESSES}
        crew.start("n1", pod_uid="another")
        await cluster.pass_time(40.0)
        assert {ip: cluster.answering(ip) for ip in ADDRESSES} == holders


async def test_what_was_taken_long_ago_is_not_spoken_of_when_a_peer_returns() -> None:
    cluster = Watched()
    await cluster.prepare(failback="Never", garpConfig={"repeatInterval": "0s"})
    async with cluster.running("n1") as crew:
        await everything_on(cluster, crew, "n1", "n2", "n3")
        await cluster.clock.advance(310.0)
        frames = len(cluster.host("n1").sent)
        await crew.kill("n2")
        crew.start("n2")
        await cluster.pass_time(5.0)
        assert len(cluster.host("n1").sent) == frames


async def test_an_agent_that_comes_to_its_peers_late_takes_nothing_from_them_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its own lease is answered for before the owner's first turn for anybody else's: what is listed waits behind what happens."""
    cluster = Watched()
    await cluster.prepare(failback="Never")
    async with cluster.running("n1") as crew:
        await everything_on(cluster, crew, "n1", "n2", "n3")
        for name in ("n2", "n3"):
            await crew.kill(name)
        add = WorkQueue.add

        def late(queue: WorkQueue[Any], key: Any, *, priority: int = LIVE) -> None:
            if isinstance(key, keys.Peer) and priority == INITIAL:
                queue.add_after(key, 2.0, priority=priority)
            else:
                add(queue, key, priority=priority)

        monkeypatch.setattr(WorkQueue, "add", late)
        for name in ("n2", "n3"):
            crew.start(name)
        await cluster.pass_time(5.0)
        assert [sight.holders for sight in cluster.sights] == [{ip: frozenset({"n1"}) for ip in ADDRESSES}]
