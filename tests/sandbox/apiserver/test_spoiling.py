# SPDX-License-Identifier: Apache-2.0
"""Faults of the way, and of a server that lags: each does what it says. The rules themselves: `test_faults.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from purelb.sandbox.apiserver.core import ApiResponse, Watcher
from purelb.sandbox.apiserver.faults import (
    Answer,
    Chunks,
    Compact,
    CutStream,
    DropEvent,
    Expire,
    Garble,
    Hang,
    LoseAnswer,
    NoBookmarks,
    Older,
    Refuse,
    Reset,
    Rule,
    Silence,
)
from purelb.sandbox.apiserver.spoiling import Spoiled
from tests.sandbox.apiserver.driver import SERVICES, service

if TYPE_CHECKING:
    from purelb.sandbox.apiserver.faults import Effect
    from tests.sandbox.apiserver.driver import Api


def order(api: Api, effect: Effect, **match: Any) -> None:
    api.core.faults.add(Rule(effect=effect, **match))


def watching(api: Api, effect: Effect, *, names: str = "abc") -> tuple[Watcher, list[bytes]]:
    """A watch under a fault, and what it brought of one addition per name."""
    order(api, effect, verb="watch", count=1)
    made = api.raw("GET", SERVICES, watch="true", resourceVersion=str(api.core.revision))
    assert isinstance(made, Watcher)
    found: list[bytes] = []
    for name in names:
        api.post(SERVICES, service(name))
        while frames := made.frames(api.now):
            found += frames
    while frames := made.frames(api.now):
        found += frames
    return made, found


def kinds(frames: list[bytes]) -> list[str]:
    return [msgspec.json.decode(line)["type"] for line in b"".join(frames).splitlines()]


# Whole answers


@pytest.mark.parametrize(("code", "reason"), [(401, "Unauthorized"), (429, "TooManyRequests"), (418, "Unknown")])
def test_an_answer_carries_its_usual_reason_and_a_time_to_wait(api: Api, code: int, reason: str) -> None:
    order(api, Answer(code=code, retry_after=7))
    found = api.get(SERVICES)
    assert (found.code, found.body["reason"], found.headers["Retry-After"]) == (code, reason, "7")
    assert found.body["details"]["retryAfterSeconds"] == 7


def test_an_answer_may_be_any_text(api: Api) -> None:
    order(api, Answer(code=502, text="<html>"))
    assert api.get(SERVICES).body == "<html>"


@pytest.mark.parametrize(
    ("effect", "done"), [(Hang(), False), (Reset(), False), (Refuse(), False), (LoseAnswer(), True)]
)
def test_without_an_answer_a_write_was_done_or_not(api: Api, effect: Effect, *, done: bool) -> None:
    order(api, effect, verb="create", count=1)
    made = api.raw(
        "POST", SERVICES, body=msgspec.json.encode(service("web")), headers={"content-type": "application/json"}
    )
    assert isinstance(made, Watcher)
    assert made.frames(api.now + 1e6) == []
    assert made.head is None
    assert made.aborted == (not isinstance(effect, Hang))
    assert (api.get(f"{SERVICES}/web").code == 200) == done


def test_compacting_forgets_the_past_and_then_does_it(api: Api) -> None:
    old = api.core.revision
    api.post(SERVICES, service("a"))
    order(api, Compact(), verb="list", count=1)
    assert api.get(SERVICES).code == 200
    assert api.watch(SERVICES, resourceVersion=str(old)).names()[0][0] == "ERROR"


def test_an_older_list_is_one_that_was_true_once(api: Api) -> None:
    api.post(SERVICES, service("a"))
    then = api.core.revision
    api.post(SERVICES, service("b"))
    api.delete(f"{SERVICES}/a")
    order(api, Older(revisions=api.core.revision - then), verb="list")
    found = api.get(SERVICES, resourceVersion="0")
    assert {each["metadata"]["name"] for each in found.body["items"]} == {"kubernetes", "a"}
    assert found.rv == str(then)
    assert {each["metadata"]["name"] for each in api.get(SERVICES).body["items"]} == {"kubernetes", "b"}, (
        "a quorum read"
    )
    assert api.get(SERVICES, resourceVersion=str(then + 1)).code == 504, "it does not have that yet"


# Streams


def test_a_stream_may_be_cut_within_a_frame(api: Api) -> None:
    made, found = watching(api, CutStream(after_bytes=1000))
    assert len(b"".join(found)) == 1000
    assert made.ended
    assert made.aborted


def test_a_silent_stream_neither_goes_on_nor_ends(api: Api) -> None:
    made, found = watching(api, Silence(after_frames=1))
    assert kinds(found) == ["ADDED"]
    assert made.frames(api.now + 1e6) == []
    assert not made.ended
    assert made.due() is None
    assert made.head is not None


@pytest.mark.parametrize("size", [1, 100, 1_000_000])
def test_pieces_have_their_size_wherever_frames_end_and_nothing_is_lost(api: Api, size: int) -> None:
    _, found = watching(api, Chunks(size_bytes=size))
    assert kinds(found) == ["ADDED"] * 3
    assert max(map(len, found)) <= size


def test_a_whole_stream_in_pieces_ends_when_its_last_piece_is_out(api: Api) -> None:
    order(api, Chunks(size_bytes=7), verb="watch")
    made = api.raw("GET", SERVICES, watch="true", resourceVersion="0", timeoutSeconds="1")
    assert isinstance(made, Spoiled)
    api.now += 2.0
    found: list[bytes] = []
    while frames := made.frames(api.now):
        found += frames
    assert kinds(found)[0] == "ADDED"
    assert made.ended


@pytest.mark.parametrize("truncate", [True, False])
def test_one_frame_is_garbled_and_the_others_are_not(api: Api, *, truncate: bool) -> None:
    _, found = watching(api, Garble(after_frames=1, truncate=truncate))
    first, *rest = b"".join(found).splitlines()
    assert msgspec.json.decode(first)["type"] == "ADDED"
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(rest[0])
    assert len(rest) == (1 if truncate else 2), "the half of a line joins the next one"


def test_a_watch_expires_after_so_many_frames(api: Api) -> None:
    made, found = watching(api, Expire(after_frames=1))
    assert kinds(found) == ["ADDED", "ERROR"]
    assert msgspec.json.decode(found[-1])["object"]["code"] == 410
    assert made.ended
    assert not made.aborted


def test_bookmarks_can_be_kept_back(api: Api) -> None:
    for suppressed in (False, True):
        if suppressed:
            order(api, NoBookmarks(), verb="watch")
        stream = api.watch(SERVICES, resourceVersion=str(api.core.revision), allowWatchBookmarks="true")
        api.post(SERVICES, service(f"s{suppressed:d}"))
        api.now += 61.0
        assert ("BOOKMARK" in [kind for kind, _ in stream.names()]) is not suppressed


def test_one_event_is_dropped_and_its_neighbours_are_not(api: Api) -> None:
    _, found = watching(api, DropEvent(after_events=1))
    assert [msgspec.json.decode(frame)["object"]["metadata"]["name"] for frame in found] == ["a", "c"]


def test_faults_of_streams_leave_whole_answers_alone(api: Api) -> None:
    order(api, CutStream())
    assert isinstance(api.raw("GET", SERVICES), ApiResponse)
