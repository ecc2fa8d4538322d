# SPDX-License-Identifier: Apache-2.0
"""Killed anywhere, started again, two at once, cut off: no address is lost, none is given twice."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from purelb.api.leases import ALLOCATOR_LEASE
from purelb.kube.resources import LEASES, SERVICES
from purelb.sandbox.apiserver.faults import Answer, Delay, Hang, LoseAnswer, Reset, Rule
from tests.allocator.cluster import ALLOCATOR, Cluster, pool
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOMENT = 1 / 64


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.14"),)


@pytest.mark.parametrize("moments", range(0, 40, 3))
async def test_killed_in_a_burst_and_started_again_nobody_loses_and_nobody_shares_an_address(
    cluster: Cluster, moments: int
) -> None:
    for number in range(8):
        await cluster.serve(f"s{number}")
    cluster.core.faults.add(Rule(effect=Delay(seconds=MOMENT), resource="services/status", verb="patch"))
    async with cluster.killed_allocator(writers=2):
        for _ in range(moments):
            await cluster.clock.advance(MOMENT / 4)
    before = {f"s{n}": await cluster.addresses(f"s{n}") for n in range(8)}
    async with cluster.allocator():
        await cluster.clock.advance(5.0)
        after = {f"s{n}": await cluster.addresses(f"s{n}") for n in range(8)}
        assert all(after[name] == held for name, held in before.items() if held)
        given = await cluster.all_addresses()
        assert len(given) == len(set(given)) == 5


@pytest.mark.parametrize(
    "effect",
    [Reset(), LoseAnswer(), Hang(), Answer(code=500), Answer(code=429, retry_after=1), Answer(code=504)],
    ids=["cut", "answer lost", "no answer", "500", "429", "504"],
)
async def test_whatever_becomes_of_writes_every_service_ends_with_one_address_of_its_own(
    cluster: Cluster, effect: object
) -> None:
    async with cluster.allocator():
        rule = Rule(effect=effect, resource="services/status", verb="patch", probability=0.6, seed=7)  # type: ignore[arg-type]
        number = cluster.core.faults.add(rule)
        for each in range(5):
            await cluster.serve(f"s{each}")
            await cluster.clock.advance(0.5)
        await cluster.clock.advance(120.0)
        cluster.core.faults.remove(number)
        await cluster.clock.advance(180.0)
        given = await cluster.all_addresses()
        assert len(given) == len(set(given)) == 5
        assigned = [name for name, reason, _ in await cluster.events() if reason == "AddressAssigned"]
        assert assigned == [f"s{each}" for each in range(5)]


async def test_of_two_allocators_one_leads_and_the_other_takes_over_when_it_stops(cluster: Cluster) -> None:
    async with cluster.allocator(leader_elect=True) as first:
        await cluster.clock.advance(3.0)
        async with cluster.allocator(leader_elect=True) as second:
            await cluster.clock.advance(10.0)
            assert (first.phase(), second.phase()) == ("Running", "Standby")
            assert not [text for text in second.checks().values() if text]
            await cluster.serve("a")
            await cluster.clock.advance(1.0)
            first.stop()
            await cluster.clock.advance(8.0)
            assert (first.phase(), second.phase()) == ("Stopped", "Running")
            await cluster.serve("b")
            await cluster.clock.advance(1.0)
            assert (await cluster.addresses("a"), await cluster.addresses("b")) == (("192.0.2.10",), ("192.0.2.11",))
            first.stop = lambda: None  # type: ignore[method-assign]  # it has stopped


async def test_an_allocator_that_loses_its_lease_stands_by_and_comes_back_with_a_fresh_ledger(cluster: Cluster) -> None:
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(3.0)
        await cluster.serve("a")
        await cluster.clock.advance(1.0)
        taken = {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 15}}
        await cluster.patch(LEASES, ALLOCATOR_LEASE, taken, INSTALL)
        await cluster.clock.advance(3.0)
        assert component.phase() == "Standby"
        cluster.writes.clear()
        await cluster.serve("b")
        await cluster.clock.advance(5.0)
        assert not [path for _, path in cluster.writes if "/services/" in path]
        await cluster.clock.advance(30.0)
        assert component.phase() == "Running"
        assert (await cluster.addresses("a"), await cluster.addresses("b")) == (("192.0.2.10",), ("192.0.2.11",))


async def test_without_an_api_server_it_waits_and_says_for_whom(cluster: Cluster) -> None:
    number = cluster.core.faults.add(Rule(effect=Reset()))
    async with cluster.allocator() as component:
        await cluster.clock.advance(60.0)
        assert component.phase() == "Syncing"
        assert component.checks()["synced"] is not None
        assert component.health() == {"owner": None}
        access = component.checks()["access"]
        assert access is not None
        assert "waiting for the API server at http://memory" in access
        cluster.core.faults.remove(number)
        await cluster.serve()
        await cluster.clock.advance(70.0)
        assert component.phase() == "Running"
        assert await cluster.addresses() == ("192.0.2.10",)


async def test_without_the_right_to_one_kind_it_waits_names_the_kind_and_goes_on_when_it_is_granted(
    cluster: Cluster,
) -> None:
    number = cluster.core.faults.add(Rule(effect=Answer(code=403), resource="lbnodeagents*", subject=ALLOCATOR.name))
    async with cluster.allocator() as component:
        await cluster.serve()
        await cluster.clock.advance(60.0)
        said = component.checks()["synced"]
        assert said is not None
        assert said.startswith("lbnodeagents.purelb.io: ")
        assert "403" in said
        assert (component.phase(), await cluster.addresses()) == ("Syncing", ())
        cluster.core.faults.remove(number)
        await cluster.clock.advance(60.0)
        assert component.checks()["synced"] is None
        assert len(await cluster.addresses()) == 1


async def test_during_an_outage_of_the_api_nothing_is_taken_away(cluster: Cluster) -> None:
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(3.0)
        await cluster.serve("a")
        await cluster.clock.advance(1.0)
        number = cluster.core.faults.add(Rule(effect=Reset(), verb="[!w]*"))
        await cluster.clock.advance(300.0)
        cluster.core.faults.remove(number)
        await cluster.clock.advance(60.0)
        assert component.phase() == "Running"
        await cluster.serve("b")
        await cluster.clock.advance(1.0)
        assert (await cluster.addresses("a"), await cluster.addresses("b")) == (("192.0.2.10",), ("192.0.2.11",))


async def test_two_published_services_on_one_address_the_older_keeps_it_and_the_younger_moves(cluster: Cluster) -> None:
    brand = {"purelb.io/allocated-by": "PureLB", "purelb.io/allocated-from": "default", "purelb.io/pool-type": "local"}
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}}
    for name, port in (("older", 80), ("younger", 80), ("beside", 81)):
        await cluster.serve(name, annotations=brand, port=port)
        await cluster.patch(SERVICES, name, ingress, "shop", subresource="status")
        await cluster.clock.advance(1.1)
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        assert await cluster.addresses("older") == ("192.0.2.10",)
        assert await cluster.addresses("younger") == ("192.0.2.11",)
        assert await cluster.addresses("beside") == ("192.0.2.10",)
        contested = await cluster.says(name="beside")
        assert (contested.status, contested.reason) == ("False", "AddressConflict")
        assert contested.message.endswith("; keeps 192.0.2.10")
        assert await conflicts(cluster) == ["beside", "younger"]


async def conflicts(cluster: Cluster) -> list[str]:
    """Who is told of a conflict, once for each time."""
    await cluster.clock.advance(3.0)
    return [name for name, reason, _ in await cluster.events() if reason == "AddressConflict"]


LATE = {
    "metadata": {"annotations": {"purelb.io/allocated-by": "PureLB", "purelb.io/allocated-from": "default"}},
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}},
}


@asynccontextmanager
async def written_late(cluster: Cluster, **younger: Any) -> AsyncIterator[None]:
    """A Service that waits, a younger one that is given its address, and then a former leader's late write."""
    await cluster.serve("older", annotations={"purelb.io/service-group": "nowhere"})
    await cluster.clock.advance(1.1)
    async with cluster.allocator():
        await cluster.serve("younger", **younger)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("younger") == ("192.0.2.10",)
        await cluster.patch(SERVICES, "older", LATE, "shop", subresource="status")
        await cluster.clock.advance(2.0)
        yield


async def test_a_former_leaders_late_write_leaves_the_address_with_the_older_service(cluster: Cluster) -> None:
    async with written_late(cluster):
        assert await cluster.addresses("older") == ("192.0.2.10",)
        assert await cluster.addresses("younger") == ("192.0.2.11",)
        assert await conflicts(cluster) == ["younger"]


async def test_a_former_leaders_late_write_takes_the_address_from_a_younger_one_that_insists_and_tells_it_once(
    cluster: Cluster,
) -> None:
    async with written_late(cluster, annotations={"purelb.io/addresses": "192.0.2.10"}):
        assert (await cluster.addresses("older"), await cluster.addresses("younger")) == (("192.0.2.10",), ())
        told = await cluster.says(name="younger")
        expected = ("AddressConflict", "192.0.2.10 was also published for shop/older, which is older")
        assert (told.reason, told.message) == expected
        assert await conflicts(cluster) == ["younger"]


async def test_a_former_leaders_late_write_beside_a_younger_service_contests_the_address_of_that_one(
    cluster: Cluster,
) -> None:
    async with written_late(cluster, port=81):
        assert await cluster.addresses("older") == await cluster.addresses("younger") == ("192.0.2.10",)
        said = [await cluster.condition(name=name) for name in ("older", "younger")]
        assert [each.reason for each in said if each is not None] == ["AddressAssigned", "AddressConflict"]
        assert await conflicts(cluster) == ["younger"]


async def test_a_late_write_that_cannot_be_put_back_for_a_while_is_told_once(cluster: Cluster) -> None:
    await cluster.serve("older")
    await cluster.clock.advance(1.1)
    await cluster.serve("younger", annotations={"purelb.io/service-group": "nowhere"})
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        rule = Rule(effect=Answer(code=403), resource="services/status", verb="patch", subject=ALLOCATOR.name)
        number = cluster.core.faults.add(rule)
        await cluster.patch(SERVICES, "younger", LATE, "shop", subresource="status")
        await cluster.clock.advance(60.0)
        assert await cluster.addresses("younger") == ("192.0.2.10",)
        cluster.core.faults.remove(number)
        await cluster.clock.advance(120.0)
        assert (await cluster.addresses("older"), await cluster.addresses("younger")) == (("192.0.2.10",), ())
        assert await conflicts(cluster) == ["younger"]


async def test_a_leader_that_was_suspended_says_nothing_of_what_the_next_one_did_meanwhile(cluster: Cluster) -> None:
    """To its ledger what the next leader published is a conflict. Nobody has to go, so nobody may be told."""
    await cluster.serve("older")
    await cluster.clock.advance(1.1)
    await cluster.serve("younger", annotations={"purelb.io/service-group": "nowhere"})
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(5.0)
        assert (component.phase(), await cluster.addresses("older")) == ("Running", ("192.0.2.10",))
        cluster.clock.jump(60.0)
        await cluster.patch(SERVICES, "younger", LATE, "shop", subresource="status")
        for _ in range(100):  # its watch tells it before it hears that its lease is lost
            await asyncio.sleep(0)
        assert component.phase() == "Running"
        while component.phase() == "Running":
            await cluster.clock.advance(1 / 64)
        assert await conflicts(cluster) == []


async def test_a_lease_that_is_renewed_after_its_fence_had_passed_leaves_nobody_waiting(cluster: Cluster) -> None:
    """What was not sent in between is sent then: nothing but the answer to its write asks for such a Service."""
    async with cluster.allocator(leader_elect=True, writers=2) as component:
        await cluster.clock.advance(5.0)
        renewal = Rule(effect=Answer(code=500), resource="leases.coordination.k8s.io", verb="patch")
        failing = cluster.core.faults.add(renewal)
        await cluster.clock.advance(4.5)
        cluster.core.faults.remove(failing)
        slow = [
            cluster.core.faults.add(replace(renewal, effect=Delay(seconds=2.0))),
            cluster.core.faults.add(Rule(effect=Delay(seconds=0.5), resource="services/status", verb="patch")),
        ]
        await cluster.clock.advance(1.4)
        for number in range(5):
            await cluster.serve(f"s{number}")
        await cluster.clock.advance(0.2)  # the renewal and two writes are on their way, three writes wait
        cluster.clock.jump(6.5)
        assert component.checks()["lease"] == "our lease has expired"
        for number in slow:
            cluster.core.faults.remove(number)
        await cluster.clock.advance(5.0)
        assert (component.phase(), cluster.sink.counts["writer_writes_total", "services", "fenced"]) == ("Running", 3)
        assert all([await cluster.addresses(f"s{number}") for number in range(5)])


async def test_a_former_leaders_late_write_moves_the_younger_service(cluster: Cluster) -> None:
    await cluster.serve("older")
    await cluster.clock.advance(1.1)
    await cluster.serve("younger", annotations={"purelb.io/service-group": "nowhere"})
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        await cluster.patch(
            SERVICES,
            "younger",
            {"metadata": {"annotations": {"purelb.io/service-group": None}}, "status": LATE["status"]},
            "shop",
            subresource="status",
        )
        await cluster.clock.advance(2.0)
        assert await cluster.addresses("older") == ("192.0.2.10",)
        assert await cluster.addresses("younger") == ("192.0.2.11",)


async def test_a_younger_service_that_insists_on_the_address_of_an_older_one_is_told_of_the_conflict(
    cluster: Cluster,
) -> None:
    brand = {"purelb.io/allocated-by": "PureLB", "purelb.io/allocated-from": "default", "purelb.io/pool-type": "local"}
    for name in ("older", "younger"):
        pinned = {"purelb.io/addresses": "192.0.2.10"} if name == "younger" else {}
        await cluster.serve(name, annotations={**brand, **pinned})
        await cluster.patch(SERVICES, name, {"status": LATE["status"]}, "shop", subresource="status")
        await cluster.clock.advance(1.1)
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        assert (await cluster.addresses("older"), await cluster.addresses("younger")) == (("192.0.2.10",), ())
        told = await cluster.says(name="younger")
        expected = ("AddressConflict", "192.0.2.10 was also published for shop/older, which is older")
        assert (told.reason, told.message) == expected
        assert await conflicts(cluster) == ["younger"]
        await cluster.admin.delete(SERVICES, "older", namespace="shop")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("younger") == ("192.0.2.10",)


async def test_a_wish_that_cannot_be_read_does_not_hide_the_ports_that_changed_with_it(cluster: Cluster) -> None:
    """Else two Services publish one port, and at the next start the younger of them loses its address."""
    for name, port in (("one", 80), ("two", 443)):
        await cluster.serve(name, annotations={"purelb.io/allow-shared-ip": "k"}, port=port)
        await cluster.clock.advance(1.1)
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("two") == ("192.0.2.10",)
        edit = {"metadata": {"annotations": {"purelb.io/addresses": "foo"}}, "spec": {"ports": [{"port": 80}]}}
        await cluster.patch(SERVICES, "two", edit, "shop")
        await cluster.clock.advance(1.0)
        told = await cluster.says(name="two")
        assert told.reason == "InvalidRequest"
        assert told.message.endswith("; TCP/80 on 192.0.2.10 is taken by shop/one")
        assert ("two", "AddressReleased", "192.0.2.10") in await cluster.events()
    before = {name: await cluster.addresses(name) for name in ("one", "two")}
    assert before == {"one": ("192.0.2.10",), "two": ()}
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        assert {name: await cluster.addresses(name) for name in ("one", "two")} == before


async def test_a_wish_that_cannot_be_read_keeps_an_address_it_should_only_not_share(cluster: Cluster) -> None:
    for name, port in (("one", 80), ("two", 443)):
        await cluster.serve(name, annotations={"purelb.io/allow-shared-ip": "k"}, port=port)
        await cluster.clock.advance(1.1)
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        noted = {"purelb.io/addresses": "foo", "purelb.io/allow-shared-ip": "another"}
        await cluster.patch(SERVICES, "two", {"metadata": {"annotations": noted}}, "shop")
        await cluster.clock.advance(1.0)
        await cluster.serve("three", annotations={"purelb.io/allow-shared-ip": "k"}, port=81)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("two") == ("192.0.2.10",)
        assert await cluster.addresses("three") == ()
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        assert await cluster.addresses("two") == ("192.0.2.10",)


def standing_by(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if getattr(record, "code", "") == "standby"]


@pytest.mark.parametrize(
    ("origin", "then"),
    [
        pytest.param("kubeconfig", "scale deployment/allocator to 0 to let this one lead", id="started by hand"),
        pytest.param("in-cluster", "this one takes over when it is gone", id="the second replica"),
    ],
)
async def test_a_standby_says_once_for_whom_it_waits(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, origin: str, then: str
) -> None:
    cluster.access = replace(cluster.access, origin=origin)
    caplog.set_level("INFO")
    async with cluster.allocator(leader_elect=True):
        await cluster.clock.advance(3.0)
        async with cluster.allocator(leader_elect=True):
            await cluster.clock.advance(60.0)
        (text,) = standing_by(caplog)
        assert text.endswith(f"; {then}")


async def test_after_an_outage_an_allocator_does_not_wait_for_itself(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(3.0)
        number = cluster.core.faults.add(Rule(effect=Reset(), verb="[!w]*"))
        await cluster.clock.advance(60.0)
        assert component.phase() == "Standby"
        cluster.core.faults.remove(number)
        await cluster.clock.advance(60.0)
        assert component.phase() == "Running"
        assert not standing_by(caplog)
