# SPDX-License-Identifier: Apache-2.0
"""Groups whose addresses another system gives: that it is slow, lies, hangs or dies never reaches who does not need it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.groups import Groups
from purelb.allocator.sources.loans import Loans
from purelb.allocator.sources.source import Usage
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver.faults import Answer, Delay, LoseAnswer, Rule
from tests.allocator.cluster import Cluster, pool
from tests.allocator.ipam import NAME, V4, V6, Ipam, lie, netbox
from tests.allocator.objects import INSTALL, group

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FAR = {"purelb.io/service-group": "far"}


class Site(Cluster):
    """A cluster with a local group and one whose addresses come from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.ipam = Ipam(self.clock)
        self.sources = {"netbox": self.ipam}

    @asynccontextmanager
    async def open(self, **spec: Any) -> AsyncIterator[Site]:
        async with self.admin:
            await self.prepare()
            await self.create(SERVICE_GROUPS, pool(), INSTALL)
            await self.create(SERVICE_GROUPS, netbox(**spec), INSTALL)
            yield self

    async def far(self, name: str = "web", **more: Any) -> None:
        noted = {**FAR, **more.pop("annotations", {})}
        await self.serve(name, annotations=noted, **more)

    async def uid(self, name: str = "web") -> str:
        return (await self.service(name)).metadata.uid

    async def status(self) -> Any:
        return (await self.admin.get(SERVICE_GROUPS, "far", namespace=INSTALL)).status

    async def reason(self, name: str = "web") -> tuple[str, str]:
        found = await self.condition(name=name)
        return ("", "") if found is None else (found.reason, found.message or "")


async def test_a_service_gets_what_the_system_gives_and_gives_it_back() -> None:
    async with Site().open() as site, site.allocator():
        await site.far()
        await site.clock.advance(1.0)
        assert await site.addresses() == (V4[0],)
        noted = (await site.service()).metadata.annotations or {}
        assert (noted["purelb.io/allocated-from"], noted["purelb.io/pool-type"]) == ("far", "remote")
        assert site.status_writes() == 1
        assert site.ipam.holds(await site.uid()) == (V4[0],)
        await site.admin.delete(SERVICES, "web", namespace="shop")
        await site.clock.advance(1.0)
        assert not site.ipam.records


async def test_a_slow_system_is_waited_for_without_a_word_for_two_seconds() -> None:
    async with Site().open() as site, site.allocator():
        site.ipam.delay = 1.5
        await site.far("quick")
        await site.clock.advance(1.4)
        assert await site.reason("quick") == ("", "")
        await site.clock.advance(1.0)
        assert await site.addresses("quick") == (V4[0],)
        assert site.status_writes("quick") == 1
        site.ipam.delay = 5.0
        await site.far("slow")
        await site.clock.advance(2.5)
        assert await site.reason("slow") == ("IPAMPending", f"waiting for {NAME}")
        await site.clock.advance(3.0)
        assert await site.addresses("slow") == (V4[1],)
        assert not [event for event in await site.events() if event[1] == "IPAMPending"]


@pytest.mark.parametrize("full", [False, True])
async def test_a_re_evaluation_waits_for_the_answer_of_a_slow_system(full: bool) -> None:
    async with Site().open(autoAssign=True) as site, site.allocator():
        await site.serve()
        await site.clock.advance(1.0)
        assert await site.addresses() == ("192.0.2.10",)
        await site.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
        await site.clock.advance(1.0)
        site.ipam.delay = 1.5
        if full:
            site.ipam.always["allocate"] = "full"
        count = site.status_writes()
        await site.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/re-evaluate": "true"}}}, "shop")
        await site.clock.advance(1.0)
        assert await site.noted("re-evaluate") == "true"
        await site.clock.advance(4.0)
        assert await site.noted("re-evaluate") is None
        assert await site.addresses() == (("192.0.2.10",) if full else (V4[0],))
        assert site.status_writes() == count + 1


@pytest.mark.parametrize("mood", ["hang", "raise", "cancelled", "away"])
async def test_whatever_befalls_a_call_the_service_is_told_and_served_later(mood: str) -> None:
    async with Site().open() as site, site.allocator():
        site.ipam.mood["allocate"].append(mood)
        await site.far()
        await site.clock.advance(30.5)
        if mood == "hang":
            assert await site.reason() == ("IPAMUnavailable", f"{NAME}: no answer to allocate within 30 s")
        await site.clock.advance(3.0)
        assert await site.addresses() == (V4[0],)
        assert site.ipam.asked("allocate") == 2


async def test_an_absent_system_is_asked_less_and_less_often_and_by_other_events_not_at_all() -> None:
    async with Site().open() as site, site.allocator():
        site.ipam.always["allocate"] = "away"
        await site.far()
        for _ in range(60):
            await site.clock.advance(1.0)
            labels = {"metadata": {"labels": {"turn": str(site.clock.now())}}}
            await site.patch(SERVICES, "web", labels, "shop")
        assert await site.reason() == ("IPAMUnavailable", f"{NAME}: connection refused")
        assert site.ipam.asked("allocate") == 6  # after 0, 1, 3, 7, 15 and 31 seconds


LIES = {
    "of the wrong family": (V6[0], "is IPv6, which was not asked for"),
    "of nobody": ("0.0.0.0", "no unicast address"),
    "of oneself": ("::1", "no unicast address"),
    "of many": ("224.0.0.1", "a multicast address"),
    "of one link": ("169.254.1.1", "no unicast address"),
    "that is text": ("not-an-ip", '"not-an-ip" is no address'),
    "with a prefix": ("203.0.113.9/32", "is no address"),
    "outside the parents": ("198.51.100.1", "is in none of the parents"),
    "of a local pool": ("192.0.2.10", "lies in the pool of default"),
    "of nothing": ("", '"" is no address'),
}


@pytest.mark.parametrize("kind", LIES)
async def test_an_address_that_cannot_be_used_goes_back_and_the_next_one_is_asked_for(kind: str) -> None:
    ip, said = LIES[kind]
    parents = ["203.0.113.0/24", "192.0.2.0/24", "2001:db8:5::/64"]
    async with Site().open(mode="availableIPs", parents=parents) as site, site.allocator():
        site.ipam.mood["allocate"].append(lie(ip))
        await site.far()
        await site.clock.advance(1.0)
        assert await site.addresses() == (V4[0],)
        asks = [about for verb, about in site.ipam.calls if verb == "allocate"]
        assert [ask.avoid for ask in asks] == [frozenset(), {ip}]
        assert [(held.ip, held.uid) for verb, held in site.ipam.calls if verb == "release"] == [(ip, await site.uid())]
        site.ipam.always["allocate"] = lie(ip)
        await site.far("never")
        await site.clock.advance(5.0)
        reason, text = await site.reason("never")
        assert (reason, said in text) == ("IPAMMisconfigured", True), text
        assert not await site.addresses("never")


async def test_the_address_of_another_service_is_neither_published_nor_given_back() -> None:
    async with Site().open() as site, site.allocator():
        await site.far("first")
        await site.clock.advance(1.0)
        site.ipam.always["allocate"] = lie(V4[0])
        await site.far("second")
        await site.clock.advance(5.0)
        assert await site.reason("second") == ("IPAMMisconfigured", f"{NAME}: {V4[0]} is held by shop/first")
        assert await site.addresses("first") == (V4[0],)
        assert not site.ipam.asked("release")


async def test_of_too_many_addresses_one_is_used_and_the_others_go_back() -> None:
    async with Site().open() as site, site.allocator():
        site.ipam.mood["allocate"].append(lie(V4[2], V4[2], V4[1], V6[0]))
        await site.far()
        await site.clock.advance(1.0)
        assert await site.addresses() == (V4[2],)
        assert sorted(held.ip for verb, held in site.ipam.calls if verb == "release") == sorted((V4[1], V6[0]))


async def test_an_answer_that_is_no_answer_is_the_fault_of_the_source() -> None:
    async with Site().open() as site, site.allocator():
        site.ipam.mood["allocate"] += [lie(), object()]
        await site.far("empty")
        await site.clock.advance(1.0)
        assert await site.reason("empty") == ("IPAMMisconfigured", f"{NAME}: it gave no address")
        await site.far("odd")
        await site.clock.advance(0.5)
        assert await site.reason("odd") == ("IPAMUnavailable", f"{NAME}: allocate answered object")


async def test_nothing_is_asked_for_before_the_system_said_what_it_holds_and_others_do_not_wait() -> None:
    async with Site().open() as site:
        site.ipam.mood["adopt"].append("hang")
        async with site.allocator():
            await site.far()
            await site.serve("near")
            await site.clock.advance(0.5)
            assert await site.addresses("near") == ("192.0.2.10",)
            assert await site.reason() == ("", ""), "a quick answer is waited for without a word"
            await site.clock.advance(1.0)
            assert await site.reason() == ("IPAMUnavailable", f"{NAME}: it was not yet asked what it holds for us")
            assert not site.ipam.asked("allocate")
            await site.clock.advance(31.0)
            assert await site.addresses() == (V4[0],)


async def test_at_most_four_calls_are_made_at_once_and_one_per_service() -> None:
    site = Site()
    site.ipam = Ipam(site.clock, addresses=[f"203.0.113.{n}" for n in range(1, 31)])
    site.sources = {"netbox": site.ipam}
    async with site.open(), site.allocator():
        await site.clock.advance(1.0)
        site.ipam.delay = 0.5
        for number in range(20):
            await site.far(f"s{number}")
        await site.clock.advance(0.2)
        for number in range(20):  # looked at again and again meanwhile
            await site.patch(SERVICES, f"s{number}", {"metadata": {"labels": {"again": "1"}}}, "shop")
        await site.clock.advance(5.0)
        assert site.ipam.busiest == 4
        assert site.ipam.asked("allocate") == 20
        assert len(site.ipam.records) == 20


async def test_while_one_address_of_a_service_goes_back_no_other_is_asked_for_and_the_other_way_round() -> None:
    async with Site().open() as site, site.allocator():
        await site.clock.advance(1.0)
        site.ipam.delay = 1.0
        site.ipam.mood["allocate"].append(lie("224.0.0.1"))
        await site.far()
        await site.clock.advance(10.0)
        assert await site.addresses() == (V4[0],), "the first answer went back before the second was asked for"
        both = {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}
        await site.patch(SERVICES, "web", {"spec": both}, "shop")
        await site.clock.advance(0.5)
        assert site.ipam.busy == 1, "an IPv6 address is asked for"
        await site.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/service-group": "default"}}}, "shop")
        await site.clock.advance(10.0)
        assert await site.addresses() == ("192.0.2.10",)
        assert not site.ipam.records
        assert site.ipam.busiest_for_one == 1


async def test_a_hanging_system_does_not_touch_local_allocations() -> None:
    """Virtual time: the allocations of a local group take what they take when nothing hangs."""

    async def taken(hanging: bool) -> list[float]:
        async with Site().open() as site, site.allocator():
            await site.clock.advance(1.0)
            if hanging:
                site.ipam.always = dict.fromkeys(("allocate", "release", "usage"), "hang")
                for number in range(12):
                    await site.far(f"far{number}")
                await site.clock.advance(0.1)
            found = []
            for number in range(3):
                began = site.clock.now()
                await site.serve(f"near{number}")
                await site.clock.run_until(lambda: site.status_writes(f"near{number}"), within=5.0)  # noqa: B023
                found.append(site.clock.now() - began)
            return found

    for calm, troubled in zip(await taken(False), await taken(True), strict=True):
        assert troubled <= 1.2 * calm


async def test_what_is_granted_to_a_service_that_has_gone_or_changed_its_mind_goes_back() -> None:
    async with Site().open() as site, site.allocator():
        site.ipam.delay = 1.0
        for name in ("gone", "moved", "anew"):
            await site.far(name)
        old = await site.uid("anew")
        await site.clock.advance(0.5)
        await site.admin.delete(SERVICES, "gone", namespace="shop")
        await site.admin.delete(SERVICES, "anew", namespace="shop")
        await site.far("anew")
        await site.patch(SERVICES, "moved", {"metadata": {"annotations": {"purelb.io/service-group": None}}}, "shop")
        await site.clock.advance(10.0)
        assert await site.addresses("moved") == ("192.0.2.10",)
        assert site.ipam.holds(old) == ()
        new = await site.uid("anew")
        assert site.ipam.holds(new) == await site.addresses("anew") != ()
        assert list(site.ipam.records) == list(site.ipam.holds(new))


async def test_what_is_granted_while_the_allocator_leaves_goes_back_and_is_not_published() -> None:
    async with Site().open() as site:
        async with site.allocator():
            await site.clock.advance(1.0)
            site.ipam.delay = 1.0
            site.core.faults.add(Rule(effect=Delay(seconds=3), resource="services/status", verb="patch", count=1))
            await site.serve("near")  # its write is waited for, and so the answer arrives
            await site.far()
            await site.clock.advance(0.2)
        assert (site.ipam.asked("allocate"), site.ipam.asked("release")) == (1, 1)
        assert not site.ipam.records
        assert not await site.addresses()


async def test_what_was_granted_to_an_allocator_that_was_killed_is_given_to_the_same_service_by_the_next_one() -> None:
    async with Site().open() as site:
        async with site.killed_allocator():
            await site.clock.advance(1.0)
            await site.far()
            site.core.faults.add(Rule(effect=Answer(code=500), resource="services/status", verb="patch", count=9))
            await site.clock.advance(1.0)
        assert list(site.ipam.records) == [V4[0]]
        assert not await site.addresses()
        async with site.allocator():
            await site.clock.advance(1.0)
            assert await site.addresses() == (V4[0],)
            assert list(site.ipam.records) == [V4[0]]


async def test_a_restart_keeps_what_is_published_whatever_the_system_says() -> None:
    async with Site().open() as site:
        async with site.killed_allocator():
            await site.clock.advance(1.0)
            await site.far()
            await site.clock.advance(1.0)
            assert await site.addresses() == (V4[0],)
        site.ipam.records.clear()
        site.ipam.always = dict.fromkeys(("adopt", "allocate", "release", "usage"), "away")
        site.writes.clear()
        async with site.allocator():
            await site.clock.advance(120.0)
        assert await site.addresses() == (V4[0],)
        assert not site.status_writes()


async def test_a_release_that_fails_is_tried_until_it_is_confirmed_and_blocks_nobody() -> None:
    async with Site().open() as site, site.allocator():
        await site.far()
        await site.clock.advance(1.0)
        site.ipam.mood["release"] += ["away", "hang", "raise"]
        await site.admin.delete(SERVICES, "web", namespace="shop")
        await site.far("next")
        await site.clock.advance(2.0)
        assert await site.addresses("next") == (V4[1],)
        await site.clock.advance(60.0)
        assert site.ipam.asked("release") == 4
        assert list(site.ipam.records) == [V4[1]]


async def test_quarantine_postpones_the_release_and_the_same_name_gets_the_same_address() -> None:
    async with Site().open(reuseDelay="1m") as site, site.allocator():
        await site.far()
        await site.clock.advance(1.0)
        await site.admin.delete(SERVICES, "web", namespace="shop")
        await site.clock.advance(30.0)
        assert list(site.ipam.records) == [V4[0]]
        await site.far()
        await site.clock.advance(1.0)
        assert await site.addresses() == (V4[0],)
        assert site.ipam.asked("allocate") == 1
        await site.admin.delete(SERVICES, "web", namespace="shop")
        await site.clock.advance(62.0)
        assert not site.ipam.records


async def test_a_delay_that_is_removed_gives_back_what_was_kept_for_it() -> None:
    async with Site().open(reuseDelay="1h") as site, site.allocator():
        await site.far()
        await site.clock.advance(1.0)
        await site.admin.delete(SERVICES, "web", namespace="shop")
        await site.clock.advance(30.0)
        assert list(site.ipam.records) == [V4[0]]
        await site.patch(SERVICE_GROUPS, "far", {"spec": {"reuseDelay": None}}, INSTALL)
        await site.clock.advance(2.0)
        assert not site.ipam.records


async def test_a_shared_key_is_served_without_asking_and_released_with_the_last_holder() -> None:
    shares = {"annotations": {"purelb.io/allow-shared-ip": "k"}}
    async with Site().open() as site, site.allocator():
        await site.far("one", port=80, **shares)
        await site.clock.advance(1.0)
        await site.far("two", port=81, **shares)
        await site.clock.advance(1.0)
        assert await site.addresses("two") == (V4[0],)
        assert site.ipam.asked("allocate") == 1
        await site.admin.delete(SERVICES, "one", namespace="shop")
        await site.clock.advance(2.0)
        assert not site.ipam.asked("release")
        await site.admin.delete(SERVICES, "two", namespace="shop")
        await site.clock.advance(2.0)
        assert not site.ipam.records


async def test_a_full_system_is_asked_again_when_something_went_back_to_it() -> None:
    site = Site()
    site.ipam = Ipam(site.clock, addresses=V4[:1])
    site.sources = {"netbox": site.ipam}
    async with site.open(), site.allocator():
        await site.far("one")
        await site.clock.advance(1.0)
        await site.far("two")
        await site.clock.advance(1.0)
        assert (await site.reason("two"))[0] == "PoolExhausted"
        await site.admin.delete(SERVICES, "one", namespace="shop")
        await site.clock.advance(1.0)
        assert await site.addresses("two") == (V4[0],)


async def test_requested_addresses_are_asked_of_the_named_group_and_of_no_other() -> None:
    async with Site().open() as site, site.allocator():
        await site.far("asks", annotations={"purelb.io/addresses": V4[2]})
        await site.far("absent", annotations={"purelb.io/addresses": "198.51.100.7"})
        await site.serve("unnamed", annotations={"purelb.io/addresses": V4[3]})
        await site.clock.advance(1.0)
        assert await site.addresses("asks") == (V4[2],)
        assert (await site.reason("absent"))[0] == "NotInAnyPool"
        assert await site.reason("unnamed") == ("NotInAnyPool", f"{V4[3]} is in no ServiceGroup")
        assert V4[3] not in site.ipam.records


async def test_both_families_come_from_one_call_and_multi_pool_is_refused() -> None:
    async with Site().open() as site, site.allocator():
        await site.far("both", ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="PreferDualStack")
        await site.far("several", annotations={"purelb.io/multi-pool": "true"})
        await site.clock.advance(1.0)
        assert await site.addresses("both") == (V4[0], V6[0])
        assert await site.reason("several") == ("MultiPoolRefused", "multi-pool cannot be combined with netbox")
        assert site.ipam.asked("allocate") == 1


def test_a_second_answer_to_one_question_means_nothing() -> None:
    loans = Loans()
    call = loans.depart(Groups([group("far")], install_namespace=INSTALL).accepted["far"], "usage")
    loans.answer(call.ticket, None)
    assert loans.land(call.ticket) == (call, None)
    loans.answer(call.ticket, None)
    assert loans.land(call.ticket) is None


async def test_a_group_without_a_source_in_this_process_is_refused_with_the_reason() -> None:
    site = Site()
    site.sources = {}
    async with site.open(), site.allocator():
        await site.far()
        await site.clock.advance(1.0)
        reason, text = await site.reason()
        assert reason == "GroupNotReady"
        assert "spec.netbox is not supported by this version" in text


async def test_the_status_of_the_group_shows_what_the_system_tells_and_that_it_is_away() -> None:
    async with Site().open() as site:
        async with site.allocator() as component:
            await site.far()
            await site.clock.advance(62.0)
            status = await site.status()
            assert (status.ipam, status.announce) == ("NetBox", "Remote")
            assert (status.allocated_ipv4, status.allocated_ipv6) == (1, 0)
            assert (status.available_ipv4, status.available_ipv6) == (3, 4)
            pool = {(s.metric.name, *s.labels): s.value for s in component.samples() if "far" in s.labels}
            assert pool["purelb_address_pool_addresses_in_use", "far"] == 1.0
            assert pool["purelb_address_pool_addresses", "far", "IPv4", "in_use"] == 1.0
            assert ("purelb_address_pool_size", "far") not in pool
            site.ipam.always["usage"] = Usage({4: -1}, {4: 9, 6: "many"})  # type: ignore[dict-item]
            await site.clock.advance(62.0)
            status = await site.status()
            assert (status.available_ipv4, status.available_ipv6) == (None, None)
        site.ipam.always = dict.fromkeys(("adopt", "usage"), "away")
        async with site.allocator():
            await site.clock.advance(5.0)
            status = await site.status()
            ready = next(found for found in status.conditions if found.type == "Ready")
            assert (ready.status, ready.reason) == ("False", "IPAMUnavailable")
            assert ready.message == f"{NAME}: connection refused"
            assert status.allocated_ipv4 == 1


async def test_a_kill_between_the_write_and_its_answer_leaves_one_address_and_one_record() -> None:
    async with Site().open() as site:
        async with site.killed_allocator():
            await site.clock.advance(1.0)
            site.core.faults.add(Rule(effect=LoseAnswer(), resource="services/status", verb="patch", count=9))
            await site.far()
            await site.clock.advance(0.1)
        assert await site.addresses() == (V4[0],)
        async with site.allocator():
            await site.clock.advance(30.0)
            assert await site.addresses() == (V4[0],)
            assert list(site.ipam.records) == [V4[0]]
            await site.admin.delete(SERVICES, "web", namespace="shop")
            await site.clock.advance(1.0)
        assert not site.ipam.records
        told = [held for verb, held in site.ipam.calls if verb == "release"]
        assert [held.reference for held in told] == [f"record of {V4[0]}"], "what adopt told is used"


async def test_after_an_hour_without_the_system_everything_is_made_good_and_no_address_was_touched() -> None:
    async with Site().open() as site, site.allocator():
        for name in ("stays", "goes"):
            await site.far(name)
        await site.clock.advance(1.0)
        before = await site.addresses("stays")
        site.ipam.always = dict.fromkeys(("allocate", "release", "adopt", "usage"), "away")
        await site.admin.delete(SERVICES, "goes", namespace="shop")
        await site.far("comes")
        site.writes.clear()
        await site.clock.advance(3600.0)
        assert await site.addresses("stays") == before
        assert not site.status_writes("stays")
        site.ipam.always.clear()
        await site.clock.advance(300.0)
        assert {(await site.addresses(name))[0] for name in ("stays", "comes")} == set(site.ipam.records)


async def test_a_server_that_hangs_does_not_hold_back_another_one() -> None:
    site = Site()
    fine, hangs = Ipam(site.clock), Ipam(site.clock, addresses=["203.0.113.9"])
    hangs.always = dict.fromkeys(("adopt", "allocate"), "hang")
    site.sources = {"netbox": lambda group: hangs if group.name == "far" else fine}
    async with site.open(), site.allocator():
        await site.create(SERVICE_GROUPS, netbox("other", url="http://other.example"), INSTALL)
        await site.far("late")
        await site.serve(annotations={"purelb.io/service-group": "other"})
        await site.clock.advance(1.0)
        assert await site.addresses() == (V4[0],)
        assert not await site.addresses("late")


@pytest.mark.parametrize("mood", ["hang", "away"])
async def test_waiting_for_a_system_costs_few_turns(mood: str) -> None:
    async with Site().open() as site:
        site.ipam.always = dict.fromkeys(("adopt", "allocate"), mood)
        async with site.allocator():
            await site.far()
            await site.clock.advance(5.0)
            before = site.sink.counts["purelb_k8s_client_updates_total",]
            await site.clock.advance(120.0)
            assert site.sink.counts["purelb_k8s_client_updates_total",] - before < 120


async def test_a_restart_sends_nobody_into_the_next_group_and_a_system_that_is_away_does() -> None:
    async with Site().open(autoAssign=True, priority=1) as site:
        await site.patch(SERVICE_GROUPS, "default", {"spec": {"priority": 2}}, INSTALL)
        site.ipam.delay = 3.0
        async with site.allocator():
            await site.serve()
            await site.clock.advance(10.0)
            assert await site.addresses() == (V4[0],)
            site.ipam.always["allocate"] = "away"
            await site.serve("next")
            await site.clock.advance(10.0)
            assert await site.addresses("next") == ("192.0.2.10",)
