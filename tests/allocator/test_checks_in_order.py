# SPDX-License-Identifier: Apache-2.0
"""Of all that is wrong with a group, the first thing in a fixed order is told: what would have to change first."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.allocator.groups import Groups
from tests.allocator.desk import Desk
from tests.allocator.objects import INSTALL, group, service, v4, v6

SHARES = {"purelb.io/allow-shared-ip": "key"}
FOUR, SIX = v4("192.0.2.10-192.0.2.11"), v6("2001:db8::10")
SEVERAL: dict[str, Any] = {"pools": {"multi_pool": True}}
ONE_EACH: dict[str, Any] = {"quota_per_namespace": 1}


@pytest.fixture
def desk() -> Desk:
    """A full pool: a sharer of another namespace has the one address, and one of `shop` the other."""
    made = Desk(group("default", FOUR))
    assert made.get(service("sharer", namespace="bank", annotations=SHARES)) == ("192.0.2.10",)
    assert made.get(service("taken")) == ("192.0.2.11",)
    return made


@pytest.mark.parametrize(
    ("stored", "asks", "reason"),
    [
        pytest.param(group("default", SIX, drain=True, **SEVERAL), {}, "GroupDraining", id="that it drains"),
        pytest.param(group("default", SIX, **SEVERAL), {}, "FamilyUnavailable", id="that it lacks the family"),
        pytest.param(group("default", FOUR, **SEVERAL, **ONE_EACH), {}, "MultiPoolRefused", id="what cannot be combined"),
        pytest.param(group("default", FOUR, **ONE_EACH), {}, "SharingPortClash", id="that its key stands for an address it cannot join"),
        pytest.param(group("default", FOUR, **ONE_EACH), {"ports": (("TCP", 81),)}, "QuotaExceeded", id="that it could join one but for its quota"),
        pytest.param(group("default", FOUR, **ONE_EACH), {"annotations": None}, "QuotaExceeded", id="its quota"),
        pytest.param(group("default", FOUR), {"annotations": None}, "PoolExhausted", id="that nothing is free"),
    ],
)  # fmt: skip
def test_a_service_is_told_first(desk: Desk, stored: Any, asks: dict[str, Any], reason: str) -> None:
    desk.configure(stored)
    refusal = desk.ask(service("web", **{"annotations": SHARES, **asks}))
    assert refusal is not None
    assert (refusal.reason, desk.held(service("web"))) == (reason, ())


def test_of_several_groups_the_reason_is_that_of_the_first_and_all_are_listed(desk: Desk) -> None:
    first = group("default", FOUR, priority=1, **ONE_EACH)
    desk.configure(first, group("spare", v4("192.0.2.20"), priority=2, auto_assign=True, drain=True))
    refusal = desk.ask(service("web"))
    assert refusal is not None
    assert (refusal.reason, [row.reason for row in refusal.considered]) == (
        "QuotaExceeded",
        ["QuotaExceeded", "GroupDraining"],
    )
    assert refusal.text == (
        "default: QuotaExceeded (namespace shop holds 1 of 1 IPv4 addresses); "
        "spare: GroupDraining (hands out no new addresses)"
    )


def test_of_one_name_in_two_namespaces_the_group_of_the_install_namespace_counts_whichever_is_older_or_sorts_first() -> (
    None
):
    ours = group("default", v4("192.0.2.10"), created="2026-03-01T00:00:00Z")
    theirs = group("default", v4("192.0.2.20"), namespace="a", created="2026-01-01T00:00:00Z")
    other = group("other", v4("192.0.2.30"), namespace="b", created="2026-01-01T00:00:00Z")
    another = group("other", v4("192.0.2.40"), namespace="c", created="2025-01-01T00:00:00Z")
    found = Groups((theirs, ours, another, other), install_namespace=INSTALL, scope="all")
    assert {name: made.namespace for name, made in found.accepted.items()} == {"default": INSTALL, "other": "b"}
    assert {place for place, standing in found.standings.items() if standing.reason == "Duplicate"} == {
        ("a", "default"),
        ("c", "other"),
    }
