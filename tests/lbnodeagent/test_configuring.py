# SPDX-License-Identifier: Apache-2.0
"""The agent's turn for configuration holds nobody up: what is long is read in pieces, and only once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from purelb.api.kinds import LB_NODE_AGENTS, SERVICE_GROUPS
from purelb.kube.clock import breathe
from purelb.kube.resources import NODES
from purelb.process import pacing
from tests.lbnodeagent.lan import INSTALL, Lan

if TYPE_CHECKING:
    import pytest

ENTRIES = 60
ITEMS = 40
SERVICES = 40


class Rests:
    """How often a turn of the owner gave way, if each piece of it took too long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count = 0
        monkeypatch.setattr(pacing, "SLICE", 0.0)
        monkeypatch.setattr(pacing, "breathe", self._breathe)

    async def _breathe(self) -> None:
        self._count += 1
        await breathe()

    def since(self) -> int:
        found, self._count = self._count, 0
        return found


def far(*pools: str) -> dict[str, Any]:
    return {"spec": {"remote": {"v4pools": [{"pool": pool, "subnet": "10.0.0.0/8"} for pool in pools]}}}


def many(entry: int) -> str:
    """As many ranges as one entry may hold."""
    return ", ".join(f"10.{entry}.{n}.1-10.{entry}.{n}.9" for n in range(ITEMS))


async def test_a_group_of_thousands_of_items_is_read_in_pieces_and_again_only_when_it_says_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, rests = Lan(nodes=1), Rests(monkeypatch)
    await cluster.prepare()
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "wide"}, **far(*map(many, range(ENTRIES)))}, INSTALL)
    async with cluster.running("n1") as crew:
        state = crew.agents["n1"].state
        assert rests.since() >= 2 * ENTRIES
        assert len(state.groups["wide"].entries) == ENTRIES
        status = {"status": {"addresses": ["10.0.0.1"]}}
        await cluster.patch(SERVICE_GROUPS, "wide", status, INSTALL, subresource="status")
        await cluster.patch(NODES, "n1", {"metadata": {"labels": {"zone": "a"}}})
        await cluster.clock.settle()
        assert rests.since() <= 20, "one for each group that was read before"
        await cluster.patch(SERVICE_GROUPS, "wide", far("10.0.0.0/24"), INSTALL)
        await cluster.clock.settle()
        assert len(state.groups["wide"].entries) == 1
        await cluster.patch(SERVICE_GROUPS, "wide", {"spec": {"drain": True}}, INSTALL)
        await cluster.clock.settle()
        assert state.groups["wide"].drain
        await cluster.admin.delete(SERVICE_GROUPS, "wide", namespace=INSTALL)
        await cluster.clock.settle()
        assert sorted(state.groups) == ["lan", "wan"]
        await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "wide"}, **far("10.0.0.0/24")}, INSTALL)
        await cluster.clock.settle()
        assert not state.groups["wide"].drain
        await cluster.admin.delete(SERVICE_GROUPS, "wide", namespace=INSTALL)
        made = await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "wide"}, **far("10.0.0.0/24")}, INSTALL)
        await cluster.clock.settle()
        assert state.groups["wide"].uid == made.metadata.uid


async def test_an_edited_group_has_the_others_take_turns_while_the_services_are_read_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, rests = Lan(nodes=1), Rests(monkeypatch)
    await cluster.prepare()
    for number in range(SERVICES):
        await cluster.serve(f"web{number}", f"198.51.100.{number + 1}", group="wan")
    async with cluster.running("n1"):
        rests.since()
        edit = {"spec": {"remote": {"v4pool": {"aggregation": "/24"}}}}
        await cluster.patch(SERVICE_GROUPS, "wan", edit, INSTALL)
        await cluster.clock.settle()
        assert rests.since() >= SERVICES
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"duplicateCheck": False}}}, INSTALL)
        await cluster.clock.settle()
        assert rests.since() < SERVICES, "the groups say the same as before"
        lengths = {key[1] for key in cluster.host("n1").model.addresses if str(key[0]).startswith("198.51.100.")}
        assert lengths == {24}
