# SPDX-License-Identifier: Apache-2.0
"""The suite `scale` without its figures: each way of following is synced, told of every change, and nothing of it stays."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.resources import NAMESPACES
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.http import serve
from purelb.sandbox.apiserver.pki import Pki
from purelb.sandbox.bench import scale
from purelb.sandbox.bench.components import INSTALL_NAMESPACE, account_directory
from purelb.sandbox.bench.scale import Variant
from purelb.sandbox.bench.suites import JSON, Stage

SMALL = 30
ROWS_FILLED, ROWS_FOLLOWED = 9, 8
VARIANTS = (
    Variant(name="streamed", updates_s=0.4),
    Variant(name="pages", mode="list", consistent=True),
    Variant(name="agent", form="lbnodeagent", updates_s=0.4),
    Variant(name="allocator", form="allocator", updates_s=0.4),
)


async def test_each_way_of_following_is_synced_and_told_of_every_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "SETTLE_S", 0.1)
    core = ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
    pki = Pki(tmp_path / "pki")
    async with serve(core, pki=pki) as server:
        access = await load_access(kubeconfig=server.admin_kubeconfig())
        async with ApiClient(access, user_agent="tests", clock=SystemClock()) as client:
            token = await a_token(client)
            stage = Stage(
                client=client,
                server=server.url,
                ca=pki.ca_pem.decode(),
                bare_token=token,
                accounts={
                    "lbnodeagent": account_directory(
                        tmp_path / "account", token=token, ca_pem=pki.ca_pem, namespace=INSTALL_NAMESPACE
                    )
                },
                logs=tmp_path,
            )
            rows = await scale.scale(stage, variants=VARIANTS, count=SMALL)
            left = await client.list_page(NAMESPACES)
            assert scale.NAMESPACE not in {
                each.metadata.name for each in left.objects if not each.metadata.deletion_timestamp
            }
    assert len(rows) == len(VARIANTS) * ROWS_FILLED + 3 * ROWS_FOLLOWED
    missed = {row.case: row.max for row in rows if "no handler" in row.case}
    assert missed == dict.fromkeys(
        (f"{each.name}: changes that no handler was told of" for each in VARIANTS if each.updates_s), 0
    )
    told = {row.case: row.n for row in rows if "answered to handler" in row.case}
    assert len(told) == len(missed)
    assert min(told.values()) > 0


async def a_token(client: ApiClient) -> str:
    """As in a cluster: of a ServiceAccount."""
    await client.create(NAMESPACES, {"metadata": {"name": INSTALL_NAMESPACE}})
    path = f"/api/v1/namespaces/{INSTALL_NAMESPACE}/serviceaccounts"
    await client.raw("POST", path, body=b'{"metadata":{"name":"lbnodeagent"}}', headers=JSON)
    answer = await client.raw("POST", f"{path}/lbnodeagent/token", body=b'{"spec":{}}', headers=JSON)
    return str(json.loads(answer.body)["status"]["token"])
