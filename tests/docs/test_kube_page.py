# SPDX-License-Identifier: Apache-2.0
"""The controller of docs/kube.md does what the page says, as it stands there."""

import asyncio
import random
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.model import labels
from purelb.kube.resources import NAMESPACES, SERVICES
from purelb.sandbox.apiserver.core import ApiCore, History
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.virtual_clock import VirtualClock

PAGE = Path(__file__).parents[2] / "docs" / "kube.md"
LINES_MAX = 40


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def controller() -> Any:
    names: dict[str, Any] = {}
    exec(compile(blocks()[0], str(PAGE), "exec"), names)
    return names["label_services"]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def client(clock: VirtualClock) -> ApiClient:
    core = ApiCore(history=History(), rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
    access = fixed_access("http://api.test", token="")
    return ApiClient(access, user_agent="page", clock=clock, transport=MemoryTransport(core, clock=clock))


def test_the_controller_has_about_forty_lines() -> None:
    lines = [line for line in blocks()[0].splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(lines) <= LINES_MAX


def test_the_way_to_start_it_compiles() -> None:
    compile(blocks()[1], str(PAGE), "exec")


async def test_each_service_carries_the_team_of_its_namespace(client: ApiClient, clock: VirtualClock) -> None:
    async def team() -> str | None:
        found = await client.get(SERVICES, "web", namespace="shop")
        return labels(found).get("team")

    async def set_team(name: str | None) -> None:
        await client.patch(NAMESPACES, "shop", {"metadata": {"labels": {"team": name}}}, kind=PatchType.MERGE)
        await clock.advance(1.0)

    await client.create(NAMESPACES, {"metadata": {"name": "shop", "labels": {"team": "a"}}})
    service = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    async with asyncio.TaskGroup() as group:
        running = group.create_task(controller()(client))
        await clock.advance(1.0)
        await client.create(SERVICES, service, namespace="shop")
        await clock.advance(1.0)
        assert await team() == "a", "a new Service is labelled"
        await set_team("b")
        assert await team() == "b", "a relabelled Namespace takes its Services along"
        await client.patch(
            SERVICES, "web", {"metadata": {"labels": {"team": "x"}}}, kind=PatchType.MERGE, namespace="shop"
        )
        await clock.advance(1.0)
        assert await team() == "b", "what somebody else changed is put back"
        await set_team(None)
        assert await team() is None, "and a label that is gone is gone"
        running.cancel()
