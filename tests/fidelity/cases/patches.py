# SPDX-License-Identifier: Apache-2.0
"""The three patch types, what each makes of an object, and what is wrong with each of them."""

from __future__ import annotations

from typing import Any

from tests.fidelity.cases.objects import CONFIG_MAPS, PODS, SERVICES, config_map, pod, service
from tests.fidelity.steps import JSON_PATCH, STRATEGIC, Case, Object, Request, case, patch, post

ONE = f"{CONFIG_MAPS}/one"


def patched(
    what: str, body: object, *, before: Object | None = None, media: str = "", path: str = ONE, query: str = ""
) -> Case:
    more = {"media": media} if media else {}
    return case(
        f"a patch of {what}",
        post(
            CONFIG_MAPS,
            before or config_map("one", data={"a": "1", "b": "2"}, metadata={"labels": {"x": "y"}}),
            keep="one",
        ),
        patch(path + query, body, **more),
    )


def json_patch(what: str, *operations: Object, before: Object | None = None) -> Case:
    return patched(f"{what} (JSON)", list(operations), media=JSON_PATCH, before=before)


MERGES = (
    patched("one key", {"data": {"a": "3"}}),
    patched("a null", {"data": {"a": None}, "metadata": {"labels": None}}),
    patched("a null of what is not there", {"data": {"z": None}, "immutable": None}),
    patched("nothing", {}),
    patched("the revision", {"metadata": {"resourceVersion": "<one.rv>"}, "data": {"a": "3"}}),
    patched("an old revision", {"metadata": {"resourceVersion": "1"}, "data": {"a": "3"}}),
    patched("an old revision and no change", {"metadata": {"resourceVersion": "1"}}),
    patched("an old revision, strategically", {"metadata": {"resourceVersion": "1"}, "data": {"a": "3"}}, media=STRATEGIC),
    patched("an old revision that is no number", {"metadata": {"resourceVersion": "x"}, "data": {"a": "3"}}),
    patched("another uid", {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}}),
    patched("another name", {"metadata": {"name": "two"}}),
    patched("another namespace", {"metadata": {"namespace": "default"}}),
    patched("another kind", {"kind": "Secret"}),
    patched("a wrong type", {"data": ["a"]}),
    patched("a number for a word", {"data": {"a": 1}}),
    patched("an unknown field", {"dat": {"a": "1"}}),
    patched("an unknown field, strictly", {"dat": {"a": "1"}}, query="?fieldValidation=Strict"),
    patched("an unknown field, warning", {"dat": {"a": "1"}}, query="?fieldValidation=Warn"),
    patched("a list", []),
    patched("a word", "hello"),
    patched("null itself", None),
    patched("a dry run", {"data": {"a": "3"}}, query="?dryRun=All"),
    patched("a bad label", {"metadata": {"labels": {"a b": "c"}}}),
    patched("what is not there", {"data": {}}, path=f"{CONFIG_MAPS}/none"),
    patched("JSON that is none", "x", media="application/json"),
    patched("a media type nobody has", {}, media="text/plain"),
    case("a patch of no JSON", post(CONFIG_MAPS, config_map("one")), Request(method="PATCH", path=ONE, raw=b"{", media="application/merge-patch+json")),
    case("server-side apply", patch(f"{ONE}?fieldManager=purelb", config_map("one", data={"a": "1"}), media="application/apply-patch+yaml"),
         patch(ONE, config_map("one"), media="application/apply-patch+yaml")),
    case("a patch of a collection", patch(CONFIG_MAPS, {})),
    json_patch("one key", {"op": "replace", "path": "/data/a", "value": "3"}),
    json_patch("a new key", {"op": "add", "path": "/data/c", "value": "3"}),
    json_patch("a label with a slash", {"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}),
    json_patch("a removal", {"op": "remove", "path": "/data/a"}),
    json_patch("a removal of what is not there", {"op": "remove", "path": "/data/z"}),
    json_patch("a replacement of what is not there", {"op": "replace", "path": "/data/z", "value": "1"}),
    json_patch("an addition below what is not there", {"op": "add", "path": "/binaryData/z", "value": "dg=="}),
    json_patch("a test that holds", {"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "2"}),
    json_patch("a test that fails", {"op": "test", "path": "/data/a", "value": "2"}, {"op": "replace", "path": "/data/a", "value": "2"}),
    json_patch("a test of what is not there", {"op": "test", "path": "/data/z", "value": "2"}),
    json_patch("a move", {"op": "move", "from": "/data/a", "path": "/data/c"}),
    json_patch("a copy", {"op": "copy", "from": "/data/a", "path": "/data/c"}),
    json_patch("an old revision, replaced", {"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}),
    json_patch("an old revision, tested", {"op": "test", "path": "/metadata/resourceVersion", "value": "1"}),
    json_patch("an operation nobody knows", {"op": "shout", "path": "/data/a"}),
    json_patch("an operation without a path", {"op": "remove"}),
    json_patch("a path without a slash", {"op": "remove", "path": "data"}),
    json_patch("finalizers at an index", {"op": "add", "path": "/metadata/finalizers/0", "value": "purelb.io/a"},
               before=config_map("one", metadata={"finalizers": ["purelb.io/z"]})),
    json_patch("finalizers at the end", {"op": "add", "path": "/metadata/finalizers/-", "value": "purelb.io/a"},
               before=config_map("one", metadata={"finalizers": ["purelb.io/z"]})),
    json_patch("an index beyond the end", {"op": "add", "path": "/metadata/finalizers/7", "value": "purelb.io/a"},
               before=config_map("one", metadata={"finalizers": ["purelb.io/z"]})),
    patched("an object as a JSON patch", {"op": "remove", "path": "/data/a"}, media=JSON_PATCH),
    patched("no operations", [], media=JSON_PATCH),
)  # fmt: skip


def strategic(what: str, body: Object, **spec: Any) -> Case:
    """A strategic patch of a Service with two ports."""
    before = service(
        "web", type="ClusterIP", **({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]} | spec)
    )
    return case(
        f"a strategic patch of {what}",
        post(SERVICES, before),
        patch(f"{SERVICES}/web", body, media=STRATEGIC, only=("spec", "metadata", "message", "reason")),
    )


STRATEGICS = (
    strategic("a port by its number", {"spec": {"ports": [{"port": 81, "targetPort": 8081}]}}),
    strategic("a new port", {"spec": {"ports": [{"port": 82, "name": "c"}]}}),
    strategic("a port that goes", {"spec": {"ports": [{"port": 80, "$patch": "delete"}]}}),
    strategic("all ports", {"spec": {"ports": [{"port": 90, "name": "z"}, {"$patch": "replace"}]}}),
    strategic("the order of ports", {"spec": {"ports": [{"port": 82, "name": "c"}], "$setElementOrder/ports": [{"port": 82}, {"port": 81}, {"port": 80}]}}),
    strategic("a port without its number", {"spec": {"ports": [{"name": "a"}]}}),
    strategic("labels that are replaced", {"metadata": {"labels": {"$patch": "replace", "n": "1"}}}),
    strategic("a selector's key", {"spec": {"selector": {"app": None, "tier": "x"}}}, selector={"app": "nobody", "more": "nobody"}),
    strategic("a selector that is replaced", {"spec": {"selector": {"tier": "x", "$patch": "replace"}}}, selector={"app": "nobody", "more": "nobody"}),
    strategic("finalizers", {"metadata": {"finalizers": ["purelb.io/a"]}}),
    strategic("an unknown directive", {"metadata": {"labels": {"$patch": "explode"}}}),
    strategic("kept keys", {"spec": {"$retainKeys": ["ports", "type"], "type": "ClusterIP"}}),
    case(
        "a strategic patch of finalizers, a set",
        post(CONFIG_MAPS, config_map("one", metadata={"finalizers": ["purelb.io/a", "purelb.io/b"]})),
        patch(ONE, {"metadata": {"finalizers": ["purelb.io/c", "purelb.io/a"]}}, media=STRATEGIC),
        patch(ONE, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["purelb.io/a"]}}, media=STRATEGIC),
        patch(ONE, {"metadata": {"finalizers": None}}, media=STRATEGIC),
    ),
    case(
        "a strategic patch of a Pod's containers",
        post(PODS, pod("one"), only=("kind",)),
        patch(f"{PODS}/one", {"spec": {"containers": [{"name": "main", "image": "other"}]}}, media=STRATEGIC, leave_out=("spec", "status")),
        patch(f"{PODS}/one/status", {"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}}, media=STRATEGIC, only=("status.conditions",)),
        patch(f"{PODS}/one/status", {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]}}, media=STRATEGIC, only=("status.conditions",)),
    ),
)  # fmt: skip

CASES: tuple[Case, ...] = (*MERGES, *STRATEGICS)
