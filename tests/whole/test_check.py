# SPDX-License-Identifier: Apache-2.0
"""`--check` of both components, as processes, before and after what they need was installed."""

import asyncio
import json
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from purelb.api.crds import all_definitions
from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.resources import CRDS, NAMESPACES, NODES
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.http import serve
from purelb.sandbox.apiserver.pki import Pki

pytestmark = pytest.mark.timeout(120)  # six processes one after the other


async def check(component: str, kubeconfig: str, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and errors, but for those about the capabilities of whoever runs the tests."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "purelb.cli.main", component, f"--kubeconfig={kubeconfig}", "--namespace=purelb"),
        *("--host=127.0.0.1", "--port=0", "--check", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    errors = [json.loads(line)["error"] for line in out.splitlines()]
    return process.returncode, [error for error in errors if not error.startswith("capability ")]


async def test_what_is_missing_is_told_until_nothing_is(tmp_path: Path) -> None:
    core = ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
    async with serve(core, pki=Pki(tmp_path)) as server:
        kubeconfig = server.admin_kubeconfig()
        code, errors = await check("allocator", kubeconfig)
        assert code == 1
        assert errors[0] == "CRD servicegroups.purelb.io is not served as v2: apply crds/ or run purelb crds --apply"
        async with ApiClient(await load_access(kubeconfig=kubeconfig), user_agent="t", clock=SystemClock()) as admin:
            for definition in all_definitions().values():
                await admin.create(CRDS, definition)
            code, (error,) = await check("allocator", kubeconfig)
            assert (code, error.split(":")[0]) == (1, 'Namespace "purelb" does not exist')
            await admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "purelb"}})
            assert await check("allocator", kubeconfig) == (0, [])
            code, errors = await check("lbnodeagent", kubeconfig, "--node-name=n1")
            assert (code, errors) == (1, ['Node "n1" does not exist: PURELB_NODE_NAME must be spec.nodeName'])
            await admin.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
            assert (await check("lbnodeagent", kubeconfig, "--node-name=n1"))[1] == []
    code, errors = await check("allocator", kubeconfig)
    assert code == 1
    assert errors[0].startswith(f"waiting for the API server at {server.url}: ")
