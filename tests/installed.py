# SPDX-License-Identifier: Apache-2.0
"""A cluster that PureLB is installed in, as far as its API goes: the embedded API server in memory, on virtual time.

It has our kinds, the install namespace and one for Services, and an admin who does what people would. The tests of each
component and those of all of them together start from here and add what runs in it.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from purelb.api.crds import all_definitions
from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.resources import CRDS, NAMESPACES, SERVICES
from purelb.kube.wire import PatchType
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.kube.metrics import Metric
    from purelb.kube.model import Service
    from purelb.kube.resources import Resource
    from purelb.kube.transport import Request, Response

SHOP = "shop"


class CountingSink:
    """Counts by metric name and labels; observations in the order in which they came."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], float] = {}
        self.observed: dict[tuple[str, ...], list[float]] = {}

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        self.counts[metric.name, *labels] = self.counts.get((metric.name, *labels), 0) + by

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        self.observed.setdefault((metric.name, *labels), []).append(value)


class Recording(MemoryTransport):
    """Keeps the writes that were sent: method and path."""

    writes: list[tuple[str, str]]

    async def exchange(self, request: Request) -> Response:
        if request.method != "GET" and "selfsubject" not in request.target:
            self.writes.append((request.method, request.target.partition("?")[0]))
        return await super().exchange(request)


class Installed:
    """The server and an admin's client."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.clock = VirtualClock(chance=0.5)
        self.core = ApiCore(rng=random.Random(1).random, epoch=datetime(2030, 1, 1, tzinfo=UTC))
        self.admin = ApiClient(
            fixed_access("http://memory"),
            user_agent="admin",
            clock=self.clock,
            transport=MemoryTransport(self.core, clock=self.clock),
        )

    async def install(self) -> None:
        for definition in all_definitions().values():
            await self.admin.create(CRDS, definition)
        await self.create(NAMESPACES, {"metadata": {"name": self.namespace}})
        await self.create(NAMESPACES, {"metadata": {"name": SHOP}})

    async def create(self, r: Resource[Any], body: Mapping[str, Any], namespace: str | None = None) -> Any:
        whole = {"apiVersion": r.api_version, "kind": r.kind, **body}
        return await self.admin.create(r, whole, namespace=namespace)

    async def patch(
        self, r: Resource[Any], name: str, body: Mapping[str, Any], namespace: str | None = None, **more: Any
    ) -> Any:
        return await self.admin.patch(r, name, body, kind=PatchType.MERGE, namespace=namespace, **more)

    async def wish(
        self,
        name: str = "web",
        *,
        namespace: str = SHOP,
        annotations: Mapping[str, str] | None = None,
        port: int = 80,
        **spec: Any,
    ) -> Service:
        """A Service that asks for addresses of ours."""
        body = {
            "metadata": {"name": name, "annotations": dict(annotations or {})},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": "purelb.io/purelb",
                "ports": [{"port": port}],
                **spec,
            },
        }
        made: Service = await self.create(SERVICES, body, namespace)
        return made
