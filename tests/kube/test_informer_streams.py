# SPDX-License-Identifier: Apache-2.0
"""The driver with a server that streams initial states, falls silent, or lost something: what is asked, stored and counted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest

from purelb.kube.informer import Informer
from purelb.kube.model import Service
from purelb.kube.resources import SERVICES
from tests.kube.scripted import Scripted, Stream, client_over
from tests.kube.test_informer import Told, change, listed, service
from tests.kube.told import Told as Counted
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def end(rv: str, **annotations: str) -> dict[str, Any]:
    said = annotations or {"k8s.io/initial-events-end": "true"}
    return change("BOOKMARK", {"kind": "Service", "metadata": {"resourceVersion": rv, "annotations": said}})


def bookmark(rv: str) -> dict[str, Any]:
    return change("BOOKMARK", {"kind": "Service", "metadata": {"resourceVersion": rv}})


class Rig:
    """A running informer of Services whose server says that it is of version 1.34."""

    def __init__(self, **options: Any) -> None:
        self.clock, self.transport, self.told, self.counted = VirtualClock(0.0), Scripted(), Told(), Counted()
        client = client_over(self.transport, self.clock, sink=self.counted)
        self.informer: Informer[Service] = Informer(client, SERVICES, **options)
        self.informer.add_handler(self.told)

    async def stream(self) -> Stream:
        """The next request, which must be for an initial state, opened."""
        await self.clock.settle()
        call = self.transport.take("GET")
        assert call.query["sendInitialEvents"] == "true"
        stream = call.open()
        await self.clock.settle()
        return stream

    async def watch(self) -> Stream:
        """The next request, which must be a plain watch, opened."""
        await self.clock.settle()
        call = self.transport.take("GET")
        assert call.query["watch"] == "true"
        assert "sendInitialEvents" not in call.query
        stream = call.open()
        await self.clock.settle()
        return stream

    async def send(self, stream: Stream, *events: dict[str, Any]) -> None:
        stream.send(*events)
        await self.clock.settle()

    def count(self, name: str) -> int:
        return self.counted.counts[name, "services"]


@asynccontextmanager
async def rig(**options: Any) -> AsyncIterator[Rig]:
    made = Rig(**options)
    before = asyncio.all_tasks()
    running = asyncio.get_running_loop().create_task(made.informer.run())
    await made.clock.settle()
    if options.get("mode") != "list":
        version = made.transport.take("GET")
        assert version.path == "/version"
        version.reply({"major": "1", "minor": "34"})
    try:
        yield made
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        made.transport.assert_all_closed()
        assert asyncio.all_tasks() == before
        assert made.clock.pending() == []


# The initial state


@pytest.mark.parametrize("consistent", [False, True])
async def test_it_asks_for_the_initial_state_and_stays_on_that_stream(*, consistent: bool) -> None:
    async with rig(consistent=consistent, namespace="d", labels="a=b") as at:
        await at.clock.settle()
        call = at.transport.take("GET")
        assert call.path == "/api/v1/namespaces/d/services"
        assert call.query == {
            "watch": "true",
            "labelSelector": "a=b",
            "allowWatchBookmarks": "true",
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "timeoutSeconds": "300",
        }
        stream = call.open()
        await at.send(stream, change("ADDED", service("b", "2")), change("ADDED", service("a", "1")))
        assert not at.informer.synced
        assert len(at.informer.store) == 0
        assert at.told.taken() == []
        await at.send(stream, end("10"), change("MODIFIED", service("a", "11", type="LoadBalancer")))
        assert at.informer.synced
        assert at.told.taken() == [("added", "b", True), ("added", "a", True), ("updated", "a", "11")]
        assert at.informer.store.rv == "11"
        assert not at.transport.calls
        assert at.count("reflector_lists_total") == 0
        assert at.count("reflector_watches_total") == 1


async def test_what_an_interrupted_stream_sent_is_never_seen() -> None:
    async with rig() as at:
        stream = await at.stream()
        await at.send(stream, change("ADDED", service("ghost", "1")))
        stream.end()
        await at.clock.advance(0.8)
        stream = await at.stream()
        await at.send(stream, change("ADDED", service("a", "5")), end("10"))
        assert at.told.taken() == [("added", "a", True)]


async def test_an_expired_watch_shows_handlers_only_what_changed() -> None:
    async with rig() as at:
        stream = await at.stream()
        await at.send(stream, change("ADDED", service("a", "1")), change("ADDED", service("b", "2")), end("10"))
        at.told.taken()
        await at.send(stream, change("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}))
        await at.clock.advance(0.8)
        assert at.transport.calls[0].query["resourceVersion"] == "10"
        stream = await at.stream()
        await at.send(stream, change("ADDED", service("b", "2")), change("ADDED", service("c", "12")), end("20"))
        assert at.told.taken() == [("deleted", "a", False), ("added", "c", False)]


async def test_what_cannot_be_read_keeps_its_readable_version_and_is_counted_once_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with rig() as at:
        stream = await at.stream()
        await at.send(
            stream,
            change("ADDED", service("good", "1")),
            change("ADDED", service("bad", "2", ports="all")),
            change("ADDED", service("worse", "3")),
            change("MODIFIED", service("worse", "4", ports="all")),
            change("ADDED", {"kind": "Service", "metadata": {"name": 5}}),
            end("10"),
        )
        assert at.informer.store.keys() == ("d/good", "d/worse")
        assert set(at.informer.undecodable) == {"d/bad", "d/worse"}
        assert set(at.informer.store.stale) == {"d/worse"}
        assert at.count("reflector_undecodable_total") == 3
        await at.send(stream, change("MODIFIED", service("worse", "12", type="LoadBalancer")))
        assert set(at.informer.undecodable) == {"d/bad"}
        said = [record for record in caplog.records if getattr(record, "code", None) == "undecodable"]
        assert len(said) == 3


async def test_a_transform_runs_once_for_each_version_that_came() -> None:
    shaped: list[str] = []

    def transform(obj: Service) -> Service:
        shaped.append(obj.metadata.resource_version)
        return obj

    async with rig(transform=transform) as at:
        stream = await at.stream()
        await at.send(
            stream, change("ADDED", service("a", "1")), change("MODIFIED", service("a", "2")), end("10"),
            change("ADDED", service("b", "11")),
        )  # fmt: skip
        assert shaped == ["1", "2", "11"]


async def test_a_gate_that_is_closed_costs_one_request_and_lists_from_then_on() -> None:
    async with rig() as at:
        await at.clock.settle()
        at.transport.take("GET").refuse(422, "Invalid")
        await at.clock.settle()
        call = at.transport.take("GET")
        assert call.query == {"resourceVersion": "0", "limit": "500"}
        call.reply(listed(service("a", "1")))
        stream = await at.watch()
        await at.send(stream, change("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"}))
        await at.clock.advance(2.0)
        assert "watch" not in at.transport.take("GET").query


async def test_a_stream_that_says_nothing_is_named_twice_and_listed_after_thirty_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with rig() as at:
        stream = await at.stream()
        await at.send(stream, change("ADDED", service("a", "1")))
        gauges = {sample.metric.name: sample.value for sample in at.informer.samples()}
        assert gauges["reflector_backoff_seconds"] == 0.0, "this is no wait"
        await at.clock.advance(29.9)
        assert not at.transport.calls
        assert at.informer.last_error == "nothing of the initial state came for 20 s"
        await at.clock.advance(0.1)
        assert stream.closed == 1
        at.transport.take("GET").reply(listed(service("b", "2")))
        await at.watch()
        assert at.told.taken() == [("added", "b", True)]
        codes = [getattr(record, "code", "") for record in caplog.records]
        assert codes.count("initialStateWaits") == 2
        assert codes.count("initialStateMissing") == 1


async def test_a_relist_is_answered_by_the_stream_that_began_after_it() -> None:
    async with rig() as at:
        answered: list[str] = []
        stream = await at.stream()
        at.informer.relist("early", consistent=True, reply=lambda: answered.append("early"))
        await at.send(stream, change("ADDED", service("a", "1")), end("10"))
        assert at.informer.synced
        assert answered == []
        assert stream.closed == 1
        assert "resourceVersion" not in at.transport.calls[0].query
        stream = await at.stream()
        await at.send(stream, end("20"))
        assert answered == ["early"]
        assert at.told.taken() == [("added", "a", True), ("deleted", "a", False)]


class RelistsAmidABatch(Told):
    """Takes long, and has everything listed again when it is told of `b`."""

    def __init__(self, at: Rig) -> None:
        super().__init__()
        self.at = at

    def added(self, obj: Service, *, initial: bool) -> None:
        self.at.clock.jump(0.006)
        super().added(obj, initial=initial)
        if obj.metadata.name == "b":
            self.at.informer.relist("as somebody wants it", consistent=True)


async def test_what_a_stream_that_was_given_up_had_handed_over_is_no_part_of_the_next_one() -> None:
    async with rig() as at:
        at.informer.add_handler(RelistsAmidABatch(at))
        stream = await at.stream()
        await at.send(stream, end("10"))
        stream.send(change("ADDED", service("a", "11")), change("ADDED", service("b", "12")))
        stream.send(change("ADDED", service("gone", "13")))
        await at.clock.settle()
        assert stream.closed == 1
        # `gone` was deleted before the next stream began, so nothing will ever say so.
        second = await at.stream()
        await at.send(second, change("ADDED", service("a", "11")), change("ADDED", service("b", "12")), end("20"))
        assert at.informer.store.keys() == ("d/a", "d/b")
        assert not at.transport.calls


@pytest.mark.parametrize("mode", ["auto", "list"])
async def test_a_stream_that_ends_when_it_is_given_up_ends_nothing_else(mode: Literal["auto", "list"]) -> None:
    async with rig(mode=mode) as at:
        at.informer.add_handler(RelistsAmidABatch(at))
        if mode == "auto":
            stream = await at.stream()
            await at.send(stream, end("10"))
        else:
            at.transport.take("GET").reply(listed(rv="10"))
            stream = await at.watch()
        stream.send(change("ADDED", service("a", "11")), change("ADDED", service("b", "12")))
        stream.end()
        await at.clock.settle()
        if mode == "auto":
            second = await at.stream()
            await at.send(second, change("ADDED", service("a", "11")), change("ADDED", service("b", "12")), end("20"))
        else:
            at.transport.take("GET").reply(listed(service("a", "11"), service("b", "12"), rv="20"))
            second = await at.watch()
        assert not at.transport.calls
        await at.clock.advance(60.0)
        assert not at.transport.calls
        assert [each.closed for each in at.transport.streams] == [1, 0]
        await at.send(second, change("ADDED", service("c", "21")))
        assert at.informer.store.keys() == ("d/a", "d/b", "d/c")


async def test_what_is_streamed_again_in_the_version_that_is_stored_stays_the_object_it_was() -> None:
    async with rig() as at:
        stream = await at.stream()
        both = [change("ADDED", service(name, "1", uid=f"u-{name}", type="ClusterIP")) for name in ("a", "b")]
        await at.send(stream, *both, end("10"))
        before = {name: at.informer.store.get(name) for name in ("d/a", "d/b")}
        at.informer.relist("asked")
        stream = await at.stream()
        await at.send(stream, both[0], change("ADDED", service("b", "2", uid="u-b")), end("20"))
        assert [at.informer.store.get(name) is before[name] for name in before] == [True, False]


async def test_a_write_of_ours_that_is_newer_than_the_stream_stays() -> None:
    async with rig() as at:
        stream = await at.stream()
        await at.send(stream, change("ADDED", service("a", "1")), end("10"))
        at.informer.note_write(msgspec.convert(service("a", "20", type="LoadBalancer"), Service))
        at.informer.relist("asked")
        stream = await at.stream()
        await at.send(stream, change("ADDED", service("a", "1")), end("15"))
        stored = at.informer.store.get("d/a")
        assert stored is not None
        assert stored.metadata.resource_version == "20"


async def test_the_chunks_of_a_stream_are_let_go_once_their_objects_are_stored() -> None:
    chunk = b"".join(
        msgspec.json.encode(each) + b"\n"
        for each in (*(change("ADDED", service(f"n{number}", "1")) for number in range(100)), end("10"))
    )
    unreferenced = sys.getrefcount(chunk)
    async with rig() as at:
        stream = await at.stream()
        stream.send_bytes(chunk)
        await at.clock.settle()
        assert len(at.informer.store) == 100
        gc.collect()
        assert sys.getrefcount(chunk) == unreferenced


# Silence


async def test_a_stream_that_showed_a_bookmark_and_falls_silent_is_continued_without_a_list_and_counted() -> None:
    async with rig() as at:
        stream = await at.stream()
        await at.send(stream, change("ADDED", service("a", "1")), end("10"))
        await at.clock.advance(60.0)
        await at.send(stream, bookmark("15"))
        await at.clock.advance(149.9)
        assert stream.closed == 0
        await at.clock.advance(0.1)
        assert stream.closed == 1
        assert at.transport.calls[0].query["resourceVersion"] == "15"
        await at.watch()
        assert at.count("reflector_idle_closes_total") == 1
        assert at.told.taken() == [("added", "a", True)]


async def test_a_stream_without_bookmarks_is_kept_until_its_own_limit() -> None:
    async with rig() as at:
        stream = await at.stream()
        await at.send(stream, end("10"))
        await at.clock.advance(329.9)
        assert stream.closed == 0
        assert at.count("reflector_idle_closes_total") == 0
        await at.clock.advance(0.1)
        assert stream.closed == 1
        await at.watch()
        assert at.count("reflector_idle_closes_total") == 1


# Audits


async def audit(at: Rig, *, rv: str, items: tuple[dict[str, Any], ...]) -> Stream:
    """Let the audit come, answer its list, and open the watch that goes on from before it."""
    await at.clock.advance(800.0 - at.clock.now())
    call = at.transport.take("GET")
    assert call.query == {"limit": "500"}
    call.reply(listed(*items, rv=rv))
    return await at.watch()


async def test_an_object_that_is_missing_and_one_that_is_only_stored_are_mended_and_counted() -> None:
    async with rig(audit=1000.0, mode="list") as at:
        at.transport.take("GET").reply(listed(service("a", "1"), service("ghost", "2")))
        stream = await at.watch()
        await at.clock.advance(330.0)
        stream = await at.watch()
        await at.clock.advance(330.0)
        stream = await at.watch()
        assert stream.closed == 0
        stream = await audit(at, rv="50", items=(service("a", "1"), service("lost", "3")))
        assert at.informer.store.keys() == ("d/a", "d/ghost")
        at.told.taken()
        await at.clock.advance(60.0)
        at.transport.take("GET").reply(listed(service("a", "1"), service("lost", "3"), rv="60"))
        await at.watch()
        assert at.told.taken() == [("deleted", "ghost", False), ("added", "lost", False)]
        assert at.count("reflector_audit_differences_total") == 2


async def test_an_audit_amid_changes_finds_nothing() -> None:
    async with rig(audit=1000.0, mode="list") as at:
        at.transport.take("GET").reply(listed(service("a", "1"), service("b", "2"), service("c", "3")))
        for _ in range(3):
            stream = await at.watch()
            await at.clock.advance(266.0)
            await at.send(stream, bookmark("10"))
            stream.end()
        stream = await at.watch()
        at.informer.note_write(msgspec.convert(service("ours", "55", type="LoadBalancer"), Service))
        stream = await audit(at, rv="50", items=(service("a", "40"), service("c", "3"), service("d", "45")))
        await at.send(
            stream,
            change("MODIFIED", service("a", "40")),
            change("DELETED", service("b", "42")),
            change("ADDED", service("d", "45")),
            change("ADDED", service("ours", "55", type="LoadBalancer")),
        )
        await at.clock.advance(100.0)
        assert at.count("reflector_audit_differences_total") == 0
        assert not at.transport.calls
        assert at.informer.store.keys() == ("d/a", "d/c", "d/d", "d/ours")
