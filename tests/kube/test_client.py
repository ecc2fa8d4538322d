# SPDX-License-Identifier: Apache-2.0
"""The verbs: what is sent, and which error an answer is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.decode import Event, Failed, Foreign, Garbled, Spoiled
from purelb.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    DecodeError,
    Expired,
    Forbidden,
    Invalid,
    KubeError,
    NotDeclared,
    NotFound,
    ServerError,
    Status,
    StatusCause,
    StatusDetails,
    TooManyRequests,
    TransportError,
)
from purelb.kube.model import ObjectMeta, PartialObject, Service
from purelb.kube.resources import ACCESS_REVIEWS, LEASES, NODES, SECRETS, SERVICES, Access, Resource
from tests.kube.scripted import Call, Scripted, client_over
from tests.kube.told import Told
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from purelb.kube.metrics import Metric

SERVICE = {"kind": "Service", "metadata": {"name": "a", "namespace": "d", "resourceVersion": "7"}}


def answering(answer: Callable[[Call], None], **more: Any) -> tuple[ApiClient, Scripted]:
    transport = Scripted(answer)
    return client_over(transport, VirtualClock(0.0), **more), transport


def fixed(
    body: Any = SERVICE, *, status: int = 200, headers: dict[str, str] | None = None, **more: Any
) -> tuple[ApiClient, Scripted]:
    return answering(lambda call: call.reply(body, status=status, headers=headers), **more)


# What is sent


async def test_a_get_says_who_asks_and_what_it_takes() -> None:
    client, transport = fixed()
    service = await client.get(SERVICES, "a", namespace="d", rv="0")
    assert service.metadata.name == "a"
    [call] = transport.seen
    assert (call.method, call.path, call.query) == ("GET", "/api/v1/namespaces/d/services/a", {"resourceVersion": "0"})
    assert call.headers == {
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "tests",
        "authorization": "Bearer t0ken",
    }


PATCHES = {
    "merge": (PatchType.MERGE, {"status": {}}, {"status": {}, "metadata": {"resourceVersion": "7"}}),
    "merge with metadata": (
        PatchType.MERGE,
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"labels": {"a": "b"}, "resourceVersion": "7"}},
    ),
    "strategic": (PatchType.STRATEGIC, {"spec": {}}, {"spec": {}, "metadata": {"resourceVersion": "7"}}),
    "apply": (PatchType.APPLY, {"spec": {}}, {"spec": {}, "metadata": {"resourceVersion": "7"}}),
    "json": (
        PatchType.JSON,
        b'[{"op":"remove","path":"/spec"}]',
        [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "remove", "path": "/spec"},
        ],
    ),
}


@pytest.mark.parametrize("name", PATCHES)
@pytest.mark.parametrize("as_bytes", [True, False])
async def test_a_patch_with_a_version_carries_it_where_the_server_checks_it(name: str, *, as_bytes: bool) -> None:
    kind, body, sent = PATCHES[name]
    client, transport = fixed()
    given: Any = msgspec.json.encode(body) if as_bytes and not isinstance(body, bytes) else body
    await client.patch(SERVICES, "a", given, kind=kind, namespace="d", subresource="status", rv="7", field_manager="me")
    [call] = transport.seen
    assert call.path == "/api/v1/namespaces/d/services/a/status"
    assert call.query == {"fieldManager": "me"}
    assert call.headers["content-type"] == kind.value
    assert call.json == sent


async def test_a_patch_without_a_version_is_sent_as_it_is() -> None:
    client, transport = fixed()
    await client.patch(SERVICES, "a", b'{"x": 1}', kind=PatchType.MERGE, namespace="d", dry_run=True)
    assert transport.seen[0].request.body == b'{"x": 1}'
    assert transport.seen[0].query == {"dryRun": "All"}


async def test_an_apply_needs_a_manager_and_may_force() -> None:
    client, transport = fixed()
    with pytest.raises(ValueError, match="needs a field_manager"):
        await client.patch(SERVICES, "a", {}, kind=PatchType.APPLY, namespace="d")
    assert not transport.seen
    await client.patch(SERVICES, "a", {}, kind=PatchType.APPLY, namespace="d", field_manager="me", force=True)
    assert transport.seen[0].query == {"fieldManager": "me", "force": "true"}


async def test_a_body_that_is_not_a_patch_cannot_be_bound_to_a_version() -> None:
    client, transport = fixed()
    for kind, body in ((PatchType.MERGE, b"[]"), (PatchType.JSON, b"{}"), (PatchType.MERGE, b"{")):
        with pytest.raises(ValueError, match="is not a"):
            await client.patch(SERVICES, "a", body, kind=kind, namespace="d", rv="7")
    assert not transport.seen


async def test_a_delete_carries_its_preconditions() -> None:
    client, transport = fixed({"kind": "Status", "status": "Success"})
    await client.delete(SERVICES, "a", namespace="d", uid="u", rv="7")
    await client.delete(SERVICES, "a", namespace="d", propagation="Foreground")
    assert transport.seen[0].json == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u", "resourceVersion": "7"},
    }
    assert transport.seen[1].json == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Foreground",
    }


async def test_a_create_answers_the_object_as_stored() -> None:
    client, transport = fixed(status=201)
    service = await client.create(SERVICES, {"metadata": {"name": "a"}}, namespace="d", field_manager="me")
    assert service.metadata.resource_version == "7"
    assert (transport.seen[0].method, transport.seen[0].path) == ("POST", "/api/v1/namespaces/d/services")


async def test_what_a_struct_has_dropped_is_never_put_back() -> None:
    client, transport = fixed()
    with pytest.raises(TypeError, match="patch it instead"):
        await client.replace(SERVICES, Service(metadata=ObjectMeta(name="a", namespace="d")))
    assert not transport.seen


async def test_a_complete_struct_may_be_put() -> None:
    client, transport = fixed({"metadata": {"name": "a"}})
    whole = Resource(
        group="x.test", version="v1", plural="things", kind="Thing", namespaced=False, type=PartialObject, complete=True
    )
    await client.replace(whole, PartialObject(metadata=ObjectMeta(name="a", resource_version="3")))
    assert (transport.seen[0].method, transport.seen[0].path) == ("PUT", "/apis/x.test/v1/things/a")
    assert transport.seen[0].json["metadata"]["resourceVersion"] == "3"


@pytest.mark.parametrize(
    "name", ["../x", "", "a/b", "..", ".", "a%2e", "a?b", "a#b", "a\nb", "a b", "\udc80", "a\ud800"]
)
async def test_a_name_that_could_leave_its_place_is_refused_before_anything_is_sent(name: str) -> None:
    client, transport = fixed()
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: client.get(SERVICES, name, namespace="d"),
        lambda: client.get(SERVICES, "a", namespace=name),
        lambda: client.delete(NODES, name),
        lambda: client.patch(SERVICES, "a", {}, kind=PatchType.MERGE, namespace="d", subresource=name),
    )
    for call in calls:
        with pytest.raises(ValueError, match="cannot be part of a path"):
            await call()
    assert not transport.seen


async def test_a_namespace_belongs_to_namespaced_kinds_only() -> None:
    client, _ = fixed()
    with pytest.raises(ValueError, match="cluster-scoped"):
        await client.get(NODES, "a", namespace="d")
    with pytest.raises(ValueError, match="needs a namespace"):
        await client.get(SERVICES, "a")


async def test_raw_paths_are_taken_as_they_are_and_refusals_raised() -> None:
    client, transport = fixed(b"ok")
    assert (await client.raw("GET", "/readyz", query=(("verbose", "1"),))).body == b"ok"
    assert transport.seen[0].request.target == "/readyz?verbose=1"
    with pytest.raises(ValueError, match="absolute path"):
        await client.raw("GET", "readyz")
    refusing, _ = answering(lambda call: call.refuse(403, "Forbidden"))
    with pytest.raises(Forbidden):
        await refusing.raw("GET", "/metrics")


# Errors

BODIES: dict[str, tuple[int, bytes, type[KubeError], str, str]] = {
    "a page": (502, b"<html><body>Bad Gateway</body></html>", ServerError, "Unknown", "<html>"),
    "nothing": (503, b"", ServerError, "ServiceUnavailable", ""),
    "a cut Status": (409, b'{"kind":"Status","reason":"AlreadyEx', Conflict, "Conflict", '{"kind"'),
    "70 KB of text": (500, b"x" * 70_000, ServerError, "InternalError", "x" * 512),
    "a list": (400, b"[1, 2]", ApiError, "BadRequest", "[1, 2]"),
    "null": (422, b"null", Invalid, "Invalid", "null"),
    "plain text": (404, b"404 page not found\n", NotFound, "NotFound", "404 page not found"),
    "control characters": (403, b"no\x00\x1b[31m", Forbidden, "Forbidden", "no  [31m"),
    "bytes that are not text": (500, b"\xff\xfe", ServerError, "InternalError", ""),
}


@pytest.mark.parametrize("name", BODIES)
async def test_whatever_a_refusal_says_it_becomes_an_error_with_reason_and_message(name: str) -> None:
    code, body, kind, reason, starts = BODIES[name]
    client, _ = fixed(body, status=code)
    with pytest.raises(kind) as caught:
        await client.get(SERVICES, "a", namespace="d")
    error = caught.value
    assert isinstance(error, ApiError)
    assert (error.code, error.reason) == (code, reason)
    assert error.message.startswith(starts)
    assert len(error.message) <= 512
    assert (error.method, error.path) == ("GET", "/api/v1/namespaces/d/services/a")


LONG = "x" * 5000 + "\n"
ODD = Status(
    message="no\r\n\x1b[31mFAKE LINE " + LONG,
    reason="In\nvalid",
    code=422,
    details=StatusDetails(
        name=LONG,
        retry_after_seconds=3,
        causes=(StatusCause(message=LONG, field="a\tb"), *(StatusCause(reason=f"r{n}") for n in range(100))),
    ),
)


@pytest.mark.parametrize("where", ["an answer", "a watch"])
async def test_words_of_a_server_are_short_and_plain_however_they_came(where: str) -> None:
    status = msgspec.to_builtins(ODD) | {"kind": "Status"}

    def answer(call: Call) -> None:
        if where == "a watch":
            call.open().send({"type": "ERROR", "object": status})
        else:
            call.reply(status, status=422)

    client, _ = answering(answer)
    if where == "a watch":
        async with client.watch(SERVICES, rv="5", timeout_s=300) as stream:
            (failed,) = await anext(stream)
        assert isinstance(failed, Failed)
        error = failed.error
    else:
        with pytest.raises(Invalid) as caught:
            await client.get(SERVICES, "a", namespace="d")
        error = caught.value
    assert isinstance(error, Invalid)
    assert str(error).isprintable()
    assert error.message.startswith("no   [31mFAKE LINE xxx")
    assert len(error.message) == 512
    assert len(error.causes) == 32
    assert (len(error.causes[0].message), error.causes[0].field) == (512, "a b")
    assert error.status.details is not None
    assert (len(error.status.details.name), error.retry_after) == (512, 3.0)


async def test_two_kinds_of_409_are_told_apart_by_their_reason() -> None:
    for reason, kind in (("AlreadyExists", AlreadyExists), ("Conflict", Conflict)):
        client, _ = answering(lambda call, reason=reason: call.refuse(409, reason))  # type: ignore[misc]
        with pytest.raises(kind):
            await client.create(SERVICES, {}, namespace="d")


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
WAITS: dict[str, tuple[dict[str, str], int | None, float | None]] = {
    "seconds": ({"retry-after": "7"}, None, 7.0),
    "a date": ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, None, 30.0),
    "a date without a Date": ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None, None),
    "a date that has passed": ({"retry-after": "Wed, 21 Oct 2026 07:00:00 GMT", "date": DATE}, None, 0.0),
    "a negative number": ({"retry-after": "-5"}, None, 0.0),
    "a huge number": ({"retry-after": "99999999"}, None, 3600.0),
    "garbage": ({"retry-after": "soon"}, None, None),
    "a number below below zero": ({"retry-after": "--5"}, None, None),
    "a year beyond all years": ({"retry-after": "Wed, 21 Oct 99999999999 07:28:30 GMT", "date": DATE}, None, None),
    "a zone beyond all zones": ({"retry-after": f"Wed, 21 Oct 2026 07:28:30 +{'9' * 30}", "date": DATE}, None, None),
    "a Date beyond all dates": ({"retry-after": DATE, "date": f"1 Jan 2000 00:00:00 +{'9' * 30}"}, None, None),
    "the body alone": ({}, 4, 4.0),
    "the longer of both": ({"retry-after": "2"}, 9, 9.0),
    "neither": ({}, None, None),
}


@pytest.mark.parametrize("name", WAITS)
async def test_how_long_to_wait_is_read_from_header_and_body(name: str) -> None:
    headers, in_body, wanted = WAITS[name]
    details = {} if in_body is None else {"details": {"retryAfterSeconds": in_body}}
    client, _ = answering(lambda call: call.refuse(429, "TooManyRequests", headers=headers, **details))
    with pytest.raises(TooManyRequests) as caught:
        await client.get(SERVICES, "a", namespace="d")
    assert caught.value.retry_after == wanted


async def test_a_redirect_is_an_error_and_nothing_follows_it() -> None:
    client, transport = fixed(b"", status=302, headers={"location": "http://elsewhere.test/"})
    with pytest.raises(TransportError) as caught:
        await client.get(SERVICES, "a", namespace="d")
    assert caught.value.kind == "redirect"
    assert len(transport.seen) == 1


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"kind":"Pod"}', b'{"kind":"Service","spec":1}', b"[" * 100_000])
async def test_an_answer_that_is_not_what_was_asked_for_is_a_decode_error(body: bytes) -> None:
    client, _ = fixed(body)
    with pytest.raises(DecodeError):
        await client.get(SERVICES, "a", namespace="d")


async def test_a_server_that_never_answers_is_given_up_at_the_limit() -> None:
    clock, transport = VirtualClock(0.0), Scripted()
    client = client_over(transport, clock)
    ended: list[tuple[float, str]] = []

    async def ask(**limit: Any) -> None:
        try:
            await client.get(SERVICES, "a", namespace="d", **limit)
        except TransportError as error:
            ended.append((clock.now(), error.kind))

    async with asyncio.TaskGroup() as group:
        group.create_task(ask())
        group.create_task(ask(timeout=2.5))
        await clock.advance(60.0)
    assert ended == [(2.5, "timeout"), (10.0, "timeout")]
    assert all(call.gone for call in transport.seen)


async def test_a_page_of_a_list_may_take_a_minute() -> None:
    clock, transport = VirtualClock(0.0), Scripted()
    client = client_over(transport, clock)
    ended: list[float] = []

    async def ask() -> None:
        with pytest.raises(TransportError, match="timeout"):
            await client.list_page(SERVICES)
        ended.append(clock.now())

    async with asyncio.TaskGroup() as group:
        group.create_task(ask())
        await clock.advance(120.0)
    assert ended == [60.0]
    assert all(call.gone for call in transport.seen)


# Lists


def page(*names: str, rv: str, more: str = "") -> dict[str, Any]:
    items = [{"metadata": {"name": name, "namespace": "d"}} for name in names]
    return {"kind": "ServiceList", "metadata": {"resourceVersion": rv, "continue": more}, "items": items}


async def pages_of(client: ApiClient, **more: Any) -> list[tuple[list[str], str]]:
    return [
        ([obj.metadata.name for obj in found.objects], found.rv) async for found in client.list_pages(SERVICES, **more)
    ]


async def test_pages_follow_each_other_with_the_version_of_the_first() -> None:
    answers = [page("a", rv="10", more="1"), page("b", rv="", more="2"), page("c", rv="99")]
    client, transport = answering(lambda call: call.reply(answers.pop(0)))
    assert await pages_of(client, rv="0", match="NotOlderThan", limit=1, labels="x") == [
        (["a"], "10"),
        (["b"], "10"),
        (["c"], "10"),
    ]
    assert [call.query for call in transport.seen] == [
        {"labelSelector": "x", "resourceVersion": "0", "resourceVersionMatch": "NotOlderThan", "limit": "1"},
        {"labelSelector": "x", "limit": "1", "continue": "1"},
        {"labelSelector": "x", "limit": "1", "continue": "2"},
    ]


@pytest.mark.parametrize("items", [[], None])
async def test_an_empty_list_is_one_empty_page(items: object) -> None:
    client, _ = fixed({"metadata": {"resourceVersion": "3"}, "items": items})
    assert await pages_of(client) == [([], "3")]


async def test_a_page_that_expired_gives_one_list_without_pages() -> None:
    def answer(call: Call) -> None:
        if "continue" in call.query:
            call.refuse(410, "Expired")
        elif "limit" in call.query:
            call.reply(page("a", rv="10", more="x"))
        else:
            call.reply(page("a", "b", rv="12"))

    client, transport = answering(answer)
    assert await pages_of(client, rv="5") == [(["a"], "10"), (["a", "b"], "12")]
    assert transport.seen[-1].query == {"resourceVersion": "5"}


async def test_a_first_page_that_expired_is_raised() -> None:
    client, _ = answering(lambda call: call.refuse(410, "Expired"))
    with pytest.raises(Expired):
        await pages_of(client, rv="5")


async def test_one_object_that_does_not_decode_does_not_cost_the_list() -> None:
    body = {
        "metadata": {"resourceVersion": "3"},
        "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}, "spec": 1}, 7],
    }
    client, _ = fixed(body)
    found = await client.list_page(SERVICES)
    assert [obj.metadata.name for obj in found.objects] == ["a"]
    assert [bad.key for bad in found.poison] == ["b", ""]


@pytest.mark.parametrize("kind", ["Table", "PodList"])
async def test_a_list_of_another_kind_is_a_decode_error(kind: str) -> None:
    client, _ = fixed({"kind": kind, "metadata": {}, "items": []})
    with pytest.raises(DecodeError):
        await client.list_page(SERVICES)


async def test_a_list_that_is_nested_too_deeply_is_a_decode_error() -> None:
    client, _ = fixed(b'{"items":[' + b"[" * 100_000)
    with pytest.raises(DecodeError):
        await client.list_page(SERVICES)


async def test_metadata_is_asked_for_alone_where_only_it_is_wanted() -> None:
    client, transport = fixed(
        {"kind": "PartialObjectMetadataList", "metadata": {}, "items": [{"metadata": {"name": "a"}}]}
    )
    found = await client.list_page(SECRETS, namespace="d")
    assert found.objects == (PartialObject(metadata=ObjectMeta(name="a")),)
    assert transport.seen[0].headers["accept"].startswith("application/json;as=PartialObjectMetadataList;g=meta.k8s.io")
    table, _ = fixed({"kind": "Table"})
    with pytest.raises(DecodeError, match="Table"):
        await table.get(SECRETS, "a", namespace="d")


# Watches


def open_only(call: Call) -> None:
    call.open()


async def drain(client: ApiClient) -> None:
    async with client.watch(SERVICES, rv="5", timeout_s=300) as stream:
        async for _ in stream:
            pass


async def test_a_watch_hands_out_events_whatever_they_are() -> None:
    def answer(call: Call) -> None:
        stream = call.open()
        stream.send(
            {"type": "ADDED", "object": SERVICE},
            {"type": "MODIFIED", "object": {**SERVICE, "spec": 1}},
            {"type": "ADDED", "object": {"kind": "Pod", "metadata": {"name": "x"}}},
            {"type": "ERROR", "object": {"kind": "Status", "code": 429, "details": {"retryAfterSeconds": 3}}},
            {"type": "ERROR", "object": 5},
            {"type": "BOOKMARK", "object": {"kind": "Service", "metadata": {"resourceVersion": "9"}}},
        )
        stream.send_bytes(b"nonsense\n")
        stream.send_bytes(b'{"type":"ADDED","object":{"kind":"Ser')
        stream.end()

    client, transport = answering(answer)
    async with client.watch(SERVICES, rv="5", timeout_s=300.7, labels="a=b,c") as stream:
        batches = [batch async for batch in stream]
    transport.assert_all_closed()
    good, bad, foreign, throttled, odd, bookmark = batches[0]
    assert isinstance(good, Event)
    assert good.type == "ADDED"
    assert isinstance(bad, Spoiled)
    assert (bad.poison.key, bad.poison.rv) == ("d/a", "7")
    assert isinstance(foreign, Foreign)
    assert isinstance(throttled, Failed)
    assert throttled.error.retry_after == 3
    assert isinstance(odd, Failed)
    assert odd.error.code == 500
    assert isinstance(bookmark, Event)
    assert bookmark.object.metadata.resource_version == "9"
    assert len(batches) == 2
    assert isinstance(batches[1][0], Garbled)
    assert "labelSelector=a%3Db%2Cc" in transport.seen[0].request.target
    assert transport.seen[0].query["timeoutSeconds"] == "300"


class Ticking(VirtualClock):
    """Each look at it takes a millisecond."""

    def now(self) -> float:
        self.jump(0.001)
        return super().now()


async def test_a_large_chunk_is_decoded_in_slices_between_which_others_have_turns() -> None:
    turns: list[int] = []
    seen = 0

    def answer(call: Call) -> None:
        stream = call.open()
        stream.send(*({"type": "ADDED", "object": SERVICE} for _ in range(100)))
        stream.end()

    async def others() -> None:
        while seen < 100:
            turns.append(seen)
            await asyncio.sleep(0)

    client = client_over(Scripted(answer), Ticking(0.0))
    async with client.watch(SERVICES, rv="5", timeout_s=300) as stream, asyncio.TaskGroup() as group:
        group.create_task(others())
        async for batch in stream:
            assert len(batch) <= 5
            seen += len(batch)
    assert seen == 100
    assert turns == list(range(5, 100, 5))


@pytest.mark.parametrize("of", [0, 100_000, 1000], ids=["in one", "in one piece", "in pieces"])
async def test_a_large_list_is_decoded_in_slices_between_which_others_have_turns(of: int) -> None:
    items = [{"metadata": {"name": f"s{number}"}} for number in range(100)]
    turns: list[int] = []
    seen = 0

    def count(service: Service) -> Service:
        nonlocal seen
        seen += 1
        return service

    async def others() -> None:
        while seen < 100:
            if seen:
                turns.append(seen)
            await asyncio.sleep(0)

    def answer(call: Call) -> None:
        body = {"kind": "ServiceList", "metadata": {}, "items": items}
        call.reply_in_pieces(body, of=of) if of else call.reply(body)

    transport = Scripted(answer)
    client = client_over(transport, Ticking(0.0))
    async with asyncio.TaskGroup() as group:
        group.create_task(others())
        page = await client.list_page(SERVICES, transform=count)
    assert len(page.objects) == 100
    assert turns == list(range(5, 100, 5)), "5 ms of work at a millisecond for each object"


async def test_an_answer_may_have_256_mib_and_that_of_a_list_may_come_in_pieces() -> None:
    client, transport = fixed({"kind": "ServiceList", "metadata": {"resourceVersion": "1"}, "items": []})
    await client.list_page(SERVICES)
    await client.raw("GET", "/version")
    assert [call.request.body_max_bytes for call in transport.seen] == [256 * 1024 * 1024] * 2
    assert [call.request.in_pieces for call in transport.seen] == [True, False]


async def test_a_large_list_is_taken_apart_in_another_turn_than_it_was_read_in() -> None:
    async def turns(body: str) -> int:
        def answer(call: Call) -> None:
            items = [{"metadata": {"name": "a", "annotations": {"body": body}}}]
            call.reply({"kind": "ServiceList", "metadata": {"resourceVersion": "5"}, "items": items})

        count = 0
        client = client_over(Scripted(answer), VirtualClock(0.0))
        async with asyncio.TaskGroup() as group:
            listing = group.create_task(client.list_page(SERVICES))
            while not listing.done():
                await asyncio.sleep(0)
                count += 1
        return count

    assert await turns("x" * 2_000_000) == await turns("x") + 1


async def test_a_bad_object_of_a_kind_of_which_only_metadata_is_wanted_is_not_foreign() -> None:
    def answer(call: Call) -> None:
        stream = call.open()
        stream.send({"type": "ADDED", "object": {"kind": "Secret", "metadata": {"name": "a", "labels": 5}}})
        stream.end()

    client, _ = answering(answer)
    async with client.watch(SECRETS, rv="5", timeout_s=300) as stream:
        [(event,)] = [batch async for batch in stream]
    assert isinstance(event, Spoiled)
    assert event.poison.key == "a"


async def test_error_events_are_recognised_for_kinds_without_a_tag() -> None:
    def answer(call: Call) -> None:
        stream = call.open()
        stream.send({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}})
        stream.end()

    client, _ = answering(answer)
    async with client.watch(SECRETS, rv="5", timeout_s=300) as stream:
        [(event,)] = [batch async for batch in stream]
    assert isinstance(event, Failed)
    assert isinstance(event.error, Expired)


async def test_kinds_without_a_tag_are_told_from_others_all_the_same() -> None:
    def answer(call: Call) -> None:
        stream = call.open()
        for kind in ("PartialObjectMetadata", "Secret", None, "Table", "Pod", 5):
            stream.send({"type": "ADDED", "object": {"kind": kind, "metadata": {"name": "a"}}})
        stream.end()

    client, _ = answering(answer)
    async with client.watch(SECRETS, rv="5", timeout_s=300) as stream:
        events = [event async for batch in stream for event in batch]
    assert [type(event) for event in events] == [Event, Event, Event, Foreign, Foreign, Spoiled]


async def test_a_watch_that_is_refused_raises_and_closes() -> None:
    client, transport = answering(lambda call: call.refuse(403, "Forbidden"))
    with pytest.raises(Forbidden):
        async with client.watch(SERVICES, rv="5", timeout_s=300):
            pass
    transport.assert_all_closed()


async def test_a_refusal_that_never_ends_is_read_up_to_a_limit() -> None:
    def answer(call: Call) -> None:
        stream = call.open(status=500)
        for _ in range(100):
            stream.send_bytes(b"x" * 1000)

    client, transport = answering(answer)
    with pytest.raises(ServerError):
        async with client.watch(SERVICES, rv="5", timeout_s=300):
            pass
    transport.assert_all_closed()


async def test_a_watch_without_an_answer_is_given_up_after_65_seconds() -> None:
    clock, transport = VirtualClock(0.0), Scripted()
    client = client_over(transport, clock)
    ended: list[float] = []

    async def watch() -> None:
        with pytest.raises(TransportError, match="timeout"):
            async with client.watch(SERVICES, rv="5", timeout_s=300):
                pass
        ended.append(clock.now())

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        await clock.advance(100.0)
    assert ended == [65.0]


async def test_a_watch_that_outlives_its_limit_is_ended_by_us() -> None:
    clock = VirtualClock(0.0)
    transport = Scripted(open_only)
    client = client_over(transport, clock)
    ended: list[float] = []

    async def watch() -> None:
        with pytest.raises(TransportError, match="outlived"):
            await drain(client)
        ended.append(clock.now())

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        await clock.advance(1000.0)
    assert ended == [330.0]
    transport.assert_all_closed()


async def test_a_watch_that_outlives_its_limit_is_ended_while_its_reader_is_busy_with_something_else() -> None:
    clock = VirtualClock(0.0)
    transport = Scripted(open_only)
    client = client_over(transport, clock)
    ended: list[float] = []

    async def watch() -> None:
        with pytest.raises(TransportError, match="outlived"):
            async with client.watch(SERVICES, rv="5", timeout_s=300):
                await clock.until(10_000.0)
        ended.append(clock.now())

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        await clock.advance(1000.0)
    assert ended == [330.0]
    transport.assert_all_closed()


async def test_a_reader_of_a_watch_that_runs_out_of_its_own_time_is_told_so_as_it_is() -> None:
    clock = VirtualClock(0.0)
    transport = Scripted(open_only)
    client = client_over(transport, clock)

    async def watch() -> None:
        with pytest.raises(TimeoutError) as caught:
            async with client.watch(SERVICES, rv="5", timeout_s=300), clock.timeout_at(20.0):
                await clock.until(10_000.0)
        assert not isinstance(caught.value, TransportError)

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        await clock.advance(30.0)
    transport.assert_all_closed()


async def test_what_is_known_is_looked_for_only_until_all_that_was_there_has_been_sent() -> None:
    def sent(name: str, rv: str) -> dict[str, Any]:
        return {
            "type": "ADDED",
            "object": {"kind": "Service", "metadata": {"name": name, "resourceVersion": rv, "uid": name}},
        }

    def answer(call: Call) -> None:
        end = {"annotations": {"k8s.io/initial-events-end": "true"}, "resourceVersion": "7"}
        stream = call.open()
        stream.send(
            sent("a", "5"), {"type": "BOOKMARK", "object": {"kind": "Service", "metadata": end}}, sent("b", "8")
        )
        stream.end()

    client, _ = answering(answer)
    asked: list[str] = []

    def known(name: str) -> Service | None:
        asked.append(name)
        return None

    async with client.watch(SERVICES, rv="", timeout_s=300, initial_events=True, known=known) as stream:
        names = [event.object.metadata.name async for batch in stream for event in batch if isinstance(event, Event)]
    assert names == ["a", "", "b"]
    assert asked == ["a"]


async def test_an_endless_line_ends_the_watch() -> None:
    def answer(call: Call) -> None:
        stream = call.open()
        for _ in range(20):
            stream.send_bytes(b"x" * 1024 * 1024)

    client, transport = answering(answer)
    with pytest.raises(TransportError) as caught:
        await drain(client)
    assert caught.value.kind == "protocol"
    transport.assert_all_closed()


# Declared access

ROWS = (
    Access(resource="services", verbs=("get", "list", "watch")),
    Access(resource="services", subresource="status", verbs=("patch",)),
    Access(group="coordination.k8s.io", resource="leases", verbs=("create",), namespaces=("ours",)),
    Access(group="coordination.k8s.io", resource="leases", verbs=("get",), namespaces=("ours",), names=("leader",)),
    Access(resource="nodes", verbs=("list",), names=("n1",)),
)


async def test_a_declared_call_is_made() -> None:
    client, transport = fixed(allow=ROWS)
    await client.get(SERVICES, "a", namespace="any")
    await client.patch(SERVICES, "a", {}, kind=PatchType.MERGE, namespace="d", subresource="status")
    transport.respond = lambda call: call.reply({"metadata": {"name": "leader"}})
    await client.get(LEASES, "leader", namespace="ours")
    await client.create(LEASES, {}, namespace="ours")
    transport.respond = lambda call: call.reply({"metadata": {"resourceVersion": "1"}})
    await client.list_page(NODES, fields="metadata.name=n1")
    await client.create(ACCESS_REVIEWS, {})
    await client.raw("GET", "/version")
    await client.raw("GET", "/apis/apps/v1")
    assert len(transport.seen) == 8


async def test_each_call_is_counted_by_the_right_that_it_used_and_the_unused_ones_are_there_from_the_start() -> None:
    told = Told()
    client, _ = fixed(allow=ROWS, sink=told)
    for _ in range(2):
        await client.get(SERVICES, "a", namespace="any")
    await client.patch(SERVICES, "a", {}, kind=PatchType.MERGE, namespace="d", subresource="status")
    with pytest.raises(NotDeclared):
        await client.get(LEASES, "other", namespace="ours")
    used = {name[1:]: count for name, count in told.counts.items() if name[0] == "rest_client_access_used_total"}
    assert used == {
        ("", "services", "", "get"): 2,
        ("", "services", "", "list"): 0,
        ("", "services", "", "watch"): 0,
        ("", "services", "status", "patch"): 1,
        ("coordination.k8s.io", "leases", "", "create"): 0,
        ("coordination.k8s.io", "leases", "", "get"): 0,
        ("", "nodes", "", "list"): 0,
    }


UNDECLARED: dict[str, Callable[[ApiClient], Awaitable[object]]] = {
    "another verb": lambda c: c.delete(SERVICES, "a", namespace="d"),
    "the object instead of its status": lambda c: c.patch(SERVICES, "a", {}, kind=PatchType.MERGE, namespace="d"),
    "another namespace": lambda c: c.create(LEASES, {}, namespace="theirs"),
    "another name": lambda c: c.get(LEASES, "other", namespace="ours"),
    "all names instead of one": lambda c: c.list_page(NODES),
    "another name by selector": lambda c: c.list_page(NODES, fields="metadata.name=n2"),
    "another kind": lambda c: c.get(NODES, "n1"),
    "objects by their path": lambda c: c.raw("GET", "/api/v1/secrets"),
    "objects of a group by their path": lambda c: c.raw("GET", "/apis/apps/v1/deployments?limit=1"),
}


@pytest.mark.parametrize("name", UNDECLARED)
async def test_an_undeclared_call_is_refused_before_anything_is_sent(name: str) -> None:
    client, transport = fixed(allow=ROWS)
    with pytest.raises(NotDeclared):
        await UNDECLARED[name](client)
    assert not transport.seen


# Telling others


async def test_the_first_success_after_a_failure_is_announced_once() -> None:
    rung: list[str] = []
    answers: list[Callable[[Call], None]] = []

    def next_answer(call: Call) -> None:
        answers.pop(0)(call)

    client, _ = answering(next_answer)
    end = client.on_reachable(lambda: rung.append("reachable"))

    async def ask(answer: Callable[[Call], None]) -> None:
        answers.append(answer)
        try:
            await client.raw("GET", "/version")
        except KubeError:
            rung.append("failed")

    def fine(call: Call) -> None:
        call.reply({})

    await ask(fine)
    await ask(lambda call: call.fail("refused"))
    await ask(lambda call: call.refuse(503))
    await ask(lambda call: call.refuse(404))
    await ask(fine)
    assert rung == ["failed", "failed", "reachable", "failed"]
    await ask(lambda call: call.fail("reset"))
    end()
    end()
    await ask(fine)
    assert rung[4:] == ["failed"]


async def test_each_answer_is_counted_by_code_method_and_host() -> None:
    class Counts:
        def __init__(self) -> None:
            self.seen: list[tuple[str, tuple[str, ...]]] = []

        def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
            self.seen.append((metric.name, labels))

        def observe(self, metric: Metric, value: float, *labels: str) -> None:
            self.seen.append((metric.name, labels))

    sink = Counts()
    client, transport = fixed(page(rv="1"), sink=sink)
    await client.list_page(SERVICES)
    transport.respond = lambda call: call.fail("refused")
    with pytest.raises(TransportError):
        await client.list_page(SERVICES)
    assert sink.seen == [
        ("rest_client_requests_total", ("200", "GET", "api.test")),
        ("rest_client_request_duration_seconds", ("LIST", "api.test")),
        ("rest_client_requests_total", ("<error>", "GET", "api.test")),
    ]


async def test_a_client_that_was_not_entered_says_so() -> None:
    client = ApiClient(fixed_access("http://api.test"), user_agent="tests", clock=VirtualClock())
    with pytest.raises(TransportError, match="was not entered"):
        await client.raw("GET", "/version")
