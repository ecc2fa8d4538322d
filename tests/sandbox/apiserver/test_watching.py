# SPDX-License-Identifier: Apache-2.0
"""Watches: what is seen, in which order, when a bookmark comes and when it ends."""

from typing import Any

import pytest

from purelb.sandbox.apiserver.core import Watcher
from purelb.sandbox.apiserver.watch import BATCH_BYTES
from tests.sandbox.apiserver.driver import DEFINITIONS, SERVICES, TESTS, Api, Stream, custom, definition, service

TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


@pytest.mark.parametrize("rv", ["", "0"], ids=["no revision", "revision 0"])
def test_a_watch_from_now_begins_with_what_is_there(api: Api, rv: str) -> None:
    api.post(SERVICES, service("a"))
    stream = api.watch(SERVICES, resourceVersion=rv)
    api.post(SERVICES, service("b"))
    assert stream.names() == [("ADDED", "a"), ("ADDED", "kubernetes"), ("ADDED", "b")]


def test_a_watch_from_a_revision_sees_what_came_after_it(api: Api) -> None:
    first = api.post(SERVICES, service("a"))
    api.post(SERVICES, service("b"))
    api.delete(f"{SERVICES}/a")
    assert api.watch(SERVICES, resourceVersion=first.rv).names() == [("ADDED", "b"), ("DELETED", "a")]


def test_a_watch_from_a_coming_revision_is_silent_until_then(api: Api) -> None:
    stream = api.watch(SERVICES, resourceVersion=api.core.revision + 2)
    for name in ("a", "b", "c"):
        api.post(SERVICES, service(name))
    assert stream.names() == [("ADDED", "c")]


def test_a_watch_of_one_namespace_or_one_name_sees_nothing_else(api: Api) -> None:
    api.post("/api/v1/namespaces", {"metadata": {"name": "t"}})
    start = api.core.revision
    api.post("/api/v1/namespaces/t/services", service("there"))
    api.post(SERVICES, service("here"))
    api.post(SERVICES, service("also"))
    assert api.watch("/api/v1/namespaces/t/services", resourceVersion=start).names() == [("ADDED", "there")]
    chosen = api.watch(SERVICES, resourceVersion=start, fieldSelector="metadata.name=also")
    assert chosen.names() == [("ADDED", "also")]
    assert api.get(f"{SERVICES}/also", watch="true").body["kind"] == "Service", (
        "as the real server: this path is no watch"
    )


def test_entering_and_leaving_a_selection_are_added_and_deleted(api: Api) -> None:
    start = api.post(SERVICES, service()).rv
    stream = api.watch(SERVICES, resourceVersion=start, labelSelector="tier=front")
    for label in ("front", "front", "back", "front"):
        api.patch(f"{SERVICES}/web", {"metadata": {"labels": {"tier": label, "n": str(api.core.revision)}}})
    left = api.core.revision - 1
    api.delete(f"{SERVICES}/web")
    seen = stream.events()
    assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    gone = seen[2][1]["metadata"]
    assert (gone["labels"]["tier"], int(gone["resourceVersion"])) == ("front", left), "the last state that matched"


def test_a_timeout_ends_the_stream_cleanly(api: Api) -> None:
    stream = api.watch(SERVICES, resourceVersion=api.core.revision, timeoutSeconds=7)
    api.now += 6.9
    assert (stream.events(), stream.watcher.ended) == ([], False)
    api.now += 0.1
    assert (stream.events(), stream.watcher.ended, stream.watcher.aborted) == ([], True, False)


def test_without_a_timeout_a_watch_lasts_half_an_hour_to_an_hour(api: Api) -> None:
    lasts = [api.watch(SERVICES).watcher.due() for _ in range(20)]
    assert all(due is not None and 1800 <= due - api.now < 3600 for due in lasts)
    assert len(set(lasts)) == 20


def bookmarks(stream: Stream) -> list[Any]:
    return [obj for kind, obj in stream.events() if kind == "BOOKMARK"]


def test_a_bookmark_comes_each_minute_once_the_resource_has_changed_and_before_the_end(api: Api) -> None:
    start = api.core.revision
    stream = api.watch(SERVICES, resourceVersion=start, timeoutSeconds=200, allowWatchBookmarks="true")
    api.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}})
    api.now += 60
    assert bookmarks(stream) == [], "another resource does not count"
    api.post(SERVICES, service())
    api.now += 60
    assert [mark["metadata"]["resourceVersion"] for mark in bookmarks(stream)] == [str(api.core.revision)]
    api.now += 60
    assert bookmarks(stream) == [], "nothing is new"
    api.patch(f"{SERVICES}/web", {"metadata": {"labels": {"a": "b"}}})
    api.now += 17.9
    assert bookmarks(stream) == []
    api.now += 0.1
    assert len(bookmarks(stream)) == 1, "two seconds before the end"
    api.now += 2
    assert (bookmarks(stream), stream.watcher.ended) == ([], True)


def test_who_did_not_ask_for_bookmarks_gets_none(api: Api) -> None:
    stream = api.watch(SERVICES, resourceVersion=api.core.revision, timeoutSeconds=200)
    api.post(SERVICES, service())
    api.now += 199
    assert bookmarks(stream) == []


@pytest.mark.parametrize("count", [0, 1000], ids=["an empty collection", "many objects"])
def test_the_end_of_the_initial_events_is_marked_for(api: Api, count: int) -> None:
    configs = "/api/v1/namespaces/default/configmaps"
    for number in range(count):
        api.post(configs, {"metadata": {"name": f"c{number}"}})
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    *added, (kind, mark) = api.watch(configs, **asked).events()
    assert [kind for kind, _ in added] == ["ADDED"] * count
    assert (kind, mark["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})
    assert mark["metadata"]["resourceVersion"] == str(api.core.revision)


@pytest.mark.parametrize(
    "query",
    [
        {"sendInitialEvents": "true"},
        {"resourceVersionMatch": "NotOlderThan"},
        {"sendInitialEvents": "true", "resourceVersionMatch": "Exact"},
    ],
    ids=["initial events without a match", "a match without initial events", "initial events with another match"],
)
def test_a_watch_refuses(api: Api, query: dict[str, str]) -> None:
    assert api.get(SERVICES, watch="true", **query).code == 422


@pytest.mark.parametrize("rv", ["", "0", "now"])
@pytest.mark.parametrize("watch_list", ["off", "ignore"])
def test_a_server_of_before_watch_lists_refuses_them_or_does_not_know_them(watch_list: str, rv: str) -> None:
    api = Api(watch_list=watch_list)
    api.post(SERVICES, service())
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    asked |= {"resourceVersion": str(api.core.revision) if rv == "now" else rv}
    if watch_list == "off":
        refused = api.get(SERVICES, watch="true", **asked)
        [cause] = refused.body["details"]["causes"]
        assert (refused.code, cause["field"]) == (422, "sendInitialEvents")
        assert "unless the WatchList feature gate is enabled" in cause["message"]
        return
    stream = api.watch(SERVICES, **asked)
    assert [kind for kind, _ in stream.events()] == ([] if rv == "now" else ["ADDED", "ADDED"]), "no bookmark ends them"


def test_a_server_of_before_watch_lists_marks_no_beginning_for_clients_of_before(api: Api) -> None:
    old = Api(watch_list="off")
    assert [kind for kind, _ in old.watch(SERVICES, allowWatchBookmarks="true").events()] == ["ADDED"]
    assert [kind for kind, _ in api.watch(SERVICES, allowWatchBookmarks="true").events()] == ["ADDED", "BOOKMARK"]


def test_the_interval_of_bookmarks_can_be_chosen() -> None:
    api = Api(bookmark_every=5.0)
    stream = api.watch(SERVICES, resourceVersion=api.core.revision, allowWatchBookmarks="true")
    api.post(SERVICES, service())
    api.now += 4.9
    assert bookmarks(stream) == []
    api.now += 0.1
    assert len(bookmarks(stream)) == 1


def test_a_bookmark_is_an_empty_object_of_its_kind(api: Api) -> None:
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    mark = api.watch("/api/v1/services", labelSelector="none", **asked).events()[-1][1]
    assert (mark["kind"], mark["spec"], mark["status"]) == ("Service", {}, {"loadBalancer": {}})


def test_one_batch_of_a_watch_is_bounded_in_bytes_and_nothing_is_lost(api: Api) -> None:
    configs = "/api/v1/namespaces/default/configmaps"
    start = api.core.revision
    for number in range(10):
        api.post(configs, {"metadata": {"name": f"c{number}"}, "data": {"big": "x" * 50_000}})
    for query in ({"resourceVersion": start}, {"resourceVersion": "0"}):
        watcher = api.watch(configs, **query).watcher
        sizes, seen = [], 0
        while frames := watcher.frames(api.now):
            sizes.append(sum(map(len, frames)))
            seen += len(frames)
        assert seen == 10
        assert len(sizes) > 3
        assert max(sizes) <= BATCH_BYTES + 51_000


def test_a_table_watch_describes_its_columns_once(api: Api) -> None:
    made = api.raw("GET", SERVICES, headers=TABLE, watch="true")
    assert isinstance(made, Watcher)
    stream = Stream(made, api)
    api.post(SERVICES, service())
    first, second = (obj for _, obj in stream.events())
    assert (len(first["columnDefinitions"]), second["columnDefinitions"]) == (7, None)
    assert second["rows"][0]["cells"][0] == "web"


def test_deleting_a_definition_deletes_its_objects_ends_their_watches_and_takes_the_path(api: Api) -> None:
    api.post(DEFINITIONS, definition())
    api.post(TESTS, custom("a"))
    stream = api.watch(TESTS, resourceVersion=api.core.revision)
    api.delete(f"{DEFINITIONS}/tests.example.com")
    assert (stream.names(), stream.watcher.ended) == ([("DELETED", "a")], True)
    assert api.get(TESTS).body == "404 page not found\n"
    api.post(DEFINITIONS, definition())
    assert api.get(TESTS).body["items"] == []


def test_a_thousand_watchers_at_random_places_see_the_same_suffix(api: Api) -> None:
    start = api.core.revision
    streams: list[tuple[int, Stream]] = []
    for number in range(50):
        api.post(SERVICES, service(f"s{number}", allocateLoadBalancerNodePorts=False))
        streams += [(api.core.revision, api.watch(SERVICES, resourceVersion=api.core.revision)) for _ in range(20)]
    whole = api.watch(SERVICES, resourceVersion=start).watcher.frames(api.now)
    for rv, stream in streams:
        seen = stream.watcher.frames(api.now)
        assert seen == whole[rv - start :]
        assert all(one is other for one, other in zip(seen, whole[rv - start :], strict=True)), "shared, not copied"


def test_a_write_wakes_who_watches_its_resource_and_nobody_else(api: Api) -> None:
    woken: list[str] = []
    for path in ("/api/v1/services", "/api/v1/nodes"):
        stream = api.watch(path)
        stream.events()
        stream.watcher.wake = lambda path=path: woken.append(path)
    api.post(SERVICES, service())
    assert woken == ["/api/v1/services"]


def test_a_closed_watch_is_forgotten(api: Api) -> None:
    woken: list[int] = []
    stream = api.watch(SERVICES)
    stream.watcher.wake = lambda: woken.append(1)
    stream.watcher.close()
    api.post(SERVICES, service())
    assert (woken, stream.events(), api.core.due(api.now)) == ([], [], None)


def test_due_and_tick_wake_a_watch_at_its_time(api: Api) -> None:
    stream = api.watch(SERVICES, resourceVersion=api.core.revision, timeoutSeconds=5)
    assert api.core.due(api.now) == api.now + 5
    woken: list[int] = []
    stream.watcher.wake = lambda: woken.append(1)
    api.now += 4.9
    api.core.tick(api.now)
    assert not woken
    api.now += 0.1
    api.core.tick(api.now)
    stream.events()
    assert (woken, api.core.due(api.now)) == ([1], None)


def test_a_list_by_watch_does_not_go_back_in_time(api: Api) -> None:
    """A client that has seen a later revision must not be given an older state: it is told, and lists elsewhere or later."""
    api.post(SERVICES, service())
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    stream = api.watch(SERVICES, resourceVersion=api.core.revision + 1, **asked)
    [(kind, status)] = stream.events()
    assert (kind, status["code"], status["reason"], stream.watcher.ended) == ("ERROR", 504, "Timeout", True)
    assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    now = api.watch(SERVICES, resourceVersion=api.core.revision, **asked)
    assert [kind for kind, _ in now.events()] == ["ADDED", "ADDED", "BOOKMARK"]
