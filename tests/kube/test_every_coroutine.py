# SPDX-License-Identifier: Apache-2.0
"""No coroutine that the runtime offers was left out of the cancellation harness; a new one without a case fails here.

Covered is what waits at some suspension of some case, since the harness cancels each case at each of its suspensions. What
lives on sockets has a harness of its own below, on the real loop. What cannot be cancelled, or is a stand-in, is named.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib
import inspect
import pkgutil
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import purelb.kube
from purelb.kube.access import ClusterAccess, fixed_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.clock import SystemClock
from purelb.kube.credentials import Credential, KubeconfigCredentials
from purelb.kube.errors import KubeError
from purelb.kube.informer import Informer, InformerSet
from purelb.kube.model import ObjectMeta, Service
from purelb.kube.queue import QueueClosed, WorkQueue
from purelb.kube.resources import SERVICES
from purelb.kube.retry import with_retries
from purelb.kube.transport import AiohttpTransport, Request
from tests.kube.cancelling import Turns, cancelled_everywhere, counted, suspended_in, waiting_in
from tests.kube.model_server import ModelServer
from tests.kube.raw_server import raw_server
from tests.kube.scripted import Scripted
from tests.kube.small_server import Reply, SmallServer
from tests.kube.test_cancellation import CASES, client_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType

    from purelb.kube.resources import Resource
    from tests.kube.raw_server import Line
    from tests.kube.small_server import Call
    from tests.virtual_clock import VirtualClock

ON_SOCKETS = {
    "ApiClient.__aexit__",
    "AiohttpTransport.__aexit__",
    "AiohttpTransport.exchange",
    "AiohttpTransport.stream",
}
ELSEWHERE = {
    "ApiClient.__aenter__": "the transport that it makes has nothing to wait for when it is opened",
    "load_access": "a plugin that hangs is ended, in tests/kube/test_access.py",
    "load": "what `load_access` does with a kubeconfig",
    "ask": "a plugin is ended wherever its caller is cancelled, in tests/kube/test_plugin.py",
    "SystemClock.until": "the harness runs on virtual time",
}


def offered() -> dict[str, CodeType]:
    """The public coroutines and asynchronous generators of the package that give control to the loop, by name."""
    found: dict[str, CodeType] = {}
    for module in pkgutil.iter_modules(purelb.kube.__path__, "purelb.kube."):
        for name, thing in vars(importlib.import_module(module.name)).items():
            if name.startswith("_") or getattr(thing, "__module__", "") != module.name:
                continue
            if inspect.isclass(thing):
                if not getattr(thing, "_is_protocol", False):
                    public = {each for each in vars(thing) if not each.startswith("_") or each.endswith("__")}
                    found |= {f"{name}.{each}": code for each in public if (code := waits(vars(thing)[each]))}
            elif code := waits(thing):
                found[name] = code
    return found


def waits(thing: Any) -> CodeType | None:
    """The code of a function that can be suspended; None for one that has nothing to wait for."""
    function = inspect.unwrap(thing) if callable(thing) else thing
    if not inspect.iscoroutinefunction(function) and not inspect.isasyncgenfunction(function):
        return None
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    if not any(isinstance(each, ast.Await | ast.AsyncFor | ast.AsyncWith) for each in ast.walk(tree)):
        return None
    code: CodeType = function.__code__
    return code


class Calling:
    """What a command-line tool does: every verb, a list in pages, a refused credential, and patience."""

    lasts = 10.0
    grace = 0.0

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.server = SmallServer(clock)
        self.transport = Turns(self.server)
        path = "/api/v1/namespaces/d/services"
        self.server.put(f"{path}/a", {"kind": "Service"})
        self.server.trouble = self._trouble
        self.credentials = KubeconfigCredentials(Credential(), self._load)
        access = ClusterAccess(server="http://api.test", credentials=self.credentials, origin="kubeconfig")
        self.client = ApiClient(access, user_agent="tests", clock=clock, transport=self.transport)
        self.story: Sequence[tuple[float, Callable[[], None]]] = ()
        self.said: list[str] = []

    async def _load(self) -> Credential:
        await self.clock.until(self.clock.now() + 1.0)
        return Credential()

    def _trouble(self, _: Call) -> Reply | None:
        return {1: Reply(401, "Unauthorized"), 5: Reply(503)}.get(len(self.server.calls))

    async def run(self) -> None:
        complete: Resource[Service] = msgspec.structs.replace(SERVICES, complete=True)
        async with self.client as client:
            await client.get(SERVICES, "a", namespace="d")
            self.said.append("got")
            body = {"metadata": {"labels": {"a": "b"}}}
            await client.patch(SERVICES, "a", body, kind=PatchType.MERGE, namespace="d")
            await client.create(SERVICES, {"metadata": {"name": "b"}}, namespace="d")
            await with_retries(
                lambda: client.raw("GET", "/api/v1/namespaces/d/services/a"),
                deadline=self.clock.now() + 60.0,
                clock=self.clock,
            )
            self.said.append("waited")
            with pytest.raises(KubeError):
                await client.replace(complete, Service(metadata=ObjectMeta(name="a", namespace="d")))
            await client.delete(SERVICES, "b", namespace="d")
            self.said.append("deleted")

    async def check(self, *, cancelled: int) -> None:
        assert cancelled or self.said == ["got", "waited", "deleted"]
        assert not self.credentials._loading  # who comes next may load again

    async def complete(self) -> None:
        assert self.said == ["got", "waited", "deleted"]


class Listing:
    """A list in pages, for somebody who takes his time, and waiting for a set of informers."""

    lasts = 5.0
    grace = 0.0

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        server = ModelServer()
        for name in "abcde":
            server.write(name, "good")
        self.scripted = Scripted(server.respond)
        self.transport = Turns(self.scripted)
        self.client = client_of(self.transport, clock)
        self.informers = InformerSet(self.client)
        self.informers.add(Informer(self.client, SERVICES, mode="list"))
        self.story: Sequence[tuple[float, Callable[[], None]]] = ()
        self.names: list[str] = []
        self.synced = False

    async def run(self) -> None:
        async for page in self.client.list_pages(SERVICES, limit=2):
            self.names += [each.metadata.name for each in page.objects]
            await self.clock.until(self.clock.now() + 0.5)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.informers.run(), name="informers")
            await self.informers.wait_synced(10.0)
            self.synced = True

    async def check(self, *, cancelled: int) -> None:
        assert cancelled
        self.scripted.assert_all_closed()

    async def complete(self) -> None:
        assert self.names == list("abcde")
        assert self.synced


class Emptying:
    """A queue that is drained by one who waits for it, while another handles its keys."""

    lasts = 5.0
    grace = 0.0

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.transport = Turns(SmallServer(clock))
        self.queue: WorkQueue[str] = WorkQueue(clock=clock)
        for name in "abc":
            self.queue.add(name)
        self.story = ((0.5, lambda: self.queue.shut_down(drain=True)),)
        self.handled: list[str] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._handle(), name="handler")
            await self.queue.drained()
            self.handled.append("drained")

    async def _handle(self) -> None:
        while True:
            try:
                name = await self.queue.get()
            except QueueClosed:
                return
            try:
                await self.clock.until(self.clock.now() + 1.0)
                self.handled.append(name)
            finally:
                self.queue.done(name)

    async def check(self, *, cancelled: int) -> None:
        assert cancelled or self.handled[-1] == "drained"

    async def complete(self) -> None:
        assert self.handled == ["a", "b", "c", "drained"]


class Slow:
    """A clock on which everything takes 3 ms: after two objects, others have their turn."""

    def __init__(self, inner: VirtualClock) -> None:
        self._inner = inner
        self.wall, self.random = inner.wall, inner.random
        self.until, self.timeout_at = inner.until, inner.timeout_at

    def now(self) -> float:
        self._inner.jump(0.003)
        return self._inner.now()


class Slicing:
    """An informer that takes many turns to store a list, to tell of it, and to compare it in an audit."""

    lasts = 10.0
    grace = 0.1  # time that passes while it is looked at

    def __init__(self, clock: VirtualClock) -> None:
        server = self.server = ModelServer()
        for name in "abcde":
            server.write(name, "good")
        self.scripted = Scripted(server.respond)
        self.transport = Turns(self.scripted)
        slow = Slow(clock)
        client = ApiClient(fixed_access("http://api.test"), user_agent="tests", clock=slow, transport=self.transport)
        self.informer: Informer[Service] = Informer(client, SERVICES, mode="list", audit=3.0)
        self.story: Sequence[tuple[float, Callable[[], None]]] = ()

    async def run(self) -> None:
        await self.informer.run()

    async def check(self, *, cancelled: int) -> None:
        assert cancelled
        self.scripted.assert_all_closed()
        assert len(self.informer.store) in {0, 5}, "half of a list can be seen"

    async def complete(self) -> None:
        assert len(self.informer.store) == 5


MORE = [Calling, Listing, Emptying, Slicing]


@pytest.mark.parametrize("case", MORE, ids=lambda case: str(case.__name__).lower())
def test_wherever_a_caller_is_cancelled_nothing_is_left(case: Any) -> None:
    run = cancelled_everywhere(case)
    assert run.points > 5, "the story is too short to say anything"
    assert run.ends["cancelled"] >= run.points - 5


def test_each_coroutine_that_the_runtime_offers_waits_in_some_case_of_the_harness() -> None:
    cases: list[Any] = [*CASES, *MORE]
    waited = set[Any]().union(*map(suspended_in, cases))
    names = offered()
    assert len(names) > 30, "the package was not looked through"
    missing = {name for name, code in names.items() if code not in waited} - ON_SOCKETS - ELSEWHERE.keys()
    assert missing == set(), "these have no case: add one, or say where else they are cancelled"
    assert (ON_SOCKETS | ELSEWHERE.keys()) <= names.keys(), "named here, and not there any more"
    assert {name for name in ON_SOCKETS | ELSEWHERE.keys() if names[name] in waited} == set(), "named for nothing"


def test_on_sockets_too_nothing_is_left_wherever_it_is_cancelled() -> None:
    seen: set[CodeType] = set()
    for point in range(1, 200):
        with warnings.catch_warnings(record=True) as warned, asyncio.Runner() as runner:
            warnings.simplefilter("always")
            struck = runner.run(cancelled_on_sockets(point, seen))
            gc.collect()
        assert [str(each.message) for each in warned] == [], f"cancelled at suspension {point}"
        if not struck:
            break
    else:
        raise AssertionError("still not over")
    assert point > 8, "the story is too short to say anything"
    assert {name for name in ON_SOCKETS if offered()[name] not in seen} == set()


async def cancelled_on_sockets(point: int, seen: set[CodeType]) -> bool:
    """A request, a stream and a client's own transport, cancelled at one suspension; whether it came to that."""

    async def talk(target: str, line: Line) -> None:
        if "stream" not in target:
            await line.answer({"kind": "Service", "metadata": {"name": "a"}})
            return
        await line.open()
        for _ in range(2):
            await line.chunk(b"{}\n")
        await line.chunk(b"")

    async def use() -> None:
        async with AiohttpTransport(server.url) as transport:
            await transport.exchange(Request(method="POST", target="/once", body=b"{}"))
            async with transport.stream(Request(method="GET", target="/stream")) as stream:
                _ = [chunk async for chunk in stream]
        async with client_at(server.url) as client:
            await client.get(SERVICES, "a", namespace="d")

    suspensions, struck = 0, False

    def suspended() -> None:
        nonlocal suspensions, struck
        suspensions += 1
        seen.update(waiting_in(inner))
        if suspensions == point:
            struck = task.cancel()

    async with raw_server(talk) as server:
        inner = use()
        task = asyncio.get_running_loop().create_task(counted(inner, suspended))
        await asyncio.wait({task})
        assert task.cancelled() == struck
        if not struck:
            task.result()
        await server.until(0)
    for _ in range(10):  # the server's own end
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return struck


def client_at(url: str) -> ApiClient:
    return ApiClient(fixed_access(url), user_agent="tests", clock=SystemClock())
