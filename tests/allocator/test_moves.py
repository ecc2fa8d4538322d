# SPDX-License-Identifier: Apache-2.0
"""A live address moves only because its own user asked: wishes are edited, groups come, go, grow and change their names."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.allocator.metrics import REJECTED
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver.faults import Answer, Rule
from tests.allocator.cluster import ALLOCATOR, Cluster, pool
from tests.allocator.objects import INSTALL


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(),)


async def edit(cluster: Cluster, name: str = "web", **annotations: str | None) -> None:
    noted = {f"purelb.io/{word.replace('_', '-')}": text for word, text in annotations.items()}
    await cluster.patch(SERVICES, name, {"metadata": {"annotations": noted}}, "shop")
    await cluster.clock.advance(1.0)


async def resize(cluster: Cluster, name: str, text: str) -> None:
    await cluster.patch(SERVICE_GROUPS, name, {"spec": {"local": {"v4pool": {"pool": text}}}}, INSTALL)
    await cluster.clock.advance(1.0)


async def test_who_leaves_a_share_for_a_full_group_still_goes_there_when_it_has_room(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool("small", "192.0.2.50/32"), INSTALL)
    await resize(cluster, "default", "192.0.2.10/32")
    key = {"purelb.io/allow-shared-ip": "k"}
    async with cluster.allocator():
        await cluster.serve("there", annotations={"purelb.io/service-group": "small"})
        await cluster.serve("stays", annotations=key)
        await cluster.serve(annotations=key, ports=[{"port": 81}])
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == await cluster.addresses("stays") == ("192.0.2.10",)
        await edit(cluster, allow_shared_ip=None, service_group="small")
        assert (await cluster.allocated())[0] == "False"
        assert await cluster.noted("allocated-wish") == "any", "it has not got what it asks for"
        await cluster.admin.delete(SERVICES, "stays", namespace="shop")
        await cluster.clock.advance(1.0)
        assert (await cluster.allocated())[1] == "PoolExhausted"
        await resize(cluster, "small", "192.0.2.50-192.0.2.51")
        assert await cluster.addresses() == ("192.0.2.51",)
        assert await cluster.noted("allocated-wish") == "group=small"


async def test_a_service_that_is_replaced_as_a_whole_moves_if_its_user_asks_and_only_then(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool("other", "192.0.2.50/32"), INSTALL)
    ours: dict[str, str | None] = dict.fromkeys(("allocated-by", "allocated-from", "allocated-wish", "pool-type"))
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await edit(cluster, "web", **ours)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert await cluster.noted("allocated-wish") == "any"
        await edit(cluster, "web", **ours, service_group="gone")
        assert (await cluster.allocated())[1] == "UnknownGroup"
        assert await cluster.noted("allocated-wish") == "any", "what was refused is not what was agreed"
        await edit(cluster, "web", **ours, service_group="other")
        assert await cluster.addresses() == ("192.0.2.50",)
        assert await cluster.noted("allocated-wish") == "group=other"


async def test_who_names_a_full_group_keeps_what_it_has_until_that_group_grows(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool("small", "192.0.2.50/32"), INSTALL)
    async with cluster.allocator():
        await cluster.serve("there", annotations={"purelb.io/service-group": "small"})
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await edit(cluster, service_group="small")
        assert await cluster.addresses() == ("192.0.2.10",)
        assert await cluster.allocated() == (
            "False",
            "PoolExhausted",
            "small: 1 of 1 IPv4 addresses in use; keeps 192.0.2.10",
        )
        assert await cluster.noted("allocated-wish") == "any", "what was agreed is still the old wish"
        count = cluster.status_writes()
        await resize(cluster, "small", "192.0.2.50-192.0.2.51")
        assert await cluster.addresses() == ("192.0.2.51",)
        assert cluster.status_writes() == count + 1, "it moves in one write"
        assert await cluster.allocated() == ("True", "AddressAssigned", "192.0.2.51 from small")
        assert await cluster.noted("allocated-wish") == "group=small"
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("next") == ("192.0.2.10",), "the old one is free once the move is confirmed"


@pytest.mark.parametrize(
    ("asked", "addresses", "reason"),
    [
        pytest.param("192.0.2.12", "192.0.2.12", "AddressAssigned", id="free"),
        pytest.param("192.0.2.11", "192.0.2.10", "InUse", id="held"),
        pytest.param("203.0.113.1", "192.0.2.10", "NotInAnyPool", id="foreign"),
        pytest.param("192.0.2.61", "192.0.2.10", "AddressReserved", id="excluded"),
    ],
)
async def test_who_asks_for_another_address_moves_or_keeps(
    cluster: Cluster, asked: str, addresses: str, reason: str
) -> None:
    entry = {"pool": "192.0.2.60-192.0.2.69", "subnet": "192.0.2.0/24", "exclude": ["192.0.2.61"]}
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "other"}, "spec": {"local": {"v4pool": entry}}}, INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.serve("neighbour")
        await cluster.clock.advance(1.0)
        await edit(cluster, addresses=asked)
        assert await cluster.addresses() == (addresses,)
        status, why, text = await cluster.allocated()
        assert (status == "True", why) == (reason == "AddressAssigned", reason)
        assert text.endswith("; keeps 192.0.2.10") == (reason != "AddressAssigned")


@pytest.mark.parametrize("word", ["addresses", "service_group"])
async def test_who_takes_a_wish_back_keeps_its_address(cluster: Cluster, word: str) -> None:
    await cluster.create(SERVICE_GROUPS, pool("other", "192.0.2.50-192.0.2.59"), INSTALL)
    text = "192.0.2.55" if word == "addresses" else "other"
    async with cluster.allocator():
        await cluster.serve(annotations={f"purelb.io/{word.replace('_', '-')}": text})
        await cluster.clock.advance(1.0)
        held = await cluster.addresses()
        assert held[0].startswith("192.0.2.5")
        given_up: dict[str, str | None] = {word: None}
        await edit(cluster, "web", **given_up)
        assert await cluster.addresses() == held
        assert await cluster.noted("allocated-wish") == "any"


async def test_ranges_that_change_groups_take_their_services_along_on_paper(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        before = (await cluster.service()).status
        await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
        await cluster.create(SERVICE_GROUPS, pool("renamed"), INSTALL)
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert await cluster.noted("allocated-from") == "renamed"
        assert await cluster.allocated() == ("True", "AddressAssigned", "192.0.2.10 from renamed")
        assert before is not None
        now = (await cluster.service()).status
        assert now is not None
        assert now.load_balancer == before.load_balancer


async def test_a_new_group_of_both_families_moves_nobody(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        count = cluster.status_writes()
        ranges = {"text": "192.0.2.50-192.0.2.59", "six": "2001:db8::10-2001:db8::19"}
        await cluster.create(SERVICE_GROUPS, pool("new", **ranges, namespaces=["shop"], priority=1), INSTALL)
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert cluster.status_writes() == count
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("next") == ("192.0.2.50",), "whoever comes now gets its address there"


async def test_a_re_evaluated_address_that_is_good_stays_and_the_annotation_goes_in_one_write(
    cluster: Cluster,
) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        count = cluster.status_writes()
        await edit(cluster, re_evaluate="true")
        assert await cluster.addresses() == ("192.0.2.10",)
        assert await cluster.noted("re-evaluate") is None
        assert cluster.status_writes() == count + 1


async def drain(cluster: Cluster) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"drain": True}}, INSTALL)


async def shrink(cluster: Cluster) -> None:
    await resize(cluster, "default", "192.0.2.11/32")
    await cluster.serve("other")
    await cluster.clock.advance(1.0)


@pytest.mark.parametrize(
    ("meanwhile", "reason", "refusal"),
    [
        pytest.param(drain, "GroupDraining", "default hands out no new addresses", id="drained"),
        pytest.param(shrink, "PoolExhausted", "default: 1 of 1 IPv4 addresses in use", id="a stray, the pool is full"),
    ],
)
async def test_a_refused_re_evaluation_is_told_by_an_event_and_the_one_write_says_what_stays(
    cluster: Cluster, meanwhile: Any, reason: str, refusal: str
) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await meanwhile(cluster)
        await cluster.clock.advance(1.0)
        before, count = await cluster.allocated(), cluster.status_writes()
        assert before[0] == "True"
        for _ in range(2):  # who asks again is told again
            await edit(cluster, re_evaluate="true")
            assert await cluster.addresses() == ("192.0.2.10",)
            assert await cluster.noted("re-evaluate") is None
            assert await cluster.allocated() == before
        assert cluster.status_writes() == count + 2
        note = f"purelb.io/re-evaluate: {refusal}; keeps 192.0.2.10"
        told = [event for event in await cluster.events() if event[0] == "web" and "re-evaluate" in event[2]]
        assert told == [("web", reason, note)] * 2
        await cluster.clock.advance(120.0)
        assert cluster.status_writes() == count + 2


async def test_the_event_of_a_re_evaluation_and_the_condition_name_one_group(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.clock.advance(1.0)
        nothing = {"pool": "192.0.2.12/32", "exclude": ["192.0.2.0/24"]}
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"local": {"v4pool": nothing}}}, INSTALL)
        await cluster.clock.advance(1.0)
        before = await cluster.allocated()
        assert before == ("True", "AddressAssigned", "192.0.2.10 from default")
        await edit(cluster, re_evaluate="true")
        assert await cluster.allocated() == before
        ((_, reason, note),) = [event for event in await cluster.events() if "re-evaluate" in event[2]]
        assert reason == "GroupNotReady"
        assert note.startswith("purelb.io/re-evaluate: ServiceGroup default is not usable: NoAddresses: ")
        assert note.endswith("; keeps 192.0.2.10")


@pytest.mark.parametrize(
    ("code", "reason", "seconds"), [(409, "Conflict", 1.0), (422, "Invalid", 1800.0)], ids=["conflicts", "a webhook"]
)
async def test_a_refused_re_evaluation_is_logged_and_counted_once_however_often_its_write_is_refused(
    cluster: Cluster, code: int, reason: str, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def lines() -> list[str]:
        return [line.getMessage() for line in caplog.records if getattr(line, "code", "") == "addressRefused"]

    counted = (REJECTED.name, "default", "GroupDraining")
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await drain(cluster)
        await cluster.clock.advance(1.0)
        refused = Answer(code=code, reason=reason)
        rule = Rule(effect=refused, subject=ALLOCATOR.name, verb="patch", resource="services/status")
        number = cluster.core.faults.add(rule)
        count = cluster.status_writes()
        await edit(cluster, re_evaluate="true")
        await cluster.clock.advance(seconds)
        assert cluster.status_writes() > count + 2, "it has been decided more than once"
        assert (lines(), cluster.sink.counts.get(counted)) == ([], None), "nothing is true of it yet"
        cluster.core.faults.remove(number)
        await cluster.clock.advance(600.0)
        assert await cluster.noted("re-evaluate") is None
        text = "purelb.io/re-evaluate: default hands out no new addresses; keeps 192.0.2.10"
        assert (lines(), cluster.sink.counts[counted]) == ([f"shop/web is not moved: {text}"], 1)
        await edit(cluster, re_evaluate="true")
        assert len(lines()) == cluster.sink.counts[counted] == 2, "who asks again is told again"


async def test_one_family_that_is_re_evaluated_moves_and_the_other_that_cannot_is_told_by_an_event(
    cluster: Cluster,
) -> None:
    def both(v4: str, v6: str) -> dict[str, Any]:
        entries = {
            "v4pool": {"pool": v4, "subnet": "192.0.2.0/24"},
            "v6pool": {"pool": v6, "subnet": "2001:db8::/64"},
        }
        return {"spec": {"local": entries}}

    await cluster.patch(SERVICE_GROUPS, "default", both("192.0.2.10/32", "2001:db8::10"), INSTALL)
    shape: dict[str, Any] = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    async with cluster.allocator():
        await cluster.serve(**shape)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10", "2001:db8::10")
        await cluster.patch(SERVICE_GROUPS, "default", both("192.0.2.11-192.0.2.12", "2001:db8::11"), INSTALL)
        await cluster.serve("other", **shape)
        await cluster.clock.advance(1.0)
        count = cluster.status_writes()
        await edit(cluster, re_evaluate="true")
        assert await cluster.addresses() == ("192.0.2.12", "2001:db8::10")
        assert cluster.status_writes() == count + 1
        kept = "192.0.2.12, 2001:db8::10; no ServiceGroup contains 2001:db8::10 any more"
        assert await cluster.allocated() == ("True", "AddressKept", kept)
        told = [note for name, reason, note in await cluster.events() if (name, reason) == ("web", "PoolExhausted")]
        assert told == ["purelb.io/re-evaluate: default: 1 of 1 IPv6 addresses in use; keeps 192.0.2.12, 2001:db8::10"]


async def test_a_re_evaluation_of_whom_nothing_can_be_given_stays_refused(cluster: Cluster) -> None:
    await drain(cluster)
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/re-evaluate": "true"})
        await cluster.clock.advance(1.0)
        assert (await cluster.allocated())[:2] == ("False", "GroupDraining")
        assert await cluster.noted("re-evaluate") is None
        assert cluster.status_writes() == 1
        told = [reason for name, reason, _ in await cluster.events() if name == "web"]
        assert told == ["GroupDraining"]


async def test_who_waits_for_its_quota_is_not_woken_by_an_address_of_another_namespace(cluster: Cluster) -> None:
    await resize(cluster, "default", "192.0.2.10-192.0.2.19")
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"quotaPerNamespace": 1}}, INSTALL)
    async with cluster.allocator():
        await cluster.serve("bank", namespace="default")
        await cluster.serve("first")
        await cluster.clock.advance(1.0)
        for number in range(20):
            await cluster.serve(f"waits{number}")
        await cluster.clock.advance(2.0)
        assert await cluster.allocated("waits0") == (
            "False",
            "QuotaExceeded",
            "default: namespace shop holds 1 of 1 IPv4 addresses",
        )
        turns = cluster.sink.counts["purelb_k8s_client_updates_total",]
        await cluster.admin.delete(SERVICES, "bank", namespace="default")
        await cluster.clock.advance(2.0)
        assert cluster.sink.counts["purelb_k8s_client_updates_total",] - turns <= 4, "nobody was asked in vain"
        await cluster.admin.delete(SERVICES, "first", namespace="shop")
        await cluster.clock.advance(2.0)
        served = [n for n in range(20) if await cluster.addresses(f"waits{n}")]
        assert len(served) == 1, "one address of its own namespace is one for the next of it"


async def test_an_address_that_its_group_excludes_now_is_kept_and_says_who_excludes_it(cluster: Cluster) -> None:
    def entry(**more: object) -> dict[str, object]:
        return {"spec": {"local": {"v4pool": {"pool": "192.0.2.10-192.0.2.12", "exclude": None, **more}}}}

    async def edited(body: dict[str, object]) -> tuple[str, str, str]:
        await cluster.patch(SERVICE_GROUPS, "default", body, INSTALL)
        await cluster.clock.advance(70.0)  # a message alone waits for a minute
        assert await cluster.addresses() == ("192.0.2.10",)
        return await cluster.allocated()

    gone = ("True", "AddressKept", "192.0.2.10; no ServiceGroup contains 192.0.2.10 any more")
    excluded = ("True", "AddressKept", "192.0.2.10; 192.0.2.10 is excluded by default")
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await edited(entry(exclude=["192.0.2.10"])) == excluded
        assert await cluster.noted("allocated-from") == "default"
        assert await edited(entry(pool="192.0.2.12/32")) == gone
        assert await edited(entry(exclude=["192.0.2.10"])) == excluded, "from outside of the pool as well"
        count = cluster.status_writes()
        await edited(entry(exclude=["192.0.2.10", "192.0.2.11"]))
        assert cluster.status_writes() == count
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        assert cluster.status_writes() == count, "a new term says the same"
        assert await edited(entry()) == ("True", "AddressAssigned", "192.0.2.10 from default")


async def test_a_refused_re_evaluation_of_a_stray_is_told_where_the_condition_says_only_that_it_is_one(
    cluster: Cluster,
) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        entry = {"pool": "198.51.100.10-198.51.100.19", "subnet": "198.51.100.0/24"}
        spec = {"local": {"v4pool": None, "v4pools": [entry], "multiPool": True}}
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": spec}, INSTALL)
        await cluster.clock.advance(1.0)
        assert (await cluster.allocated())[1] == "AddressKept"
        await edit(cluster, re_evaluate="true")
        assert await cluster.noted("re-evaluate") is None
        assert (await cluster.allocated())[1] == "AddressKept"
        told = [note for name, reason, note in await cluster.events() if (name, reason) == ("web", "NoActiveSubnet")]
        text = "purelb.io/re-evaluate: default: no live node advertises any of 198.51.100.0/24; keeps 192.0.2.10"
        assert told == [text]
