# SPDX-License-Identifier: Apache-2.0
"""The other built-in kinds: what each demands, and how a table shows it."""

from typing import Any

import pytest

from tests.sandbox.apiserver.driver import SERVICES, Api, service

DEFAULT = "/api/v1/namespaces/default"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def meta(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}} | more


def event(**change: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web.1"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "purelb-allocator",
        "reportingInstance": "pod-1",
        "action": "Allocate",
        "reason": "AddressAssigned",
        "type": "Normal",
        "note": "192.0.2.1 from default",
        "regarding": {"kind": "Service", "name": "web", "namespace": "default"},
    } | change


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        pytest.param(LEASES, meta("l", spec={"leaseDurationSeconds": 0}), "spec.leaseDurationSeconds", id="a lease of no duration"),
        pytest.param(SLICES, meta("s"), "addressType", id="a slice without a type"),
        pytest.param(SLICES, meta("s", addressType="IPv4", endpoints=[{"addresses": ["2001:db8::1"]}]), "endpoints[0].addresses", id="an address of another family"),
        pytest.param(SLICES, meta("s", addressType="IPv4", endpoints=[{"addresses": []}]), "endpoints[0].addresses", id="an endpoint without an address"),
        pytest.param(EVENTS, event(reportingController=""), "reportingController", id="an event of nobody"),
        pytest.param(EVENTS, event(action=""), "action", id="an event without an action"),
        pytest.param(EVENTS, event(note="x" * 1025), "message", id="an event with a long note"),
        pytest.param(EVENTS, event(type="Odd"), "type", id="an event of an odd type"),
        pytest.param(EVENTS.replace("/default/", "/kube-system/"), event(regarding={"kind": "Node", "name": "n"}), "involvedObject.namespace", id="an event in the wrong namespace"),
        pytest.param(EVENTS, event(series={"count": 1}), "series.count", id="a series of one"),
        pytest.param("/api/v1/nodes", meta("n", spec={"taints": [{"key": "a", "effect": "Odd"}]}), "metadata.taints[0].effect", id="an odd taint"),
        pytest.param(f"{DEFAULT}/configmaps", meta("c", data={"a b": "c"}), "data[a b]", id="an odd key of data"),
        pytest.param("/api/v1/namespaces", meta("a.b"), "metadata.name", id="a namespace with a dot"),
        pytest.param(f"{DEFAULT}/configmaps", {"metadata": {"name": "c", "labels": {"a": "b" * 64}}}, "metadata.labels", id="a long label"),
        pytest.param(f"{DEFAULT}/configmaps", {"metadata": {"name": "c", "annotations": {"a": "b" * 262145}}}, "metadata.annotations", id="annotations of more than 256 KiB"),
    ],
)  # fmt: skip
def test_refused(api: Api, path: str, body: dict[str, Any], field: str) -> None:
    before = api.core.revision
    answer = api.post(path, body)
    assert answer.code == 422
    assert field in [cause["field"] for cause in answer.body["details"]["causes"]]
    assert api.core.revision == before


def test_a_time_has_six_digits_where_the_api_says_so(api: Api) -> None:
    for stamp, code in (("2026-01-01T00:00:00.000000Z", 201), ("2026-01-01T00:00:00Z", 400), ("yesterday", 400)):
        assert api.post(LEASES, meta(f"l{code}", spec={"renewTime": stamp})).code == code


def test_an_empty_slice_says_null(api: Api) -> None:
    made = api.post(SLICES, meta("s", addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}]))
    after = api.patch(f"{SLICES}/s", {"endpoints": []})
    assert (after.body["endpoints"], after.body["metadata"]["generation"]) == (
        None,
        made.body["metadata"]["generation"] + 1,
    )


def test_one_store_of_events_is_seen_through_both_groups(api: Api) -> None:
    made = api.post(EVENTS, event())
    assert (made.code, made.body["note"], made.body["apiVersion"]) == (
        201,
        "192.0.2.1 from default",
        "events.k8s.io/v1",
    )
    old = api.get(f"{DEFAULT}/events/web.1").body
    assert (old["message"], old["involvedObject"]["name"], old["reportingComponent"]) == (
        "192.0.2.1 from default",
        "web",
        "purelb-allocator",
    )
    chosen = api.get(f"{DEFAULT}/events", fieldSelector="involvedObject.name=web,type=Normal").body["items"]
    assert len(chosen) == len(api.get(EVENTS, fieldSelector="regarding.name=web").body["items"]) == 1


def test_only_the_series_of_an_event_changes(api: Api) -> None:
    api.post(EVENTS, event())
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}
    assert api.patch(f"{EVENTS}/web.1", {"series": series}).body["series"] == series
    assert api.patch(f"{EVENTS}/web.1", {"note": "other"}).code == 422


def test_a_secret_takes_text_and_keeps_bytes(api: Api) -> None:
    made = api.post(f"{DEFAULT}/secrets", meta("s", stringData={"a": "b"})).body
    assert (made["data"], made["type"], "stringData" in made) == ({"a": "Yg=="}, "Opaque", False)


def test_a_secret_that_is_no_base64_is_refused(api: Api) -> None:
    assert api.post(f"{DEFAULT}/secrets", meta("s", data={"a": "?"})).code == 400


def test_a_nodes_first_pod_network_has_two_fields(api: Api) -> None:
    assert api.post("/api/v1/nodes", meta("a", spec={"podCIDR": "10.9.0.0/24"})).body["spec"]["podCIDRs"] == [
        "10.9.0.0/24"
    ]
    assert (
        api.post("/api/v1/nodes", meta("b", spec={"podCIDRs": ["10.9.1.0/24"]})).body["spec"]["podCIDR"]
        == "10.9.1.0/24"
    )


def test_an_immutable_config_map_stays(api: Api) -> None:
    api.post(f"{DEFAULT}/configmaps", meta("c", data={"a": "b"}, immutable=True))
    assert api.patch(f"{DEFAULT}/configmaps/c", {"data": {"a": "c"}}).code == 422


def test_a_nodes_status_is_a_subresource(api: Api) -> None:
    api.post("/api/v1/nodes", meta("n1"))
    ready = {"type": "Ready", "status": "True"}
    api.patch("/api/v1/nodes/n1/status", {"status": {"conditions": [ready]}, "spec": {"unschedulable": True}})
    node = api.patch("/api/v1/nodes/n1", {"status": {"conditions": []}}).body
    assert (node["status"]["conditions"], "spec" in node) == ([ready], False)


def test_a_pod_is_pending_until_its_status_says_otherwise_and_may_be_bound(api: Api) -> None:
    made = api.post(f"{DEFAULT}/pods", meta("p", spec={"containers": [{"name": "c"}]}, status={"phase": "Running"}))
    assert made.body["status"]["phase"] == "Running", "as the real server: only its status subresource is guarded"
    api.post(f"{DEFAULT}/pods/p/binding", {"target": {"kind": "Node", "name": "n1"}})
    assert api.get(f"{DEFAULT}/pods/p").body["spec"]["nodeName"] == "n1"
    for subresource, instead in {
        "log": "logs POD",
        "attach": "logs POD",
        "exec": "exec POD -- CMD",
        "portforward": "port-forward POD PORT",
        "proxy": "port-forward POD PORT",
    }.items():
        refused = api.get(f"{DEFAULT}/pods/p/{subresource}")
        assert (refused.code, f"`purelb sandbox {instead}`" in refused.body["message"]) == (501, True)


def test_namespaces_are_labelled_with_their_name_and_four_stand_at_the_start(api: Api) -> None:
    found = {
        item["metadata"]["name"]: item["metadata"]["labels"] for item in api.get("/api/v1/namespaces").body["items"]
    }
    assert found == {
        name: {"kubernetes.io/metadata.name": name}
        for name in ("default", "kube-node-lease", "kube-public", "kube-system")
    }


def test_any_other_kind_of_the_manifests_is_stored_as_it_comes(api: Api) -> None:
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    rules = [{"apiGroups": [""], "resources": ["services"], "verbs": ["get"]}]
    assert api.post(path, meta("purelb:allocator", rules=rules)).body["rules"] == rules


def row(api: Api, path: str) -> list[object]:
    cells = api.ask("GET", path, accept=TABLE).body["rows"][0]["cells"]
    assert isinstance(cells, list)
    return cells


def test_a_service_in_a_table(api: Api) -> None:
    ports = [
        {"port": 80, "nodePort": 30080, "name": "a"},
        {"port": 53, "protocol": "UDP", "nodePort": 30053, "name": "b"},
    ]
    made = api.post(SERVICES, service(selector={"app": "web"}, ports=ports)).body
    api.now += 125
    assert row(api, f"{SERVICES}/web") == [
        "web",
        "LoadBalancer",
        made["spec"]["clusterIP"],
        "<pending>",
        "80:30080/TCP,53:30053/UDP",
        "2m5s",
        "app=web",
    ]
    entries = [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}]
    api.patch(f"{SERVICES}/web/status", {"status": {"loadBalancer": {"ingress": entries}}})
    assert row(api, f"{SERVICES}/web")[3] == "192.0.2.1,2001:db8::1"


def test_a_lease_a_slice_and_a_node_in_a_table(api: Api) -> None:
    api.post(LEASES, meta("l", spec={"holderIdentity": "me"}))
    api.post(SLICES, meta("s", addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}], ports=[{"port": 80}]))
    api.post(
        "/api/v1/nodes",
        {"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": ""}}, "spec": {"unschedulable": True}},
    )
    assert row(api, LEASES)[:2] == ["l", "me"]
    assert row(api, SLICES)[:4] == ["s", "IPv4", "80", "10.0.0.1"]
    assert row(api, "/api/v1/nodes")[:3] == ["n", "Unknown,SchedulingDisabled", "worker"]


def test_an_object_of_odd_shapes_spoils_its_own_row_only(api: Api) -> None:
    deployments = "/apis/apps/v1/namespaces/default/deployments"  # a kind that is stored as it comes
    for name, spec in (("a", "odd"), ("b", {"replicas": 3})):
        assert api.post(deployments, meta(name, spec=spec)).code == 201
    rows = api.ask("GET", deployments, accept=TABLE).body["rows"]
    assert [found["cells"][:2] for found in rows] == [["a", None], ["b", "0/3"]]


def test_what_belongs_to_no_namespace_is_written_without_one(api: Api) -> None:
    odd = {"metadata": {"name": "n1", "namespace": "default"}, "spec": {"unschedulable": True}}
    assert "namespace" not in api.post("/api/v1/nodes", odd).body["metadata"]
    made = api.put("/api/v1/nodes/n1", odd | {"spec": {"unschedulable": False}})
    assert (made.code, made.body["metadata"].get("namespace")) == (200, None)
    assert len(api.get("/api/v1/nodes").body["items"]) == 1
