# SPDX-License-Identifier: Apache-2.0
"""A node agent as the allocator sees it: a lease that is renewed, and a report."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from purelb.api import leases
from purelb.api.kinds import LB_NODE_STATUSES
from purelb.kube.errors import NotFound
from purelb.kube.resources import LEASES
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster


class Node:
    """An agent as the allocator sees it: a lease that is renewed, and a report."""

    def __init__(self, cluster: Cluster, name: str, subnets: str = "192.0.2.0/24", *, behind: float = 0.0) -> None:
        self._behind = timedelta(seconds=behind)  # how wrong its clock is
        self._cluster = cluster
        self._name = name
        self._subnets = subnets
        self._renewals = 0

    async def renew(self) -> None:
        self._renewals += 1
        today = self._cluster.clock.wall() - self._behind
        body: dict[str, Any] = {
            "metadata": {
                "name": leases.node_lease(self._name),
                "labels": dict(leases.labels(leases.LBNODEAGENT)),
                "annotations": {leases.SUBNETS: self._subnets},
            },
            "spec": {
                "holderIdentity": self._name,
                "leaseDurationSeconds": 10,
                "renewTime": f"{today:%Y-%m-%dT%H:%M:%S}.{self._renewals:06}Z",
            },
        }
        try:
            await self._cluster.patch(LEASES, leases.node_lease(self._name), body, INSTALL)
        except NotFound:
            await self._cluster.create(LEASES, body, INSTALL)

    async def report(self, *announced: tuple[str, str], **more: Any) -> None:
        status = {
            "announced": [{"ip": ip, "prefixLength": 24, "interface": interface} for ip, interface in announced],
            **more,
        }
        try:
            await self._cluster.patch(LB_NODE_STATUSES, self._name, {"status": status}, INSTALL)
        except NotFound:
            await self._cluster.create(LB_NODE_STATUSES, {"metadata": {"name": self._name}, "status": status}, INSTALL)

    async def live(self, seconds: float) -> None:
        for _ in range(int(seconds / 2)):
            await self.renew()
            await self._cluster.clock.advance(2.0)
