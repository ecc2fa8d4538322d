# SPDX-License-Identifier: Apache-2.0
"""Every fault that the sandbox's API server can be ordered to have, against two whole components that compete for a lease.

While a fault lasts, Services come, change and go. When it is over the stores equal the server and every mark is right; no write
was sent again after an answer that settled it, none after its fence or beside another leader's; at rest nothing but leases is
written and nothing is listed; and when the components end, nothing of them is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import operator
import random
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.sandbox.apiserver import faults
from purelb.sandbox.apiserver.core import ApiCore, ApiRequest, ApiResponse
from purelb.sandbox.apiserver.faults import Rule
from purelb.sandbox.apiserver.identity import ADMIN, User
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.kube.cancelling import Turns, agrees
from tests.kube.judges import SERVICES, Fenced, Sent, Wire, held, one_result_each, sent_again
from tests.kube.whole import INDICES, MARK, Marker
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from purelb.kube.elector import Term

SUBJECTS = "marker-*"
SERVERS_PAST = "purelb.sandbox.apiserver.mvcc."  # forgotten in blocks


class World:
    def __init__(self) -> None:
        self.mode: Literal["auto", "list"] = "auto"
        self.clock = VirtualClock(chance=0.5)
        self.core = ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
        self.markers: list[Marker] = []
        self.turns: list[Turns] = []
        self.log: list[Sent] = []
        self.wrongs: list[str] = []
        self._running: list[asyncio.Task[None]] = []
        self._moves = 0

    # The server's side

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """As an administrator, whom no fault is for."""
        media = "application/merge-patch+json" if method == "PATCH" else "application/json"
        content = b"" if body is None else msgspec.json.encode(body)
        asked = ApiRequest(method=method, target=path, headers={"content-type": media}, body=content, user=ADMIN)
        made = self.core.handle(asked, self.clock.now() - 1000.0)
        assert isinstance(made, ApiResponse)
        assert made.status < 300, made.body
        return msgspec.json.decode(made.body)

    def order(self, *rules: Rule) -> None:
        for rule in rules:
            everybody = msgspec.structs.replace(rule, subject=SUBJECTS)
            self.core.faults.add(everybody if rule.subject == "*" else rule)

    def churn(self, *, replacing: bool = True) -> None:
        """One more thing happens: Services are made, changed and, if `replacing`, deleted and made again."""
        self._moves += 1
        name = f"s{self._moves % 5}"
        known = {each["metadata"]["name"] for each in self.ask("GET", SERVICES)["items"]}
        if name not in known:
            self.ask("POST", SERVICES, {"metadata": {"name": name}, "spec": {"ports": [{"port": 1000 + self._moves}]}})
        elif replacing and self._moves % 4 == 0:
            self.ask("DELETE", f"{SERVICES}/{name}")
        else:
            self.ask("PATCH", f"{SERVICES}/{name}", {"spec": {"ports": [{"port": 1000 + self._moves}]}})

    # The components' side

    def start(self, who: str) -> Marker:
        user = User(name=f"marker-{who}", groups=("system:authenticated",))
        turns = Turns(Wire(MemoryTransport(self.core, clock=self.clock, user=user), who, self.clock, self.log))

        def client(transport: Any) -> ApiClient:
            return ApiClient(fixed_access("http://memory"), user_agent=who, clock=self.clock, transport=transport)

        def writing(term: Term) -> ApiClient:
            return client(Fenced(turns, term, clock=self.clock, terms=self.terms, wrongs=self.wrongs))

        marker = Marker(client(turns), identity=who, writing=writing, mode=self.mode)
        self.markers.append(marker)
        self.turns.append(turns)
        self._running.append(asyncio.get_running_loop().create_task(marker.run(), name=f"marker-{who}"))
        return marker

    def terms(self) -> list[Term]:
        return [term for marker in self.markers for term in marker.terms]

    def relist(self) -> None:
        for marker in self.markers:
            marker.services.relist("the test wants it")
            marker.nodes.relist("the test wants it")

    async def kill(self) -> None:
        for task in self._running:
            task.cancel()
        await self.clock.advance(30.0)

    async def stop(self) -> None:
        before = asyncio.current_task()
        for task in self._running:
            assert not task.done(), f"{task.get_name()} ended by itself"
            task.cancel()
        await self.clock.advance(12.0)
        for task in self._running:
            assert task.done()
            with contextlib.suppress(asyncio.CancelledError):
                task.result()
        assert [task.get_name() for task in asyncio.all_tasks() if task is not before] == []
        assert self.clock.pending() == []
        for turns in self.turns:
            assert (turns.in_flight, turns.opened) == (0, turns.closed)
        for marker in self.markers:
            assert one_result_each(marker)
            assert all(not term.fence.valid(self.clock.now()) for term in marker.terms)

    # What must be true

    def marked(self) -> bool:
        return all(
            each["metadata"].get("annotations", {}).get(MARK) == str(each["spec"]["ports"][0]["port"])
            for each in self.ask("GET", SERVICES)["items"]
        )

    def healed(self) -> bool:
        items = self.ask("GET", SERVICES)["items"]
        versions = {f"default/{each['metadata']['name']}": each["metadata"]["resourceVersion"] for each in items}
        stores = [marker.services.store.snapshot() for marker in self.markers]
        return self.marked() and all(
            {name: obj.metadata.resource_version for name, obj in zip(store.keys(), store.values(), strict=True)}
            == versions
            for store in stores
        )

    def check_writes(self) -> None:
        assert self.wrongs == []
        again = sent_again(self.log, self.markers)
        assert not again, f"sent again after an answer: {again}"
        for marker in self.markers:
            agrees(marker.services.store, INDICES)

    async def at_rest(self) -> None:
        """For a minute nothing is asked for but the lease."""
        began = len(self.log)
        await self.clock.advance(60.0)
        rest = [each for each in self.log[began:] if "/leases/" not in each.path]
        assert [f"{each.method} {each.path}?{each.query}" for each in rest if "watch=true" not in each.query] == []
        assert len([each for each in self.log[began:] if "/leases/" in each.path]) < 80


@contextlib.asynccontextmanager
async def running(*rules: Rule, mode: Literal["auto", "list"] = "auto") -> AsyncIterator[World]:
    """Two components, started while `rules` are in force; stopped and looked over at the end."""
    world = World()
    world.mode = mode
    world.order(*rules)
    for _ in range(3):
        world.churn()
    for who in "ab":
        world.start(who)
    try:
        yield world
        await world.stop()
    finally:  # a test that failed must not leave them to a clock that nobody moves any more
        await world.kill()


def everything(effect: faults.Effect, **match: Any) -> tuple[Rule, ...]:
    return (Rule(effect=effect, **match),)


def watches(effect: faults.Effect, *, count: int | None = 6) -> tuple[Rule, ...]:
    return (Rule(effect=effect, verb="watch", count=count),)


def writes(effect: faults.Effect, *, count: int | None = None, probability: float = 1.0) -> tuple[Rule, ...]:
    return (Rule(effect=effect, verb="patch", resource="services", count=count, probability=probability),)


FAULTS: dict[str, tuple[Rule, ...]] = {
    "everything answers 500": everything(faults.Answer(code=500)),
    "everything answers 503 and says when": everything(faults.Answer(code=503, retry_after=4)),
    "everything answers 429 and says when": everything(faults.Answer(code=429, retry_after=3)),
    "half of everything answers 429": everything(faults.Answer(code=429), probability=0.5, seed=3),
    "a proxy's page": everything(faults.Answer(code=502, text="<html>Bad Gateway</html>")),
    "the token is rejected": everything(faults.Answer(code=401)),
    "nothing is allowed": everything(faults.Answer(code=403)),
    "the paths are gone": everything(faults.Answer(code=404)),
    "writes conflict": writes(faults.Answer(code=409), count=10),
    "writes are invalid for a while": writes(faults.Answer(code=422, reason="Invalid"), count=10),
    "lists and watches have expired": (
        Rule(effect=faults.Answer(code=410), verb="list"),
        Rule(effect=faults.Answer(code=410), verb="watch"),
    ),
    "everything takes 3 s": everything(faults.Delay(seconds=3.0)),
    "writes take longer than we wait": writes(faults.Delay(seconds=12.0)),
    "the lease takes longer than we wait": (Rule(effect=faults.Delay(seconds=7.0), resource="leases*", verb="patch"),),
    "everything hangs": everything(faults.Hang()),
    "writes hang": writes(faults.Hang(), count=4),
    "the lease hangs": (Rule(effect=faults.Hang(), resource="leases*"),),
    "watches hang after their headers": watches(faults.Silence()),
    "connections are half open": watches(faults.Silence(after_frames=2)),
    "nobody listens": everything(faults.Refuse()),
    "everything is reset": everything(faults.Reset()),
    "a third is reset": everything(faults.Reset(), probability=0.33, seed=5),
    "answers to writes are lost": writes(faults.LoseAnswer(), probability=0.6),
    "answers to everything are lost": everything(faults.LoseAnswer(), probability=0.5, seed=9),
    "watches end at once": watches(faults.CutStream(after_frames=0, clean=True), count=20),
    "watches are cut after an event": watches(faults.CutStream(after_frames=1), count=20),
    "watches end within an event": watches(faults.CutStream(after_bytes=700, clean=True), count=20),
    "watches are cut within an event": watches(faults.CutStream(after_bytes=700), count=20),
    "streams come byte by byte": watches(faults.Chunks(size_bytes=1), count=None),
    "streams come in large pieces": watches(faults.Chunks(size_bytes=100_000), count=None),
    "a frame is garbled": watches(faults.Garble(after_frames=1)),
    "a frame is cut short": watches(faults.Garble(after_frames=1, truncate=True)),
    "watches expire": watches(faults.Expire(after_frames=1)),
    "no bookmarks": watches(faults.NoBookmarks(), count=None),
    "the past is compacted": (Rule(effect=faults.Compact(), probability=0.3, seed=2),),
    "a cache that lags": (Rule(effect=faults.Older(revisions=6), verb="list"),),
    "an event is dropped": watches(faults.DropEvent(after_events=1)),
}  # fmt: skip
SILENT = {"watches hang after their headers", "connections are half open"}
LISTED = {name for name, rules in FAULTS.items() if rules[0].verb == "list"}  # who streams never lists
UNNOTICED = {"an event is dropped"}


def test_every_fault_that_the_server_can_have_is_tried_with_each_of_its_settings() -> None:
    """From the server's own table: a new hook, or a new setting of one, fails until a row is here."""
    can_have = {(kind.__name__, field) for kind in get_args(faults.Effect) for field in (*kind.__struct_fields__, "")}
    tried: set[tuple[str, str]] = set()
    for rule in (rule for rules in FAULTS.values() for rule in rules):
        plain = {each.name: each.default for each in msgspec.structs.fields(rule.effect)}
        name = type(rule.effect).__name__
        tried |= {(name, field) for field, default in plain.items() if getattr(rule.effect, field) != default}
        tried.add((name, ""))
    assert len(can_have) > 20, "the table of effects is not what it was"
    assert can_have - tried == set()


@pytest.mark.parametrize("name", FAULTS)
async def test_after_a_fault_everything_is_as_it_should_be(name: str) -> None:
    async with running(mode="list" if name in LISTED else "auto") as world:
        await world.clock.run_until(world.healed, within=60.0)
        world.order(*FAULTS[name])
        world.relist()
        for _ in range(12):
            await world.clock.advance(5.0)
            world.churn()
        fired = sum(count for _, _, count in world.core.faults)
        assert fired, "the fault never happened"
        world.core.faults.clear()
        if name in UNNOTICED:  # only an audit would find it
            world.relist()
        world.churn()
        await world.clock.run_until(world.healed, within=700.0 if name in SILENT else 120.0)
        await world.clock.advance(30.0)
        await world.at_rest()
        assert world.healed()
        world.check_writes()


@pytest.mark.parametrize("name", FAULTS)
async def test_components_that_start_during_a_fault_come_up_after_it(name: str) -> None:
    async with running(*FAULTS[name], mode="list" if name in LISTED else "auto") as world:
        for _ in range(6):
            await world.clock.advance(5.0)
            world.churn()
        world.core.faults.clear()
        if name in UNNOTICED:
            world.relist()
        await world.clock.run_until(world.healed, within=700.0 if name in SILENT else 120.0)
        await world.clock.advance(30.0)
        assert world.healed()
        world.check_writes()


CUT_OFF: dict[str, faults.Effect] = {
    "hears nothing": faults.Hang(),
    "is refused": faults.Refuse(),
    "is reset": faults.Reset(),
    "loses every answer": faults.LoseAnswer(),
    "is not trusted any more": faults.Answer(code=401),
    "is throttled": faults.Answer(code=429, retry_after=30),
    "is answered too late": faults.Delay(seconds=11.0),
}


@pytest.mark.parametrize("name", CUT_OFF)
async def test_a_leader_that_is_cut_off_is_followed_by_the_other_and_never_beside_it(name: str) -> None:
    async with running() as world:
        await world.clock.run_until(world.healed, within=60.0)
        (leader,) = (marker for marker in world.markers if marker.elector.leading)
        (other,) = (marker for marker in world.markers if marker is not leader)
        world.order(Rule(effect=CUT_OFF[name], subject=f"marker-{'ab'[world.markers.index(leader)]}"))
        world.churn()
        cut_off_at = world.clock.now()
        taken_at = await world.clock.run_until(lambda: other.elector.leading, within=60.0)
        assert taken_at - cut_off_at < 21.0, "15 s of the lease, 2 s since its last renewal, and a little"
        assert not leader.elector.leading
        for _ in range(6):
            world.churn()
            await world.clock.advance(5.0)
        assert world.marked(), "the other does its work"
        world.core.faults.clear()
        await world.clock.run_until(world.healed, within=120.0)
        world.check_writes()
        assert [marker.lost for marker in world.markers if marker.lost] == [["deadline"]]


async def test_after_a_pause_of_the_machine_nothing_is_sent_that_was_decided_before_it() -> None:
    """Both were suspended while writes waited for their repeat: the leader must not go on where it was."""
    async with running() as world:
        await world.clock.run_until(world.healed, within=60.0)
        for seconds in (4.0, 9.0, 11.0, 14.0, 20.0, 600.0):
            world.order(*writes(faults.Answer(code=503)))
            world.churn()
            await world.clock.advance(2.2)
            world.core.faults.clear()
            world.clock.jump(seconds)
            await world.clock.run_until(world.healed, within=120.0)
            await world.clock.advance(5.0)
        world.check_writes()


async def test_whatever_happens_again_and_again_nothing_piles_up() -> None:
    """All faults in turn, twelve times over: of no class of ours, and of no task or future, are there more than there were.

    Who leads, and whether that term wrote already, differs from one time to the next: so the most of six is compared with the most of six.
    """
    found: list[Counter[str]] = []
    asyncio.get_running_loop().set_debug(False)  # it keeps the stack of every callback: ten times as slow
    async with running() as world:
        for _ in range(12):
            for rules in FAULTS.values():
                world.order(*rules)
                world.relist()
                await world.clock.advance(4.0)
                world.churn(replacing=False)
                await world.clock.advance(4.0)
                world.core.faults.clear()
            world.relist()  # for an event that was dropped
            await world.clock.advance(700.0)  # streams that fell silent end, series of Events are forgotten
            assert world.healed()
            found.append(holding(world))
    before, after = (functools.reduce(operator.or_, half) for half in (found[:6], found[6:]))
    assert {kind: count - before[kind] for kind, count in after.items() if count > before[kind]} == {}


def holding(world: World) -> Counter[str]:
    """How many objects there are of each class, without what the test and the server's past keep."""
    world.log.clear()
    world.core.tick(world.clock.now())
    world.core.compact()
    found = held(world.markers)
    return Counter({kind: count for kind, count in found.items() if not kind.startswith(SERVERS_PAST)})
