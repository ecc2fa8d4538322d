# SPDX-License-Identifier: Apache-2.0
"""Whose lease counts, until when, and what a lease that means harm can cost."""

from __future__ import annotations

from ipaddress import ip_network

from purelb.allocator.liveness import Liveness
from purelb.api import leases
from purelb.kube.model import Lease, LeaseSpec, ObjectMeta


def lease(subnets: str = "192.0.2.0/24", *, renewed: int = 0, holder: str = "n1") -> Lease:
    meta = ObjectMeta(name=leases.node_lease("n1"), annotations={leases.SUBNETS: subnets})
    spec = LeaseSpec(holder_identity=holder, lease_duration_seconds=10, renew_time=f"2030-01-01T00:00:00.{renewed:06}Z")
    return Lease(metadata=meta, spec=spec)


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
        seen.saw("n1", lease(text), 0.0)
        found = seen.alive(0.0, answered_at=0.0)["n1"]
        assert len(found) == count
    seen.saw("n1", lease(many), 0.0)
    assert seen.alive(0.0, answered_at=0.0)["n1"][0] == ip_network("10.0.0.0/24")


def test_a_lease_without_a_holder_is_none() -> None:
    seen = Liveness()
    seen.saw("n1", lease(holder=""), 0.0)
    assert not seen.alive(0.0, answered_at=0.0)


def test_a_lease_is_dead_when_its_duration_has_passed_and_the_server_has_answered_since() -> None:
    seen = Liveness()
    seen.saw("n1", lease(), 0.0)
    seen.saw("n1", lease(renewed=1), 5.0)
    seen.saw("n1", lease(renewed=1), 14.0)  # seen again unchanged, which proves nothing
    assert [bool(seen.alive(now, answered_at=now)) for now in (14.9, 15.1)] == [True, False]
    assert seen.alive(3600.0, answered_at=14.0), "while nobody can renew, nobody is dead"
