# SPDX-License-Identifier: Apache-2.0
"""Who else reacts to a new Service in a cluster: the real kube-controller-manager, beside which one Service is measured again.

The other figures are of kube-apiserver and etcd alone. A Service with a selector makes kube-controller-manager write an
Endpoints and an EndpointSlice object at the moment at which we write its address, and on a machine of two cores, which has the
API server, etcd and the observer on it as well, that is what such a figure would be made of (ADR 30). Here it is shown.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from purelb.kube.resources import ENDPOINT_SLICES, SERVICES
from purelb.sandbox.bench import objects
from purelb.sandbox.bench.components import tail
from purelb.sandbox.bench.reaching import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from purelb.kube.client import ApiClient

# All but those that need a cloud or kubelets: without these they would taint the Nodes that the benchmark makes.
CONTROLLERS: Final = (
    "*,-service-lb-controller,-cloud-node-lifecycle-controller,-node-lifecycle-controller,-taint-eviction-controller"
)
WORKS_WITHIN_S: Final = 60.0
PROBE: Final = "neighbours"
FOREIGN: Final = "bench.example/neighbours"


@asynccontextmanager
async def kube_controller_manager(
    binary: Path, *, kubeconfig: str, client: ApiClient, namespace: str, log: Path
) -> AsyncIterator[None]:
    """Run kube-controller-manager until the block ends; when the block begins it writes endpoints in `namespace`."""
    argv = [
        str(binary),
        f"--kubeconfig={kubeconfig}",
        f"--controllers={CONTROLLERS}",
        "--allocate-node-cidrs=false",
        "--leader-elect=false",
        "--secure-port=0",  # nobody asks it for metrics
    ]
    async with running(argv, log=log, env=os.environ):
        await client.create(SERVICES, objects.service(PROBE, lb_class=FOREIGN), namespace=namespace)
        try:
            await _working(client, namespace, log)
            yield
        finally:
            await client.delete(SERVICES, PROBE, namespace=namespace)


async def _working(client: ApiClient, namespace: str, log: Path) -> None:
    try:
        async with asyncio.timeout(WORKS_WITHIN_S):
            while not await _has_endpoints(client, namespace):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise RuntimeError(
            f"kube-controller-manager wrote no endpoints within {WORKS_WITHIN_S:g} s:\n{tail(log)}"
        ) from None


async def _has_endpoints(client: ApiClient, namespace: str) -> bool:
    answer = await client.raw("GET", ENDPOINT_SLICES.path(namespace))
    return any(item["metadata"]["name"].startswith(PROBE) for item in json.loads(answer.body)["items"])
