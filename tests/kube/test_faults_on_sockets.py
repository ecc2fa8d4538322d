# SPDX-License-Identifier: Apache-2.0
"""Faults of streams with TLS and HTTP in between: an informer on real sockets mends each of them and leaves no connection."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.informer import Informer
from purelb.kube.model import Service, key
from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver import faults
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.faults import Rule
from purelb.sandbox.apiserver.http import serve
from purelb.sandbox.apiserver.pki import Pki

ON_SOCKETS: dict[str, faults.Effect] = {
    "cut": faults.CutStream(after_frames=1),
    "ended": faults.CutStream(after_frames=0, clean=True),
    "cut within an event": faults.CutStream(after_bytes=300),
    "in pieces of seven bytes": faults.Chunks(size_bytes=7),
    "garbled": faults.Garble(),
    "expired": faults.Expire(),
    "reset before the answer": faults.Reset(),
    "without its answer": faults.LoseAnswer(),
    "refused": faults.Refuse(),
}


async def test_over_sockets_each_broken_watch_is_mended_and_no_connection_stays(tmp_path: Path) -> None:
    """The same with TLS and HTTP in between, real time, and one informer."""
    core = ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
    async with serve(core, pki=Pki(tmp_path)) as server:
        access = await load_access(kubeconfig=server.admin_kubeconfig())
        for name, effect in ON_SOCKETS.items():
            number = core.faults.add(Rule(effect=effect, verb="watch", count=1))
            async with ApiClient(access, user_agent="tests", clock=SystemClock()) as client:
                informer: Informer[Service] = Informer(client, SERVICES)
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(informer.run())
                    for port in (80, 81):
                        body = {"metadata": {"name": f"s{number}-{port}"}, "spec": {"ports": [{"port": port}]}}
                        await client.create(SERVICES, body, namespace="default")
                        await asyncio.sleep(0)
                    await until(lambda: f"default/s{number}-81" in informer.store, name)  # noqa: B023
                    page = await client.list_page(SERVICES)
                    assert informer.store.keys() == tuple(sorted(map(key, page.objects))), name
                    assert [fired for _, _, fired in core.faults] == [1], name
                    task.cancel()
            core.faults.remove(number)
            await until(lambda: not open_sockets(server.url), name)


def open_sockets(url: str) -> list[str]:
    """The established connections of this process with that server."""
    port = int(url.rpartition(":")[2])
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if f":{port:04X}" in line and line.split()[3] == "01"]


async def until(predicate: Callable[[], object], what: str) -> None:
    for _ in range(1000):
        if predicate():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{what}: still not so after 10 s")
