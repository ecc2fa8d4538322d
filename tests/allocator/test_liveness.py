# SPDX-License-Identifier: Apache-2.0
"""Whose lease counts, until when, and what a lease that means harm can cost."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from purelb.allocator.liveness import Liveness
from purelb.api import leases
from purelb.kube.model import Lease, LeaseSpec, ObjectMeta

if TYPE_CHECKING:
    from collections.abc import Callable


def lease(
    subnets: str = "192.0.2.0/24", *, renewed: int = 0, holder: str = "n1", at: str | None = "2030-01-01T00:00:00"
) -> Lease:
    meta = ObjectMeta(name=leases.node_lease("n1"), annotations={leases.SUBNETS: subnets})
    renew_time = f"{at}.{renewed:06}Z" if at else at
    spec = LeaseSpec(holder_identity=holder, lease_duration_seconds=10, renew_time=renew_time)
    return Lease(metadata=meta, spec=spec)


def today(second: int = 0) -> Callable[[], str]:
    return lambda: f"2030-01-01T00:00:{second:02}Z"


def test_at_most_256_subnets_are_read_and_garbage_is_dropped() -> None:
    many = ",".join(f"10.{n // 256}.{n % 256}.0/24" for n in range(300))
    seen = Liveness()
    for text, count in (
        (many, 256),
        ("0.0.0.0/0", 1),
        ("0.0.0.0/0,,nonsense,192.0.2.0/33,::/0,\x00,192.0.2.1", 2),
        ("x" * 1_000_000, 0),
        ("", 0),
    ):
        seen.saw("n1", lease(text), 0.0, wall=today())
        found = seen.alive(0.0, answered_at=0.0)["n1"]
        assert len(found) == count
    seen.saw("n1", lease(many), 0.0, wall=today())
    assert seen.alive(0.0, answered_at=0.0)["n1"][0] == ip_network("10.0.0.0/24")


def test_a_lease_without_a_holder_is_none() -> None:
    seen = Liveness()
    seen.saw("n1", lease(holder=""), 0.0, wall=today())
    assert not seen.alive(0.0, answered_at=0.0)


def test_a_lease_is_dead_when_its_duration_has_passed_and_the_server_has_answered_since() -> None:
    seen = Liveness()
    seen.saw("n1", lease(), 0.0, wall=today())
    seen.saw("n1", lease(renewed=1), 5.0, wall=today())
    seen.saw("n1", lease(renewed=1), 14.0, wall=today())  # seen again unchanged, which proves nothing
    assert [bool(seen.alive(now, answered_at=now)) for now in (14.9, 15.1)] == [True, False]
    assert seen.alive(3600.0, answered_at=14.0), "while nobody can renew, nobody is dead"


@pytest.mark.parametrize(
    ("written", "second", "sure"),
    [
        pytest.param("2030-01-01T00:00:00", 9, True, id="younger than its duration"),
        pytest.param("2030-01-01T00:00:00", 11, False, id="older than its duration"),
        pytest.param("2030-01-02T00:00:00", 0, True, id="of tomorrow"),
        pytest.param("2029-12-31T00:00:00", 0, False, id="of yesterday"),
        pytest.param(None, 0, True, id="never renewed"),
        pytest.param("soon", 0, True, id="no time at all"),
        pytest.param("", 0, True, id="empty"),
    ],
)
def test_a_lease_that_looks_run_out_at_first_sight_is_neither_alive_nor_dead(
    written: str | None, second: int, sure: bool
) -> None:
    seen = Liveness()
    seen.saw("n1", lease(at=written), 100.0, wall=today(second))
    assert bool(seen.alive(100.0, answered_at=100.0)) == sure
    assert seen.unsure(100.0, answered_at=100.0) == (frozenset() if sure else {"n1"})
    assert seen.deadline(100.0, answered_at=100.0) == 110.0


def test_who_renews_lives_whatever_its_clock_says_and_who_does_not_is_dead_in_the_end() -> None:
    seen = Liveness()
    seen.saw("n1", lease(at="2029-01-01T00:00:00"), 100.0, wall=today())
    seen.saw("n1", lease(at="2029-01-01T00:00:00"), 101.0, wall=today())  # seen again unchanged, which proves nothing
    assert seen.unsure(101.0, answered_at=101.0) == {"n1"}
    seen.saw("n1", lease(at="2029-01-01T00:00:00", renewed=1), 102.0, wall=today())
    assert list(seen.alive(102.0, answered_at=102.0)) == ["n1"]
    seen.saw("n1", None, 103.0, wall=today())
    seen.saw("n1", lease(at="2029-01-01T00:00:00"), 200.0, wall=today())
    assert not seen.alive(200.0, answered_at=200.0)
    assert seen.unsure(300.0, answered_at=205.0) == {"n1"}, "while nobody can renew, nobody is dead"
    assert not seen.unsure(211.0, answered_at=211.0)
    assert not seen.alive(211.0, answered_at=211.0)


def test_a_sign_is_waited_for_less_and_less_often_the_longer_there_is_none() -> None:
    seen = Liveness()
    seen.saw("n1", lease(), 0.0, wall=today())
    assert not seen.doubted(9.9, answered_at=0.0)
    assert seen.deadline(9.9, answered_at=0.0) == 10.0
    assert [seen.deadline(at, answered_at=0.0) for at in (10.0, 11.0, 15.0, 300.0)] == [10.1, 11.1, 15.5, 302.0]
    seen.saw("n2", lease(), 295.0, wall=today())
    assert seen.deadline(304.0, answered_at=0.0) == 305.0, "the next one may expire sooner"
    assert seen.deadline(306.0, answered_at=0.0) == 306.1, "and is asked for as if it were alone"
    assert not seen.doubted(306.0, answered_at=305.0)
