# SPDX-License-Identifier: Apache-2.0
"""In a burst the owner takes in late that a first address was written: those who have none come first, and nobody is told anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from purelb.allocator import metrics
from purelb.allocator.courier import BURST
from purelb.allocator.keys import StatusDue, Wrote
from purelb.allocator.landing import tell_all
from purelb.api.kinds import SERVICE_GROUPS
from purelb.api.pieces import at_once
from purelb.kube.errors import Status
from purelb.kube.resources import SERVICES
from purelb.kube.writer import Conflicted, Refused, Written
from purelb.sandbox.apiserver.faults import Delay, Rule
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL, ip, service
from tests.allocator.test_landing import WEB, Bench
from tests.allocator.theatre import merged

if TYPE_CHECKING:
    from purelb.kube.model import Service

MOMENT = 1 / 64


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.99", reuseDelay="5m"),)


async def written(bench: Bench, *, at: float) -> tuple[int, Service]:
    """The first address of the only Service was written at `at`, and nobody has taken that in."""
    await bench.step()
    number, body = bench.hands.writes[-1]
    applied = merged(service(), body)
    applied = replace(applied, metadata=replace(applied.metadata, resource_version="2"))
    bench.services.note_write(applied)
    bench.state.flights.answer(number, Written(applied, "2"), at)
    return number, applied


async def test_the_turn_of_a_service_takes_in_that_its_address_was_written_and_says_when() -> None:
    bench = Bench(service())
    number, _ = await written(bench, at=3.0)
    assert bench.hands.told == []
    await bench.step(now=8.0)
    assert list(zip(bench.hands.told, bench.hands.told_ago, strict=True)) == [("AddressAssigned", 5.0)]
    assert bench.state.ledger.published(WEB) == (ip("192.0.2.10"),)
    assert WEB not in (*bench.hands.asked, *bench.hands.resting), "it has its turn"
    await bench.step(Wrote(number), now=9.0)
    assert len(bench.hands.told) == 1
    assert bench.state.flights.unlanded == ()


async def test_the_time_to_an_address_ends_with_its_write_and_not_when_that_is_taken_in() -> None:
    bench = Bench(service())
    await written(bench, at=3.0)
    await bench.step(now=8.0)
    assert bench.hands.counted.observed[metrics.TIME_TO_ADDRESS.name, "local"] == [3.0]


async def test_the_numbers_of_a_group_are_due_a_second_after_the_last_ones_however_late_a_write_is_taken_in() -> None:
    bench = Bench(service())
    await written(bench, at=3.0)
    bench.state.group_written_at[INSTALL, "default"] = 7.75
    await bench.step(now=8.0)
    assert (StatusDue(INSTALL, "default"), 0.75) in bench.hands.waiting


async def test_a_write_that_was_not_applied_is_not_taken_in_by_a_turn_that_comes_too_early() -> None:
    bench = Bench(service())
    await bench.step()
    number, _ = bench.hands.writes[-1]
    bench.state.flights.answer(number, Conflicted(), 3.0)
    await bench.step(now=3.0)
    assert len(bench.hands.writes) == 1
    await bench.step(Wrote(number), now=3.0)
    assert [delay for asked, delay in bench.hands.waiting if asked == WEB] != []


async def test_a_service_that_is_deleted_before_its_write_was_taken_in_had_its_address_all_the_same() -> None:
    bench = Bench(service())
    _, applied = await written(bench, at=3.0)
    bench.services.remove("shop/web", applied, "3")
    await bench.step(now=8.0)
    assert bench.hands.told == ["AddressAssigned"]
    assert (bench.state.ledger.records, bench.state.flights.unlanded) == ({}, ())


async def test_the_end_of_a_term_tells_of_what_was_written_and_not_yet_taken_in() -> None:
    bench = Bench(service())
    await written(bench, at=3.0)
    at_once(tell_all(bench.state, bench.hands, 8.0))
    assert list(zip(bench.hands.told, bench.hands.told_ago, strict=True)) == [("AddressAssigned", 5.0)]


async def test_the_end_of_a_term_promises_no_other_try_of_what_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(service())
    await bench.step()
    number, _ = bench.hands.writes[-1]
    caplog.set_level("INFO")
    bench.state.flights.answer(number, Refused(Status(code=403, reason="Forbidden", message="no")), 3.0)
    at_once(tell_all(bench.state, bench.hands, 8.0))
    assert [record.getMessage() for record in caplog.records] == []


async def test_only_a_write_that_frees_nothing_may_be_taken_in_late() -> None:
    bench = Bench(service())
    await written(bench, at=3.0)
    await bench.step(now=8.0)
    other = service(annotations={"purelb.io/addresses": "192.0.2.12"})
    asks = merged(other, bench.hands.writes[-1][1])
    bench.services.upsert(replace(asks, metadata=replace(asks.metadata, resource_version="4")))
    await bench.step(now=9.0)
    assert bench.hands.patient == [True, False]


async def test_a_write_that_gives_up_what_was_decided_and_never_seen_published_is_taken_in_at_once() -> None:
    """Its user asked for another address while the first one was being written: who waits for that one is woken by the answer."""
    first, other = (service(annotations={"purelb.io/addresses": f"192.0.2.{last}"}) for last in (10, 12))
    bench = Bench(first)
    await bench.step()
    bench.services.upsert(replace(other, metadata=replace(other.metadata, resource_version="2")))
    await bench.answer(Conflicted(), 1.0)
    await bench.step(now=2.0)
    assert bench.hands.patient == [True, False]


async def test_who_was_asked_while_its_first_address_was_being_written_is_asked_again_at_once(cluster: Cluster) -> None:
    """The group lets go of the address meanwhile. To say so waits for the writes before it, and not for what they may take at most."""
    async with cluster.allocator(writers=2):
        cluster.core.faults.add(Rule(effect=Delay(seconds=MOMENT / 16), resource="services/status", verb="patch"))
        for number in range(3 * BURST):
            await cluster.serve(f"s{number:02}")
        await cluster.clock.advance(MOMENT / 32)
        assert await cluster.addresses("s00") == ()
        fewer = pool(text="192.0.2.11-192.0.2.99")["spec"]
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": fewer}, INSTALL)
        await cluster.clock.advance(5 * MOMENT)
        assert (await cluster.addresses("s00"), (await cluster.says(name="s00")).reason) == (
            ("192.0.2.10",),
            "AddressKept",
        )


async def test_an_address_given_up_in_a_burst_is_kept_back_though_nobody_had_taken_in_that_it_was_written(
    cluster: Cluster,
) -> None:
    async with cluster.allocator(writers=2):
        cluster.core.faults.add(Rule(effect=Delay(seconds=MOMENT), resource="services/status", verb="patch"))
        for number in range(3 * BURST):
            await cluster.serve(f"s{number:02}")
        while not await cluster.addresses("s00"):
            await cluster.clock.advance(MOMENT)
        before = await cluster.addresses("s00")
        await cluster.admin.delete(SERVICES, "s00", namespace="shop")
        await cluster.clock.advance(MOMENT)
        await cluster.serve("last", annotations={"purelb.io/addresses": before[0]})
        await cluster.clock.advance(30.0)
        assert await cluster.addresses("last") == ()
        assert "is kept for shop/s00 until" in (await cluster.says(name="last")).message


@pytest.mark.parametrize("moments", [12, 20])
async def test_a_leader_that_is_stopped_in_a_burst_has_told_everybody_who_has_an_address(
    cluster: Cluster, moments: int
) -> None:
    async with cluster.allocator(writers=2):
        cluster.core.faults.add(Rule(effect=Delay(seconds=MOMENT), resource="services/status", verb="patch"))
        for number in range(3 * BURST):
            await cluster.serve(f"s{number:02}")
        for _ in range(moments):
            await cluster.clock.advance(MOMENT)
    given = [f"s{number:02}" for number in range(3 * BURST) if await cluster.addresses(f"s{number:02}")]
    assert given
    assert [name for name, reason, _ in await cluster.events() if reason == "AddressAssigned"] == given
