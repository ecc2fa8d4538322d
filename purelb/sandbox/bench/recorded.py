# SPDX-License-Identifier: Apache-2.0
"""Objects as API servers send them: the shape of recorded ones, managed fields and all, under names of our own. Pure.

A Service has 1.8 KB, an EndpointSlice 1.9 KB with three endpoints, a Node 24 KB, most of it images and managed fields that
nobody here reads. The sizes are what the budgets are stated for, so a test holds them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

Json = Mapping[str, Any]
Shape = Literal["service", "slice", "node"]

_AT: Final = "2026-01-01T00:00:00Z"
_ANNOTATIONS: Final = {
    "purelb.io/service-group": "default",
    "purelb.io/allocated-by": "PureLB",
    "purelb.io/allocated-from": "default",
}


def _managed(manager: str, fields: Json, *, subresource: str = "") -> Json:
    made: dict[str, Any] = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": _AT,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return made | {"subresource": subresource} if subresource else made


def _each(*names: str) -> dict[str, Any]:
    return {f"f:{name}": {} for name in names}


def _metadata(kind: str, number: int, **more: Any) -> dict[str, Any]:
    name = f"{kind}-{number:05d}"
    return {
        "name": name,
        "namespace": f"team-{number % 50:02d}",
        "uid": f"6f1c0000-0000-4000-8000-{number:012d}",
        "resourceVersion": str(100_000 + number),
        "creationTimestamp": _AT,
        "labels": {
            "app.kubernetes.io/name": name,
            "app.kubernetes.io/part-of": "shop",
            "team": f"team-{number % 50:02d}",
            "helm.sh/chart": "web-1.2.3",
        },
        **more,
    }


def service(number: int) -> Json:
    """A LoadBalancer with two ports, an address, conditions and two managers."""
    address = f"192.0.{number // 250 % 250}.{number % 250 + 1}"
    ports = [
        {"name": name, "protocol": "TCP", "port": port, "targetPort": port + 8000, "nodePort": 30000 + number % 2000}
        for name, port in (("http", 80), ("https", 443))
    ]
    managed = [
        _managed(
            "kubectl-client-side-apply",
            {
                "f:metadata": {"f:annotations": {".": {}} | _each("purelb.io/service-group"), "f:labels": {".": {}}},
                "f:spec": {
                    **_each("allocateLoadBalancerNodePorts", "externalTrafficPolicy", "internalTrafficPolicy"),
                    "f:ports": {
                        f'k:{{"port":{port},"protocol":"TCP"}}': {".": {}} | _each("name", "port", "protocol")
                        for port in (80, 443)
                    },
                    **_each("selector", "sessionAffinity", "type"),
                },
            },
        ),
        _managed("purelb-allocator", {"f:status": {"f:loadBalancer": _each("ingress")}}, subresource="status"),
    ]
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": _metadata("web", number, annotations=dict(_ANNOTATIONS), managedFields=managed),
        "spec": {
            "ports": ports,
            "selector": {"app.kubernetes.io/name": f"web-{number:05d}"},
            "clusterIP": f"10.96.{number // 250 % 250}.{number % 250 + 1}",
            "clusterIPs": [f"10.96.{number // 250 % 250}.{number % 250 + 1}"],
            "type": "LoadBalancer",
            "sessionAffinity": "None",
            "externalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "allocateLoadBalancerNodePorts": True,
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}},
    }


def endpoint_slice(number: int) -> Json:
    """Three endpoints on three nodes."""
    endpoints = [
        {
            "addresses": [f"10.{each}.{number // 250 % 250}.{number % 250 + 1}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{each}",
            "zone": f"zone-{each}",
            "hints": {"forZones": [{"name": f"zone-{each}"}]},
            "targetRef": {
                "kind": "Pod",
                "namespace": f"team-{number % 50:02d}",
                "name": f"web-{number:05d}-7c9d8b5f6d-{each}xk2p",
                "uid": f"7a2d000{each}-0000-4000-8000-{number:012d}",
            },
        }
        for each in range(3)
    ]
    fields = {
        "f:addressType": {},
        "f:endpoints": {},
        "f:metadata": {"f:labels": {".": {}} | _each("team"), "f:ownerReferences": {".": {}}},
        "f:ports": {},
    }
    metadata = _metadata("web", number, managedFields=[_managed("kube-controller-manager", fields)])
    metadata["labels"] |= {"kubernetes.io/service-name": f"web-{number:05d}"}
    metadata["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "Service", "name": f"web-{number:05d}", "uid": metadata["uid"], "controller": True}
    ]
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }


def node(number: int) -> Json:
    """A node with a hundred images and the fields that a kubelet manages."""
    images = [
        {
            "names": [
                f"registry.example/team/image-{each}@sha256:{number:032x}{each:032x}",
                f"registry.example/team/image-{each}:v1.{each}.{number % 10}",
            ],
            "sizeBytes": 10_000_000 + each,
        }
        for each in range(106)
    ]
    fields = {f"f:{each}": _each(*(f"field-{one}" for one in range(8))) for each in range(30)}
    metadata = _metadata("node", number, managedFields=[_managed("kubelet", fields, subresource="status")])
    del metadata["namespace"]
    conditions = [
        {
            "type": kind,
            "status": "False",
            "lastHeartbeatTime": _AT,
            "reason": f"Kubelet{kind}",
            "message": "as it should be",
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {"podCIDR": f"10.{number % 250}.0.0/24", "podCIDRs": [f"10.{number % 250}.0.0/24"]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"198.51.100.{number % 250 + 1}"}],
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "conditions": conditions,
            "images": images,
            "nodeInfo": {"kernelVersion": "6.1.0", "osImage": "Debian", "architecture": "amd64"},
        },
    }


_SHAPES: Final = {
    "service": (service, "ServiceList", "v1"),
    "slice": (endpoint_slice, "EndpointSliceList", "discovery.k8s.io/v1"),
    "node": (node, "NodeList", "v1"),
}


def compact(obj: Json) -> bytes:
    """As a server writes it: no blanks."""
    return json.dumps(obj, separators=(",", ":")).encode()


def listed(shape: Shape, count: int) -> bytes:
    """The body of a list of so many distinct objects; items carry no kind, as in real lists."""
    make, kind, version = _SHAPES[shape]
    items = [
        {name: value for name, value in make(n).items() if name not in {"kind", "apiVersion"}} for n in range(count)
    ]
    return compact({"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": "900000"}, "items": items})


def events(count: int, *, distinct: int = 500) -> list[bytes]:
    """Lines of a watch on Services: modifications, each with a version of its own and another node port."""
    lines = []
    for number in range(min(count, distinct)):
        changed = dict(service(number))
        changed["metadata"] = changed["metadata"] | {"resourceVersion": str(900_001 + number)}
        lines.append(b'{"type":"MODIFIED","object":' + compact(changed) + b"}\n")
    return [lines[number % len(lines)] for number in range(count)]
