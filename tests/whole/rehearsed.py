# SPDX-License-Identifier: Apache-2.0
"""Both components, started as an operator would with `--dry-run=once` and no capability, against any API server.

One Service waits for an address and one has an address that this node would put on its dummy interface. What the server holds
is read before and after: no version may have changed, and nothing may have been made.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

from purelb.api.crds import all_definitions
from purelb.api.kinds import LB_NODE_AGENTS, LB_NODE_STATUSES, SERVICE_GROUPS
from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.errors import AlreadyExists, NotFound, TooManyRequests
from purelb.kube.resources import CRDS, EVENTS, LEASES, NAMESPACES, NODES, SERVICES
from purelb.kube.wire import PatchType

if TYPE_CHECKING:
    from purelb.kube.resources import Resource

HERE = "rehearsed"
CLASS = "purelb.io/rehearsed"
NODE = "rehearsed-node"


async def purelb(component: str, kubeconfig: str, *arguments: str) -> tuple[int, list[str], str]:
    """Exit code, lines of stdout, stderr."""
    dropped = (
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 and shutil.which("setpriv") else []
    )
    process = await asyncio.create_subprocess_exec(
        *dropped,
        *(sys.executable, "-m", "purelb.cli.main", component, f"--kubeconfig={kubeconfig}", f"--namespace={HERE}"),
        *("--log-format=text", "--dry-run=once", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode().splitlines(), err.decode()


async def story(kubeconfig: str) -> None:
    access = await load_access(kubeconfig=kubeconfig)
    async with ApiClient(access, user_agent="tests", clock=SystemClock()) as admin:
        await _install(admin)
        before = await _everything(admin)
        code, lines, log = await purelb("allocator", kubeconfig, f"--lb-class={CLASS}")
        assert code == 1, log
        (patch,) = [line for line in lines if line.startswith(f"patch services/status {HERE}/waits ")]
        assert '"ip":"198.51.100.0"' in patch
        code, lines, log = await purelb("lbnodeagent", kubeconfig, f"--node-name={NODE}")
        assert code == 1, log
        assert f"+ 198.51.100.9/32 dev kube-lb0 {HERE}/has: every node of its group answers for it" in lines
        await admin.patch(
            SERVICES,
            "has",
            {"metadata": {"annotations": {"purelb.io/allocated-by": None}}},
            kind=PatchType.MERGE,
            namespace=HERE,
        )
        code, lines, log = await purelb("lbnodeagent", kubeconfig, f"--node-name={NODE}")
        assert (code, lines) == (0, []), log
        after = await _everything(admin)
        del before[f"services {HERE}/has"], after[f"services {HERE}/has"]
        assert after == before


async def _install(admin: ApiClient) -> None:
    async def create(r: Resource[Any], body: dict[str, Any], namespace: str | None = None) -> None:
        await admin.create(r, {"apiVersion": r.api_version, "kind": r.kind, **body}, namespace=namespace)

    for definition in all_definitions().values():
        try:
            await admin.create(CRDS, definition)
        except AlreadyExists:
            continue
    await create(NAMESPACES, {"metadata": {"name": HERE}})
    async with asyncio.timeout(20):
        ours: tuple[Resource[Any], ...] = (SERVICE_GROUPS, LB_NODE_AGENTS, LB_NODE_STATUSES)
        for kind in ours:  # which are served in no order
            while True:
                try:
                    await admin.list_page(kind, namespace=HERE)
                    break
                except (NotFound, TooManyRequests):
                    await asyncio.sleep(0.05)
    await create(NODES, {"metadata": {"name": NODE}})
    await create(LB_NODE_AGENTS, {"metadata": {"name": "default"}, "spec": {"local": {}}}, HERE)
    pool = {"pool": "198.51.100.0/28", "subnet": "198.51.100.0/24", "aggregation": "/32"}
    await create(SERVICE_GROUPS, {"metadata": {"name": "default"}, "spec": {"remote": {"v4pool": pool}}}, HERE)
    spec = {"type": "LoadBalancer", "loadBalancerClass": CLASS, "ports": [{"port": 80}]}
    await create(SERVICES, {"metadata": {"name": "waits"}, "spec": spec}, HERE)
    notes = {"allocated-by": "PureLB", "allocated-from": "default", "pool-type": "remote"}
    annotations = {f"purelb.io/{name}": value for name, value in notes.items()}
    await create(SERVICES, {"metadata": {"name": "has", "annotations": annotations}, "spec": spec}, HERE)
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.9"}]}}}
    await admin.patch(SERVICES, "has", status, kind=PatchType.MERGE, namespace=HERE, subresource="status")


async def _everything(admin: ApiClient) -> dict[str, str]:
    """The version of each object that a component could have touched; what is not there is not in it."""
    found = {}
    kinds: tuple[Resource[Any], ...] = (SERVICES, SERVICE_GROUPS, LB_NODE_AGENTS, LB_NODE_STATUSES, LEASES, EVENTS)
    for kind in kinds:
        for item in (await admin.list_page(kind, namespace=HERE)).objects:
            found[f"{kind.plural} {HERE}/{item.metadata.name}"] = item.metadata.resource_version
    return found
