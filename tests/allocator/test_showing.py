# SPDX-License-Identifier: Apache-2.0
"""What the allocator shows of itself: the same that the world shows, and never more than was asked for."""

from __future__ import annotations

import json
from typing import Any

from purelb.api.kinds import SERVICE_GROUPS
from purelb.process.statedoc import encoded
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL


def shown(allocator: Any, most: int = 100) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encoded(allocator.show(most=most)))
    return found


async def test_the_view_of_a_term_holds_groups_services_and_addresses() -> None:
    cluster = Cluster()
    await cluster.prepare()
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator() as allocator:
        for name in ("a", "b", "c", "d"):
            await cluster.serve(name)
        await cluster.clock.advance(2.0)
        view = shown(allocator)["view"]
        assert view["pools"]["default"]["IPv4"] == {
            "size": 3, "claimed": 3, "free": 0, "quarantined": 0, "reserved": 0
        }  # fmt: skip
        assert view["services"] == {"held": 3, "waiting": 1, "contested": 0}
        assert {"service": "shop/a", "addresses": ["192.0.2.10"], "leaving": []} in view["ledger"]
        assert [group["ready"] for group in view["groups"]] == [True]
        assert shown(allocator, 1)["view"]["ledger"][1:] == ["and 2 more"]
        assert shown(allocator)["queue"] == {
            "ready": 0,
            "writerIdle": True,
            "turn": None,
            "turnSince": None,
            "raising": [],
        }


async def test_a_standby_says_who_leads_and_has_no_view() -> None:
    cluster = Cluster()
    await cluster.prepare()
    async with cluster.allocator(leader_elect=True) as leader, cluster.allocator(leader_elect=True) as standby:
        await cluster.clock.advance(5.0)
        said = shown(leader)["leader"]
        assert said["us"]
        assert shown(standby)["leader"] == {"identity": said["identity"], "us": False}
        assert "view" not in shown(standby)
