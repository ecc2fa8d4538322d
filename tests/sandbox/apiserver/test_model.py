# SPDX-License-Identifier: Apache-2.0
"""Random requests against the server and against a model that is slow and obvious: they must agree, at every revision."""

from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from purelb.sandbox.apiserver.pages import start_token
from tests.sandbox.apiserver.driver import DEFINITIONS, TESTS, Api, Stream, custom, definition

NAMESPACES = ("default", "kube-system")
NAMES = ("a", "b", "c", "d")
VALUES = ("1", "2")

places = st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(NAMES))
steps = st.one_of(
    st.tuples(st.just("create"), places, st.sampled_from(VALUES)),
    st.tuples(st.just("label"), places, st.sampled_from(VALUES)),
    st.tuples(st.just("hold"), places, st.just("")),
    st.tuples(st.just("free"), places, st.just("")),
    st.tuples(st.just("delete"), places, st.just("")),
    st.tuples(st.just("compact"), places, st.just("")),
)
Shown = dict[tuple[str, str], str]


class Model:
    """Name to label; held objects that are deleted are dying until they are freed."""

    def __init__(self) -> None:
        self.labels: Shown = {}
        self.held: set[tuple[str, str]] = set()
        self.dying: set[tuple[str, str]] = set()

    def apply(self, verb: str, place: tuple[str, str], value: str) -> int:
        """The status code that is right."""
        there = place in self.labels
        match verb:
            case "create" if there:
                return 409
            case "create":
                self.labels[place] = value
                return 201
            case _ if not there:
                return 404
            case "label":
                self.labels[place] = value
            case "hold" if place in self.dying and place not in self.held:
                return 422
            case "hold":
                self.held.add(place)
            case "free":
                self.held.discard(place)
                if place in self.dying:
                    self._gone(place)
            case "delete" if place in self.held:
                self.dying.add(place)
            case _:
                self._gone(place)
        return 200

    def _gone(self, place: tuple[str, str]) -> None:
        del self.labels[place]
        self.dying.discard(place)


def carry_out(api: Api, verb: str, place: tuple[str, str], value: str) -> int:
    path = f"/api/v1/namespaces/{place[0]}/configmaps"
    one = f"{path}/{place[1]}"
    match verb:
        case "create":
            return api.post(path, {"metadata": {"name": place[1], "labels": {"v": value}}}).code
        case "label":
            return api.patch(one, {"metadata": {"labels": {"v": value}}}).code
        case "hold":
            return api.patch(one, {"metadata": {"finalizers": ["example.com/hold"]}}).code
        case "free":
            return api.patch(one, {"metadata": {"finalizers": None}}).code
        case _:
            return api.delete(one).code


def shown(items: Any) -> Shown:
    return {
        (item["metadata"]["namespace"], item["metadata"]["name"]): item["metadata"]["labels"]["v"] for item in items
    }


def rebuilt(events: list[tuple[str, Any]], start: Shown) -> Shown:
    """A list followed by a watch."""
    found = dict(start)
    for kind, obj in events:
        place = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        match kind:
            case "ADDED":
                assert place not in found, "added twice in a row"
            case _:
                assert place in found
        if kind == "DELETED":
            del found[place]
        else:
            found[place] = obj["metadata"]["labels"]["v"]
    return found


def check_what_is_kept(api: Api, rv: int, then: Shown, now: Shown) -> None:
    """A list of a revision and a watch from it: both whole, or both 410. Never a gap."""
    listed = api.get("/api/v1/configmaps", **{"continue": start_token(rv, "configmaps")})
    events = api.watch("/api/v1/configmaps", resourceVersion=rv).events()
    if listed.code == 410:
        assert [(kind, obj["code"]) for kind, obj in events] == [("ERROR", 410)]
    else:
        assert shown(listed.body["items"]) == then
        assert rebuilt(events, then) == now


@given(st.lists(steps, max_size=40))
def test_objects_lists_and_histories_agree_with_the_model(script: list[tuple[str, tuple[str, str], str]]) -> None:
    api, model = Api(), Model()
    states: list[tuple[int, Shown, Stream, Stream]] = []  # a watch is opened at every revision
    selected: Shown = {}
    for verb, place, value in script:
        if verb == "compact":
            api.core.compact()
        else:
            assert carry_out(api, verb, place, value) == model.apply(verb, place, value), (verb, place)
        listed = shown(api.get("/api/v1/configmaps").body["items"])
        assert listed == model.labels
        selected = shown(api.get("/api/v1/configmaps", labelSelector="v=1").body["items"])
        assert selected == {place: label for place, label in model.labels.items() if label == "1"}
        rv = api.core.revision
        everything = api.watch("/api/v1/configmaps", resourceVersion=rv)
        narrow = api.watch("/api/v1/configmaps", resourceVersion=rv, labelSelector="v=1")
        states.append((rv, listed, everything, narrow))
    for rv, state, everything, narrow in states:
        check_what_is_kept(api, rv, state, model.labels)
        events = everything.events()
        if everything.watcher.ended:
            continue  # it fell behind a compaction: the client lists again
        assert rebuilt(events, state) == model.labels
        chosen = {place: label for place, label in state.items() if label == "1"}
        assert rebuilt(narrow.events(), chosen) == selected


@given(st.lists(steps.filter(lambda step: step[0] != "compact"), max_size=30), st.integers(1, 4), st.data())
def test_pages_show_one_revision_whatever_is_written_between_them(
    script: list[tuple[str, tuple[str, str], str]], limit: int, data: st.DataObject
) -> None:
    api = Api()
    for place in [(namespace, name) for namespace in NAMESPACES for name in NAMES[::2]]:
        carry_out(api, "create", place, "1")
    whole = shown(api.get("/api/v1/configmaps").body["items"])
    found: Shown = {}
    query: dict[str, Any] = {}
    while True:
        page = api.get("/api/v1/configmaps", limit=limit, **query)
        found |= shown(page.body["items"])
        token = page.body["metadata"].get("continue")
        if not token:
            break
        query = {"continue": token}
        for step in script[: data.draw(st.integers(0, 3))]:
            carry_out(api, *step)
    assert found == whole


@given(st.binary(max_size=200), st.sampled_from(["POST", "PUT", "PATCH", "DELETE", "GET"]))
def test_no_body_whatever_makes_the_server_stumble(body: bytes, method: str) -> None:
    api = Api()
    made = api.raw(
        method,
        "/api/v1/namespaces/default/services/kubernetes" if method != "POST" else "/api/v1/namespaces/default/services",
        body=body,
        headers={"content-type": "application/json" if method != "PATCH" else "application/merge-patch+json"},
    )
    assert getattr(made, "status", 200) in {200, 201, 400, 404, 409, 415, 422}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["metadata", "name", "spec", "ports", "port", "labels", "type", "status", "loadBalancer", "ingress", "ip", "clusterIP", "clusterIPs", "ipFamilies", "finalizers", "selector", "x"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@example({"clusterIPs": [None]}, "json")
@given(json_values, st.sampled_from(["merge", "strategic", "json", "put", "status", "create"]))
def test_no_value_whatever_makes_the_server_stumble(value: Any, how: str) -> None:
    api = Api()
    path = "/api/v1/namespaces/default/services"
    match how:
        case "put":
            code = api.put(f"{path}/kubernetes", value).code
        case "create":
            code = api.post(path, {"metadata": {"name": "a"}, "spec": value}).code
        case "status":
            code = api.patch(f"{path}/kubernetes/status", {"status": value}).code
        case "json":
            code = api.patch(f"{path}/kubernetes", [{"op": "add", "path": "/spec", "value": value}], kind="json").code
        case _:
            code = api.patch(f"{path}/kubernetes", value, kind=how).code
    assert code in {200, 201, 400, 409, 422}
    stored = api.get(f"{path}/kubernetes")
    assert msgspec.json.encode(stored.body)
    assert stored.body["spec"]["clusterIP"] == "10.96.0.1" or stored.body["spec"]["type"] == "ExternalName"


schema_words = ["type", "properties", "items", "additionalProperties", "required", "enum", "pattern", "default", "nullable", "oneOf", "not",
                "minLength", "maximum", "maxItems", "format", "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
                "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "rule", "a", "b"]  # fmt: skip
schemas = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["object", "array", "string", "integer", "a", "b", "map", "set", "self.a > 1", "has(self.a)", "("]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(schema_words), inner, max_size=5),
    max_leaves=14,
)  # fmt: skip
specs = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)


@given(schemas, specs, specs)
def test_no_schema_and_no_object_of_it_makes_the_server_stumble(schema: Any, first: Any, second: Any) -> None:
    api = Api()
    made = api.post(DEFINITIONS, definition({"type": "object", "properties": {"spec": schema}}))
    assert made.code in {201, 400, 422}
    if made.code == 201 and api.post(TESTS, custom() | {"spec": first}).code == 201:
        assert api.patch(f"{TESTS}/a", {"spec": second}).code in {200, 400, 422}
        assert api.ask("GET", TESTS, accept="application/json;as=Table;v=v1;g=meta.k8s.io").code == 200
