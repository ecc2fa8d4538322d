# SPDX-License-Identifier: Apache-2.0
"""What a Service's record of its wish says while nobody leads: who edits it moves nothing, and a text that is none counts as none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.resources import SERVICES
from tests.allocator.cluster import pool

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

RECORD = "purelb.io/allocated-wish"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(), pool("other", "192.0.2.50-192.0.2.59"))


@pytest.mark.parametrize(
    "text", [None, "", "nonsense", "group=", "addresses=192.0.2.300", "group=other group=default", " any", "x" * 9000]
)
async def test_a_record_that_is_none_moves_nobody_and_the_wish_of_now_is_recorded(
    cluster: Cluster, text: str | None
) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
    edit = {"metadata": {"annotations": {RECORD: text, "purelb.io/service-group": "other"}}}
    await cluster.patch(SERVICES, "web", edit, "shop")
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert ((await cluster.service()).metadata.annotations or {})[RECORD] == "group=other"


async def test_a_wish_that_changed_while_nobody_led_is_carried_out_by_the_next_one(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
    await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/service-group": "other"}}}, "shop")
    async with cluster.allocator():
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.50",)
        assert ((await cluster.service()).metadata.annotations or {})[RECORD] == "group=other"
