# SPDX-License-Identifier: Apache-2.0
"""The controller of docs/kube.md does what the page says, as it stands there."""

import asyncio
import os
import random
import re
import sys
import tomllib
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from purelb.kube.access import fixed_access, load_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.clock import SystemClock
from purelb.kube.model import labels
from purelb.kube.resources import LEASES, NAMESPACES, SERVICES
from purelb.kube.transport import ByteStream, Request, Response
from purelb.sandbox.apiserver.core import ApiCore, History
from purelb.sandbox.apiserver.faults import Answer, Rule
from purelb.sandbox.apiserver.http import serve
from purelb.sandbox.apiserver.memory import MemoryTransport
from purelb.sandbox.apiserver.pki import Pki
from tests.kube.scripted import Scripted, client_over
from tests.virtual_clock import VirtualClock

PAGE = Path(__file__).parents[2] / "docs" / "kube.md"
LINES_MAX = 40


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def names_of(*numbers: int) -> dict[str, Any]:
    """What these blocks of the page define, one after the other in one module."""
    made = ModuleType("page")
    sys.modules["page"] = made  # where Structs look for what their annotations name
    for number in numbers:
        exec(compile(blocks()[number], str(PAGE), "exec"), made.__dict__)
    return made.__dict__


def of_extras() -> list[str]:
    """The modules that are there only where somebody asked for more than the package itself."""
    declared = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.split(r"[^a-z0-9-]", each.lower())[0] for extra in declared.values() for each in extra}
    return [name for name, owners in packages_distributions().items() if wanted & {each.lower() for each in owners}]


def controller() -> Any:
    return names_of(0)["label_services"]


class Counting:
    """A transport that knows how many patches went through it."""

    def __init__(self, inner: MemoryTransport) -> None:
        self._inner = inner
        self.patches = 0

    async def exchange(self, request: Request) -> Response:
        self.patches += request.method == "PATCH"
        return await self._inner.exchange(request)

    def stream(self, request: Request) -> AbstractAsyncContextManager[ByteStream]:
        return self._inner.stream(request)


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


async def test_the_way_to_start_it_works_and_says_what_is_wrong(tmp_path: Path) -> None:
    core = ApiCore(history=History(), rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
    script = tmp_path / "main.py"
    script.write_text(f"{blocks()[0]}\n\n{blocks()[1]}")
    missing = of_extras()
    assert {"rich", "cryptography"} <= set(missing)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({missing}))\n")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(core, pki=Pki(tmp_path)))
        access = await load_access(kubeconfig=server.admin_kubeconfig())
        client = await stack.enter_async_context(ApiClient(access, user_agent="page", clock=SystemClock()))
        await client.create(NAMESPACES, {"metadata": {"name": "shop", "labels": {"team": "a"}}})
        await client.create(
            SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}, namespace="shop"
        )
        core.faults.add(Rule(resource="namespaces", verb="watch", count=2, effect=Answer(code=403)))
        core.faults.add(Rule(resource="namespaces", verb="list", count=1, effect=Answer(code=403)))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(script),
            env={**os.environ, "KUBECONFIG": str(server.admin_kubeconfig()), "PYTHONPATH": str(tmp_path)},
            stderr=asyncio.subprocess.PIPE,
        )
        stack.push_async_callback(process.wait)
        stack.callback(process.kill)
        assert process.stderr is not None
        async with asyncio.timeout(30):
            said = await process.stderr.readline()
            assert b"the informer has trouble namespaces" in said
            assert b"403" in said
            team: str | None = None
            while team != "a":
                found = await client.get(SERVICES, "web", namespace="shop")
                team = labels(found).get("team")
                await SystemClock().until(SystemClock().now() + 0.1)


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


async def test_a_write_that_is_refused_is_tried_ever_less_often_and_done_once_it_is_allowed(
    clock: VirtualClock,
) -> None:
    core = ApiCore(history=History(), rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
    transport = Counting(MemoryTransport(core, clock=clock))
    client = ApiClient(fixed_access("http://api.test", token=""), user_agent="page", clock=clock, transport=transport)
    await client.create(NAMESPACES, {"metadata": {"name": "shop", "labels": {"team": "a"}}})
    service = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    await client.create(SERVICES, service, namespace="shop")
    core.faults.add(Rule(resource="services", verb="patch", effect=Answer(code=403)))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(controller()(client))
        await clock.advance(60.0)
        assert 3 <= transport.patches <= 12
        core.faults.clear()
        await clock.advance(61.0)
        found = await client.get(SERVICES, "web", namespace="shop")
        assert labels(found).get("team") == "a"
        transport.patches = 0
        await clock.advance(600.0)
        assert transport.patches == 0
        running.cancel()


async def test_of_two_replicas_one_works_and_the_other_takes_over(client: ApiClient, clock: VirtualClock) -> None:
    async def team() -> str | None:
        found = await client.get(SERVICES, "web", namespace="shop")
        return labels(found).get("team")

    alone = names_of(0, 2)["label_services_alone"]
    await client.create(NAMESPACES, {"metadata": {"name": "shop", "labels": {"team": "a"}}})
    await client.create(SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}, namespace="shop")
    async with asyncio.TaskGroup() as group:
        first = group.create_task(alone(client, "one"))
        await clock.advance(5.0)
        assert await team() == "a"
        second = group.create_task(alone(client, "two"))
        await clock.advance(20.0)
        lease = await client.get(LEASES, "team-labels", namespace="default")
        assert lease.spec is not None
        assert lease.spec.holder_identity == "one"
        first.cancel()
        await clock.advance(10.0)
        await client.patch(NAMESPACES, "shop", {"metadata": {"labels": {"team": "b"}}}, kind=PatchType.MERGE)
        await clock.advance(1.0)
        assert await team() == "b"
        second.cancel()


async def test_a_kind_of_ones_own_is_read_like_any_other(clock: VirtualClock) -> None:
    teams = names_of(3)["TEAMS"]
    blue = {"kind": "Team", "metadata": {"name": "blue", "namespace": "shop"}, "spec": {"onCall": "eve", "x": 1}}
    nobody = {"metadata": {"name": "nobody", "namespace": "shop"}, "spec": {"members": None}}
    body = {"kind": "TeamList", "metadata": {"resourceVersion": "7"}, "items": [blue, nobody]}
    transport = Scripted(lambda call: call.reply(body if call.path.endswith("/teams") else blue))
    client = client_over(transport, clock)
    page = await client.list_page(teams)
    assert [(each.metadata.name, each.spec.on_call, each.spec.members or ()) for each in page.objects] == [
        ("blue", "eve", ()),
        ("nobody", "", ()),
    ]
    assert (await client.get(teams, "blue", namespace="shop")).spec.on_call == "eve"
    assert transport.seen[-1].path == "/apis/example.com/v1/namespaces/shop/teams/blue"


def test_no_block_of_the_page_is_left_untried() -> None:
    assert len(blocks()) == 4
