# SPDX-License-Identifier: Apache-2.0
"""The suite `failover`: what is made of its trials, and one trial of each kind in a real sandbox."""

from __future__ import annotations

import asyncio
import tempfile
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec
import pytest

from purelb.lbnodeagent.election import order
from purelb.sandbox.bench import failover, outages
from purelb.sandbox.bench.holding import Held
from purelb.sandbox.bench.outages import KINDS, Kind, Trial, alike, rows
from purelb.sandbox.cluster.programs import layout
from purelb.sandbox.rig import doctor
from purelb.sandbox.rig.topology import POOL

if TYPE_CHECKING:
    from pathlib import Path

    from purelb.sandbox.bench.results import Row

NODES = frozenset({"n1", "n2", "n3"})
RESTING = Held(most=1, several_s=0.0, nobody_s=0.0, nobody=0, moves=0)


def kind(how: str) -> Kind:
    return next(one for one in KINDS if one.how == how)


def trial(*, gap_s: float = 0.0, lost: int = 0, held: Held = RESTING) -> Trial:
    return Trial(gap_s=gap_s, lost=lost, held=held)


def by_case(made: list[Row]) -> dict[str, Row]:
    return {row.case: row for row in made}


def test_the_pool_of_the_sandbox_has_addresses_of_both_families_that_are_elected_alike() -> None:
    hosts = layout(failover.SHAPE).subnets[0]
    first, second = alike([hosts.at(host) for host in range(POOL[0], POOL[1] + 1)], NODES)
    assert (first.version, second.version) == (4, 6)
    assert order(NODES, str(first)) == order(NODES, str(second))


def test_addresses_that_nobody_elects_alike_are_refused() -> None:
    first = ip_address("172.30.1.200")
    other = next(
        found
        for host in range(200, 250)
        if order(NODES, str(found := ip_address(f"fd00:30:1::{host}"))) != order(NODES, str(first))
    )
    with pytest.raises(ValueError, match="no address of one family"):
        alike([(first, other)], NODES)


def test_gaps_stand_apart_by_family_and_holders_together() -> None:
    several = Held(most=2, several_s=4.0, nobody_s=0.0, nobody=0, moves=1)
    made = rows(kind("agent"), [{"IPv4": trial(gap_s=0.5), "IPv6": trial(gap_s=2.0, held=several)}])
    found = {row.case: (row.n, row.max, row.budget) for row in made}
    assert found == {
        "agent killed, IPv4: longest probe gap": (1, 500.0, None),
        "agent killed, IPv6: longest probe gap": (1, 2000.0, None),
        "agent killed: nodes that have an address at once": (2, 2.0, None),
        "agent killed: longest time with more than one": (2, 4.0, None),
    }


def test_a_drain_may_leave_the_address_with_nobody_for_no_moment() -> None:
    fine = rows(kind("drain"), [{"IPv4": trial(), "IPv6": trial()}])
    assert all(row.ok for row in fine if row.budget)
    bare = Held(most=1, several_s=0.0, nobody_s=0.1, nobody=1, moves=1)
    bad = by_case(rows(kind("drain"), [{"IPv4": trial(lost=1), "IPv6": trial(held=bare)}]))
    assert [case for case, row in bad.items() if row.ok is False] == ["drain: times without a node"]
    assert (bad["drain: probes lost"].max, bad["drain: probes lost"].ok) == (1.0, None)


def test_an_outage_of_the_api_may_move_nothing() -> None:
    moved = Held(most=2, several_s=0.2, nobody_s=0.0, nobody=0, moves=1)
    made = rows(kind("api"), [{"IPv4": trial(), "IPv6": trial(held=moved)}])
    assert [row.case for row in made if row.ok is False] == ["API outage of 15 s: moves of an address"]


def test_every_kind_is_measured_as_often_as_it_says_unless_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def counted(kind: Kind, *, trials: int) -> list[Row]:
        asked.append((kind.name, trials))
        return []

    monkeypatch.setattr(failover, "measure", counted)
    for _, measure in (*failover.measures(None), *failover.measures(1)):
        measure()
    assert asked == [*((one.name, one.trials) for one in KINDS), *((one.name, 1) for one in KINDS)]


def test_a_machine_that_cannot_have_a_sandbox_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = doctor.Finding(what="namespaces", good=False, text="none", needed=True, remedy="be root")
    monkeypatch.setattr(doctor, "examine", lambda: (missing,))
    with pytest.raises(RuntimeError, match=r"namespaces: none \(remedy: be root\)"):
        failover.measure(kind("drain"), trials=1)


@pytest.mark.netns
@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", [one.how for one in KINDS])
def test_one_outage_in_a_sandbox_is_measured_and_leaves_nothing(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = kind(how)
    if how not in {
        "drain",
        "link",
        "power-off",
    }:  # shorter than a lease: nothing is taken over, and nothing is waited for
        short = msgspec.structs.replace(short, lasts_s=1.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = by_case(failover.measure(short, trials=1))
    gaps = [row for case, row in made.items() if case.endswith("longest probe gap")]
    assert [row.n for row in gaps] == [1, 1]
    assert made[f"{short.name}: nodes that have an address at once"].max >= 1
    if how in {"power-off", "lan"}:
        assert all(row.max >= 500 for row in gaps), "nobody answered while nobody could"
    if how == "api":
        assert made[f"{short.name}: moves of an address"].max == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.netns
def test_an_interrupt_in_the_middle_of_a_trial_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object, **__: object) -> None:
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(failover.Lab, "trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        failover.measure(outages.KINDS[0], trials=1)
    assert list(tmp_path.iterdir()) == []
