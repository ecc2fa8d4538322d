# SPDX-License-Identifier: Apache-2.0
"""The three kinds of patch, and the one that this server does not know."""

from typing import Any

import msgspec
import pytest

from purelb.sandbox.apiserver import patch
from purelb.sandbox.apiserver.answers import Refusal
from purelb.sandbox.apiserver.exchange import ApiResponse
from tests.sandbox.apiserver.driver import DEFINITIONS, SERVICES, TESTS, Api, custom, definition, service

WEB = f"{SERVICES}/web"


# The appendix of RFC 7386, row by row.
@pytest.mark.parametrize(
    ("target", "with_", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_its_rfc_says(target: Any, with_: Any, expected: Any) -> None:
    assert patch.merge(target, with_) == expected


@pytest.mark.parametrize(
    ("target", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": {"x": 1}}, [{"op": "move", "from": "/a/x", "path": "/b"}], {"a": {}, "b": 1}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "add", "path": "/b/-", "value": 2}], {"a": [1], "b": [1, 2]}),
        ({"a/b": 1, "m~n": 2}, [{"op": "remove", "path": "/a~1b"}, {"op": "test", "path": "/m~0n", "value": 2}], {"m~n": 2}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": [1]}], [1]),
    ],
)  # fmt: skip
def test_a_json_patch_does_what_its_rfc_says(target: Any, operations: Any, expected: Any) -> None:
    assert patch.json_patch(target, operations) == expected


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "test", "path": "/a", "value": 2}, 422),
        ({"op": "test", "path": "/a", "value": True}, 422),
        ({"op": "remove", "path": "/b"}, 422),
        ({"op": "replace", "path": "/l/7", "value": 1}, 422),
        ({"op": "add"}, 422),
        ({"op": "add", "path": "/l/5", "value": 1}, 422),
        ({"op": "add", "path": "/l/-1", "value": 1}, 422),
        ({"op": "add", "path": "/x/y", "value": 1}, 422),
        ({"op": "odd", "path": "/a"}, 422),
        ({"op": "add", "path": "a", "value": 1}, 422),
        ({"op": "add", "path": "/a"}, 400),
        ("odd", 400),
    ],
)
def test_a_json_patch_is_refused_for(operation: Any, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        patch.json_patch({"a": 1, "l": [1]}, [operation])
    assert refused.value.code == code


PORTS = [{"port": 80, "name": "http"}, {"port": 443, "name": "tls"}]


@pytest.mark.parametrize(
    ("with_", "expected"),
    [
        pytest.param({"ports": [{"port": 80, "name": "web"}]}, [80, 443], id="changes the element with its key"),
        pytest.param(
            {"ports": [{"port": 53, "name": "dns"}]}, [53, 80, 443], id="puts a new element first, as the real one"
        ),
        pytest.param({"ports": [{"port": 80, "$patch": "delete"}]}, [443], id="deletes by key"),
        pytest.param({"ports": [{"$patch": "replace"}, {"port": 1, "name": "x"}]}, [1], id="replaces a list on demand"),
        pytest.param({"$setElementOrder/ports": [{"port": 443}, {"port": 80}]}, [443, 80], id="orders"),
        pytest.param(
            {
                "$setElementOrder/ports": [{"port": 443}, {"port": 53}, {"port": 80}],
                "ports": [{"port": 53, "name": "dns"}],
            },
            [443, 53, 80],
            id="orders what it adds",
        ),
        pytest.param({"ports": None}, None, id="removes a list"),
        pytest.param({"$retainKeys": ["other"], "other": 1}, None, id="retains the named keys only"),
    ],
)
def test_a_strategic_patch_of_ports(with_: dict[str, Any], expected: list[int] | None) -> None:
    target = {"spec": {"ports": [dict(port) for port in PORTS]}}
    found = patch.strategic(target, {"spec": with_}, resource="services")["spec"].get("ports")
    assert (None if found is None else [port["port"] for port in found]) == expected


def test_a_strategic_patch_merges_finalizers_as_a_set_and_replaces_lists_without_a_key() -> None:
    target = {"metadata": {"finalizers": ["a/b"]}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    with_ = {"metadata": {"finalizers": ["c/d", "a/b"]}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}]}}}
    found = patch.strategic(target, with_, resource="services")
    assert set(found["metadata"]["finalizers"]) == {"a/b", "c/d"}
    assert found["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.2"}]
    gone = patch.strategic(found, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b"]}}, resource="services")
    assert gone["metadata"]["finalizers"] == ["c/d"]


def test_conditions_of_a_service_are_merged_by_type(api: Api) -> None:
    api.post(SERVICES, service())
    for kind, status in (("A", "True"), ("B", "True"), ("A", "False")):
        condition = {
            "type": kind,
            "status": status,
            "reason": "R",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        assert api.patch(f"{WEB}/status", {"status": {"conditions": [condition]}}, kind="strategic").code == 200
    found = api.get(WEB).body["status"]["conditions"]
    assert {one["type"]: one["status"] for one in found} == {"A": "False", "B": "True"}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("merge", {"metadata": {"resourceVersion": "1"}, "spec": {"sessionAffinity": "ClientIP"}}),
        ("strategic", {"metadata": {"resourceVersion": "1"}, "spec": {"sessionAffinity": "ClientIP"}}),
        ("json", [{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}]),
    ],
)
def test_a_revision_in_a_patch_is_a_precondition(api: Api, kind: str, body: Any) -> None:
    made = api.post(SERVICES, service())
    answer = api.patch(WEB, body, kind=kind)
    assert (answer.code, answer.body["reason"]) == (409, "Conflict")
    assert api.get(WEB).body == made.body


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"metadata": {"name": "other"}}, 400),
        ({"metadata": {"namespace": "other"}}, 400),
        ({"metadata": {"uid": "other"}}, 422),
        ({"metadata": {"labels": {"a": 1}}}, 422),
        ({"metadata": None}, 422),
        ({"kind": "ConfigMap"}, 422),
        ("odd", 400),
    ],
)
def test_a_patch_may_not_make(api: Api, change: Any, code: int) -> None:
    made = api.post(SERVICES, service())
    assert api.patch(WEB, change).code == code
    assert api.get(WEB).body == made.body


@pytest.mark.parametrize("body", [b"", b"spec: {}", b'{"spec": {}}'], ids=["nothing", "YAML", "JSON"])
def test_server_side_apply_is_refused_with_its_name_and_the_way_round_it_however_it_is_written(
    api: Api, body: bytes
) -> None:
    media = {"content-type": "application/apply-patch+yaml"}
    answer = api.raw("PATCH", WEB, body=body, headers=media, fieldManager="me")
    assert isinstance(answer, ApiResponse)
    said = msgspec.json.decode(answer.body)
    assert (answer.status, said["reason"]) == (415, "UnsupportedMediaType")
    assert said["message"] == (
        "server-side apply (application/apply-patch+yaml) is not part of this server: use kubectl apply without "
        "--server-side, or a patch of type application/json-patch+json, application/merge-patch+json, "
        "application/strategic-merge-patch+json; the real control plane has it"
    )


def test_what_is_offered_instead_of_server_side_apply_is_what_the_kind_takes(api: Api) -> None:
    api.post(DEFINITIONS, definition())
    refused = api.patch(f"{TESTS}/a", {"spec": {}}, kind="apply")
    assert (refused.code, "strategic" in refused.body["message"]) == (415, False)


def test_a_custom_resource_knows_no_strategic_patch(api: Api) -> None:
    api.post(DEFINITIONS, definition())
    api.post(TESTS, custom())
    assert api.patch(f"{TESTS}/a", {"spec": {"x": 1}}, kind="strategic").code == 415
    assert api.patch(f"{TESTS}/a", {"spec": {"x": 1}}, kind="merge").body["spec"] == {"x": 1}
