# SPDX-License-Identifier: Apache-2.0
"""The suite `decide`: what the allocator's owner does, counted and in CPU, on a ledger as full as clusters get. Needs no server.

Each case is a `Rehearsal` of the real steps. Figures are counts, or ratios between two stretches of CPU of one process, so that a
busy machine changes both sides alike. Absolute times stand beside them for people; only the length of one step and of a rebuild
have a bound of their own, because the specification states them so.
"""

from __future__ import annotations

import gc
import time
from typing import Final

import msgspec
from msgspec.structs import replace

from purelb.allocator.keys import Deadline, GroupsChanged, Key, NodeChanged, Reported, ServiceKey
from purelb.allocator.ranges import ip_text
from purelb.kube.decode import Codec, Poison
from purelb.kube.resources import SERVICES
from purelb.sandbox.bench.clusters import (
    NODES,
    PER_ENTRY,
    RENEWED_EVERY,
    SUBNET,
    allocated,
    announced,
    begun,
    entries,
    group,
    in_one_text,
    listed,
    renew,
    report,
    services,
)
from purelb.sandbox.bench.rehearsal import Rehearsal
from purelb.sandbox.bench.results import Budget, Ratio, Row, percentile, row

SUITE: Final = "decide"
TRIALS: Final = 3
HOLDERS: Final = 10_000
SHARE: Final = 1_000  # allocations compared
STEP_MAX_MS: Final = 5.0
REBUILD_MAX_S: Final = 2.0
HOUR: Final = 3_600.0
LEASE_S: Final = 10.0
RECOUNTED_EVERY: Final = 61.0
ITEMS: Final = 8_000
REPORTED_MAX: Final = 4_096
AROUND: Final = "172.16.0.0/15"


def measure() -> list[Row]:
    """All rows, in about a minute."""
    return [*filling(), *releasing(), *rebuilding(), *editing(), *pausing(), *dying(), *resting()]


def filling() -> list[Row]:
    """The last 1,000 addresses of a /16, and a late 1,000 of a /64, against the first."""
    rows: list[Row] = []
    for name, text, held, family in (
        ("the last 1000 of 65536 allocations in a /16", SUBNET, 64_536, "IPv4"),
        ("allocations 60001 to 61000 in an IPv6 /64", "2001:db8::/64", 60_000, "IPv6"),
    ):
        early, late = [], []
        for trial in range(TRIALS + 1):
            first, last = served(text, 0, family), served(text, held, family)
            if trial:  # the first one fills caches
                early.append(first)
                late.append(last)
        case = f"CPU per allocation, the first 1000 ({family})"
        ratio = Ratio(to=case, value=round(percentile(late, 0.5) / percentile(early, 0.5), 3))
        rows += [
            row(suite=SUITE, case=case, unit="us", values=early),
            row(
                suite=SUITE,
                case=f"CPU per allocation, {name}",
                unit="us",
                values=late,
                ratio=ratio,
                budget=Budget(of="ratio", at_most=1.5),
            ),
        ]
    return rows


def releasing() -> list[Row]:
    """A pool that is full, 1,000 Services that wait for it, and one address after the other that becomes free."""
    rehearsal = begun(services(1_100), "192.0.2.0-192.0.2.99", "192.0.2.0/24")
    rehearsal.settle()
    holders = [found for found in rehearsal.services() if found.status and found.status.load_balancer.ingress]  # type: ignore[union-attr]
    counts: list[float] = []
    for holder in holders:
        meta = holder.metadata
        rehearsal.steps.clear()
        rehearsal.delete_service(f"{meta.namespace}/{meta.name}")
        rehearsal.settle()
        gone = ServiceKey(meta.namespace, meta.name)
        counts.append(float(sum(isinstance(key, ServiceKey) and key != gone for key, _ in rehearsal.steps)))
    have = sum(bool(found.status and found.status.load_balancer.ingress) for found in rehearsal.services())  # type: ignore[union-attr]
    if (len(holders), have) != (100, 100):
        raise RuntimeError(f"{len(holders)} Services had addresses of a pool of 100, and {have} after the releases")
    return [
        row(
            suite=SUITE,
            case="decisions per release while 1000 Services wait on a full pool",
            unit="count",
            values=counts,
            budget=Budget(of="max", at_most=3),
        )
    ]


def rebuilding() -> list[Row]:
    """10,000 Services at the start of a term: their list decoded, learnt, and each decided once."""
    body = listed(allocated(HOLDERS))
    codec = Codec(SERVICES)
    times: list[float] = []
    writes: list[float] = []
    for _ in range(TRIALS):
        gc.collect()
        began = time.thread_time()
        raws, _, _ = codec.envelope(body)
        decoded = [found for raw in raws if not isinstance(found := codec.item(raw), Poison)]
        if len(decoded) != HOLDERS:
            raise RuntimeError(f"{len(decoded)} of {HOLDERS} Services could be read")
        rehearsal = Rehearsal(groups=[group(SUBNET, SUBNET)], services=decoded)
        rehearsal.begin()
        rehearsal.run()
        times.append(time.thread_time() - began)
        writes.append(float(sum(write.service for write in rehearsal.writes)))
    return [
        row(
            suite=SUITE,
            case="rebuild of 10000 Services, list decode and first decisions included: CPU",
            unit="s",
            values=times,
            budget=Budget(of="p50", at_most=REBUILD_MAX_S),
        ),
        row(
            suite=SUITE,
            case="rebuild of 10000 Services: writes of Services",
            unit="count",
            values=writes,
            budget=Budget(of="max", at_most=0),
        ),
    ]


def editing() -> list[Row]:
    """Edits of a group that change nothing for its 10,000 holders: another priority, another range beside theirs."""
    restarted = allocated(HOLDERS)
    rebuilt, edited, longest, writes = [], [], [], []
    for trial in range(TRIALS):
        rehearsal = Rehearsal(groups=[group(SUBNET, AROUND)], services=restarted)
        rebuilt.append(rehearsal.begin() + rehearsal.run())
        rehearsal.settle()
        for change in (
            group(SUBNET, AROUND, priority=trial + 1),
            group(f"172.17.0.0/24, {SUBNET}", AROUND, priority=trial + 1, drain=True),
        ):
            rehearsal.steps.clear()
            rehearsal.put_group(change)
            edited.append(rehearsal.run(until=rehearsal.time + 5.0))
            longest.append(rehearsal.longest() * 1000)
            writes.append(float(sum(write.service for write in rehearsal.writes)))
            rehearsal.settle()
    case = "rebuild of 10000 Services without list decode: CPU"
    ratio = Ratio(to=case, value=round(percentile(edited, 0.5) / percentile(rebuilt, 0.5), 3))
    edit = "group edit that changes nothing for 10000 holders"
    return [
        row(suite=SUITE, case=case, unit="s", values=rebuilt),
        row(
            suite=SUITE,
            case=f"{edit}: CPU",
            unit="s",
            values=edited,
            ratio=ratio,
            budget=Budget(of="ratio", at_most=0.5),
        ),
        row(
            suite=SUITE,
            case=f"{edit}: longest step",
            unit="ms",
            values=longest,
            budget=Budget(of="p50", at_most=STEP_MAX_MS),
        ),
        row(
            suite=SUITE,
            case=f"{edit}: writes of Services",
            unit="count",
            values=writes,
            budget=Budget(of="max", at_most=0),
        ),
    ]


def pausing() -> list[Row]:
    """What costs more with every address, and for how long it holds the loop at a stretch: the rest of it waits for its turn."""
    cases: dict[str, list[float]] = {}

    def note(case: str, rehearsal: Rehearsal, kind: type[Key]) -> None:
        cases.setdefault(case, []).append(rehearsal.longest(kind) * 1000)
        rehearsal.steps.clear()

    restarted = allocated(HOLDERS)
    for _ in range(TRIALS):
        gc.collect()
        rehearsal = Rehearsal(groups=[group(SUBNET, AROUND)], services=restarted)
        rehearsal.begin()
        cases.setdefault("rebuild of 10000 Services", []).append(rehearsal.rebuilding * 1000)
        rehearsal.settle()
        rehearsal.steps.clear()
        rehearsal.run(until=rehearsal.time + RECOUNTED_EVERY)
        note("recount of a group with 10000 holders", rehearsal, Deadline)
        gc.collect()  # what the cases before left behind is not this one's, here and below
        rehearsal.put_group(entries(ITEMS))
        rehearsal.run()
        note(f"a group of {ITEMS} items in entries of {PER_ENTRY} is read, 10000 holders", rehearsal, GroupsChanged)
        rehearsal.put_group(group(SUBNET, AROUND))
        rehearsal.run()
        note("10000 held addresses move to another entry", rehearsal, GroupsChanged)
        rehearsal.put_group(group("10.0.0.0/24", "10.0.0.0/24"))
        rehearsal.run()
        note("10000 held addresses lose their group", rehearsal, GroupsChanged)
        gc.collect()
        rehearsal.put_report(report(NODES[0], {f"172.18.{n >> 8}.{n & 255}": "shop/web" for n in range(REPORTED_MAX)}))
        rehearsal.run()
        note(f"a report of {REPORTED_MAX} addresses", rehearsal, NodeChanged)
        rehearsal.put_group(group(SUBNET, AROUND))
        rehearsal.settle()
        rehearsal.steps.clear()
        gc.collect()  # what 10000 writes left behind is not the reading's
        rehearsal.put_group(in_one_text(ITEMS))
        rehearsal.run()
        note(f"a group of {ITEMS} items in one text is read, 10000 holders", rehearsal, GroupsChanged)
    return [
        row(
            suite=SUITE,
            case=f"{case}: longest stretch of the loop",
            unit="ms",
            values=values,
            budget=Budget(of="p50", at_most=STEP_MAX_MS),
        )
        for case, values in cases.items()
    ]


def dying() -> list[Row]:
    """A node that answers for 1,000 addresses dies; another one reports them half a second after its lease ran out."""
    rehearsal = begun(services(SHARE), SUBNET, SUBNET)
    addresses = announced(rehearsal, NODES[0])
    counts: dict[str, int] = {}
    dies_at = rehearsal.time - RENEWED_EVERY  # when it renewed its lease for the last time
    heir: dict[str, str] = {}
    while rehearsal.time < dies_at + 60.0:
        if not heir and rehearsal.time >= dies_at + LEASE_S + 0.5:
            heir = addresses
            rehearsal.put_report(report(NODES[1], heir))
        renew(rehearsal, NODES[1:])
        rehearsal.run(until=rehearsal.time + 0.5)
        for write in rehearsal.writes:
            counts[write.name] = counts.get(write.name, 0) + write.service
        rehearsal.answer()
    told = sum(
        bool(found.metadata.annotations and "node-2" in str(found.metadata.annotations))
        for found in rehearsal.services()
    )
    if told != SHARE:
        raise RuntimeError(f"{told} of {SHARE} Services name the heir")
    return [
        row(
            suite=SUITE,
            case="a node with 1000 addresses dies: writes of a Service",
            unit="count",
            values=[float(count) for count in counts.values()],
            budget=Budget(of="max", at_most=1),
        ),
        row(
            suite=SUITE,
            case="a node with 1000 addresses dies: longest step of the fold",
            unit="ms",
            values=[rehearsal.longest(Reported) * 1000],
        ),
    ]


def resting() -> list[Row]:
    """10,000 announced Services, three nodes that renew their leases, and an hour in which nothing else happens."""
    rehearsal = begun(allocated(HOLDERS), SUBNET, SUBNET)
    announced(rehearsal, *NODES)
    rehearsal.steps.clear()
    ends, spent = rehearsal.time + HOUR, 0.0
    while rehearsal.time < ends:
        renew(rehearsal, NODES)
        spent += rehearsal.run(until=rehearsal.time + RENEWED_EVERY)
    return [
        row(
            suite=SUITE,
            case="an hour without a change, 10000 Services: writes",
            unit="count",
            values=[float(len(rehearsal.writes))],
            budget=Budget(of="max", at_most=0),
        ),
        row(
            suite=SUITE,
            case="an hour without a change, 10000 Services: CPU of the owner, whole hour",
            unit="s",
            values=[spent],
        ),
    ]


def served(pool: str, held: int, family: str) -> float:
    """CPU in microseconds of each of 1,000 allocations where `held` Services hold addresses already."""
    holders = []
    version = 4 if family == "IPv4" else 6
    low = int.from_bytes(b"\xac\x10\x00\x00") if version == 4 else 0x2001_0DB8 << 96
    for number, service in enumerate(services(held, family=family)):
        ip = ip_text((4 if version == 4 else 6, low + number))
        holders.append(
            replace(
                service,
                metadata=replace(service.metadata, annotations={"purelb.io/allocated-by": "PureLB"}),
                status=msgspec.convert(
                    {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"}]}}, type(service.status)
                ),
            )
        )
    rehearsal = begun(holders, pool, pool)
    rehearsal.forget()
    gc.collect()
    gc.freeze()
    for service in services(SHARE, start=held, family=family):
        rehearsal.put_service(service)
    spent = rehearsal.run()
    rehearsal.answer()
    spent += rehearsal.run()
    gc.unfreeze()
    if len(rehearsal.state.ledger.claims) != held + SHARE:
        raise RuntimeError(f"{len(rehearsal.state.ledger.claims)} of {held + SHARE} addresses are in use")
    return spent / SHARE * 1e6
