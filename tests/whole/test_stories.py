# SPDX-License-Identifier: Apache-2.0
"""Allocator and agents together, told as what befalls a cluster: nobody plays the other side's part here."""

from __future__ import annotations

import asyncio
import logging

import pytest

from purelb.api.kinds import LB_NODE_AGENTS
from purelb.kube.resources import SERVICES
from purelb.sandbox.invariants import (
    ALLOW_SHARED,
    never_without_holder,
    nothing_moved,
    only_leases_are_written,
    published_addresses_stay,
)
from tests.installed import SHOP
from tests.lbnodeagent.lan import INSTALL
from tests.whole.town import D, Town

MINUTES = 60.0


@pytest.fixture
async def town() -> Town:
    asyncio.get_running_loop().set_debug(False)  # it notes where each future was made: hours of virtual time make many
    made = Town()
    await made.prepare()
    return made


async def three_kinds(town: Town) -> None:
    """One address, one of each family, and two Services that share one."""
    await town.wish("single")
    await town.wish("both", ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv4", "IPv6"])
    await town.wish("left", annotations={ALLOW_SHARED: "pair"}, port=80)
    await town.wish("right", annotations={ALLOW_SHARED: "pair"}, port=443)
    await town.clock.advance(5.0)


def a_holder(town: Town) -> tuple[str, list[str]]:
    """A node that has addresses, and these."""
    holders = town.holders()
    (name,) = next(iter(holders.values()))
    return name, [address for address, nodes in holders.items() if name in nodes]


async def test_services_of_every_kind_get_their_addresses_and_each_is_on_one_node(town: Town) -> None:
    async with town.living():
        await three_kinds(town)
        services = {service.name: service.addresses for service in await town.judge()}
        assert [len(services[name]) for name in ("single", "both", "left", "right")] == [1, 2, 1, 1]
        assert services["left"] == services["right"]
        assert {":" in address for address in services["both"]} == {True, False}
        assert len({*services["single"], *services["both"], *services["left"]}) == 4
        await town.admin.delete(SERVICES, "left", namespace=SHOP)
        await town.clock.advance(5.0)
        await town.judge()
        await town.admin.delete(SERVICES, "right", namespace=SHOP)
        await town.clock.advance(5.0)
        assert services["right"][0] not in town.holders()
        await town.judge()


async def test_a_holder_that_is_told_to_stop_gives_its_addresses_away_without_a_moment_of_nobody(town: Town) -> None:
    async with town.living() as processes:
        await three_kinds(town)
        services = await town.judge()
        holder, held = a_holder(town)
        town.sights.clear()
        await processes.crew.leave(holder)
        assert not [address for address, nodes in town.holders().items() if holder in nodes]
        for address in held:
            assert not never_without_holder(town.sights, address)
        await town.clock.advance(10.0)
        assert not published_addresses_stay(services, await town.judge())


@pytest.mark.parametrize("into_the_renewal", [0.0, 0.4, 1.1, 1.8, 2.5, 3.2])
async def test_what_a_dead_node_held_is_taken_over_a_second_after_its_lease_at_the_latest(
    town: Town, into_the_renewal: float
) -> None:
    async with town.living() as processes:
        await three_kinds(town)
        await town.clock.advance(30.0 + into_the_renewal)
        services = await town.judge()
        holder, held = a_holder(town)
        town.sights.clear()
        await processes.power_off(holder)
        await town.clock.advance(D + 1.0)
        for address in held:
            assert not never_without_holder(town.sights, address, longer_than=D + 1.0)
            assert never_without_holder(town.sights, address)
        await town.judge()
        await town.clock.advance(60.0)
        assert not published_addresses_stay(services, await town.judge())


async def test_ten_minutes_without_the_api_server_move_and_lose_nothing(town: Town) -> None:
    async with town.living() as processes:
        await three_kinds(town)
        services, holders = await town.judge(), town.holders()
        town.sights.clear()
        town.api_down = True
        for _ in range(10):
            await town.clock.advance(MINUTES)
            assert not nothing_moved(holders, town.holders())
        town.api_down = False
        await town.clock.advance(2 * MINUTES)
        assert not nothing_moved(holders, town.holders())
        for address in holders:
            assert not never_without_holder(town.sights, address)
        assert not published_addresses_stay(services, await town.judge())
        assert {agent.phase() for agent in processes.crew.agents.values()} == {"Running"}
        await town.wish("later")
        await town.clock.advance(5.0)
        await town.judge()


async def test_an_agent_that_is_killed_and_comes_back_adopts_what_its_kernel_has(town: Town) -> None:
    async with town.living() as processes:
        await three_kinds(town)
        services, holders = await town.judge(), town.holders()
        name, _ = a_holder(town)
        host = town.host(name)
        town.sights.clear()
        frames, log = len(host.sent), len(host.log)
        await processes.crew.kill(name)
        await town.clock.advance(2.0)
        processes.crew.start(name)  # the same pod: its container was restarted
        await town.clock.advance(60.0)
        assert not nothing_moved(holders, town.holders())
        for address in holders:
            assert not never_without_holder(town.sights, address)
        assert {verb for _, verb, _ in host.log[log:]} == {"renew"}
        assert len(host.sent) == frames
        assert not published_addresses_stay(services, await town.judge())


async def test_with_no_allocator_at_all_a_dead_nodes_addresses_are_taken_over(town: Town) -> None:
    async with town.living() as processes:
        await three_kinds(town)
        services = await town.judge()
        await processes.kill_allocator()
        await town.clock.advance(60.0)
        holder, _ = a_holder(town)
        await processes.power_off(holder)
        await town.clock.advance(D + 1.0)
        assert not published_addresses_stay(services, await town.judge())
        processes.start_allocator()
        await town.clock.advance(30.0)
        assert not published_addresses_stay(services, await town.judge())


async def test_everything_killed_at_once_and_started_again_changes_nothing_on_any_interface(town: Town) -> None:
    async with town.living() as processes:
        await three_kinds(town)
        services, holders = await town.judge(), town.holders()
        logs = {host.name: len(host.log) for host in town.hosts}
        town.sights.clear()
        for host in town.hosts:
            await processes.crew.kill(host.name)
        await processes.kill_allocator()
        processes.start_allocator()
        for host in town.hosts:
            processes.crew.start(host.name)
        await town.clock.advance(60.0)
        assert not nothing_moved(holders, town.holders())
        for address in holders:
            assert not never_without_holder(town.sights, address)
        assert {verb for host in town.hosts for _, verb, _ in host.log[logs[host.name] :]} == {"renew"}
        assert not published_addresses_stay(services, await town.judge())


async def test_a_node_that_dies_while_the_api_server_is_away_is_replaced_when_it_is_back_and_nobody_else_moves(
    town: Town,
) -> None:
    async with town.living() as processes:
        await three_kinds(town)
        services, holders = await town.judge(), town.holders()
        holder, held = a_holder(town)
        town.api_down = True
        await town.clock.advance(MINUTES)
        await processes.power_off(holder)
        await town.clock.advance(5 * MINUTES)
        others = {address: nodes for address, nodes in holders.items() if address not in held}
        assert not nothing_moved(others, town.holders())
        town.api_down = False
        await town.clock.advance(2 * MINUTES)
        now = town.holders()
        assert not nothing_moved(others, {address: nodes for address, nodes in now.items() if address not in held})
        assert not published_addresses_stay(services, await town.judge())


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3, 1.0, 2.5])
async def test_an_agent_killed_on_its_way_out_is_repaired_by_the_next_one(town: Town, seconds: float) -> None:
    async with town.living() as processes:
        await three_kinds(town)
        services = await town.judge()
        for number in range(12):
            holder, held = a_holder(town)
            town.sights.clear()
            processes.crew.agents[holder].stop()
            await turns(number)
            await town.clock.advance(seconds)
            await turns(number)
            await processes.crew.kill(holder)
            processes.crew.start(holder)
            await town.clock.advance(90.0)
            for address in held:
                assert not never_without_holder(town.sights, address)
            assert not published_addresses_stay(services, await town.judge())


BURST = 20
POINTS = 48
"""So many turns of the loop after the last Service: from before its first write to after its last."""


async def burst(town: Town, name: str) -> None:
    for number in range(BURST):
        await town.wish(f"{name}{number}")


@pytest.mark.parametrize("first", range(8))
async def test_an_allocator_killed_in_the_middle_of_a_burst_changes_no_published_address(
    town: Town, first: int
) -> None:
    published_at = []
    async with town.living() as processes:
        for point in range(first, POINTS, 8):
            await processes.kill_allocator()
            processes.start_allocator(step_by_step=True)
            await town.clock.advance(20.0)
            await burst(town, f"at{point}-")
            await turns(point)
            await processes.kill_allocator()
            before = await town.published()
            published_at.append(sum(bool(service.addresses) for service in before))
            processes.start_allocator(step_by_step=True)
            await town.clock.advance(30.0)
            assert not published_addresses_stay(before, await town.judge())
            for number in range(BURST):
                await town.admin.delete(SERVICES, f"at{point}-{number}", namespace=SHOP)
            await town.clock.advance(5.0)
            await town.judge()
    assert any(0 < number < BURST for number in published_at), published_at
    assert published_at[-1] == BURST


async def test_at_rest_an_hour_passes_without_a_write_but_leases_and_without_a_line(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    async with town.living():
        await three_kinds(town)
        await town.clock.advance(60.0)
        await town.judge()
        holders = town.holders()
        streams = [town.allocator_writes, *town.writes.values()]
        for written in streams:
            written.clear()
        town.sights.clear()
        caplog.clear()
        caplog.set_level(logging.INFO)
        await town.clock.advance(60 * MINUTES)
        assert not only_leases_are_written([write for written in streams for write in written])
        assert all(streams)
        assert [record.getMessage() for record in caplog.records if record.name.startswith("purelb")] == []
        assert not nothing_moved(holders, town.holders())
        assert all(sight.holders == holders for sight in town.sights)
        await town.judge()


async def test_the_agents_configuration_says_who_uses_it_and_what_is_wrong_with_it(town: Town) -> None:
    async def said() -> tuple[int | None, str, str]:
        found = await town.admin.get(LB_NODE_AGENTS, "default", namespace=INSTALL)
        assert found.status is not None
        (condition,) = found.status.conditions or ()
        return found.status.nodes, condition.reason, condition.message

    async def configure(**local: str) -> None:
        await town.patch(LB_NODE_AGENTS, "default", {"spec": {"local": local}}, INSTALL)
        await town.clock.advance(10.0)

    count = len(town.hosts)
    async with town.living() as processes:
        await town.clock.advance(5.0)
        assert await said() == (count, "Applied", f"used by {count} nodes")
        await configure(localInterface="eth7")
        nodes, reason, message = await said()
        assert (nodes, reason) == (0, "ConfigError")
        assert message.startswith(f"{min(host.name for host in town.hosts)}: ")
        assert '"eth7"' in message
        await configure(localInterface="default")
        assert await said() == (count, "Applied", f"used by {count} nodes")
        await processes.crew.leave(town.hosts[0].name)
        await town.clock.advance(10.0)
        assert await said() == (count - 1, "Applied", f"used by {count - 1} nodes")
