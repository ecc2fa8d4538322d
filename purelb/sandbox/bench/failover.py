# SPDX-License-Identifier: Apache-2.0
"""The suite `failover`: the node that holds two addresses, one of each family, is broken, mended and looked at until all is at rest again.

In the sandbox: three nodes, a client and the embedded API server, a fresh one for each kind of outage. The client's prober asks both
addresses a hundred times a second from before the outage until after the recovery, so a returning node that does harm is in the figure; the
kernels of all nodes are listened to meanwhile. `failback: Never`, or a holder that lost its addresses would be given them back half a minute
later, in the middle of another trial.

Every wait has a limit, and what was not reached is said with the state it was left in. The sandbox dies with this process.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, assert_never

from msgspec import Struct

from purelb.api import leases
from purelb.api.annotations import ADDRESSES, DRAIN
from purelb.api.kinds import LB_NODE_AGENTS, SERVICE_GROUPS
from purelb.kube import model
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.clock import SystemClock
from purelb.kube.resources import LEASES, NODES, SERVICES
from purelb.net.subnets import parse_subnets
from purelb.sandbox.bench.holding import Change, held
from purelb.sandbox.bench.outages import KINDS, Kind, Trial, alike, rows
from purelb.sandbox.cluster import objects
from purelb.sandbox.cluster.breakage import Heal, Kill, Start
from purelb.sandbox.cluster.kubelet import put
from purelb.sandbox.cluster.launch import start
from purelb.sandbox.cluster.probes import probing
from purelb.sandbox.cluster.programs import DEMO_NAMESPACE, ECHO_LABELS, ECHO_PORT, INSTALL_NAMESPACE, layout
from purelb.sandbox.cluster.reach import Sandbox
from purelb.sandbox.cluster.server import admin_access
from purelb.sandbox.cluster.state import StateDirectory
from purelb.sandbox.rig import doctor
from purelb.sandbox.rig.cuts import Cut
from purelb.sandbox.rig.topology import POOL, Shape
from purelb.sandbox.starting import choose_proxy, unready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from purelb.net.ranges import IPAddress
    from purelb.sandbox.bench.results import Row
    from purelb.sandbox.cluster.breakage import Order
    from purelb.sandbox.cluster.probes import Prober

SHAPE: Final = Shape(nodes=3)
NAMES: Final = tuple(node.name for node in layout(SHAPE).nodes)
SERVICE: Final = "web"
PROBES_PER_SECOND: Final = 100
READY_WITHIN_S: Final = 60.0
# A lease, an address that runs out in a kernel, and as much again for a machine that is busy.
MOVED_WITHIN_S: Final = 60.0
RESTED_WITHIN_S: Final = 90.0
# Probes before an outage and after the recovery, so that a gap at its edges is seen.
LEAD_S: Final = 0.5
TAIL_S: Final = 1.0
LOOK_S: Final = 0.02


def measures(trials: int | None) -> list[tuple[str, Callable[[], list[Row]]]]:
    """A measurement for each kind of outage, with its name; `trials` None is each kind's own number."""
    return [(kind.name, partial(_measured, kind, trials or kind.trials)) for kind in KINDS]


def _measured(kind: Kind, trials: int) -> list[Row]:
    return measure(kind, trials=trials)


def measure(kind: Kind, *, trials: int) -> list[Row]:
    """Bring a sandbox up, break it so many times, take it down."""
    findings = doctor.examine()
    if blocking := doctor.blocking(findings):
        raise RuntimeError("; ".join(f"{one.what}: {one.text} (remedy: {one.remedy})" for one in blocking))
    home = Path(tempfile.mkdtemp(prefix="purelb-bench-"))
    state = StateDirectory("bench", home=home)
    try:
        with start(state, shape=SHAPE, proxy=choose_proxy("auto", findings)) as starting:
            try:
                for _ in starting.steps(limit_s=READY_WITHIN_S):
                    continue
            except TimeoutError:
                raise RuntimeError("\n".join(("the sandbox is not ready:", *unready(state)))) from None
            found = asyncio.run(_all(state, kind, trials))
    except Exception as error:  # noqa: BLE001  raised again, without the groups of tasks around it
        first = _first(error)
        first.add_note(f"logs of its processes are in {state.logs}")
        raise first from None
    except BaseException:  # interrupted
        shutil.rmtree(home, ignore_errors=True)
        raise
    shutil.rmtree(home, ignore_errors=True)
    return rows(kind, found)


async def _all(state: StateDirectory, kind: Kind, trials: int) -> list[Mapping[str, Trial]]:
    sandbox = Sandbox(state)
    async with ApiClient(
        admin_access(state.kubeconfig.read_bytes()), user_agent="purelb-bench", clock=SystemClock()
    ) as client:
        addresses = await _prepared(client)
        async with probing(sandbox, rate=PROBES_PER_SECOND) as prober:
            lab = Lab(state, sandbox, client, prober, addresses)
            await lab.rest(since={})
            return [await lab.trial(kind, label=f"{number + 1}/{trials}") for number in range(trials)]


async def _prepared(client: ApiClient) -> dict[str, str]:
    """Pools, and a Service with an address of each family that go together; the addresses by family."""
    topology = layout(SHAPE)
    first, last = POOL
    chosen = alike([topology.subnets[0].at(host) for host in range(first, last + 1)], frozenset(NAMES))
    await put(client, SERVICE_GROUPS, objects.service_group(topology.subnets))
    settings = {"spec": {"local": {"failback": "Never"}}}
    await client.patch(LB_NODE_AGENTS, "default", settings, kind=PatchType.MERGE, namespace=INSTALL_NAMESPACE)
    await client.create(SERVICES, service(chosen), namespace=DEMO_NAMESPACE)
    return {f"IPv{address.version}": str(address) for address in chosen}


def service(addresses: Iterable[IPAddress]) -> Mapping[str, Any]:
    """The Service that asks for these addresses, in front of the sandbox's backends."""
    families = [f"IPv{address.version}" for address in addresses]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "annotations": {ADDRESSES: ",".join(map(str, addresses))}},
        "spec": {
            "type": "LoadBalancer",
            "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": families,
            "selector": dict(ECHO_LABELS),
            "ports": [{"name": "http", "port": 80, "targetPort": ECHO_PORT}],
        },
    }


class Lease(Struct, frozen=True, kw_only=True):
    """What an agent's lease says: how many subnets it offers, whether it drains; `version` is another one after each renewal."""

    version: str
    subnets: int
    draining: bool


class Lab:
    """A running sandbox whose holder is broken again and again. `addresses` by family."""

    def __init__(
        self, state: StateDirectory, sandbox: Sandbox, client: ApiClient, prober: Prober, addresses: dict[str, str]
    ) -> None:
        self._state = state
        self._sandbox = sandbox
        self._client = client
        self._prober = prober
        self._addresses = addresses

    async def trial(self, kind: Kind, *, label: str) -> Mapping[str, Trial]:
        """Break the holder, mend it, wait for rest: what became of each address meanwhile."""
        (victim,) = self._nodes()
        names = {family: f"{kind.how} {label} {family}" for family in self._addresses}
        for family, address in self._addresses.items():
            self._prober.start(names[family], address, 80)
        for name in names.values():
            await self._prober.answer(name, limit_s=READY_WITHIN_S)
        await asyncio.sleep(LEAD_S)
        before, began = self._held(), time.monotonic()
        await self._break(kind, victim)
        broken = time.monotonic()
        if kind.lasts_s is None:
            await self._until(lambda: self._moved_from(victim), within_s=MOVED_WITHIN_S, what=f"gone from {victim}")
        else:
            await asyncio.sleep(max(0.0, began + kind.lasts_s - time.monotonic()))
        await asyncio.sleep(LEAD_S)
        before_mending = await self._leases()
        mended = time.monotonic()
        await self._mend(kind, victim)
        await self.rest(since=before_mending, names=names.values())
        await asyncio.sleep(TAIL_S)
        until = time.monotonic()
        history = self._sandbox.holders(since=began)["history"]
        found = {}
        for family, address in self._addresses.items():
            counted = await self._prober.stop(names[family])
            changes = [_change(move) for move in history if move["address"] == address]
            found[family] = Trial(
                gap_s=counted["longest_gap_s"],
                lost=counted["lost"],
                held=held(before[address], changes, since=began, until=until),
            )
            _tell(f"{kind.name} {label}: {family} on {victim}", found[family], changes, began=began, until=until)
        _say(f"  broken within {broken - began:.2f} s, mended at {mended - began:.2f} s")
        return found

    async def rest(self, *, since: Mapping[str, Lease], names: Iterable[str] = ()) -> None:
        """Wait until everything is ready, each agent has renewed its lease and is a candidate again, and one node has all addresses and answers."""
        deadline = time.monotonic() + RESTED_WITHIN_S
        while missing := [*await self._not_renewed(since), *self._not_at_rest(names)]:
            if time.monotonic() > deadline:
                raise RuntimeError(self._complaint(f"not at rest after {RESTED_WITHIN_S:g} s: {'; '.join(missing)}"))
            await asyncio.sleep(0.1)

    async def _not_renewed(self, since: Mapping[str, Lease]) -> Iterator[str]:
        """A cable that came back is believed only after a while, longer with each loss: who is no candidate yet would be none in the next trial."""
        now = await self._leases()
        return (
            f"{node} has not renewed its lease, or does not offer its subnets"
            for node in NAMES
            if node not in now
            or (node in since and now[node].version == since[node].version)
            or now[node].draining
            or now[node].subnets < len(layout(SHAPE).subnets[0].networks)
        )

    def _not_at_rest(self, names: Iterable[str]) -> Iterator[str]:
        yield from (f"{pod['name']} is not ready" for pod in self._sandbox.status()["pods"] if not pod["ready"])
        yield from (f"{address} has {len(who)} holders" for address, who in self._held().items() if len(who) != 1)
        if len(nodes := self._nodes()) > 1:
            yield f"the addresses are apart: {', '.join(sorted(nodes))}"
        yield from (f"{name} is not answered" for name in names if not self._prober.answering(name)())

    async def _until(self, look: Callable[[], bool], *, within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        while not look():
            if time.monotonic() > deadline:
                raise RuntimeError(self._complaint(f"not {what} after {within_s:g} s"))
            await asyncio.sleep(LOOK_S)

    def _complaint(self, what: str) -> str:
        faults = [fault["what"] for fault in self._sandbox.status()["faults"]]
        lines = [what, f"  holders: {self._held()}", f"  faults: {', '.join(faults) or 'none'}", *unready(self._state)]
        return "\n".join(lines)

    # What is broken and mended

    async def _break(self, kind: Kind, victim: str) -> None:
        match kind.how:
            case "drain":
                await self._annotate(victim, "true")
            case "link":
                await self._order(Cut(node=victim, away="lan", carrier="down"))
            case "lan":
                await self._order(Cut(node=victim, away="lan"))
            case "api":
                for node in NAMES:
                    await self._order(Cut(node=node, away="api"))
            case "agent" | "freeze" | "power-off":
                await self._order(Kill(node=victim, how=kind.how))
            case _:
                assert_never(kind.how)

    async def _mend(self, kind: Kind, victim: str) -> None:
        match kind.how:
            case "drain":
                await self._annotate(victim, None)
            case "agent" | "freeze" | "power-off":
                await self._order(Start(node=victim))
            case "link" | "lan" | "api":
                await self._order(Heal())
            case _:
                assert_never(kind.how)

    async def _order(self, order: Order) -> None:
        await asyncio.to_thread(self._sandbox.order, order)

    async def _annotate(self, node: str, note: str | None) -> None:
        await self._client.patch(NODES, node, {"metadata": {"annotations": {DRAIN: note}}}, kind=PatchType.MERGE)

    # What is seen

    def _held(self) -> dict[str, list[tuple[str, str]]]:
        """The nodes, with their interfaces, that have each of our addresses."""
        now = self._sandbox.holders(since=time.monotonic())["now"]
        return {
            address: [(one["node"], one["interface"]) for one in now.get(address, ())]
            for address in self._addresses.values()
        }

    def _nodes(self) -> set[str]:
        return {node for holders in self._held().values() for node, _ in holders}

    def _moved_from(self, victim: str) -> bool:
        nodes = self._nodes()
        return victim not in nodes and all(len(holders) == 1 for holders in self._held().values())

    async def _leases(self) -> dict[str, Lease]:
        """The leases of the agents that there are."""
        page = await self._client.list_page(LEASES, namespace=INSTALL_NAMESPACE)
        return {
            node: Lease(
                version=str(found.metadata.resource_version),
                subnets=len(parse_subnets(model.annotations(found).get(leases.SUBNETS, ""))),
                draining=leases.DRAINING in model.annotations(found),
            )
            for found in page.objects
            if (node := leases.node_of_lease(found.metadata.name)) is not None
        }


def _first(error: Exception) -> Exception:
    """What went wrong, without the groups of the tasks that it went wrong in."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _change(move: Mapping[str, Any]) -> Change:
    return Change(move["at"], move["holder"]["node"], move["holder"]["interface"], move["gained"])


def _tell(what: str, found: Trial, changes: Iterable[Change], *, began: float, until: float) -> None:
    moves = ", ".join(f"{change.at - began:.2f} {'+' if change.gained else '-'}{change.node}" for change in changes)
    _say(
        f"{what}: gap {found.gap_s * 1000:.0f} ms, {found.lost} lost, at most {found.held.most} at once for "
        f"{found.held.several_s:.2f} s, nobody for {found.held.nobody_s:.2f} s; {moves or 'no moves'}; {until - began:.1f} s"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
