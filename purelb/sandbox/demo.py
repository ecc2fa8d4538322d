# SPDX-License-Identifier: Apache-2.0
"""`purelb sandbox demo`: a cluster comes up, Services get addresses, one address moves, everything goes away. And it is a test.

Four promises are checked, and a broken one ends it with exit code 1: every address is on exactly one node, as the nodes' kernels say; HTTP requests from the
client are answered; an address whose holder is told to stop moves to another node; nothing is left afterwards. Times are shown, not judged.

The cluster is a sandbox of this process's own and dies with it, whatever ends it: Ctrl-C needs no handler here, only a last line on the screen.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.errors import KubeError
from purelb.kube.informer import Informer
from purelb.kube.resources import SERVICES
from purelb.process.command import ANSWER_IS_NO, CANNOT_WORK_HERE, DONE
from purelb.sandbox import tour
from purelb.sandbox.cluster import leftovers, objects
from purelb.sandbox.cluster.kubelet import put
from purelb.sandbox.cluster.launch import StartFailed, Starting, start
from purelb.sandbox.cluster.probes import NoAnswer, Prober, probing
from purelb.sandbox.cluster.programs import DEMO_NAMESPACE, layout
from purelb.sandbox.cluster.reach import NotRunning, Sandbox
from purelb.sandbox.cluster.server import admin_access
from purelb.sandbox.cluster.state import Unusable
from purelb.sandbox.invariants import every_address_has_one_holder, no_address_is_given_twice
from purelb.sandbox.rig import doctor
from purelb.sandbox.rig.links import hub_links
from purelb.sandbox.rig.topology import Shape
from purelb.sandbox.screen import BOLD, RED, Screen, milliseconds, program
from purelb.sandbox.starting import choose_proxy, tell_what_is_missing, unready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from purelb.kube.model import Service
    from purelb.sandbox.cluster.state import StateDirectory

T = TypeVar("T")
SHAPE: Final = Shape(nodes=3)
READY_LIMIT_S: Final = 40.0
STEP_LIMIT_S: Final = 20.0
PROBES_PER_SECOND: Final = 100
# Probes before and after the move, so that a gap at its edges is seen.
LEAD_S: Final = 0.5
LOOK_S: Final = 0.01
STEPS: Final = {
    "namespaces": "three nodes and a client, as network namespaces",
    "api": "an API server answers",
    "nodes": "our kinds are installed, n1 n2 n3 have joined",
    "started": "allocator, three agents, backends, proxies are started",
    "ready": "and are ready",
}


class Broken(Exception):
    """A promise that was not kept, as a sentence."""


class Seen(msgspec.Struct, kw_only=True):
    """What the summary tells."""

    rows: list[tuple[str, str, str, str, str]] = []
    move: str = ""


def demo(state: StateDirectory, *, keep: bool, proxy: str) -> int:
    """All of it; the answer is the exit code."""
    screen, started = Screen(), time.monotonic()
    screen.say(
        "PureLB on three nodes. They are network namespaces of this machine, and nothing outside of them is touched.",
        style=BOLD,
    )
    screen.say()
    screen.begin("this machine can do it")
    findings = doctor.examine()
    able = not doctor.blocking(findings)
    note = "; ".join(finding.text for finding in findings if finding.what in {"namespaces", "proxy"})
    screen.done("this machine can do it", seconds=time.monotonic() - started, note=note, good=able)
    if not tell_what_is_missing(findings):
        return CANNOT_WORK_HERE
    for name in leftovers.remove(state.path.parent):
        screen.say(f"  removed what the killed {name} had left")
    before, seen = _links(), Seen()
    try:
        with start(state, shape=SHAPE, proxy=choose_proxy(proxy, findings)) as starting:
            _come_up(starting, screen, state)
            asyncio.run(_Tour(state, screen, seen, pid=starting.pid).run(clean=not keep))
            if keep:
                starting.let_live()
            pid = starting.pid
        if not keep:
            _check_gone(state, screen, pid, before)
    except (Broken, NoAnswer, StartFailed, Unusable, NotRunning, KubeError, OSError) as error:
        screen.say()
        screen.say(f"broken: {error}", style=RED)
        screen.say(f"logs are in {state.logs}")
        leftovers.broke(state)
        return ANSWER_IS_NO
    except KeyboardInterrupt:
        shutil.rmtree(state.path, ignore_errors=True)
        screen.say()
        screen.say("interrupted; the cluster is gone and nothing is left")
        raise
    _summary(screen, state, seen, took=time.monotonic() - started, keep=keep)
    return DONE


def _come_up(starting: Starting, screen: Screen, state: StateDirectory) -> None:
    try:
        coming = iter(STEPS.values())
        screen.begin(next(coming))
        for step in starting.steps(limit_s=READY_LIMIT_S):
            screen.done(STEPS[step.name], seconds=step.seconds)
            if (following := next(coming, None)) is not None:
                screen.begin(following)
    except TimeoutError:
        why = "\n".join(unready(state))
        raise Broken(f"not everything is ready after {READY_LIMIT_S:g} s:\n{why}") from None


class _Tour:
    """The part with a cluster: apply, look, move, clean."""

    def __init__(self, state: StateDirectory, screen: Screen, seen: Seen, *, pid: int) -> None:
        self._state = state
        self._screen = screen
        self._seen = seen
        self._sandbox = Sandbox(state)
        self._pid = pid

    async def run(self, *, clean: bool) -> None:
        """Raises Broken, or what the cluster answered; never a group of them, although it runs tasks."""
        try:
            await self._run(clean=clean)
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def _run(self, *, clean: bool) -> None:
        access = admin_access(self._state.kubeconfig.read_bytes())
        async with (
            ApiClient(access, user_agent="purelb-demo", clock=SystemClock()) as client,
            _running(Informer(client, SERVICES)) as services,
            probing(self._sandbox, rate=PROBES_PER_SECOND) as prober,
        ):
            with self._screen.step("a ServiceGroup: a pool of each family") as line:
                subnets = layout(SHAPE).subnets
                await put(client, SERVICE_GROUPS, objects.service_group(subnets))
                line.note = ", ".join(pool for subnet in subnets for pool in subnet.pools)
            for stop in tour.stops():
                await self._visit(client, services, prober, stop)
            with self._screen.step("each address is on one node, says each kernel") as line:
                await self._judge(services)
                line.note = f"{len(self._held())} addresses"
            await self._move(services, prober)
            if clean:
                await self._withdraw(client)

    async def _visit(self, client: ApiClient, services: Informer[Service], prober: Prober, stop: tour.Stop) -> None:
        with self._screen.step(f"Service {stop.name}: {stop.shows}") as line:
            created = time.monotonic()
            await client.create(SERVICES, stop.body, namespace=DEMO_NAMESPACE)
            key = f"{DEMO_NAMESPACE}/{stop.name}"
            given = await self._until(
                lambda: _addresses(services, key, stop.addresses),
                otherwise=lambda: f"{stop.name} got no address: {tour.refusal(services.store.get(key))}",
            )
            for address in given:
                prober.start(f"{stop.name} {address}", address, stop.port)
            answered, on = created, ""
            for address in given:
                await self._until(partial(self._holder, address), otherwise=partial("{} is on no node".format, address))
                first = await prober.answer(f"{stop.name} {address}", limit_s=STEP_LIMIT_S)
                answered, on = max(answered, first.at), first.node
                await prober.stop(f"{stop.name} {address}")
                self._row(stop, address, created=created, answered=first.at)
            where = ", ".join(f"{one} on {self._where(one)}" for one in given)
            line.note = f"{where}; the backend on {on} answers after {milliseconds(answered - created)}"

    def _row(self, stop: tour.Stop, address: str, *, created: float, answered: float) -> None:
        on_nic = min(
            (move["at"] for move in self._history() if move["address"] == address and move["gained"]), default=created
        )
        shown = milliseconds(on_nic - created) if on_nic > created else "was there"
        self._seen.rows.append((stop.name, address, self._where(address), shown, milliseconds(answered - created)))

    async def _judge(self, services: Informer[Service]) -> None:
        def verdict() -> tuple[str, ...]:
            facts = tour.published(services.store.values())
            holders = {address: [one["node"] for one in who] for address, who in self._held().items()}
            return no_address_is_given_twice(facts) + every_address_has_one_holder(facts, holders)

        await self._until(lambda: not verdict(), otherwise=lambda: "; ".join(verdict()))

    async def _move(self, services: Informer[Service], prober: Prober) -> None:
        service = services.store.get(f"{DEMO_NAMESPACE}/web")
        address = tour.addresses(service)[0] if service is not None else ""
        before = self._held()[address][0]["node"]
        with self._screen.step(f"the agent of {before}, which holds web, is told to stop") as line:
            prober.start("move", address, 80)
            await prober.answer("move", limit_s=STEP_LIMIT_S)
            await asyncio.sleep(LEAD_S)
            told_at = time.monotonic()
            self._sandbox.terminate(f"lbnodeagent-{before}")
            after = await self._until(
                lambda: self._moved(address, before),
                otherwise=lambda: (
                    f"{address} stayed with {before}, whose agent was told to stop: {self._held().get(address)}"
                ),
            )
            await asyncio.sleep(LEAD_S)
            await self._until(
                prober.answering("move"), otherwise=lambda: f"{address} is on {after} and does not answer"
            )
            await self._judge(services)
            summary = await prober.stop("move")
            moves = [move for move in self._history(since=told_at) if move["address"] == address]
            gained = next(move["at"] for move in moves if move["gained"])
            lost, sent = summary["lost"], summary["sent"]
            gap = milliseconds(summary["longest_gap_s"])
            line.note = f"{address} went to {after} after {milliseconds(gained - told_at)}"
            self._seen.move = (
                f"web moved from {before} to {after} {milliseconds(gained - told_at)} after SIGTERM: "
                f"{lost} of {sent} probes lost" + (f", longest gap {gap}" if lost else "")
            )

    def _moved(self, address: str, before: str) -> str:
        """The one node other than `before` that holds it; empty while there is none, or more than one holder."""
        nodes = [holder["node"] for holder in self._held().get(address, ())]
        return nodes[0] if len(nodes) == 1 and nodes[0] != before else ""

    async def _withdraw(self, client: ApiClient) -> None:
        with self._screen.step("the Services are deleted, no node keeps an address"):
            for stop in tour.stops():
                await client.delete(SERVICES, stop.name, namespace=DEMO_NAMESPACE)
            await self._until(lambda: not self._held(), otherwise=lambda: f"still there: {', '.join(self._held())}")

    def _held(self) -> Mapping[str, list[dict[str, str]]]:
        now: Mapping[str, list[dict[str, str]]] = self._sandbox.holders(since=time.monotonic())["now"]
        return now

    def _holder(self, address: str) -> list[dict[str, str]]:
        return self._held().get(address, [])

    def _history(self, *, since: float = 0.0) -> list[dict[str, Any]]:
        return [{**move, **move["holder"]} for move in self._sandbox.holders(since=since)["history"]]

    def _where(self, address: str) -> str:
        return " and ".join(f"{one['node']} {one['interface']}" for one in self._held().get(address, ())) or "no node"

    async def _until(self, look: Callable[[], T], *, otherwise: Callable[[], str]) -> T:
        """The first true answer; Broken with a sentence about the last state after the limit."""
        deadline = time.monotonic() + STEP_LIMIT_S
        while not (found := look()):
            if time.monotonic() > deadline:
                raise Broken("\n".join((otherwise(), *unready(self._state))))
            await asyncio.sleep(LOOK_S)
        return found


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _addresses(services: Informer[Service], key: str, count: int) -> tuple[str, ...]:
    service = services.store.get(key)
    given = () if service is None else tour.addresses(service)
    return given if len(given) >= count else ()


@asynccontextmanager
async def _running(informer: Informer[Service]) -> AsyncIterator[Informer[Service]]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(informer.run(), name="demo:services")
        async with asyncio.timeout(STEP_LIMIT_S):
            await informer.wait_synced()
        try:
            yield informer
        finally:
            task.cancel()


def _check_gone(state: StateDirectory, screen: Screen, pid: int, links_before: frozenset[str]) -> None:
    with screen.step("the cluster ends and takes everything with it") as line:
        if Path(f"/proc/{pid}").exists():
            raise Broken(f"process {pid} is still there")
        name = str(state.path).encode()
        left = [entry.parent.name for entry in Path("/proc").glob("[0-9]*/cmdline") if name in _cmdline(entry)]
        if left:
            raise Broken(f"processes are still there: {', '.join(left)}")
        if name in Path("/proc/self/mountinfo").read_bytes():
            raise Broken(f"something is still mounted below {state.path}")
        if new := (_links() - links_before) & hub_links(layout(SHAPE)):
            raise Broken(f"links are still there: {', '.join(sorted(new))}")
        shutil.rmtree(state.path)
        line.note = "no process, link, mount or file is left"


def _links() -> frozenset[str]:
    """The links of this machine."""
    return frozenset(name for _, name in socket.if_nameindex())


def _cmdline(entry: Path) -> bytes:
    try:
        return entry.read_bytes()
    except OSError:  # it ended while we looked
        return b""


def _summary(screen: Screen, state: StateDirectory, seen: Seen, *, took: float, keep: bool) -> None:
    screen.say()
    screen.table(("SERVICE", "ADDRESS", "FIRST ON", "ON THE NIC", "HTTP ANSWER"), seen.rows)
    screen.say()
    screen.say(f"  {seen.move}")
    screen.say(f"  {took:.1f} s in all")
    screen.say()
    _next(screen, state, keep=keep)


def _next(screen: Screen, state: StateDirectory, *, keep: bool) -> None:
    """What to type now. Only what works now stands at the margin: after a demo that was not kept, all but `up` needs `up` first."""
    call = program(state.name if keep else "")
    if keep:
        screen.say(f"the cluster is still running, as sandbox {state.name}; next:")
    else:
        screen.say("next, a cluster that stays:")
        screen.say(f"  {call} up")
        screen.say("and while it is up:")
    screen.say(f"  {call} status")
    if shutil.which("kubectl") is not None:
        screen.say(f"  {call} kubectl get services -A")
    screen.say(f"  {call} exec n1 -- ip addr")
    screen.say(f"  {call} down" + ("" if keep else "   # when you are done"))
