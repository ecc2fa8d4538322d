# SPDX-License-Identifier: Apache-2.0
"""Random stories against the running component; at rest a fresh allocator finds nothing to do.

After whatever happened (edits, deletions, a kill in the middle, lost answers) and a while without faults: no address is in two
statuses that may not share it, nothing that should have been served waits, and starting again writes nothing.
"""

from __future__ import annotations

import asyncio
from itertools import combinations
from typing import TYPE_CHECKING, Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from purelb.allocator.observed import published
from purelb.allocator.ranges import ip_text
from purelb.allocator.serving import Rules, effective_local
from purelb.allocator.sharing import clash
from purelb.allocator.wish import rough_wish
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.errors import KubeError
from purelb.kube.resources import NAMESPACES, SERVICES
from purelb.sandbox.apiserver.faults import Answer, Delay, LoseAnswer, Reset, Rule
from tests.allocator.cluster import ALLOCATOR, Cluster, pool
from tests.allocator.ipam import V4, Ipam, lie, netbox
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from purelb.kube.model import Service

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
NOTES = st.fixed_dictionaries(
    {},
    optional={
        "purelb.io/allow-shared-ip": st.sampled_from(["k1", "k2"]),
        "purelb.io/addresses": st.sampled_from(["192.0.2.10", "192.0.2.11", "203.0.113.1"]),
        "purelb.io/service-group": st.sampled_from(["default", "far", "nowhere", "lent", "lent", "racks"]),
        "purelb.io/multi-pool": st.sampled_from(["true", "false"]),
    },
)
MOODS = st.sampled_from(
    ["hang", "raise", "cancelled", "away", "full", lie("192.0.2.10"), lie("224.0.0.1", "nonsense"), lie(*V4)]
)
POOLS = st.sampled_from(["192.0.2.10/32", "192.0.2.10-192.0.2.12", "192.0.2.11,192.0.2.10"])
CREATE = st.tuples(st.just("create"), NAMES, NOTES, st.sampled_from([80, 81]))
EDIT = st.tuples(st.just("edit"), NAMES, NOTES)
CONFUSE = st.tuples(
    st.just("confuse"), NAMES, st.sampled_from(["k1", "k2", "two keys", None]), st.sampled_from([80, 81])
)
DELETE = st.tuples(st.just("delete"), NAMES)
GROUP = st.tuples(st.just("group"), st.sampled_from(["default", "far"]), st.one_of(st.none(), POOLS))
RACKS = st.tuples(st.just("racks"), st.integers(0, 3), st.booleans())
FAMILIES: list[dict[str, Any]] = [
    {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"},
    {"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"},
    {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"},
    {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"},
    {"ipFamilyPolicy": "PreferDualStack"},
]
SPEC = st.tuples(
    st.just("spec"),
    NAMES,
    st.sampled_from(
        [
            *({"clusterIP": None, "clusterIPs": None, **families} for families in FAMILIES),
            {"externalTrafficPolicy": "Local"},
        ]
    ),
)
SHARE = st.tuples(st.just("key"), NAMES, st.sampled_from(["k1", "k2", None]))
TYPE = st.tuples(
    st.just("type"), NAMES, st.sampled_from([None, "purelb.io/purelb", "purelb.io/purelb", "example.com/other"])
)
LINGER = st.tuples(st.just("linger"), NAMES, st.booleans())
RELABEL = st.tuples(st.just("relabel"), st.sampled_from(["gold", "tin"]))
GROUP_SPEC = st.tuples(
    st.just("group spec"),
    st.sampled_from(["default", "far"]),
    st.sampled_from(
        [
            {"drain": True},
            {"drain": None},
            {"quotaPerNamespace": 1},
            {"quotaPerNamespace": None},
            {"reuseDelay": "30s"},
            {"reuseDelay": None},
            {"namespaceSelector": {"matchLabels": {"tier": "gold"}}},
            {"namespaceSelector": None},
            {
                "local": {
                    "v4pool": {"pool": "192.0.2.10-192.0.2.13", "subnet": "192.0.2.0/24", "exclude": ["192.0.2.11"]}
                }
            },
            {"local": {"v6pool": {"pool": "2001:db8::1-2001:db8::2", "subnet": "2001:db8::/64"}}},
        ]
    ),
)
MOOD = st.tuples(st.just("mood"), st.sampled_from(["allocate", "release", "adopt", "usage"]), MOODS)
CLEAR = st.tuples(st.just("clear"), NAMES)
WAIT = st.tuples(st.just("wait"), st.sampled_from([1 / 64, 1 / 4, 2.0]))
KILL = st.tuples(st.just("kill"))
FAULT = st.tuples(
    st.just("fault"),
    st.sampled_from([Answer(code=500), Answer(code=409), LoseAnswer(), Reset(), Delay(seconds=1 / 16)]),
    st.integers(1, 3),
)
STORIES = st.lists(
    st.one_of(CREATE, CREATE, EDIT, CONFUSE, DELETE, GROUP, CLEAR, WAIT, KILL, FAULT), min_size=3, max_size=25
)
STORIES_OF_EDITS = st.lists(
    st.one_of(
        CREATE, CREATE, EDIT, SPEC, SPEC, SHARE, TYPE, LINGER, DELETE, GROUP_SPEC, GROUP, RELABEL, WAIT, KILL, FAULT
    ),
    min_size=5,
    max_size=25,
)
STORIES_OF_SOURCES = st.lists(
    st.one_of(CREATE, CREATE, EDIT, DELETE, RACKS, MOOD, MOOD, WAIT, WAIT, KILL, FAULT), min_size=3, max_size=20
)


def racks(count: int, *, several: bool) -> dict[str, Any]:
    """A remote group of some entries."""
    entries = [{"pool": f"198.51.{n}.1-198.51.{n}.2", "subnet": f"198.51.{n}.0/24"} for n in range(count + 1)]
    return {"metadata": {"name": "racks"}, "spec": {"remote": {"v4pools": entries, "multiPool": several}}}


async def step(cluster: Cluster, what: tuple[Any, ...]) -> None:
    try:
        match what:
            case ("create", name, noted, port):
                await cluster.serve(name, annotations=noted, port=port)
            case ("edit", name, noted):
                blank = {
                    "purelb.io/allow-shared-ip": None,
                    "purelb.io/addresses": None,
                    "purelb.io/service-group": None,
                    "purelb.io/multi-pool": None,
                }
                await cluster.patch(SERVICES, name, {"metadata": {"annotations": {**blank, **noted}}}, "shop")
            case ("confuse", name, key, port):  # an unreadable wish and other ports in one edit
                noted = {"purelb.io/addresses": "foo", "purelb.io/allow-shared-ip": key}
                edit = {"metadata": {"annotations": noted}, "spec": {"ports": [{"port": port}]}}
                await cluster.patch(SERVICES, name, edit, "shop")
            case ("delete", name):
                await cluster.admin.delete(SERVICES, name, namespace="shop")
            case ("group", name, None):
                await cluster.admin.delete(SERVICE_GROUPS, name, namespace=INSTALL)
            case ("group", name, text):
                body = pool(name, text if name == "default" else "192.0.2.12-192.0.2.13")
                try:
                    await cluster.create(SERVICE_GROUPS, body, INSTALL)
                except KubeError:
                    await cluster.patch(SERVICE_GROUPS, name, {"spec": body["spec"]}, INSTALL)
            case ("racks", count, several):
                await cluster.patch(SERVICE_GROUPS, "racks", {"spec": racks(count, several=several)["spec"]}, INSTALL)
            case ("mood", verb, mood):
                ipam_of(cluster).mood[verb].append(mood)
            case ("spec", name, spec):
                await cluster.patch(SERVICES, name, {"spec": spec}, "shop")
            case ("key", name, key):
                await cluster.patch(
                    SERVICES, name, {"metadata": {"annotations": {"purelb.io/allow-shared-ip": key}}}, "shop"
                )
            case ("type", name, None):
                plain = {"type": "ClusterIP", "loadBalancerClass": None, "externalTrafficPolicy": None}
                await cluster.patch(SERVICES, name, {"spec": plain}, "shop")
            case ("type", name, of_class):
                await cluster.patch(
                    SERVICES, name, {"spec": {"type": "LoadBalancer", "loadBalancerClass": of_class}}, "shop"
                )
            case ("linger", name, lingers):
                finalizers = {"metadata": {"finalizers": ["example.com/stays"] if lingers else None}}
                await cluster.patch(SERVICES, name, finalizers, "shop")
            case ("relabel", tier):
                await cluster.patch(NAMESPACES, "shop", {"metadata": {"labels": {"tier": tier}}})
            case ("group spec", name, spec):
                await cluster.patch(SERVICE_GROUPS, name, {"spec": spec}, INSTALL)
            case ("clear", name):
                status = {"status": {"loadBalancer": None}}
                await cluster.patch(SERVICES, name, status, "shop", subresource="status")
            case ("wait", seconds):
                await cluster.clock.advance(seconds)
            case ("fault", effect, count):
                cluster.core.faults.add(
                    Rule(effect=effect, resource="services/status", verb="patch", subject=ALLOCATOR.name, count=count)
                )
            case _:
                raise AssertionError(what)
    except KubeError:
        pass  # the object is not there, or is there already: the story goes on


async def tell(story: list[tuple[Any, ...]]) -> None:
    cluster = Cluster()
    ipam = Ipam(cluster.clock)
    cluster.sources = {"netbox": ipam}
    async with cluster.admin:
        await cluster.prepare()
        for body in (pool(), racks(1, several=True), netbox("lent")):
            await cluster.create(SERVICE_GROUPS, body, INSTALL)
        chapters: list[list[tuple[Any, ...]]] = [[]]
        for what in story:
            if what == ("kill",):
                chapters.append([])
            else:
                chapters[-1].append(what)
        for chapter in chapters:
            async with cluster.killed_allocator():
                for what in chapter:
                    await step(cluster, what)
                if ("kill",) not in story:  # it lives on, and gives back itself what nobody wants
                    heal(cluster, ipam)
                    await cluster.clock.advance(400.0)
        heal(cluster, ipam)
        async with cluster.allocator():
            await cluster.clock.advance(400.0)
        before = await services(cluster)
        nobody_shares_who_may_not(before)
        cluster.writes.clear()
        async with cluster.allocator():
            await cluster.clock.advance(90.0)
        mine = [path for _, path in cluster.writes if "/services/" in path]
        assert not mine, "a fresh allocator found something to do"
        assert await services(cluster) == before
        for service in before:
            lent = [ip_text(address) for address in published(service) if ip_text(address) in ipam.addresses]
            assert all(ip in ipam.records for ip in lent), "what is published is held where it came from"
        held = {ip_text(address) for service in before for address in published(service)}
        uids = {service.metadata.uid for service in before}
        leaked = [ip for ip, (uid, _) in ipam.records.items() if ip not in held and uid in uids]
        assert not leaked or ("kill",) in story, "what nobody wants goes back"


def heal(cluster: Cluster, ipam: Ipam) -> None:
    """From now on everything answers as it should."""
    cluster.core.faults.clear()
    for moods in ipam.mood.values():
        moods.clear()


def ipam_of(cluster: Cluster) -> Ipam:
    found = cluster.sources["netbox"]
    assert isinstance(found, Ipam)
    return found


async def services(cluster: Cluster) -> list[Service]:
    found: list[Service] = []
    async for page in cluster.admin.list_pages(SERVICES, namespace="shop"):
        found += page.objects
    return found


def nobody_shares_who_may_not(found: list[Service]) -> None:
    for one, other in combinations(found, 2):
        if set(published(one)) & set(published(other)):
            wishes = [rough_wish(each) for each in (one, other)]
            facts = [wish.facts(local=effective_local(wish, (), Rules())) for wish in wishes]
            contested = any("keeps" in (c.message or "") for each in (one, other) for c in conditions(each))
            assert clash(*facts) is None or contested


def conditions(of: Service) -> tuple[Any, ...]:
    return (of.status.conditions if of.status is not None else ()) or ()


SHARED = {"purelb.io/allow-shared-ip": "k1"}


@settings(max_examples=12)
@given(STORIES_OF_SOURCES)
@example([("create", "c", {"purelb.io/service-group": "lent", "purelb.io/addresses": "192.0.2.10"}, 81)])
def test_after_any_story_of_sources_and_entries_a_fresh_allocator_has_nothing_to_do(
    story: list[tuple[Any, ...]],
) -> None:
    asyncio.run(tell(story))


@settings(max_examples=25)
@given(STORIES)
@example(
    [
        ("create", "a", SHARED, 80),
        ("create", "b", SHARED, 81),
        ("wait", 2.0),
        ("confuse", "b", "k1", 80),
        ("wait", 2.0),
        ("kill",),
        ("wait", 2.0),
    ]
)
def test_after_any_story_a_fresh_allocator_has_nothing_to_do(story: list[tuple[Any, ...]]) -> None:
    asyncio.run(tell(story))


@settings(max_examples=25)
@given(STORIES_OF_EDITS)
@example(
    [
        ("create", "a", {"purelb.io/service-group": "lent"}, 80),
        ("wait", 1 / 64),
        ("type", "a", None),
    ]
)
def test_after_any_story_of_families_types_and_edited_groups_a_fresh_allocator_has_nothing_to_do(
    story: list[tuple[Any, ...]],
) -> None:
    asyncio.run(tell(story))
