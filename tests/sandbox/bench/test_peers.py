# SPDX-License-Identifier: Apache-2.0
"""The comparison with a peer: what it may be called, and what is made of a cluster whose load balancer is not ours."""

from __future__ import annotations

import argparse
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.resources import ENDPOINT_SLICES, SERVICES
from purelb.process.command import BAD_USAGE
from purelb.sandbox.bench import command, peers
from tests.sandbox.bench.balancers import Child, Cluster, Stand, at_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


@pytest.mark.parametrize("text", ["metallb", "=kubeconfig", "metallb=", "PureLB=kubeconfig"])
def test_a_peer_needs_a_name_of_its_own_and_a_kubeconfig(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        command.named(text)


def test_a_kubeconfig_may_have_an_equals_sign() -> None:
    assert command.named("metallb=/tmp/a=b") == ("metallb", "/tmp/a=b")


@pytest.mark.parametrize("option", ["--peer-allocator", "--peer-agent"])
def test_a_command_belongs_to_a_peer_that_is_given(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    words = ["peer", "--peer=metallb=/tmp/kubeconfig", f"{option}=other=/bin/other --port 1"]
    assert command.run(parser.parse_args(words)) == BAD_USAGE
    assert "other: a command of a peer that has no --peer NAME=KUBECONFIG" in capsys.readouterr().err


async def test_ours_and_a_peer_are_measured_in_turns_with_services_of_no_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once(monkeypatch)
    ours, other = Cluster(), Cluster(twice=True)
    stand: Any = Stand(ours)
    async with stand.beside(other):
        rows = await peers.against(stand, [peers.Peer("other", other.client)], services=4, singles=1)
    assert (stand.turns, stand.env) == (peers.ROUNDS, {"DEFAULT_ANNOUNCER": "PureLB"})
    assert ours.classes == other.classes == {None}
    versions = {found.case: found for found in rows if found.unit == "count"}
    assert [found.p50 for found in versions.values()] == [2.0, 1.0]
    assert [found.ratio.value for found in versions.values() if found.ratio] == [0.5]
    assert all(found.ratio for found in rows if found.case.startswith("PureLB against other: "))
    assert not [found for found in rows if "writes of any kind" in found.case]  # no API server here tells them


async def test_writes_of_any_kind_are_compared_where_both_tell_them(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    ours, other = Cluster(tells=True), Cluster(tells=True, twice=True)
    stand: Any = Stand(ours)
    async with stand.beside(other):
        rows = await peers.against(stand, [peers.Peer("other", other.client)], services=4, singles=1)
    writes = [found for found in rows if "writes of any kind per Service" in found.case]
    assert [(found.n, found.p50) for found in writes] == [(peers.ROUNDS, 2.0), (peers.ROUNDS, 1.0)]
    assert [found.ratio.value for found in writes if found.ratio] == [0.5]


async def test_what_a_failed_part_left_on_a_cluster_is_gone_before_the_next() -> None:
    ours, other = Cluster(), Cluster()
    stand: Any = Stand(ours)
    async with ours.client, other.client:
        await peers.prepared(stand, [peers.Peer("other", other.client)])
        await peers.with_backend(other.client, "left", address="192.0.2.9", node="bench")
        await peers.prepared(stand, [peers.Peer("other", other.client)])
        assert not (await other.client.list_page(SERVICES, namespace=peers.NAMESPACE)).objects
        assert not (await other.client.list_page(ENDPOINT_SLICES, namespace=peers.NAMESPACE)).objects


async def test_a_peer_with_commands_runs_while_its_turn_lasts_and_has_served_a_service_by_then() -> None:
    cluster = Cluster()
    stand: Any = Stand(Cluster(), commands={"/bin/allocator": cluster})
    peer = peers.Peer("other", cluster.client, allocator=("/bin/allocator", "--port=1"), agent=("/bin/agent",))
    async with stand.client, cluster.client:
        await peers.prepared(stand, [peer])
        async with peers.serving(stand, peer) as alive:
            assert alive()
            assert (cluster.classes, cluster.served) == ({None}, {peers.PROBE})
            assert not (await cluster.client.list_page(SERVICES, namespace=peers.NAMESPACE)).objects
        async with peers.serving(stand, peer, agent=True, probed=False):
            pass
    assert stand.told == [
        "started /bin/allocator --port=1",
        "ended /bin/allocator",
        "started /bin/allocator --port=1",
        "started /bin/agent",
        "ended /bin/agent",
        "ended /bin/allocator",
    ]
    assert stand.turns == 0


class Breaking(Stand):
    """Whatever is started here has ended already."""

    @asynccontextmanager
    async def peer(self, _: Sequence[str], *, log: Path) -> AsyncIterator[Child]:
        log.write_text("no such flag\n")  # noqa: ASYNC240  nothing else runs
        yield Child(returncode=2)


async def test_a_peer_whose_process_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    cluster = Cluster()
    stand: Any = Breaking(cluster, logs=tmp_path)
    async with cluster.client:
        await peers.prepared(stand, [])
        with pytest.raises(RuntimeError, match="other ended with 2:\nno such flag"):
            async with peers.serving(stand, peers.Peer("other", cluster.client, allocator=("/bin/allocator",))):
                pytest.fail("it does not run")
