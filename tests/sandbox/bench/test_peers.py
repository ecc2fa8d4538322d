# SPDX-License-Identifier: Apache-2.0
"""The comparison with a peer: what it may be called, and what is made of a cluster whose load balancer is not ours."""

from __future__ import annotations

import argparse
import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.clock import SystemClock
from purelb.kube.decode import Event
from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.memory import MemoryTransport
from purelb.sandbox.bench import command, peers

if TYPE_CHECKING:
    from purelb.sandbox.bench.suites import Stage


@pytest.mark.parametrize("text", ["metallb", "=kubeconfig", "metallb=", "PureLB=kubeconfig"])
def test_a_peer_needs_a_name_of_its_own_and_a_kubeconfig(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        command.named(text)


def test_a_kubeconfig_may_have_an_equals_sign() -> None:
    assert command.named("metallb=/tmp/a=b") == ("metallb", "/tmp/a=b")


def _balanced(service: Any) -> bool:
    return bool(service.spec.type == "LoadBalancer")


class Cluster:
    """An API server in memory and a load balancer of three lines. `twice`: it writes everything two times."""

    def __init__(self, *, twice: bool = False) -> None:
        clock = SystemClock()
        core = ApiCore(rng=random.Random(1).random, epoch=datetime(2030, 1, 1, tzinfo=UTC))
        self.client = ApiClient(
            fixed_access("http://memory"), user_agent="t", clock=clock, transport=MemoryTransport(core, clock=clock)
        )
        self.twice = twice
        self.classes: set[str | None] = set()

    async def balance(self) -> None:
        async with self.client.watch(SERVICES, rv="0", timeout_s=60) as stream:
            async for events in stream:
                for event in events:
                    if isinstance(event, Event) and event.type == "ADDED" and _balanced(event.object):
                        await self.serve(event.object)

    async def serve(self, service: Any) -> None:
        self.classes.add(service.spec.load_balancer_class)
        for address in ("192.0.2.1", "192.0.2.2")[: 1 + self.twice]:
            status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
            where = {"namespace": service.metadata.namespace, "subresource": "status"}
            await self.client.patch(SERVICES, service.metadata.name, status, kind=PatchType.MERGE, **where)


class Stand:
    """As much of a stage as the comparison uses: ours runs while its turn lasts."""

    def __init__(self, ours: Cluster) -> None:
        self.client = ours.client
        self.ours = ours
        self.turns = 0
        self.env: dict[str, str] = {}

    def allocator(self, *, env: dict[str, str]) -> Stand:
        self.env = env
        return self

    async def __aenter__(self) -> None:
        self.turns += 1

    async def __aexit__(self, *error: object) -> None:
        pass


async def test_ours_and_a_peer_are_measured_in_turns_with_services_of_no_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def settled(*_: object, **__: object) -> None:
        await asyncio.sleep(0.05)

    monkeypatch.setattr(peers, "until_quiet", settled)
    ours, other = Cluster(), Cluster(twice=True)
    stand: Any = Stand(ours)
    async with ours.client, other.client, asyncio.TaskGroup() as group:
        balancers = [group.create_task(cluster.balance()) for cluster in (ours, other)]
        stage: Stage = stand
        rows = await peers.against(stage, [peers.Peer("other", other.client)], services=4, singles=1)
        for balancer in balancers:
            balancer.cancel()
    assert (stand.turns, stand.env) == (peers.ROUNDS, {"DEFAULT_ANNOUNCER": "PureLB"})
    assert ours.classes == other.classes == {None}
    versions = {found.case: found for found in rows if found.unit == "count"}
    assert [found.p50 for found in versions.values()] == [2.0, 1.0]
    assert [found.ratio.value for found in versions.values() if found.ratio] == [0.5]
    assert all(found.ratio for found in rows if found.case.startswith("PureLB against other: "))
