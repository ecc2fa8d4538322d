# SPDX-License-Identifier: Apache-2.0
"""The comparison with a peer: what it may be called, and what is made of a cluster whose load balancer is not ours."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from purelb.sandbox.bench import command, peers
from tests.sandbox.bench.balancers import Cluster, Stand
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from purelb.sandbox.bench.suites import Stage


@pytest.mark.parametrize("text", ["metallb", "=kubeconfig", "metallb=", "PureLB=kubeconfig"])
def test_a_peer_needs_a_name_of_its_own_and_a_kubeconfig(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        command.named(text)


def test_a_kubeconfig_may_have_an_equals_sign() -> None:
    assert command.named("metallb=/tmp/a=b") == ("metallb", "/tmp/a=b")


async def test_ours_and_a_peer_are_measured_in_turns_with_services_of_no_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def settled(*_: object, **__: object) -> None:
        await VirtualClock().settle()  # everybody is in this loop: who has something to do is ready

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
