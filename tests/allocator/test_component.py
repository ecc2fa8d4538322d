# SPDX-License-Identifier: Apache-2.0
"""Services come, change and go while the real component runs against the embedded API server."""

from __future__ import annotations

import pytest

from purelb.allocator.metrics import ALLOCATIONS
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import NAMESPACES, NODES, SERVICES
from purelb.sandbox.apiserver.faults import Answer, Delay, LoseAnswer, Rule
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL


async def test_a_service_gets_an_address_with_exactly_one_write(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        service = await cluster.service()
        assert await cluster.addresses() == ("192.0.2.10",)
        assert cluster.status_writes() == 1
        noted = service.metadata.annotations or {}
        assert noted == {
            "purelb.io/allocated-by": "PureLB",
            "purelb.io/allocated-from": "default",
            "purelb.io/pool-type": "local",
            "purelb.io/allocated-wish": "any",
        }
        allocated, announced = await cluster.condition(), await cluster.condition("Announced")
        assert allocated is not None
        assert (allocated.status, allocated.reason, allocated.message) == (
            "True",
            "AddressAssigned",
            "192.0.2.10 from default",
        )
        assert announced is not None
        assert (announced.status, announced.reason) == ("False", "NoLiveAgent")
        assert ("web", "AddressAssigned", "192.0.2.10 from default") in await cluster.events()
        await cluster.clock.advance(3600.0)
        assert cluster.status_writes() == 1


async def test_the_next_in_line_is_served_when_an_address_becomes_free_and_nobody_else_is_asked(
    cluster: Cluster,
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.7/32"), INSTALL)
    async with cluster.allocator():
        for name in ("first", "second", "third"):
            await cluster.serve(name)
            await cluster.clock.advance(1.1)
        refused = await cluster.says(name="second")
        assert (refused.reason, refused.message) == ("PoolExhausted", "default: 1 of 1 IPv4 addresses in use")
        await cluster.admin.delete(SERVICES, "first", namespace="shop")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("second") == ("192.0.2.7",)
        assert await cluster.addresses("third") == ()
        await cluster.patch(SERVICES, "second", {"spec": {"type": "ClusterIP", "loadBalancerClass": None}}, "shop")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("third") == ("192.0.2.7",)
        left = await cluster.service("second")
        assert not left.metadata.annotations
        assert await cluster.condition(name="second") is None


async def test_a_restart_writes_nothing_and_changes_nothing(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        for name in ("a", "b", "c", "d"):
            await cluster.serve(name)
        await cluster.clock.advance(2.0)
    before = [await cluster.service(name) for name in ("a", "b", "c", "d")]
    cluster.writes.clear()
    async with cluster.allocator():
        await cluster.clock.advance(30.0)
        assert cluster.writes == []
        assert [await cluster.service(name) for name in ("a", "b", "c", "d")] == before
        await cluster.admin.delete(SERVICES, "b", namespace="shop")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("d") == ("192.0.2.11",)


async def test_a_write_whose_answer_is_lost_is_read_again_and_told_once(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        cluster.core.faults.add(Rule(effect=LoseAnswer(), resource="services/status", verb="patch", count=1))
        await cluster.serve("a")
        await cluster.serve("b")
        await cluster.clock.advance(10.0)
        assert {await cluster.addresses("a"), await cluster.addresses("b")} == {("192.0.2.10",), ("192.0.2.11",)}
        assert sum(reason == "AddressAssigned" for _, reason, _ in await cluster.events()) <= 2
        assert len(set(await cluster.all_addresses())) == 2


@pytest.mark.parametrize("code", [403, 413, 422])
async def test_an_address_is_told_once_whose_write_lost_its_answer_and_is_refused_when_it_is_repeated(
    cluster: Cluster, code: int
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        cluster.core.faults.add(Rule(effect=LoseAnswer(), resource="services/status", verb="patch", count=1))
        cluster.core.faults.add(Rule(effect=Answer(code=code), resource="services/status", verb="patch", count=1))
        await cluster.serve("a")
        await cluster.clock.advance(10.0)
        assert await cluster.addresses("a") == ("192.0.2.10",)
        assert cluster.status_writes("a") == 2, "the one that was applied, and the one that was refused"
        assert [reason for name, reason, _ in await cluster.events() if name == "a"] == ["AddressAssigned"]
        assert cluster.sink.counts[ALLOCATIONS.name, "local", "assigned"] == 1


@pytest.mark.parametrize("code", [403, 422, 500, 503])
async def test_a_refused_write_keeps_its_claim_and_is_tried_again(cluster: Cluster, code: int) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        cluster.core.faults.add(Rule(effect=Answer(code=code), resource="services/status", name="a", count=3))
        await cluster.serve("a")
        await cluster.clock.advance(0.1)
        await cluster.serve("b")
        await cluster.clock.advance(30.0)
        assert await cluster.addresses("a") == ("192.0.2.10",)
        assert await cluster.addresses("b") == ("192.0.2.11",)


async def test_a_storm_of_label_edits_does_not_keep_a_service_from_its_address(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        cluster.core.faults.add(Rule(effect=Delay(seconds=0.0625), resource="services/status", verb="patch"))
        await cluster.serve()
        for count in range(100):
            await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"count": str(count)}}}, "shop")
            await cluster.clock.advance(0.015625)
        assert cluster.status_writes() < 40
        await cluster.clock.advance(6.0)
        assert await cluster.addresses() == ("192.0.2.10",)


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param({"loadBalancer": None}, id="cleared"),
        pytest.param({"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}, id="another address"),
        pytest.param({"loadBalancer": {"ingress": [{"ip": "192.0.2.11"}]}}, id="somebody else's address"),
    ],
)
async def test_an_edited_status_is_put_back_and_nobody_else_is_touched(
    cluster: Cluster, edited: dict[str, object]
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(0.1)
        await cluster.serve("other")
        await cluster.clock.advance(1.0)
        other = await cluster.service("other")
        await cluster.patch(SERVICES, "web", {"status": edited}, "shop", subresource="status")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert await cluster.service("other") == other
        assert "StatusRestored" in {reason for name, reason, _ in await cluster.events() if name == "web"}


async def test_a_status_that_another_controller_writes_again_and_again_is_put_back_ever_later(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    caplog.set_level("INFO")
    theirs = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        before = cluster.status_writes()
        for _ in range(300):
            if await cluster.addresses() == ("192.0.2.10",):
                await cluster.patch(SERVICES, "web", theirs, "shop", subresource="status")
            await cluster.clock.advance(0.2)
        assert 5 < cluster.status_writes() - before < 15, "five at once, then after 1, 2, 4, 8, 16 and 32 s"
        assert [record.message for record in caplog.records if getattr(record, "code", "") == "statusContested"] == [
            "somebody else writes the status of shop/web again and again: it is put back ever later"
        ]
        await cluster.clock.advance(61.0)
        assert await cluster.addresses() == ("192.0.2.10",), "we do not give way"
        await cluster.clock.advance(600.0)
        await cluster.patch(SERVICES, "web", theirs, "shop", subresource="status")
        await cluster.clock.advance(0.2)
        assert await cluster.addresses() == ("192.0.2.10",), "after ten quiet minutes it is a slip again"


async def test_edited_annotations_of_ours_are_put_back(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        edits = {"purelb.io/allocated-from": "mine", "purelb.io/pool-type": None, "purelb.io/skip-ipv6-dad": "true"}
        before = (await cluster.service()).metadata.annotations
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": edits}}, "shop")
        await cluster.clock.advance(1.0)
        assert (await cluster.service()).metadata.annotations == before


async def test_a_service_that_changes_its_class_is_cleaned_up(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.7/32"), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.patch(SERVICES, "web", {"spec": {"type": "ClusterIP", "loadBalancerClass": None}}, "shop")
        await cluster.patch(
            SERVICES, "web", {"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/x"}}, "shop"
        )
        await cluster.clock.advance(1.0)
        left = await cluster.service()
        assert not left.metadata.annotations
        assert await cluster.addresses() == ()
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("next") == ("192.0.2.7",)


async def test_services_of_others_are_never_touched_and_their_addresses_never_given(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await cluster.serve("theirs", loadBalancerClass="example.com/x")
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}}
    theirs = await cluster.patch(SERVICES, "theirs", ingress, "shop", subresource="status")
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.11",)
        assert await cluster.service("theirs") == theirs
        await cluster.serve("wants", annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.clock.advance(1.0)
        refused = await cluster.says(name="wants")
        assert refused.message == "192.0.2.10 is published for shop/theirs by another controller"
        await cluster.admin.delete(SERVICES, "theirs", namespace="shop")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("wants") == ("192.0.2.10",)


async def test_a_published_address_that_could_be_given_is_adopted_without_an_event(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await cluster.serve()
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.12"}]}}}
    await cluster.patch(SERVICES, "web", ingress, "shop", subresource="status")
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.12",)
        assert ((await cluster.service()).metadata.annotations or {})["purelb.io/allocated-by"] == "PureLB"
        assert not [reason for name, reason, _ in await cluster.events() if name == "web"]


async def test_a_classless_service_with_a_foreign_address_is_left_alone(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await cluster.serve(loadBalancerClass=None)
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
    before = await cluster.patch(SERVICES, "web", ingress, "shop", subresource="status")
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.clock.advance(5.0)
        assert await cluster.service() == before
        assert [reason for name, reason, _ in await cluster.events() if name == "web"] == ["ForeignIngress"]


async def test_a_foreign_address_is_told_once_whoever_leads_and_again_when_it_is_another(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)

    async def publish(ip: str) -> None:
        ingress = {"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}}
        await cluster.patch(SERVICES, "web", ingress, "shop", subresource="status")
        await cluster.clock.advance(5.0)

    async def told() -> list[str]:
        return [note.split()[0] for name, reason, note in await cluster.events() if (name, reason) == about]

    about = ("web", "ForeignIngress")
    await cluster.serve(loadBalancerClass=None)
    await publish("203.0.113.1")
    for _ in range(3):
        async with cluster.allocator(default_announcer="PureLB"):
            await cluster.clock.advance(5.0)
            assert await told() == ["203.0.113.1"]
    async with cluster.allocator(default_announcer="PureLB"):
        await publish("203.0.113.2")
        await publish("203.0.113.1")
        await publish("203.0.113.2")
        assert await told() == ["203.0.113.1", "203.0.113.2"]
    await cluster.admin.delete(SERVICES, "web", namespace="shop")
    await cluster.serve(loadBalancerClass=None)
    await publish("203.0.113.1")
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.clock.advance(5.0)
        assert await told() == ["203.0.113.1", "203.0.113.1", "203.0.113.2"], "it is another Service of that name"


async def test_a_service_that_is_created_again_within_a_term_is_told_of_the_foreign_address_that_it_has_as_well(
    cluster: Cluster,
) -> None:
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
    async with cluster.allocator(default_announcer="PureLB"):
        for times in (1, 2):
            await cluster.serve(loadBalancerClass=None)
            await cluster.patch(SERVICES, "web", ingress, "shop", subresource="status")
            await cluster.clock.advance(5.0)
            told = [reason for name, reason, _ in await cluster.events() if name == "web"]
            assert told.count("ForeignIngress") == times
            await cluster.admin.delete(SERVICES, "web", namespace="shop")
            await cluster.clock.advance(1.0)


async def test_another_foreign_hostname_is_told_as_another_address_is(cluster: Cluster) -> None:
    await cluster.serve(loadBalancerClass=None)
    entries: list[dict[str, str]] = [
        {"hostname": "a.example.com"},
        {"hostname": "b.example.com"},
        {"hostname": "b.example.com", "ip": "203.0.113.1"},
    ]
    told: list[str] = []
    for entry in entries:
        ingress = {"status": {"loadBalancer": {"ingress": [entry]}}}
        await cluster.patch(SERVICES, "web", ingress, "shop", subresource="status")
        async with cluster.allocator(default_announcer="PureLB"):
            await cluster.clock.advance(5.0)
        notes = [note for _, reason, note in await cluster.events() if reason == "ForeignIngress"]
        told = [note.split(" was published by another controller: ")[0] for note in notes]
    assert sorted(told) == ["203.0.113.1, b.example.com", "a.example.com", "b.example.com"]


@pytest.mark.parametrize("entry", [{"hostname": "lb.example.com"}, {"ip": "192.0.2.11", "hostname": "lb.example.com"}])
async def test_a_classless_service_with_a_foreign_hostname_is_left_alone(
    cluster: Cluster, entry: dict[str, str]
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await cluster.serve(loadBalancerClass=None)
    ingress = {"status": {"loadBalancer": {"ingress": [entry]}}}
    before = await cluster.patch(SERVICES, "web", ingress, "shop", subresource="status")
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.clock.advance(5.0)
        assert await cluster.service() == before
        told = [(reason, note) for name, reason, note in await cluster.events() if name == "web"]
        assert [reason for reason, _ in told] == ["ForeignIngress"]
        assert told[0][1].endswith('was published by another controller: "lb.example.com" is no address')


async def test_a_foreign_address_is_adopted_when_a_group_comes_that_contains_it(cluster: Cluster) -> None:
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.serve(loadBalancerClass=None)
        await cluster.clock.advance(1.0)
        told = await cluster.says()
        assert told.reason == "NoMatchingGroup"
        ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.11"}]}}}
        await cluster.patch(SERVICES, "web", ingress, "shop", subresource="status")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.11",)
        assert await cluster.condition() is None, "it has an address: that it waits for us is not true any more"
        writes = cluster.status_writes()
        await cluster.clock.advance(120.0)
        assert cluster.status_writes() == writes
        await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
        await cluster.clock.advance(1.0)
        told = await cluster.says()
        assert (told.reason, told.message) == ("AddressAssigned", "192.0.2.11 from default")
        assert await cluster.addresses() == ("192.0.2.11",)


async def test_groups_may_vanish_and_come_back_and_no_address_changes(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
        await cluster.clock.advance(1.0)
        kept = await cluster.says()
        assert (kept.status, kept.reason) == ("True", "AddressKept")
        assert await cluster.addresses() == ("192.0.2.10",)
        await cluster.create(SERVICE_GROUPS, pool("renamed", "192.0.2.0/24"), INSTALL)
        await cluster.clock.advance(1.0)
        back = await cluster.says()
        assert (back.reason, back.message) == ("AddressAssigned", "192.0.2.10 from renamed")
        assert ((await cluster.service()).metadata.annotations or {})["purelb.io/allocated-from"] == "renamed"


async def test_a_pool_that_grows_serves_those_who_wait_oldest_first(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.10/32"), INSTALL)
    async with cluster.allocator():
        for name in ("z", "y", "x"):
            await cluster.serve(name)
            await cluster.clock.advance(1.1)
        grown = {"spec": {"local": {"v4pool": {"pool": "192.0.2.10-192.0.2.11"}}}}
        await cluster.patch(SERVICE_GROUPS, "default", grown, INSTALL)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("y") == ("192.0.2.11",)
        assert await cluster.addresses("x") == ()


async def test_the_status_of_a_group_says_how_full_it_is_and_settles(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        for name in ("a", "b"):
            await cluster.serve(name)
        await cluster.clock.advance(3.0)
        group = await cluster.admin.get(SERVICE_GROUPS, "default", namespace=INSTALL)
        assert group.status is not None
        assert (group.status.allocated_ipv4, group.status.available_ipv4) == (2, 1)
        assert [(c.type, c.status, c.reason) for c in group.status.conditions or ()] == [("Ready", "True", "Accepted")]
        await cluster.clock.advance(20.0)  # until the missing agents were told, too
        count = len(cluster.writes)
        await cluster.clock.advance(3600.0)
        assert len(cluster.writes) == count


async def test_an_unreadable_group_says_so_and_the_others_go_on(cluster: Cluster) -> None:
    broken = pool("broken", "192.0.2.99-192.0.2.90")
    await cluster.create(SERVICE_GROUPS, broken, INSTALL)
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.serve("other", annotations={"purelb.io/service-group": "broken"})
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        group = await cluster.admin.get(SERVICE_GROUPS, "broken", namespace=INSTALL)
        assert group.status is not None
        assert [(c.status, c.reason) for c in group.status.conditions or ()] == [("False", "InvalidSpec")]
        refused = await cluster.says(name="other")
        assert refused.reason == "GroupNotReady"
        assert "192.0.2.99-192.0.2.90" in refused.message


async def test_the_addresses_of_nodes_are_never_handed_out(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    node = await cluster.create(NODES, {"metadata": {"name": "n1"}})
    addresses = {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.10"}]}}
    await cluster.patch(NODES, node.metadata.name, addresses, subresource="status")
    async with cluster.allocator():
        await cluster.serve("wants", annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.serve()
        await cluster.clock.advance(1.0)
        refused = await cluster.says(name="wants")
        assert (refused.reason, refused.message) == ("AddressReserved", "192.0.2.10 is an address of node n1")
        assert await cluster.addresses() == ("192.0.2.11",)


async def test_as_many_are_served_as_were_released_oldest_first_and_hardly_anybody_else_is_asked(
    cluster: Cluster,
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.10-192.0.2.14"), INSTALL)
    async with cluster.allocator():
        for number in range(5):
            await cluster.serve(f"held{number}")
        await cluster.clock.advance(1.1)
        for number in range(30):
            await cluster.serve(f"wait{number:02}")
        await cluster.clock.advance(5.0)
        cluster.core.faults.add(Rule(effect=Delay(seconds=0.25), resource="services/status", verb="patch"))
        turns = cluster.sink.counts["purelb_k8s_client_updates_total",]
        for number in range(4):
            await cluster.admin.delete(SERVICES, f"held{number}", namespace="shop")
        await cluster.clock.advance(5.0)
        served = [f"wait{number:02}" for number in range(30) if await cluster.addresses(f"wait{number:02}")]
        assert served == ["wait00", "wait01", "wait02", "wait03"]
        assert cluster.sink.counts["purelb_k8s_client_updates_total",] - turns <= 4 * 8


async def test_re_evaluate_moves_a_stray_address_and_is_gone_with_the_same_write(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        moved = {"spec": {"local": {"v4pool": {"pool": "192.0.2.50-192.0.2.52"}}}}
        await cluster.patch(SERVICE_GROUPS, "default", moved, INSTALL)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        count = cluster.status_writes()
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/re-evaluate": "true"}}}, "shop")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.50",)
        assert "purelb.io/re-evaluate" not in ((await cluster.service()).metadata.annotations or {})
        assert cluster.status_writes() == count + 1


async def test_a_relabelled_namespace_is_served_and_shows_in_the_status_of_its_group(cluster: Cluster) -> None:
    gold = pool("gold", namespaceSelector={"matchLabels": {"tier": "gold"}})
    await cluster.create(SERVICE_GROUPS, gold, INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(2.0)
        refused = await cluster.says()
        assert refused.reason == "NoMatchingGroup"
        await cluster.patch(NAMESPACES, "shop", {"metadata": {"labels": {"tier": "gold"}}})
        await cluster.clock.advance(3.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        group = await cluster.admin.get(SERVICE_GROUPS, "gold", namespace=INSTALL)
        assert group.status is not None
        assert group.status.bound_namespaces == ("shop",)


DRAINED = {"spec": {"drain": True}}
UNREADABLE = {"spec": {"local": {"v4pool": {"pool": "192.0.2.9-192.0.2.1"}}}}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [(None, "UnknownGroup"), (UNREADABLE, "GroupNotReady"), (DRAINED, "GroupDraining")],
    ids=["deleted", "made unreadable", "drained"],
)
async def test_all_who_wait_for_room_in_a_group_are_told_when_there_is_no_such_group_any_more(
    cluster: Cluster, edit: dict[str, object] | None, reason: str
) -> None:
    await cluster.create(SERVICE_GROUPS, pool("one", "192.0.2.7/32"), INSTALL)
    names = [f"s{number}" for number in range(4)]
    async with cluster.allocator():
        for name in names:
            await cluster.serve(name, annotations={"purelb.io/service-group": "one"})
            await cluster.clock.advance(1.1)
        assert await reasons(cluster, *names) == ["AddressAssigned", *["PoolExhausted"] * 3]
        if edit is None:
            await cluster.admin.delete(SERVICE_GROUPS, "one", namespace=INSTALL)
        else:
            await cluster.patch(SERVICE_GROUPS, "one", edit, INSTALL)
        await cluster.clock.advance(2.0)
        assert (await reasons(cluster, *names))[1:] == [reason] * 3


async def reasons(cluster: Cluster, *names: str) -> list[str]:
    found = [await cluster.condition(name=name) for name in names]
    return [each.reason if each is not None else "" for each in found]


DUAL = {
    "v4pool": {"pool": "192.0.2.10-192.0.2.12", "subnet": "192.0.2.0/24"},
    "v6pool": {"pool": "2001:db8::10-2001:db8::12", "subnet": "2001:db8::/64"},
}


async def noted(cluster: Cluster) -> tuple[str | None, str | None]:
    found = (await cluster.service()).metadata.annotations or {}
    return found.get("purelb.io/allocated-from"), found.get("purelb.io/pool-type")


async def test_a_stray_address_and_a_new_one_of_another_group_are_each_noted_with_their_own(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "old"}, "spec": {"remote": DUAL}}, INSTALL)
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/service-group": "old"})
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        await cluster.admin.delete(SERVICE_GROUPS, "old", namespace=INSTALL)
        await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.20"), INSTALL)
        pinned = {"purelb.io/addresses": "192.0.2.10,192.0.2.20"}
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": pinned}}, "shop")
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.10", "192.0.2.20")
        assert await noted(cluster) == ("old, default", "remote, local")


async def test_the_second_family_of_a_stray_address_comes_from_its_group_or_from_none(cluster: Cluster) -> None:
    serving = {"namespaces": ["shop"]}
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "old"}, "spec": {"local": DUAL, **serving}}, INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.admin.delete(SERVICE_GROUPS, "old", namespace=INSTALL)
        other = {**DUAL, "v4pool": {**DUAL["v4pool"], "pool": "192.0.2.20"}}
        await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "default"}, "spec": {"local": other}}, INSTALL)
        both = {"spec": {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}}
        await cluster.patch(SERVICES, "web", both, "shop")
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
        await cluster.create(
            SERVICE_GROUPS, {"metadata": {"name": "old"}, "spec": {"local": other, **serving}}, INSTALL
        )
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.10", "2001:db8::10")
        assert await noted(cluster) == ("old", "local")


async def test_a_stray_address_without_its_second_family_is_kept_and_says_so(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool("old"), INSTALL)
    async with cluster.allocator():
        await cluster.serve(
            annotations={"purelb.io/service-group": "old"},
            ipFamilyPolicy="PreferDualStack",
            ipFamilies=["IPv4", "IPv6"],
        )
        await cluster.clock.advance(1.0)
        assert await reasons(cluster, "web") == ["AddressAssignedPartially"]
        await cluster.admin.delete(SERVICE_GROUPS, "old", namespace=INSTALL)
        await cluster.clock.advance(2.0)
        kept = await cluster.says()
        text = "192.0.2.10; no ServiceGroup contains 192.0.2.10 any more"
        assert (kept.status, kept.reason, kept.message) == ("True", "AddressKept", text)


async def test_the_addresses_of_a_group_that_became_unreadable_stay_attributed_to_it(cluster: Cluster) -> None:
    careless = pool()
    careless["spec"]["local"]["skipIPv6DAD"] = True
    await cluster.create(SERVICE_GROUPS, careless, INSTALL)

    async def counted() -> int | None:
        group = await cluster.admin.get(SERVICE_GROUPS, "default", namespace=INSTALL)
        return group.status.allocated_ipv4 if group.status is not None else None

    async with cluster.allocator():
        for name in ("web", "other"):
            await cluster.serve(name)
        await cluster.clock.advance(1.0)
        await cluster.patch(SERVICE_GROUPS, "default", UNREADABLE, INSTALL)
        await cluster.clock.advance(2.0)
        assert await reasons(cluster, "web", "other") == ["AddressAssigned"] * 2
        assert (cluster.status_writes(), await counted()) == (1, 2)
        assert ((await cluster.service()).metadata.annotations or {})["purelb.io/skip-ipv6-dad"] == "true"
        await cluster.patch(
            SERVICES, "web", {"metadata": {"annotations": {"purelb.io/service-group": "default"}}}, "shop"
        )
        await cluster.clock.advance(2.0)
        assert await reasons(cluster, "web") == ["AddressAssigned"]  # that is where it is
    cluster.writes.clear()
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        assert not cluster.writes
        await cluster.admin.delete(SERVICES, "other", namespace="shop")
        await cluster.clock.advance(2.0)
        assert await counted() == 1
        await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
        await cluster.clock.advance(2.0)
        assert await reasons(cluster, "web") == ["AddressKept"]


async def events_of(cluster: Cluster, name: str = "web") -> list[str]:
    return [reason for about, reason, _ in await cluster.events() if about == name]


async def test_an_address_is_told_to_be_released_when_its_service_is_of_another_type(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.patch(SERVICES, "web", {"spec": {"type": "ClusterIP", "loadBalancerClass": None}}, "shop")
        await cluster.clock.advance(1.0)
        assert ("web", "AddressReleased", "192.0.2.10") in await cluster.events()


@pytest.mark.parametrize("edited", [None, {"ingress": [{"ip": "203.0.113.9"}]}], ids=["cleared", "a foreign address"])
async def test_a_restored_status_is_neither_an_assignment_nor_a_release(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, edited: dict[str, object] | None
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    caplog.set_level("INFO")
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.patch(SERVICES, "web", {"status": {"loadBalancer": edited}}, "shop", subresource="status")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert sorted(await events_of(cluster)) == ["AddressAssigned", "StatusRestored"]
        codes = [getattr(record, "code", "") for record in caplog.records]
        assert (codes.count("addressAssigned"), codes.count("addressReleased")) == (1, 0)


async def test_who_got_an_address_in_a_burst_is_looked_at_again_when_the_last_has_one(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.0/24"), INSTALL)
    async with cluster.allocator():
        cluster.core.faults.add(Rule(effect=Delay(seconds=0.015625), resource="services/status", verb="patch"))
        turns = cluster.sink.counts["purelb_k8s_client_updates_total",]
        for number in range(64):
            await cluster.serve(f"web{number:02}")
        while len(await cluster.all_addresses()) < 64:
            await cluster.clock.advance(0.015625)
        in_the_burst = cluster.sink.counts["purelb_k8s_client_updates_total",] - turns
        assert in_the_burst < 64 + 64 + 16, "more than a decision and an answer for each"
        await cluster.clock.advance(10.0)
        assert cluster.sink.counts["purelb_k8s_client_updates_total",] - turns >= in_the_burst + 48


async def test_who_got_an_address_in_a_burst_is_told_of_though_the_allocator_stops_before_it_is_their_turn_again(
    cluster: Cluster,
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.0/24"), INSTALL)
    async with cluster.allocator():
        cluster.core.faults.add(Rule(effect=Delay(seconds=0.015625), resource="services/status", verb="patch"))
        for number in range(64):
            await cluster.serve(f"web{number:02}")
        while len(await cluster.all_addresses()) < 64:
            await cluster.clock.advance(0.015625)
        assert len([1 for _, reason, _ in await cluster.events() if reason == "AddressAssigned"]) < 64, (
            "else nobody waits"
        )
    told = [name for name, reason, _ in await cluster.events() if reason == "AddressAssigned"]
    assert told == [f"web{number:02}" for number in range(64)]
