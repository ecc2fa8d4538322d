# SPDX-License-Identifier: Apache-2.0
"""The driver: a scripted server on one side, handlers on the other, virtual time in between."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from purelb.kube.informer import Informer, InformerSet, SyncTimeout, enqueue
from purelb.kube.model import ObjectMeta, PartialObject, Service
from purelb.kube.queue import INITIAL, LIVE
from purelb.kube.resources import NODES, SERVICES
from tests.kube.scripted import Call, Scripted, Stream, client_over
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def service(name: str, rv: str, *, uid: str = "", kind: str | None = "Service", **spec: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "d", "resourceVersion": rv, "uid": uid},
        "spec": spec,
    }
    return {"kind": kind, **made} if kind else made


def listed(*items: dict[str, Any], rv: str = "10", more: str | None = None) -> dict[str, Any]:
    return {"kind": "ServiceList", "metadata": {"resourceVersion": rv, "continue": more}, "items": list(items)}


def change(kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": obj}


class Told:
    """A handler that writes down what it is told."""

    def __init__(self, look: Callable[[], object] = lambda: None) -> None:
        self.log: list[tuple[str, str, object]] = []
        self.look = look

    def added(self, obj: Service, *, initial: bool) -> None:
        self.look()
        self.log.append(("added", obj.metadata.name, initial))

    def updated(self, old: Service, new: Service) -> None:
        self.look()
        self.log.append(("updated", new.metadata.name, new.metadata.resource_version))

    def deleted(self, obj: Service, *, final: bool) -> None:
        self.look()
        self.log.append(("deleted", obj.metadata.name, final))

    def taken(self) -> list[tuple[str, str, object]]:
        log, self.log = self.log, []
        return log


class Rig:
    def __init__(self, clock: VirtualClock, transport: Scripted, informer: Informer[Service]) -> None:
        self.clock, self.transport, self.informer = clock, transport, informer
        self.told = Told()
        self.watch: Stream

    async def list_and_watch(self, *items: dict[str, Any], rv: str = "10") -> None:
        await self.clock.settle()
        self.transport.take("GET").reply(listed(*items, rv=rv))
        await self.clock.settle()
        self.watch = self.transport.take("GET").open()
        await self.clock.settle()

    async def events(self, *events: dict[str, Any]) -> None:
        self.watch.send(*events)
        await self.clock.settle()


@asynccontextmanager
async def rig(**options: Any) -> AsyncIterator[Rig]:
    """A running informer of Services that lists, unless `mode` says otherwise; on leaving, nothing of it is left."""
    clock, transport = VirtualClock(0.0), Scripted()
    informer: Informer[Service] = Informer(client_over(transport, clock), SERVICES, **{"mode": "list", **options})
    made = Rig(clock, transport, informer)
    informer.add_handler(made.told)
    before = asyncio.all_tasks()
    running = asyncio.get_running_loop().create_task(informer.run())
    try:
        yield made
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        transport.assert_all_closed()
        assert asyncio.all_tasks() == before
        assert clock.pending() == []


# Syncing


async def test_it_lists_from_the_cache_and_watches_from_there() -> None:
    async with rig() as at:
        await at.clock.settle()
        call = at.transport.take("GET")
        assert (call.path, call.query) == ("/api/v1/services", {"resourceVersion": "0", "limit": "500"})
        assert not at.informer.synced
        call.reply(listed(service("a", "1", kind=None)))
        await at.clock.settle()
        assert at.informer.synced
        assert at.told.taken() == [("added", "a", True)]
        watch = at.transport.take("GET")
        assert watch.query == {
            "watch": "true",
            "resourceVersion": "10",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "300",
        }


async def test_scope_and_selectors_go_into_each_request() -> None:
    async with rig(namespace="d", labels="a=b", fields="metadata.name=x", consistent=True) as at:
        await at.list_and_watch()
        for call in at.transport.seen:
            assert call.path == "/api/v1/namespaces/d/services"
            assert call.query["labelSelector"] == "a=b"
            assert call.query["fieldSelector"] == "metadata.name=x"
        assert "resourceVersion" not in at.transport.seen[0].query


async def test_an_empty_collection_is_synced() -> None:
    async with rig() as at:
        await at.list_and_watch()
        assert at.informer.synced
        assert at.informer.store.rv == "10"


async def test_a_list_in_pages_is_one_and_later_pages_name_no_version() -> None:
    async with rig() as at:
        await at.clock.settle()
        at.transport.take("GET").reply(listed(service("a", "1"), more="next"))
        await at.clock.settle()
        assert not at.informer.synced
        call = at.transport.take("GET")
        assert call.query == {"limit": "500", "continue": "next"}
        call.reply(listed(service("b", "2"), rv=""))
        await at.clock.settle()
        assert at.told.taken() == [("added", "a", True), ("added", "b", True)]
        assert at.transport.take("GET").query["resourceVersion"] == "10"


async def test_events_reach_handlers_after_the_store() -> None:
    async with rig() as at:
        at.told.look = lambda: seen.append(at.informer.store.keys())
        seen: list[tuple[str, ...]] = []
        await at.list_and_watch(service("a", "1"))
        await at.events(
            change("ADDED", service("b", "11")),
            change("MODIFIED", service("a", "12", type="LoadBalancer")),
            change("DELETED", service("b", "13")),
            change("BOOKMARK", {"kind": "Service", "metadata": {"resourceVersion": "14"}}),
        )
        assert at.told.taken() == [
            ("added", "a", True),
            ("added", "b", False),
            ("updated", "a", "12"),
            ("deleted", "b", True),
        ]
        assert seen == [("d/a",), ("d/a", "d/b"), ("d/a", "d/b"), ("d/a",)]
        assert at.informer.store.rv == "14"


async def test_a_gap_in_the_watch_shows_handlers_only_what_changed() -> None:
    async with rig() as at:
        await at.list_and_watch(service("a", "1"), service("b", "2"), service("c", "3", uid="one"))
        at.told.taken()
        await at.events(change("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}))
        await at.clock.advance(0.8)
        call = at.transport.take()
        assert call.query["resourceVersion"] == "10"
        call.reply(listed(service("b", "2"), service("c", "9", uid="two"), service("e", "5"), rv="20"))
        await at.clock.settle()
        assert at.told.taken() == [
            ("deleted", "a", False),
            ("deleted", "c", False),
            ("added", "c", False),
            ("added", "e", False),
        ]


async def test_an_error_of_the_servers_store_is_answered_by_a_list_and_what_vanished_is_removed() -> None:
    async with rig() as at:
        await at.list_and_watch(service("a", "1"), service("b", "2"))
        at.told.taken()
        await at.events(change("ERROR", {"kind": "Status", "code": 500, "reason": "StoreReadError"}))
        await at.clock.advance(0.8)
        at.transport.take("GET").reply(listed(service("b", "2"), rv="20"))
        await at.clock.settle()
        assert at.told.taken() == [("deleted", "a", False)]
        assert at.transport.take("GET").query["resourceVersion"] == "20"


async def test_a_server_that_refuses_is_asked_at_the_exact_moments_of_the_backoff() -> None:
    async with rig() as at:
        asked: list[float] = []

        def refuse(call: Call) -> None:
            asked.append(at.clock.now())
            call.fail("refused")

        at.transport.respond = refuse
        await at.clock.advance(30.0)
        assert asked == pytest.approx([0.0, 0.8, 2.4, 5.6, 12.0, 24.8])
        assert "refused" in at.informer.last_error


async def test_a_trouble_that_lasts_is_logged_once_a_minute_and_at_once_when_it_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    def said() -> int:
        return len([record for record in caplog.records if getattr(record, "code", None) == "listFailed"])

    async with rig() as at:
        at.transport.respond = lambda call: call.fail("refused")
        await at.clock.advance(20.0)
        assert said() == 1
        at.transport.respond = lambda call: call.refuse(403, "Forbidden")
        await at.clock.advance(10.0)
        assert said() == 2
        await at.clock.advance(600.0)
        assert 9 <= said() - 2 <= 10


async def test_a_success_elsewhere_ends_the_wait() -> None:
    clock, transport = VirtualClock(0.0, chance=0.5), Scripted()
    client = client_over(transport, clock)
    informer = Informer(client, SERVICES, mode="list")

    def respond(call: Call) -> None:
        if call.path == "/version":
            call.reply({})
        else:
            asked.append(clock.now())
            call.fail("refused")

    asked: list[float] = []
    transport.respond = respond
    running = asyncio.get_running_loop().create_task(informer.run())
    await clock.advance(20.0)
    assert asked == pytest.approx([0.0, 1.2, 3.6, 8.4, 18.0])
    await clock.advance(0.0)
    await client.raw("GET", "/version")
    await clock.advance(1.0)
    assert asked[-1] == 21.0
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


# Poison


async def test_one_object_among_many_that_cannot_be_read_costs_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with rig() as at:
        good = [service(f"n{number}", str(number)) for number in range(9_999)]
        bad = {"metadata": {"name": "bad", "namespace": "d", "uid": "u", "resourceVersion": "5"}, "spec": 7}
        await at.list_and_watch(*good[:5000], bad, {"metadata": []}, *good[5000:])
        assert len(at.informer.store) == 9_999
        assert set(at.informer.undecodable) == {"d/bad"}
        for _ in range(3):
            await at.events(change("MODIFIED", {"kind": "Service", **bad}))
        await at.events(change("MODIFIED", {"kind": "Service", "metadata": {"name": 5}}))
        assert len([record for record in caplog.records if getattr(record, "key", None) == "d/bad"]) == 1
        assert len(at.transport.seen) == 2


async def test_what_became_unreadable_stays_in_its_older_version_until_repaired() -> None:
    async with rig() as at:
        await at.list_and_watch(service("a", "1", type="LoadBalancer"))
        at.told.taken()
        await at.events(change("MODIFIED", service("a", "11", ports="all")))
        assert at.told.taken() == []
        assert at.informer.store.get("d/a") is not None
        assert set(at.informer.store.stale) == {"d/a"}
        await at.events(change("MODIFIED", service("a", "12", type="ClusterIP")))
        assert at.told.taken() == [("updated", "a", "12")]
        assert at.informer.undecodable == {}


async def test_what_was_repaired_and_breaks_in_the_same_way_again_is_named_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with rig() as at:
        await at.list_and_watch()
        for _ in range(2):
            await at.events(change("MODIFIED", service("a", "11", ports="all")))
            await at.events(change("MODIFIED", service("a", "12")))
        assert len([record for record in caplog.records if getattr(record, "code", None) == "undecodable"]) == 2
        await at.events(change("MODIFIED", service("a", "13", ports="all")))
        await at.events(change("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}))
        await at.clock.advance(2.0)
        at.transport.take("GET").reply(listed(rv="20"))
        await at.clock.settle()
        stream = at.transport.take("GET").open()
        stream.send(change("ADDED", service("a", "13", ports="all")))
        await at.clock.settle()
        assert len([record for record in caplog.records if getattr(record, "code", None) == "undecodable"]) == 4


async def test_what_is_unreadable_can_be_deleted() -> None:
    async with rig() as at:
        await at.list_and_watch(service("a", "1"))
        await at.events(change("MODIFIED", service("a", "11", ports="all")))
        await at.events(change("DELETED", service("a", "12", ports="all")))
        assert at.told.taken() == [("added", "a", True), ("deleted", "a", True)]
        assert at.informer.undecodable == {}


async def test_a_transform_runs_once_per_object_and_one_that_raises_costs_only_its_object() -> None:
    shaped: list[str] = []

    def transform(obj: Service) -> Service:
        shaped.append(obj.metadata.name)
        if obj.metadata.name in {"bad", ""}:
            raise ValueError("no")
        return obj

    async with rig(transform=transform) as at:
        await at.list_and_watch(service("a", "1"), service("bad", "2"), service("", "3"))
        await at.events(change("ADDED", service("b", "11")))
        assert shaped == ["a", "bad", "", "b"]
        assert at.informer.store.keys() == ("d/a", "d/b")
        assert set(at.informer.undecodable) == {"d/bad"}


# Handlers


async def test_a_handler_that_comes_late_is_told_everything_and_a_removed_one_nothing() -> None:
    async with rig() as at:
        await at.list_and_watch(service("a", "1"), service("b", "2"))
        late = Told()
        registration = at.informer.add_handler(late)
        assert late.taken() == [("added", "a", True), ("added", "b", True)]
        await at.events(change("ADDED", service("c", "11")))
        assert late.taken() == [("added", "c", False)]
        registration.remove()
        registration.remove()
        await at.events(change("ADDED", service("e", "12")))
        assert late.taken() == []


async def test_a_handler_that_raises_does_not_cost_the_others_a_thing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Told):
        def added(self, obj: Service, *, initial: bool) -> None:
            raise RuntimeError("a mistake of ours")

    async with rig() as at:
        at.informer.add_handler(Broken())
        after = Told()
        at.informer.add_handler(after)
        await at.list_and_watch(service("a", "1"))
        await at.events(change("ADDED", service("b", "11")))
        assert [name for _, name, _ in after.taken()] == ["a", "b"]
        assert [name for _, name, _ in at.told.taken()] == ["a", "b"]


async def test_a_write_that_a_handler_makes_known_is_told_after_what_the_handler_was_told() -> None:
    class Eager(Told):
        def added(self, obj: Service, *, initial: bool) -> None:
            super().added(obj, initial=initial)
            at.informer.note_write(_decoded(service("a", "50", type="LoadBalancer")))

    async with rig() as at:
        eager, after = Eager(), Told()
        at.informer.add_handler(eager)
        at.informer.add_handler(after)
        await at.list_and_watch()
        await at.events(change("ADDED", service("a", "11")))
        assert eager.taken() == after.taken() == [("added", "a", False), ("updated", "a", "50")]


async def test_a_version_in_which_nothing_changed_is_told_only_on_request() -> None:
    async with rig() as at:
        curious = Told()
        at.informer.add_handler(curious, deliver_unchanged=True)
        await at.list_and_watch(service("a", "1"))
        at.told.taken()
        curious.taken()
        await at.events(change("MODIFIED", service("a", "11")))
        assert at.told.taken() == []
        assert curious.taken() == [("updated", "a", "11")]
        stored = at.informer.store.get("d/a")
        assert stored is not None
        assert stored.metadata.resource_version == "11"


async def test_no_handler_can_be_added_after_the_end() -> None:
    async with rig() as at:
        await at.clock.settle()
    with pytest.raises(RuntimeError, match="has stopped"):
        at.informer.add_handler(Told())


async def test_a_relist_asked_for_after_the_end_is_not_answered() -> None:
    async with rig() as at:
        await at.list_and_watch()
    at.informer.relist("too late", reply=lambda: pytest.fail("there was no list"))
    await at.clock.settle()
    assert len(at.transport.seen) == 2


async def test_it_starts_once() -> None:
    async with rig() as at:
        await at.clock.settle()
        with pytest.raises(RuntimeError, match="was started before"):
            await at.informer.run()


class Line:
    """A queue as far as `enqueue` knows one."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, int]] = []

    def add(self, key: str, *, priority: int = LIVE) -> None:
        self.keys.append((key, priority))


def test_enqueue_adds_the_keys_of_before_and_after_once_each() -> None:
    line = Line()

    def keys_of(obj: PartialObject) -> tuple[str, ...]:
        return (obj.metadata.name, *(obj.metadata.labels or {}))

    handler = enqueue(line, keys_of)
    a = PartialObject(metadata=ObjectMeta(name="a", labels={"x": ""}))
    b = PartialObject(metadata=ObjectMeta(name="a", labels={"y": ""}))
    handler.added(a, initial=True)
    handler.updated(a, b)
    handler.deleted(b, final=False)
    assert line.keys == [
        ("a", INITIAL),
        ("x", INITIAL),
        ("a", LIVE),
        ("x", LIVE),
        ("y", LIVE),
        ("a", LIVE),
        ("y", LIVE),
    ]


# Long work


class Slow(Told):
    """Takes 3 ms for each object, by the clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock

    def added(self, obj: Service, *, initial: bool) -> None:
        self.clock.jump(0.003)
        super().added(obj, initial=initial)


async def test_a_long_delivery_gives_others_turns_and_holds_everything_else_back() -> None:
    async with rig() as at:
        slow = Slow(at.clock)
        at.informer.add_handler(slow)
        await at.clock.settle()
        seen: list[tuple[int, bool]] = []
        late = Told()

        async def others() -> None:
            while not at.informer.synced:
                if len(slow.log) == 4:
                    at.informer.note_write(_decoded(service("n1", "99", type="LoadBalancer")))
                    at.informer.add_handler(late)
                seen.append((len(slow.log), at.informer.synced))
                await asyncio.sleep(0)

        other = asyncio.get_running_loop().create_task(others())
        at.transport.take("GET").reply(listed(*(service(f"n{number}", "1") for number in range(10))))
        await at.clock.settle()
        await other
        assert {count for count, _ in seen} == {0, 2, 4, 6, 8, 10}
        assert [what for what, _, _ in slow.log] == ["added"] * 10 + ["updated"]
        assert [what for what, _, _ in late.log] == ["added"] * 10
        assert at.informer.synced


async def test_a_long_batch_of_events_gives_others_turns() -> None:
    async with rig() as at:
        slow = Slow(at.clock)
        at.informer.add_handler(slow)
        await at.list_and_watch()
        seen: set[int] = set()

        async def others() -> None:
            while len(slow.log) < 10:
                seen.add(len(slow.log))
                await asyncio.sleep(0)

        other = asyncio.get_running_loop().create_task(others())
        await at.events(*(change("ADDED", service(f"n{number}", str(11 + number))) for number in range(10)))
        await other
        assert seen == {0, 2, 4, 6, 8}


async def test_a_change_that_comes_while_a_long_batch_is_told_waits_for_its_end() -> None:
    async with rig() as at:
        slow = Slow(at.clock)
        at.informer.add_handler(slow)
        await at.list_and_watch()
        at.watch.send(*(change("ADDED", service(f"n{number}", str(11 + number))) for number in range(10)))
        while len(slow.log) < 4:  # the driver gives others a turn in the middle of it
            await asyncio.sleep(0)
        at.watch.send(change("DELETED", service("n1", "21")))
        at.watch.send(change("ADDED", service("late", "22")))
        await at.clock.settle()
        assert [(what, name) for what, name, _ in slow.log] == [
            *(("added", f"n{number}") for number in range(10)),
            ("deleted", "n1"),
            ("added", "late"),
        ]


async def test_changes_that_come_one_by_one_put_off_the_silence_that_ends_a_watch() -> None:
    async with rig() as at:
        await at.list_and_watch()
        await at.events(change("BOOKMARK", {"kind": "Service", "metadata": {"resourceVersion": "11"}}))
        for number in range(3):
            await at.clock.advance(50.0)
            await at.events(change("ADDED", service(f"n{number}", str(12 + number))))
        assert not at.transport.calls
        await at.clock.advance(149.9)
        assert not at.transport.calls
        await at.clock.advance(0.2)
        assert at.transport.take("GET").query["resourceVersion"] == "14"


async def test_everything_is_compared_with_the_quorum_every_ten_hours_unless_told_otherwise() -> None:
    lists: list[float] = []

    def answer(call: Call) -> None:
        if "watch" in call.query:
            call.open()
        else:
            lists.append(at.clock.now())
            call.reply(listed(service("a", "1"), rv="10"))

    async with rig() as at:
        at.transport.respond = answer
        await at.clock.advance(60_000.0)
    assert lists == [0.0, 28_800.0, 57_600.0]  # ten hours less 20 %, as chance would have it here


def _decoded(obj: dict[str, Any]) -> Service:
    return msgspec.convert(obj, Service)


async def test_the_body_of_a_list_is_let_go_once_its_objects_are_stored() -> None:
    body = msgspec.json.encode(listed(*(service(f"n{number}", "1") for number in range(100))))
    unreferenced = sys.getrefcount(body)
    async with rig() as at:
        await at.clock.settle()
        at.transport.take("GET").reply(body)
        await at.clock.settle()
        assert len(at.informer.store) == 100
        at.transport.seen.clear()
        gc.collect()
        assert sys.getrefcount(body) == unreferenced


# Reading our own writes


async def test_the_answer_to_a_write_is_seen_at_once_and_its_event_tells_nothing_new() -> None:
    async with rig() as at:
        await at.list_and_watch(service("a", "1"))
        at.told.taken()
        at.informer.note_write(_decoded(service("a", "20", type="LoadBalancer")))
        assert at.told.taken() == [("updated", "a", "20")]
        await at.events(
            change("MODIFIED", service("a", "15", type="ClusterIP")),
            change("MODIFIED", service("a", "20", type="LoadBalancer")),
        )
        assert at.told.taken() == []
        await at.events(change("MODIFIED", service("a", "21", type="ClusterIP")))
        assert at.told.taken() == [("updated", "a", "21")]


async def test_a_write_in_another_namespace_than_the_informers_is_not_shown() -> None:
    async with rig(namespace="other") as at:
        await at.list_and_watch()
        at.informer.note_write(_decoded(service("a", "20")))
        assert len(at.informer.store) == 0


# Listing again


async def test_a_consistent_relist_answers_after_its_replace_was_delivered() -> None:
    async with rig() as at:
        await at.list_and_watch(service("a", "1"))
        at.told.taken()
        answered: list[list[tuple[str, str, object]]] = []
        at.informer.relist("somebody asked", consistent=True, reply=lambda: answered.append(at.told.taken()))
        await at.clock.settle()
        assert at.watch.closed == 1
        call = at.transport.take("GET")
        assert "resourceVersion" not in call.query
        assert answered == []
        call.reply(listed(service("b", "2"), rv="20"))
        await at.clock.settle()
        assert answered == [[("deleted", "a", False), ("added", "b", False)]]
        assert at.transport.take("GET").query["resourceVersion"] == "20"


async def test_what_is_listed_again_in_the_version_that_is_stored_stays_the_object_it_was() -> None:
    made = [service(name, rv, uid=uid, type="ClusterIP") for name, rv, uid in (("a", "1", "u1"), ("b", "2", "u2"))]
    async with rig() as at:
        await at.list_and_watch(*made, service("c", "3", uid="u3"), service("d", "4"))
        before = {name: at.informer.store.get(name) for name in at.informer.store.keys()}  # noqa: SIM118  no dict
        at.informer.relist("asked")
        await at.clock.settle()
        again = service("b", "2", uid="another", type="ClusterIP")
        at.transport.take("GET").reply(listed(made[0], again, service("c", "9", uid="u3"), service("d", "4"), rv="20"))
        await at.clock.settle()
        same = [name for name in before if at.informer.store.get(name) is before[name]]
        assert same == ["d/a"], "another uid, another version or no uid at all is read"


async def test_a_relist_asked_for_during_a_list_is_answered_by_the_next_one() -> None:
    async with rig() as at:
        await at.clock.settle()
        answered: list[str] = []
        at.informer.relist("too early for the list under way", reply=lambda: answered.append("done"))
        at.transport.take("GET").reply(listed(service("a", "1")))
        await at.clock.settle()
        assert answered == []
        at.transport.take("GET").reply(listed(service("a", "1"), rv="11"))
        await at.clock.settle()
        assert answered == ["done"]


async def test_each_relist_is_answered_by_a_list_that_began_after_it() -> None:
    async with rig() as at:
        await at.list_and_watch()
        answered: list[str] = []
        at.informer.relist("first", reply=lambda: answered.append("first"))
        await at.clock.settle()
        at.informer.relist("second", reply=lambda: answered.append("second"))
        at.transport.take("GET").reply(listed(rv="20"))
        await at.clock.settle()
        assert answered == ["first"]
        at.transport.take("GET").reply(listed(rv="21"))
        await at.clock.settle()
        assert answered == ["first", "second"]


# Ending


async def test_cancelled_at_any_moment_it_leaves_neither_task_nor_stream() -> None:
    """The moment is a number of turns of the loop: 0, 1, 2, ... until the whole story fits."""
    for turns in range(200):
        clock, transport = VirtualClock(0.0), Scripted()
        informer = Informer(client_over(transport, clock), SERVICES, mode="list")
        finished = False

        def respond(call: Call) -> None:
            if call.query.get("watch"):
                stream = call.open()
                stream.send(change("ADDED", service("b", "11")))
                stream.send(change("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}))
            else:
                call.reply(listed(service("a", "1")))

        transport.respond = respond
        before = asyncio.all_tasks()
        running = asyncio.get_running_loop().create_task(informer.run())
        for _ in range(turns):
            await asyncio.sleep(0)
            if clock.pending():
                clock.jump(1.0)
                clock.fire()
            if len(transport.streams) == 3:
                finished = True
                break
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert running.cancelled()
        transport.assert_all_closed()
        assert asyncio.all_tasks() == before
        assert clock.pending() == []
        if finished:
            return
    raise AssertionError("the story never ended")


# Several


async def test_informers_of_a_set_are_waited_for_together_and_laggards_are_named() -> None:
    clock, transport = VirtualClock(0.0), Scripted()
    client = client_over(transport, clock)
    informers = InformerSet(client)
    services = informers.add(Informer(client, SERVICES, mode="list"))
    informers.add(Informer(client, NODES, mode="list"))
    with pytest.raises(ValueError, match="already"):
        informers.add(Informer(client, SERVICES))

    def respond(call: Call) -> None:
        if call.query.get("watch"):
            call.open()
        elif call.path == "/api/v1/nodes":
            call.refuse(403, "Forbidden")
        else:
            call.reply(listed())

    transport.respond = respond
    running = asyncio.get_running_loop().create_task(informers.run())
    waiting = asyncio.get_running_loop().create_task(informers.wait_synced(5.0))
    await clock.settle()
    with pytest.raises(RuntimeError, match="too late"):
        informers.add(Informer(client, NODES, namespace=None, labels="late"))
    await clock.advance(5.0)
    with pytest.raises(SyncTimeout, match="Forbidden") as caught:
        await waiting
    assert list(caught.value.laggards) == ["nodes"]
    assert services.synced
    assert not informers.synced

    def recovered(call: Call) -> None:
        if call.query.get("watch"):
            call.open()
        else:
            call.reply({"metadata": {"resourceVersion": "5"}})

    transport.respond = recovered
    waiting = asyncio.get_running_loop().create_task(informers.wait_synced(60.0))
    await clock.advance(60.0)
    await waiting
    assert informers.synced
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    transport.assert_all_closed()


async def test_two_informers_of_one_resource_in_a_set_have_names_of_their_own_and_no_series_in_common() -> None:
    clock, transport = VirtualClock(0.0), Scripted()
    client = client_over(transport, clock)
    informers = InformerSet(client)
    informers.add(Informer(client, SERVICES, mode="list"))
    with pytest.raises(ValueError, match="called services already"):
        informers.add(Informer(client, SERVICES, labels="team=a", mode="list"))
    informers.add(Informer(client, SERVICES, labels="team=a", name="services of a", mode="list"))
    series = [(sample.metric.name, sample.labels) for sample in informers.samples()]
    assert len(series) == len(set(series))
    assert {labels for _, labels in series} == {("services",), ("services of a",)}
    waiting = asyncio.get_running_loop().create_task(informers.wait_synced(1.0))
    await clock.advance(1.0)
    with pytest.raises(SyncTimeout) as caught:
        await waiting
    assert list(caught.value.laggards) == ["services", "services of a"]
