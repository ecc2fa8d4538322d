# SPDX-License-Identifier: Apache-2.0
"""A server that lies, floods and never ends: nothing it says ends the process, and afterwards everything works again.

What one line of a watch can say is in `test_informer_hostile.py`. Here: whole answers over real sockets, lists and streams
without an end, what handlers are told of impossible events, and writers, electors and recorders that get nonsense back.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.clock import SystemClock
from purelb.kube.elector import Elector, Term
from purelb.kube.errors import DecodeError, KubeError, TransportError
from purelb.kube.informer import Informer
from purelb.kube.model import ObjectReference, Service, key
from purelb.kube.order import Target, Write, WriteResult
from purelb.kube.recorder import Recorder
from purelb.kube.resources import LEASES, SERVICES
from purelb.kube.transport import AiohttpTransport, Request, Response
from purelb.kube.writer import Writer
from tests.kube.raw_server import Line, raw_server
from tests.kube.scripted import Call, Scripted, Stream, client_over
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

GOOD = {"kind": "Service", "metadata": {"name": "a", "namespace": "d", "resourceVersion": "7"}}
LIST = {"kind": "ServiceList", "metadata": {"resourceVersion": "10"}, "items": [{"metadata": GOOD["metadata"]}]}
DEEP = b"[" * 100_000
MIB = 1024 * 1024


def over(url: str, transport: Any = None) -> ApiClient:
    return ApiClient(fixed_access(url), user_agent="tests", clock=SystemClock(), transport=transport)


# Whole answers, over sockets

ANSWERS: dict[str, bytes] = {
    "a status line of a megabyte": b"HTTP/1.1 200 " + b"x" * MIB + b"\r\n\r\n",
    "a header of a megabyte": b"HTTP/1.1 200 OK\r\nX: " + b"x" * MIB + b"\r\nContent-Length: 2\r\n\r\n{}",
    "100 000 headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"Content-Length: 2\r\n\r\n{}",
    "a status without an end": b"HTTP/1.1 2" + b"0" * 5000 + b" OK\r\n\r\n",
    "a status that is a word": b"HTTP/1.1 OK OK\r\n\r\n",
    "a status of 99": b"HTTP/1.1 99 No\r\nContent-Length: 0\r\n\r\n",
    "a status of 999": b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n",
    "a length below zero": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
    "a length beyond all bounds": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "a chunk beyond all bounds": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n{}",
    "gzip that is none": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    "an encoding nobody knows": b"HTTP/1.1 200 OK\r\nContent-Encoding: br, x\r\nContent-Length: 4\r\n\r\nnope",
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{}",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "headers that are no text": b"HTTP/1.1 200 OK\r\nX\xff\xfe: \xff\x00\r\nContent-Length: 2\r\n\r\n{}",
    "a body nested 100 000 deep": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + DEEP,
    "a refusal nested 100 000 deep": b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n" + DEEP,
    "a refusal that is no text": b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\n\xff\xfe\x00",
    "a time to wait in stars": b"HTTP/1.1 429 No\r\nRetry-After: " + b"9" * 4000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    "a redirect to nowhere": b"HTTP/1.1 302 No\r\nLocation: http://[::bad\r\nContent-Length: 0\r\n\r\n",
    "a cookie jar": b"HTTP/1.1 500 No\r\n" + b"Set-Cookie: a=b; Domain=.\r\n" * 50 + b"Content-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_whatever_the_answer_is_a_call_ends_with_an_error_of_ours_and_the_next_one_works(name: str) -> None:
    said: list[bytes] = []

    async def talk(target: str, line: Line) -> None:
        if said:
            await line.say(said.pop())
            line.close()
        else:
            await line.answer(LIST if target.endswith("services") else GOOD)

    async def watch() -> None:
        async with client.watch(SERVICES, rv="1", timeout_s=5) as stream:
            await anext(stream)

    async with raw_server(talk) as server, over(server.url) as client:
        calls: tuple[Callable[[], Awaitable[Any]], ...] = (
            lambda: client.get(SERVICES, "a", namespace="d"),
            lambda: client.list_page(SERVICES),
            lambda: client.patch(SERVICES, "a", {}, kind=PatchType.MERGE, namespace="d"),
            lambda: client.raw("GET", "/version"),
            watch,
        )
        for call in calls:
            said[:] = [ANSWERS[name]]
            with contextlib.suppress(KubeError, StopAsyncIteration):  # raw takes any body; a stream may be empty
                await call()
                assert call in calls[3:], "nonsense was taken for an answer"
            assert not said
            assert (await client.get(SERVICES, "a", namespace="d")).metadata.name == "a"


async def test_what_stands_behind_an_answer_is_not_taken_for_the_next_one() -> None:
    first = [True]

    async def talk(target: str, line: Line) -> None:
        await line.answer(GOOD)
        if first:
            first.clear()
            forged = msgspec.json.encode({"kind": "Service", "metadata": {"name": "forged", "namespace": "d"}})
            await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(forged) + forged)

    async with raw_server(talk) as server, over(server.url) as client:
        for _ in range(3):
            assert (await client.get(SERVICES, "a", namespace="d")).metadata.name == "a"


class Limited:
    """The real transport with a limit that a test can reach."""

    def __init__(self, inner: AiohttpTransport, *, body_max_bytes: int) -> None:
        self._inner = inner
        self._limit = body_max_bytes

    async def exchange(self, request: Request) -> Response:
        return await self._inner.exchange(msgspec.structs.replace(request, body_max_bytes=self._limit))

    def stream(self, request: Request) -> Any:
        return self._inner.stream(request)


def endless_list() -> bytes:
    return b'{"kind":"ServiceList","metadata":{"resourceVersion":"10"},"items":['


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
async def test_a_list_without_an_end_is_left_at_the_limit(*, compressed: bool) -> None:
    item = msgspec.json.encode(GOOD) + b","

    async def talk(target: str, line: Line) -> None:
        if compressed:
            bomb = gzip.compress(endless_list() + item * 500_000)  # 45 MB in 100 KB
            await line.answer(bomb, headers=b"Content-Encoding: gzip\r\n")
            return
        await line.open()
        await line.chunk(endless_list())
        while True:
            await line.chunk(item * 1000)

    async with raw_server(talk) as server, AiohttpTransport(server.url) as inner:
        client = over(server.url, Limited(inner, body_max_bytes=4 * MIB))
        with pytest.raises(TransportError) as caught:
            await client.list_page(SERVICES)
        assert caught.value.kind == "too_large"
        if not compressed:
            await server.until(connections=0)
            assert server.lines[0].sent < 16 * MIB, "it went on reading"


# An informer, and streams without an end


@contextlib.asynccontextmanager
async def informing(client: ApiClient, **more: Any) -> AsyncIterator[Informer[Service]]:
    informer: Informer[Service] = Informer(client, SERVICES, **({"mode": "list"} | more))
    running = asyncio.get_running_loop().create_task(informer.run())
    try:
        yield informer
        assert not running.done(), "it gave up"
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_line_without_an_end_costs_one_watch_and_its_connection() -> None:
    watches: list[Line] = []

    async def talk(target: str, line: Line) -> None:
        if "watch=" not in target:
            await line.answer(LIST)
            return
        watches.append(line)
        await line.open()
        if len(watches) == 1:
            await line.chunk(b'{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"')
            while True:
                await line.chunk(b"x" * MIB)
        await line.chunk(msgspec.json.encode({"type": "ADDED", "object": GOOD | {"metadata": {"name": "z"}}}) + b"\n")

    async with raw_server(talk) as server, over(server.url) as client, informing(client) as informer:
        while "z" not in informer.store:
            await asyncio.sleep(0.02)
        assert informer.store.keys() == ("d/a", "z")
        assert watches[0].sent < 32 * MIB, "it went on reading"
        assert server.connections <= 2


async def test_a_flood_of_events_leaves_turns_for_others_and_ends_when_told() -> None:
    bookmark = b'{"type":"BOOKMARK","object":{"kind":"Service","metadata":{"resourceVersion":"11"}}}\n'

    async def talk(target: str, line: Line) -> None:
        if "watch=" not in target:
            await line.answer(LIST)
            return
        await line.open()
        while True:
            await line.chunk(bookmark * 20_000)

    async with raw_server(talk) as server, over(server.url) as client:
        async with informing(client) as informer:
            while informer.store.rv != "11":
                await asyncio.sleep(0)
            for _ in range(20):  # twenty turns of our own, however much comes
                await asyncio.sleep(0)
        await server.until(connections=0)


def endless_pages(*, items: int, token: Callable[[int], str]) -> tuple[Scripted, list[Call]]:
    """A server whose lists promise another page for ever."""
    lists: list[Call] = []

    def respond(call: Call) -> None:
        if call.query.get("watch"):
            call.open()
            return
        lists.append(call)
        assert len(lists) < 200, "it asks for ever"
        names = [{"metadata": {"name": f"a{len(lists)}-{number}", "namespace": "d"}} for number in range(items)]
        call.reply(
            {"kind": "ServiceList", "metadata": {"resourceVersion": "5", "continue": token(len(lists))}, "items": names}
        )

    return Scripted(respond), lists


@pytest.mark.parametrize(
    ("items", "token"),
    [(0, lambda number: f"t{number}"), (3, lambda _: "again")],
    ids=["empty pages", "the same page"],
)
async def test_pages_without_an_end_are_a_failed_list(items: int, token: Callable[[int], str]) -> None:
    clock = VirtualClock(0.0)
    transport, lists = endless_pages(items=items, token=token)
    client = client_over(transport, clock)
    async with informing(client) as informer:
        await clock.advance(10.0)
        assert not informer.synced
        assert len(informer.store) == 0
        assert len(lists) < 30
        assert "continue" in informer.last_error
    with pytest.raises(DecodeError):
        async for _ in client.list_pages(SERVICES):
            pass


async def test_an_answer_that_is_no_list_does_not_empty_the_store() -> None:
    clock, answers = VirtualClock(0.0), [b"{}", b'{"items":null}', b'{"kind":"","metadata":{}}', b"{}"]
    whole, streams = msgspec.json.encode(LIST), list[Stream]()

    def respond(call: Call) -> None:
        if call.query.get("watch"):
            streams.append(call.open())
        else:
            call.reply(answers.pop() if len(streams) == 1 and answers else whole)

    async with informing(client_over(Scripted(respond), clock)) as informer:
        await clock.settle()
        assert informer.store.keys() == ("d/a",)
        informer.relist("the test wants it")
        for _ in range(60):
            await clock.advance(1.0)
            assert informer.store.keys() == ("d/a",), "unknown was taken for empty"
        assert not answers


@pytest.mark.parametrize("seconds", [10**18, -5])
async def test_an_error_event_cannot_stop_an_informer_for_ever(seconds: int) -> None:
    clock, streams = VirtualClock(0.0), list[Stream]()

    def respond(call: Call) -> None:
        if call.query.get("watch"):
            streams.append(call.open())
        else:
            call.reply(LIST)

    async with informing(client_over(Scripted(respond), clock)):
        await clock.settle()
        details = {"retryAfterSeconds": seconds}
        streams[0].send({"type": "ERROR", "object": {"kind": "Status", "code": 429, "details": details}})
        await clock.advance(3601.0)
        assert len(streams) > 1


async def test_what_a_server_says_is_cut_before_people_read_it(caplog: pytest.LogCaptureFixture) -> None:
    clock, streams = VirtualClock(0.0), list[Stream]()
    caplog.set_level("DEBUG", logger="purelb.kube")

    def respond(call: Call) -> None:
        if call.query.get("watch"):
            streams.append(call.open())
        else:
            call.reply(LIST)

    async with informing(client_over(Scripted(respond), clock)) as informer:
        await clock.settle()
        long = "x" * 5_000_000
        streams[0].send({"type": "ADDED", "object": {"kind": long, "metadata": {"name": "f"}}})
        streams[0].send({"type": long, "object": {"kind": "Service", "metadata": {"name": "f"}}})
        streams[0].send({"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "\n" + long}})
        await clock.advance(1.0)
        assert 0 < len(informer.last_error) < 2000
        assert "\n" not in informer.last_error
    written = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    assert len(written) > 2
    assert max(map(len, written)) < 4000


# An initial state that is streamed

END = {"annotations": {"k8s.io/initial-events-end": "true"}}


def line(kind: str, **meta: Any) -> bytes:
    return msgspec.json.encode({"type": kind, "object": {"kind": "Service", "metadata": meta}}) + b"\n"


A = line("ADDED", name="a", namespace="d", resourceVersion="7")
INITIAL: dict[str, bytes] = {
    "no end": A,
    "an end that is not quite one": A + line("BOOKMARK", resourceVersion="9", annotations={"k8s.io/initial-events-end": "True"}),
    "an end on an object": A + line("ADDED", name="z", namespace="d", **END),
    "an end without a version": A + line("BOOKMARK", **END),
    "an end with a word for a version": A + line("BOOKMARK", resourceVersion="abc", **END),
    "the end over and over": A + line("BOOKMARK", resourceVersion="9", **END) * 1000,
    "one object without an end": A * 50_000,
    "an object nested 100 000 deep": b'{"type":"ADDED","object":{"kind":"Service","x":' + DEEP + b"\n" + A,
    "half a line": A + b'{"type":"BOOKMARK","object":{"kind":"Serv',
    "an error at once": b'{"type":"ERROR","object":{}}\n',
    "a deletion of everything": A + line("DELETED", name="a", namespace="d", resourceVersion="8") + A,
    "a list": msgspec.json.encode(LIST) + b"\n",
    "a page of a proxy": b"<html>\n</html>\n",
}  # fmt: skip


@pytest.mark.parametrize("ends", [False, True], ids=["and stays", "and ends"])
@pytest.mark.parametrize("name", INITIAL)
async def test_however_an_initial_state_is_streamed_the_store_is_filled_in_the_end(name: str, *, ends: bool) -> None:
    """The first three streams are nonsense, then the server is well; what it lists is right all the time."""
    clock, said = VirtualClock(0.0, chance=0.5), list[str]()
    transport = Scripted()

    def respond(call: Call) -> None:
        if call.path == "/version":
            call.reply({"major": "1", "minor": "34"})
        elif not call.query.get("watch"):
            call.reply(LIST)
        elif call.query.get("sendInitialEvents") and len(said) < 3:
            said.append(call.query.get("resourceVersion", ""))
            stream = call.open()
            stream.send_bytes(INITIAL[name])
            if ends:
                stream.end()
        elif call.query.get("sendInitialEvents"):
            call.open().send_bytes(A + line("BOOKMARK", resourceVersion="10", **END))
        else:
            call.open()

    transport.respond = respond
    async with informing(client_over(transport, clock), mode="auto") as informer:
        await clock.advance(1300.0)
        assert informer.synced
        assert "d/a" in informer.store
        assert len(transport.seen) < 60, "it asks for ever"
    transport.assert_all_closed()


# Events that cannot be


class Witness:
    def __init__(self) -> None:
        self.told: list[str] = []

    def added(self, obj: Service, *, initial: bool) -> None:
        self.told.append(f"added {key(obj)}")

    def updated(self, old: Service, new: Service) -> None:
        self.told.append(f"updated {key(new)}")

    def deleted(self, obj: Service, *, final: bool) -> None:
        self.told.append(f"deleted {key(obj)}")


def happened(kind: str, name: str = "b", *, of: str = "T", **meta: Any) -> dict[str, Any]:
    spec = {"type": of}
    return {
        "type": kind,
        "object": {"kind": "Service", "metadata": {"name": name, "namespace": "d"} | meta, "spec": spec},
    }


IMPOSSIBLE: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "a deletion twice": ([happened("ADDED"), happened("DELETED"), happened("DELETED")], ["added d/b", "deleted d/b"]),
    "a deletion of what never was": ([happened("DELETED")], []),
    "a change before its addition": (
        [happened("MODIFIED"), happened("ADDED", of="U")],
        ["added d/b", "updated d/b"],
    ),
    "an addition twice": ([happened("ADDED"), happened("ADDED")], ["added d/b"]),
    "a uid that goes and comes": (
        [happened("ADDED", uid="1"), happened("MODIFIED", of="U"), happened("MODIFIED", of="V", uid="1")],
        ["added d/b", "updated d/b", "updated d/b"],
    ),
    "no uid at all": ([happened("ADDED"), happened("MODIFIED", of="U")], ["added d/b", "updated d/b"]),
    "another uid without a deletion": (
        [happened("ADDED", uid="1"), happened("MODIFIED", uid="2")],
        ["added d/b", "deleted d/b", "added d/b"],
    ),
    "a deletion of another uid": ([happened("ADDED", uid="1"), happened("DELETED", uid="2")], ["added d/b", "deleted d/b"]),
    "a version that goes back": (
        [happened("ADDED", resourceVersion="20"), happened("MODIFIED", of="U", resourceVersion="3")],
        ["added d/b", "updated d/b"],
    ),
    "versions that are words": (
        [happened("ADDED", resourceVersion="abc"), happened("MODIFIED", of="U", resourceVersion="")],
        ["added d/b", "updated d/b"],
    ),
    "another namespace than asked for": ([happened("ADDED", namespace="e")], ["added e/b"]),
    "a name that is a path": ([happened("ADDED", "../../x")], ["added d/../../x"]),
    "a name with control characters": ([happened("ADDED", "a\x00\n")], ["added d/a\x00\n"]),
    "no name": ([happened("ADDED", "")], []),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE)
async def test_of_impossible_events_handlers_are_told_a_possible_story(name: str) -> None:
    events, told = IMPOSSIBLE[name]
    clock, streams, witness = VirtualClock(0.0), list[Stream](), Witness()

    def respond(call: Call) -> None:
        if call.query.get("watch"):
            streams.append(call.open())
        else:
            call.reply({"kind": "ServiceList", "metadata": {"resourceVersion": "10"}, "items": []})

    transport = Scripted(respond)
    async with informing(client_over(transport, clock), namespace="d") as informer:
        informer.add_handler(witness)
        await clock.settle()
        streams[0].send(*events)
        await clock.settle()
        assert witness.told == told
        assert len(streams) == 1, "it cost the watch"
    transport.assert_all_closed()


async def test_the_next_watch_begins_where_nonsense_left_off_and_recovers_by_listing() -> None:
    """A version that is a word is taken over like any other; if the server cannot continue from it, we list."""
    clock, streams, asked = VirtualClock(0.0), list[Stream](), list[str]()

    def respond(call: Call) -> None:
        asked.append(call.query.get("resourceVersion", ""))
        if not call.query.get("watch"):
            call.reply(LIST)
        elif asked[-1] == "abc":
            call.refuse(400, "BadRequest")
        else:
            streams.append(call.open())

    async with informing(client_over(Scripted(respond), clock)) as informer:
        await clock.settle()
        streams[0].send(happened("ADDED", resourceVersion="abc"))
        streams[0].end()
        await clock.advance(2.0)
        assert asked == ["0", "10", "abc", "abc", "10"]
        assert informer.store.keys() == ("d/a",)


# Whoever writes

NONSENSE: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"kind":"Serv',
    "another kind": b'{"kind":"Pod","metadata":{"name":"a"}}',
    "a list": b'{"kind":"ServiceList","items":[]}',
    "null": b"null",
    "deep": DEEP,
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_a_write_that_is_answered_with_nonsense_has_failed_and_is_not_sent_again(name: str) -> None:
    clock, transport = VirtualClock(0.0), Scripted(lambda call: call.reply(NONSENSE[name]))
    writer = Writer(client_over(transport, clock), clock=clock)
    results: list[WriteResult] = []
    async with asyncio.TaskGroup() as group:
        running = group.create_task(writer.run())
        for verb in ("patch", "create"):
            write = Write(target=Target(SERVICES, "d", "a"), verb=verb, body=b"{}", reply=results.append)
            writer.submit(write)
        await clock.advance(100.0)
        running.cancel()
    assert [type(each).__name__ for each in results] == ["Failed", "Failed"]
    assert len(transport.seen) == 2


LEASE_ANSWERS: dict[str, bytes] = {name: body for name, body in NONSENSE.items() if name != "another kind"} | {
    "a lease without a spec that is never ours": b'{"kind":"Lease","metadata":{"name":"l"}}',
    "a duration of ages": b'{"kind":"Lease","spec":{"holderIdentity":"x","leaseDurationSeconds":2000000000}}',
    "a duration below zero": b'{"kind":"Lease","spec":{"holderIdentity":"x","leaseDurationSeconds":-5}}',
    "a duration that is a word": b'{"kind":"Lease","spec":{"holderIdentity":"x","leaseDurationSeconds":"long"}}',
    "a number of turns beyond all bounds": b'{"kind":"Lease","spec":{"leaseTransitions":9007199254740993000}}',
}


@pytest.mark.parametrize("name", LEASE_ANSWERS)
async def test_nobody_leads_on_nonsense_and_nobody_hurries(name: str) -> None:
    clock, transport = VirtualClock(0.0, chance=0.5), Scripted(lambda call: call.reply(LEASE_ANSWERS[name]))
    elector = Elector(client_over(transport, clock), namespace="d", name="l", identity="me", clock=clock)
    terms: list[Term] = []

    async def body(term: Term) -> None:
        terms.append(term)

    running = asyncio.get_running_loop().create_task(elector.lead(body))
    await clock.advance(300.0)
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert terms == []
    assert len(transport.seen) < 320


@pytest.mark.parametrize("name", NONSENSE)
async def test_a_recorder_that_hears_nonsense_writes_each_event_once_and_goes_on(name: str) -> None:
    clock, transport = VirtualClock(0.0), Scripted(lambda call: call.reply(NONSENSE[name]))
    recorder = Recorder(client_over(transport, clock), controller="c", instance="i", clock=clock)
    running = asyncio.get_running_loop().create_task(recorder.run())
    for number in range(3):
        about = ObjectReference(kind="Service", namespace="d", name=f"s{number}")
        recorder.event(about, type="Normal", reason="r", action="a", note="n")
    await clock.advance(100.0)
    assert not running.done()
    assert len(transport.seen) == 3
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_lease_that_another_writes_over_and_over_is_not_fought_for() -> None:
    """A server that answers every write of the lease with Conflict: no circle of reads and writes."""
    clock = VirtualClock(0.0, chance=0.5)
    free = {"kind": "Lease", "metadata": {"name": "l", "resourceVersion": "5"}, "spec": {}}

    def respond(call: Call) -> None:
        if call.method == "GET":
            call.reply(free)
        else:
            call.refuse(409, "Conflict")

    transport = Scripted(respond)
    elector = Elector(client_over(transport, clock), namespace="d", name="l", identity="me", clock=clock)
    running = asyncio.get_running_loop().create_task(elector.lead(lambda _: asyncio.sleep(0)))
    await clock.advance(60.0)
    assert len(transport.seen) < 70
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert LEASES.path("d", "l") in transport.seen[0].request.target
