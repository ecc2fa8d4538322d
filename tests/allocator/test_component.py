# SPDX-License-Identifier: Apache-2.0
"""Services come, change and go while the real component runs against the embedded API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    async with made.admin:
        await made.prepare()
        yield made


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
