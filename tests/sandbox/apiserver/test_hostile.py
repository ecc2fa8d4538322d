# SPDX-License-Identifier: Apache-2.0
"""Requests that no honest client sends: each is refused with a Status, and nothing changes."""

from typing import Any

import msgspec
import pytest

from purelb.sandbox.apiserver.core import ApiResponse
from tests.sandbox.apiserver.driver import SERVICES, Api, service

JSON = {"content-type": "application/json"}


def refusal(api: Api, method: str, path: str, body: bytes = b"", **query: Any) -> int:
    before = api.core.revision
    headers = JSON if method != "PATCH" else {"content-type": "application/merge-patch+json"}
    made = api.raw(method, path, body=body, headers=headers, **query)
    assert isinstance(made, ApiResponse)
    status = msgspec.json.decode(made.body)
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", made.status)
    assert len(made.body) < 20_000, "a hostile body does not come back as a megabyte of message"
    assert api.core.revision == before
    return made.status


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"[" * 10_000 + b"]" * 10_000, 400, id="10 000 levels of lists"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, id="10 000 levels of objects"),
        pytest.param(b'{"metadata":{"name":"web"},"spec":' + b'{"selector":' * 600 + b"1" + b"}" * 601, 400, id="600 levels in a Service"),
        pytest.param(b"x" * (4 * 1024 * 1024), 413, id="4 MiB"),
        pytest.param(b'{"metadata":{"name":"web"},"spec":{"ports":[{"port":NaN}]}}', 400, id="NaN"),
        pytest.param(b'{"metadata":{"name":"web"},"spec":{"ports":[{"port":1e999}]}}', 400, id="a number beyond all bounds"),
        pytest.param(b'{"metadata":{"name":"web"},"spec":{"ports":[{"port":99999999999999999999}]}}', 400, id="a number of 67 bits"),
        pytest.param(b'{"metadata":{"name":".."},"spec":{"ports":[{"port":1}]}}', 422, id="the name .."),
        pytest.param(b'{"metadata":{"name":"a/b"},"spec":{"ports":[{"port":1}]}}', 422, id="a name with a slash"),
        pytest.param(b'{"metadata":{"name":"web","labels":{"a":"' + b"x" * 65536 + b'"}},"spec":{"ports":[{"port":1}]}}', 422, id="a label of 64 KiB"),
        pytest.param(b'{"metadata":[],"spec":{}}', 400, id="metadata that is a list"),
        pytest.param(b'{"metadata":{"name":5}}', 400, id="a name that is a number"),
        pytest.param(b"\xff\xfe", 400, id="no UTF-8"),
        pytest.param(b'"text"', 400, id="a text"),
        pytest.param(b"", 400, id="nothing"),
    ],
)  # fmt: skip
def test_a_body_of(api: Api, body: bytes, code: int) -> None:
    assert refusal(api, "POST", SERVICES, body) == code


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(b"[]", id="that are a list"),
        pytest.param(b"5", id="that are a number"),
        pytest.param(b'{"propagationPolicy":[]}', id="with a policy that is a list"),
        pytest.param(b'{"preconditions":[1]}', id="with preconditions that are a list"),
        pytest.param(b'{"preconditions":{"uid":{}}}', id="with a uid that is an object"),
        pytest.param(b'{"preconditions":{"resourceVersion":5}}', id="with a version that is a number"),
        pytest.param(b'{"gracePeriodSeconds":"soon"}', id="with a grace that is a word"),
        pytest.param(b'{"dryRun":"All"}', id="with a dryRun that is no list"),
    ],
)
def test_delete_options(api: Api, options: bytes) -> None:
    assert api.post(SERVICES, service("web")).code == 201
    assert refusal(api, "DELETE", f"{SERVICES}/web", options) == 400
    assert refusal(api, "DELETE", SERVICES, options) == 400


@pytest.mark.parametrize(
    "rest",
    [
        {"spec": {"containers": "web"}},
        {"spec": {"containers": -(2**70)}},
        {"spec": {"containers": [{"name": "a"}, "web"]}},
        {"spec": {"containers": [{"name": "a", "ports": ["http"]}]}},
        {"status": {"conditions": ["Ready"]}},
        {"status": {"conditions": {"Ready": "True"}}},
        {"status": {"containerStatuses": [5]}},
    ],
    ids=str,
)
def test_a_pod_with(api: Api, rest: dict[str, Any]) -> None:
    pod = {"metadata": {"name": "web"}} | rest
    assert refusal(api, "POST", "/api/v1/namespaces/default/pods", msgspec.json.encode(pod)) == 400


@pytest.mark.parametrize("status", [{"nodeInfo": "x"}, {"daemonEndpoints": [1]}, {"conditions": ["Ready"]}], ids=str)
def test_a_node_with(api: Api, status: dict[str, Any]) -> None:
    assert api.post("/api/v1/nodes", {"metadata": {"name": "n1"}}).code == 201
    body = msgspec.json.encode({"metadata": {"name": "n1"}, "status": status})
    assert refusal(api, "PATCH", "/api/v1/nodes/n1/status", body) == 422


def test_a_repeated_key_counts_once(api: Api) -> None:
    body = b'{"metadata":{"name":"a","name":"b"},"spec":{"ports":[{"port":1}]}}'
    made = api.raw("POST", SERVICES, body=body, headers=JSON)
    assert isinstance(made, ApiResponse)
    assert msgspec.json.decode(made.body)["metadata"]["name"] == "b"


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        (SERVICES, {"labelSelector": "a in ("}, 400),
        (SERVICES, {"labelSelector": "=" * 100_000}, 400),
        (SERVICES, {"labelSelector": "a=" + "b" * 100}, 400),
        (SERVICES, {"fieldSelector": "x"}, 400),
        (SERVICES, {"continue": "bm9uc2Vuc2U"}, 400),
        (SERVICES, {"resourceVersion": "-1"}, 400),
        (SERVICES, {"resourceVersion": "9" * 40}, 400),
        (SERVICES, {"watch": "true", "timeoutSeconds": "-1"}, 400),
        (SERVICES, {"sendInitialEvents": "true"}, 422),
        (SERVICES, {f"p{number}": 1 for number in range(200)}, 400),
    ],
)  # fmt: skip
def test_a_query_with(api: Api, path: str, query: dict[str, Any], code: int) -> None:
    assert refusal(api, "GET", path, **query) == code


@pytest.mark.parametrize(
    "path", ["/api/v1/namespaces/../services", "/api/v1/namespaces/%2e%2e/services", "/api/v1/%2F", "/" + "a/" * 10_000]
)
def test_a_path_that_climbs_is_not_found(api: Api, path: str) -> None:
    assert api.get(path).code == 404


@pytest.mark.parametrize("media", ["text/plain", "application/yaml", "application/json-patch+json"])
def test_a_body_that_is_not_json_is_415(api: Api, media: str) -> None:
    assert api.ask("POST", SERVICES, service(), media=media).code == 415


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b"k8s", 400),
        (b"k8s\x00", 415),
        (b"k8s\x00\x0a\xff", 400),
        (b"k8s\x00\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x03\x0a\x7fx", 400),
        (b"k8s\x00" + b"\xff" * 40, 400),
    ],
)
def test_a_protobuf_body_that_is_none(api: Api, body: bytes, code: int) -> None:
    made = api.raw(
        "POST", "/api/v1/namespaces", body=body, headers={"content-type": "application/vnd.kubernetes.protobuf"}
    )
    assert isinstance(made, ApiResponse)
    assert made.status == code


def test_only_what_we_can_give_is_acceptable(api: Api) -> None:
    assert api.ask("GET", SERVICES, accept="application/vnd.kubernetes.protobuf").code == 406
    assert api.ask("GET", SERVICES, accept="application/vnd.kubernetes.protobuf, application/json").code == 200
    assert (
        api.ask("GET", SERVICES, accept="application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json").body[
            "kind"
        ]
        == "ServiceList"
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", SERVICES),
        ("PATCH", SERVICES),
        ("POST", f"{SERVICES}/web"),
        ("POST", "/api/v1/services"),
        ("OPTIONS", SERVICES),
        ("DELETE", "/api/v1/services"),
    ],
)
def test_a_method_that_makes_no_sense_is_405(api: Api, method: str, path: str) -> None:
    assert refusal(api, method, path, b"{}") == 405


def test_a_watch_with_a_body_is_a_watch(api: Api) -> None:
    made = api.raw("GET", SERVICES, body=b"odd", watch="true")
    assert not isinstance(made, ApiResponse)


@pytest.mark.parametrize("limit", ["-1", "-99999999999999999999"])
def test_a_negative_limit_is_none(api: Api, limit: str) -> None:
    for name in "abc":
        api.post(SERVICES, service(name))
    found = api.get(SERVICES, limit=limit)
    assert (found.code, len(found.body["items"]), found.body["metadata"].get("continue")) == (200, 4, None)


def test_a_token_of_another_resource_or_of_nobody_is_no_page(api: Api) -> None:
    for name in "abc":
        api.post(SERVICES, service(name))
    token = api.get(SERVICES, limit=1).body["metadata"]["continue"]
    assert refusal(api, "GET", "/api/v1/configmaps", b"", **{"continue": token}) == 400
    assert refusal(api, "GET", SERVICES, b"", **{"continue": token[:-3]}) == 400
    assert refusal(api, "GET", SERVICES, b"", **{"continue": "A" * 100_000}) == 400


def test_repeated_keys_are_refused_where_that_was_asked_for_and_named(api: Api) -> None:
    body = b'{"metadata":{"name":"a","name":"b"},"spec":{"ports":[{"port":1,"port":2}]}}'
    assert refusal(api, "POST", SERVICES, body, fieldValidation="Strict") == 400
    made = api.raw("POST", SERVICES, body=body, headers=JSON, fieldValidation="Strict")
    assert isinstance(made, ApiResponse)
    assert all(
        f'duplicate field \\"{path}\\"'.encode() in made.body for path in ("metadata.name", "spec.ports[0].port")
    )
