# SPDX-License-Identifier: Apache-2.0
"""What the product leans on, asked of the real server: if one of these sentences stops being true, a design decision falls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hack.processes import wait_until

if TYPE_CHECKING:
    from hack.api import Api
    from hack.control_plane import ControlPlane

CONDITION = {
    "type": "example.org/Allocated",
    "status": "True",
    "reason": "AddressAssigned",
    "message": "192.0.2.1 from default",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def service(name: str, **spec: Any) -> dict[str, Any]:
    """A LoadBalancer Service of a class that nobody serves, so that only the test writes it."""
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "example.org/facts",
            "ports": ports,
            "selector": {"app": name},
            **spec,
        },
    }


def test_the_server_says_the_version_that_hack_builds(control_plane: ControlPlane, admin: Api) -> None:
    version = admin.get("/version").ok()["gitVersion"]
    assert f"kubernetes-{version.removeprefix('v')}" in str(control_plane.binaries)


def test_one_patch_of_the_status_carries_ingress_conditions_annotations_and_the_version(
    admin: Api, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    made = admin.post(path, service("web")).ok()
    patch = {
        "metadata": {
            "resourceVersion": made["metadata"]["resourceVersion"],
            "annotations": {"example.org/by": "us", "example.org/from": "default"},
        },
        "spec": {"externalTrafficPolicy": "Local"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}, "conditions": [CONDITION]},
    }
    patched = admin.patch(f"{path}/web/status", patch).ok()
    read = admin.get(f"{path}/web").ok()
    assert read == patched
    assert read["status"] == patch["status"]
    assert read["metadata"]["annotations"] == patch["metadata"]["annotations"]
    assert read["spec"]["externalTrafficPolicy"] == "Cluster", "the status subresource must leave the spec alone"


def test_a_stale_version_in_a_merge_patch_is_a_conflict_and_changes_nothing(admin: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    stale = admin.post(path, service("web")).ok()["metadata"]["resourceVersion"]
    admin.patch(f"{path}/web", {"metadata": {"labels": {"moved": "on"}}}).ok()
    before = admin.get(f"{path}/web").ok()
    late = {"metadata": {"resourceVersion": stale}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    answer = admin.patch(f"{path}/web/status", late)
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert admin.get(f"{path}/web").ok() == before


def test_a_null_in_a_merge_patch_takes_an_annotation_away_again(admin: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    admin.post(path, service("web")).ok()
    admin.patch(f"{path}/web/status", {"metadata": {"annotations": {"example.org/by": "us"}}}).ok()
    admin.patch(f"{path}/web/status", {"metadata": {"annotations": {"example.org/by": None}}}).ok()
    assert "annotations" not in admin.get(f"{path}/web").ok()["metadata"]


def test_after_a_restart_a_watch_from_long_ago_answers_200_and_one_error_event_with_410(
    control_plane: ControlPlane, admin: Api, namespace: str
) -> None:
    # A server that starts fills its watch cache with a list: what was before the list is gone for watchers.
    admin.post(f"/api/v1/namespaces/{namespace}/services", service("web")).ok()
    control_plane.stop_api_server()
    control_plane.start_api_server()
    answer = admin.get("/api/v1/services?watch=1&resourceVersion=1&timeoutSeconds=5")
    events = [answer.body] if isinstance(answer.body, dict) else [json.loads(line) for line in answer.body.splitlines()]
    assert answer.status == 200
    assert [(event["type"], event["object"].get("code"), event["object"].get("reason")) for event in events] == [
        ("ERROR", 410, "Expired")
    ]


def test_an_address_that_a_service_lost_with_its_type_is_cleared_by_the_server(admin: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    admin.post(path, service("web")).ok()
    admin.patch(f"{path}/web/status", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}).ok()
    changed = admin.patch(f"{path}/web", {"spec": {"type": "ClusterIP", "loadBalancerClass": None}}).ok()
    assert changed["status"] == {"loadBalancer": {}}


def test_an_external_traffic_policy_of_local_brings_a_health_check_port(admin: Api, namespace: str) -> None:
    made = admin.post(f"/api/v1/namespaces/{namespace}/services", service("web", externalTrafficPolicy="Local")).ok()
    assert made["spec"]["healthCheckNodePort"] > 0


def test_the_controllers_make_an_endpoint_slice_for_a_ready_pod_of_a_node_that_exists(
    admin: Api, namespace: str
) -> None:
    admin.post(f"/api/v1/namespaces/{namespace}/services", service("web")).ok()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-0", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "none"}], "nodeName": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods"
    admin.post("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": namespace}}).ok()
    admin.post(path, pod).ok()
    ready = {"type": "Ready", "status": "True"}
    status = {"phase": "Running", "podIP": "10.244.9.9", "podIPs": [{"ip": "10.244.9.9"}], "conditions": [ready]}
    admin.patch(f"{path}/web-0/status", {"status": status}).ok()

    def slices() -> object:
        found = admin.get(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices").ok()["items"]
        endpoints = [endpoint for item in found for endpoint in item["endpoints"] or ()]
        seen = [(end["addresses"], end["conditions"]["ready"], end["nodeName"]) for end in endpoints]
        return seen == [(["10.244.9.9"], True, namespace)] or seen

    wait_until("an EndpointSlice lists the Pod", slices, within_s=30)
    admin.delete(f"{path}/web-0?gracePeriodSeconds=0").ok()
    admin.delete(f"/api/v1/nodes/{namespace}").ok()
