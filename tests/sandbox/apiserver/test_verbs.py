# SPDX-License-Identifier: Apache-2.0
"""Rows of the verbs: one object, lists and pages, selectors, creation, replacement, deletion."""

from typing import Any

import msgspec
import pytest

from purelb.sandbox.apiserver.core import ApiResponse, Watcher
from tests.sandbox.apiserver.driver import DEFINITIONS, SERVICES, TESTS, Api, custom, definition, service

CONFIGS = "/api/v1/namespaces/default/configmaps"


def config(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


def names(body: Any) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_list_item_of_a_built_in_kind_carries_no_kind_and_one_of_a_custom_kind_does(api: Api) -> None:
    api.post(SERVICES, service())
    api.post(DEFINITIONS, definition())
    api.post(TESTS, custom())
    assert set(api.get(SERVICES).body["items"][0]) == {"metadata", "spec", "status"}
    assert api.get(TESTS).body["items"][0]["kind"] == "Test"


def test_a_read_of_a_coming_revision_waits_for_it(api: Api) -> None:
    waiting = api.raw("GET", SERVICES, resourceVersion=api.core.revision + 1)
    assert isinstance(waiting, Watcher)
    assert (waiting.frames(api.now), waiting.head) == ([], None)
    api.post(SERVICES, service())
    [body] = waiting.frames(api.now)
    assert waiting.head is not None
    assert (waiting.head.status, names(msgspec.json.decode(body))) == (200, ["kubernetes", "web"])


def test_a_read_of_a_revision_that_does_not_come_is_too_large_after_three_seconds(api: Api) -> None:
    waiting = api.raw("GET", f"{SERVICES}/kubernetes", resourceVersion=99_999)
    assert isinstance(waiting, Watcher)
    assert api.core.due(api.now) == api.now + 3.0
    api.now += 3.0
    woken: list[bool] = []
    waiting.wake = lambda: woken.append(True)
    api.core.tick(api.now)
    [body] = waiting.frames(api.now)
    status = msgspec.json.decode(body)
    assert woken
    assert (status["code"], status["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        pytest.param({"resourceVersion": "abc"}, 400, id="a revision that is no number"),
        pytest.param({"resourceVersionMatch": "NotOlderThan"}, 422, id="a match without a revision"),
        pytest.param({"resourceVersionMatch": "Exact", "resourceVersion": "1"}, 422, id="an exact read"),
        pytest.param({"labelSelector": "a in ("}, 400, id="a selector that ends early"),
        pytest.param({"labelSelector": "a=b=c"}, 400, id="a selector with two signs"),
        pytest.param({"fieldSelector": "spec.foo=1"}, 400, id="a field that cannot be selected"),
        pytest.param({"continue": "zzz"}, 400, id="a token that is garbage"),
        pytest.param({"limit": "x"}, 400, id="a limit that is no number"),
    ],
)
def test_a_list_refuses(api: Api, query: dict[str, str], code: int) -> None:
    assert api.get(SERVICES, **query).code == code


def test_pages_show_the_revision_of_the_first_one(api: Api) -> None:
    for number in range(10):
        api.post(CONFIGS, config(f"c{number}"))
    first = api.get(CONFIGS, limit=4)
    assert first.body["metadata"]["remainingItemCount"] == 6
    api.delete(f"{CONFIGS}/c5")
    api.post(CONFIGS, config("c4a"))
    api.patch(f"{CONFIGS}/c6", {"data": {"new": "yes"}})
    second = api.get(CONFIGS, limit=4, **{"continue": first.body["metadata"]["continue"]})
    third = api.get(CONFIGS, limit=4, **{"continue": second.body["metadata"]["continue"]})
    assert names(first.body) + names(second.body) + names(third.body) == [f"c{number}" for number in range(10)]
    assert {first.rv, second.rv, third.rv} == {first.rv}
    assert second.body["items"][2]["data"] == {}, "c6 as it was"
    assert "continue" not in third.body["metadata"]


def test_a_page_below_the_floor_is_410_with_a_token_for_the_inconsistent_rest(api: Api) -> None:
    for number in range(4):
        api.post(CONFIGS, config(f"c{number}"))
    token = api.get(CONFIGS, limit=2).body["metadata"]["continue"]
    api.post(CONFIGS, config("c9"))
    api.core.compact()
    refused = api.get(CONFIGS, limit=2, **{"continue": token})
    assert (refused.code, refused.body["reason"]) == (410, "Expired")
    rest = api.get(CONFIGS, limit=9, **{"continue": refused.body["metadata"]["continue"]})
    assert names(rest.body) == ["c2", "c3", "c9"]


def test_a_token_of_another_resource_is_garbage(api: Api) -> None:
    for number in range(3):
        api.post(CONFIGS, config(f"c{number}"))
    token = api.get(CONFIGS, limit=1).body["metadata"]["continue"]
    assert api.get(SERVICES, **{"continue": token}).code == 400


@pytest.mark.parametrize(("watch_cache", "count"), [(True, 5), (False, 2)], ids=["ignored", "honoured without a cache"])
def test_a_limit_at_revision_0_is(watch_cache: bool, count: int) -> None:
    api = Api(watch_cache=watch_cache)
    for number in range(5):
        api.post(CONFIGS, config(f"c{number}"))
    assert len(names(api.get(CONFIGS, limit=2, resourceVersion="0").body)) == count


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=web", ["a", "b"]),
        ("app==web,tier=front", ["a"]),
        ("app!=web", ["c", "d"]),
        ("app in (web, db)", ["a", "b", "c"]),
        ("app notin (web)", ["c", "d"]),
        ("tier", ["a"]),
        ("!tier", ["b", "c", "d"]),
        ("app=", []),
        ("", ["a", "b", "c", "d"]),
    ],
)
def test_a_label_selector_chooses(api: Api, selector: str, expected: list[str]) -> None:
    labels = {"a": {"app": "web", "tier": "front"}, "b": {"app": "web"}, "c": {"app": "db"}, "d": {}}
    for name, shown in labels.items():
        api.post(CONFIGS, config(name) | {"metadata": {"name": name, "labels": shown}})
    assert names(api.get(CONFIGS, labelSelector=selector).body) == expected


def test_field_selectors_know_names_namespaces_and_what_their_kind_allows(api: Api) -> None:
    pods = "/api/v1/namespaces/default/pods"
    for name, node in (("a", "n1"), ("b", "n2")):
        api.post(pods, {"metadata": {"name": name}, "spec": {"nodeName": node}})
    assert names(api.get("/api/v1/pods", fieldSelector="spec.nodeName=n1").body) == ["a"]
    assert names(api.get("/api/v1/pods", fieldSelector="metadata.name!=a,metadata.namespace=default").body) == ["b"]
    assert names(api.get("/api/v1/pods", fieldSelector="status.phase=Pending").body) == ["a", "b"]


# --- creating and replacing ------------------------------------------------------------------------------------------


def test_a_generated_name_has_five_more_characters(api: Api) -> None:
    made = api.post(CONFIGS, {"metadata": {"generateName": "log-"}}).body["metadata"]["name"]
    assert made.startswith("log-")
    assert len(made) == 9


def test_a_dry_run_answers_as_if_and_leaves_no_trace(api: Api) -> None:
    before = api.core.revision
    made = api.post(SERVICES, service(), dryRun="All")
    assert (made.code, "nodePort" in made.body["spec"]["ports"][0]) == (201, True)
    assert (api.core.revision, api.get(f"{SERVICES}/web").code) == (before, 404)
    taken = made.body["spec"]["clusterIP"]
    assert api.post(SERVICES, service("other", clusterIP=taken)).code == 201, "its address was not kept"


@pytest.mark.parametrize(
    ("mode", "code", "warned"),
    [("Strict", 400, False), ("Warn", 201, True), ("Ignore", 201, False), ("Odd", 422, False)],
)
def test_unknown_and_repeated_fields_under(api: Api, mode: str, code: int, warned: bool) -> None:
    body = b'{"metadata":{"name":"web","name":"web"},"spec":{"ports":[{"port":80}],"prots":1}}'
    made = api.raw("POST", SERVICES, body=body, headers={"content-type": "application/json"}, fieldValidation=mode)
    assert isinstance(made, ApiResponse)
    assert made.status == code
    assert ("warning" in made.headers) == warned
    text = made.headers.get("warning", "") + made.body.decode()
    if mode in {"Strict", "Warn"}:
        assert "spec.prots" in text
        assert "metadata.name" in text


def test_a_namespace_must_exist_and_not_be_ending(api: Api) -> None:
    assert api.post("/api/v1/namespaces/nope/configmaps", config("a")).code == 404
    api.post("/api/v1/namespaces", {"metadata": {"name": "t"}})
    api.post("/api/v1/namespaces/t/configmaps", {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})
    api.delete("/api/v1/namespaces/t")
    refused = api.post("/api/v1/namespaces/t/configmaps", config("late"))
    assert (refused.code, refused.body["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param({"metadata": {"name": "web", "resourceVersion": "1"}}, 409, id="a stale revision"),
        pytest.param({"metadata": {"name": "other"}}, 400, id="another name"),
        pytest.param({"metadata": {"name": "web", "namespace": "other"}}, 400, id="another namespace"),
        pytest.param({"metadata": {"name": "web", "uid": "other"}}, 409, id="another uid"),
        pytest.param({"metadata": {"name": "web"}}, 200, id="no revision, for a built-in kind"),
    ],
)
def test_a_replacement_with(api: Api, body: dict[str, Any], code: int) -> None:
    made = api.post(SERVICES, service())
    answer = api.put(f"{SERVICES}/web", body | {"spec": {"ports": [{"port": 81}]}})
    assert answer.code == code
    if code != 200:
        assert api.get(f"{SERVICES}/web").body == made.body


def test_a_custom_resource_is_not_replaced_without_its_revision_nor_made_by_it(api: Api) -> None:
    api.post(DEFINITIONS, definition())
    api.post(TESTS, custom())
    assert api.put(f"{TESTS}/a", custom(x=1)).code == 422
    assert api.put(f"{TESTS}/b", custom("b")).code == 404


# --- deleting --------------------------------------------------------------------------------------------------------


def test_a_deletion_answers_success_with_details_or_the_object(api: Api) -> None:
    uid = api.post(CONFIGS, config("c")).body["metadata"]["uid"]
    answer = api.delete(f"{CONFIGS}/c")
    assert answer.body["details"] == {"name": "c", "kind": "configmaps", "uid": uid}
    assert (answer.body["status"], api.delete(f"{CONFIGS}/c").code) == ("Success", 404)
    api.post(SERVICES, service())
    assert api.delete(f"{SERVICES}/web").body["kind"] == "Service"


def test_a_finalizer_holds_an_object_until_it_is_taken_away(api: Api) -> None:
    api.post(SERVICES, service() | {"metadata": {"name": "web", "finalizers": ["example.com/hold"]}})
    stream = api.watch(SERVICES, resourceVersion=api.core.revision)
    assert "deletionTimestamp" in api.delete(f"{SERVICES}/web").body["metadata"]
    added = api.patch(f"{SERVICES}/web", {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}})
    assert added.code == 422, "a dying object gets no new ones"
    api.patch(f"{SERVICES}/web", {"metadata": {"finalizers": None}})
    assert api.get(f"{SERVICES}/web").code == 404
    assert stream.names() == [("MODIFIED", "web"), ("DELETED", "web")]


@pytest.mark.parametrize("wrong", [{"uid": "other"}, {"resourceVersion": "1"}], ids=["uid", "revision"])
def test_a_deletion_has_preconditions(api: Api, wrong: dict[str, str]) -> None:
    made = api.post(SERVICES, service()).body["metadata"]
    assert api.delete(f"{SERVICES}/web", {"preconditions": wrong}).code == 409
    right = {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}
    assert api.delete(f"{SERVICES}/web", {"preconditions": right}).code == 200


def test_a_collection_is_deleted_by_its_selector(api: Api) -> None:
    for name, label in (("a", "x"), ("b", "y"), ("c", "x")):
        api.post(CONFIGS, {"metadata": {"name": name, "labels": {"l": label}}})
    assert names(api.delete(CONFIGS, labelSelector="l=x").body) == ["a", "c"]
    assert names(api.get(CONFIGS).body) == ["b"]


def test_a_namespace_takes_its_content_along(api: Api) -> None:
    api.post("/api/v1/namespaces", {"metadata": {"name": "t"}})
    api.post("/api/v1/namespaces/t/services", service())
    stream = api.watch("/api/v1/namespaces", resourceVersion=api.core.revision)
    assert api.delete("/api/v1/namespaces/t").body["status"]["phase"] == "Terminating"
    assert (api.get("/api/v1/namespaces/t").code, names(api.get("/api/v1/services").body)) == (404, ["kubernetes"])
    assert stream.names() == [("MODIFIED", "t"), ("DELETED", "t")]


def test_a_pod_on_a_node_has_its_grace_and_goes_when_its_node_says_so(api: Api) -> None:
    pods = "/api/v1/namespaces/default/pods"
    api.post(pods, {"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "terminationGracePeriodSeconds": 5}})
    assert api.delete(f"{pods}/p").body["metadata"]["deletionGracePeriodSeconds"] == 5
    assert api.delete(f"{pods}/p", {"gracePeriodSeconds": 0}).body["metadata"]["deletionGracePeriodSeconds"] == 0
    assert api.get(f"{pods}/p").code == 404


@pytest.mark.parametrize("path", ["/", "/nothing", "/apis/none.example.com/v1/x", "/apis/none.example.com"])
def test_a_path_outside_of_the_api_is_404_in_plain_text(api: Api, path: str) -> None:
    answer = api.get(path)
    assert (answer.code, answer.body) == (404, "404 page not found\n")


@pytest.mark.parametrize(
    "path", ["/api/v1/foos", f"{SERVICES}/web/odd", "/api/v1/namespaces/a/b/c/d/e", "/api/v1//x", "/apis/apps/v9"]
)
def test_a_path_inside_of_it_is_404_with_a_status(api: Api, path: str) -> None:
    answer = api.get(path)
    assert (answer.code, answer.body["message"]) == (404, "the server could not find the requested resource")
