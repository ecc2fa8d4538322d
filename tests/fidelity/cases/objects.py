# SPDX-License-Identifier: Apache-2.0
"""The objects that cases write, and the paths where they live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fidelity.steps import Object

CONFIG_MAPS = "/api/v1/namespaces/<ns>/configmaps"
EVENTS = "/api/v1/namespaces/<ns>/events"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/<ns>/leases"
NAMESPACES = "/api/v1/namespaces"
NEW_EVENTS = "/apis/events.k8s.io/v1/namespaces/<ns>/events"
NODES = "/api/v1/nodes"
PODS = "/api/v1/namespaces/<ns>/pods"
SECRETS = "/api/v1/namespaces/<ns>/secrets"
SERVICES = "/api/v1/namespaces/<ns>/services"
SERVICE_ACCOUNTS = "/api/v1/namespaces/<ns>/serviceaccounts"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/<ns>/endpointslices"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

LONG_AGO = "2020-01-02T03:04:05Z"
LONG_AGO_MICRO = "2020-01-02T03:04:05.000006Z"


def named(api_version: str, kind: str, name: str, **more: Any) -> Object:
    """An object; `metadata` of `more` is added to its name."""
    metadata = {"name": name} | more.pop("metadata", {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def lease(name: str, *, metadata: Object | None = None, **spec: Any) -> Object:
    return named("coordination.k8s.io/v1", "Lease", name, metadata=metadata or {}, spec=spec)


def labelled(name: str, **labels: str) -> Object:
    """A Lease with labels: the cheapest thing to list and to watch."""
    return lease(name, metadata={"labels": labels})


def config_map(name: str, *, metadata: Object | None = None, **more: Any) -> Object:
    return named("v1", "ConfigMap", name, metadata=metadata or {}, **more)


def service(name: str = "web", *, metadata: Object | None = None, **spec: Any) -> Object:
    """A LoadBalancer Service with one port, without a selector: no controller of a whole cluster touches it."""
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}]} | spec
    return named("v1", "Service", name, metadata=metadata or {}, spec=spec)


def endpoint_slice(name: str = "web-1", *, metadata: Object | None = None, **more: Any) -> Object:
    body = {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 80}]} | more
    return named("discovery.k8s.io/v1", "EndpointSlice", name, metadata=metadata or {}, **body)


def pod(name: str = "one", **spec: Any) -> Object:
    return named("v1", "Pod", name, spec={"containers": [{"name": "main", "image": "none"}]} | spec)


def event(name: str = "seen", *, namespace: str = "<ns>", **more: Any) -> Object:
    """An old-style Event about a ConfigMap."""
    regarding = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": namespace, "name": "thing"}
    return named("v1", "Event", name, **{"involvedObject": regarding, "reason": "Seen", "message": "seen once", **more})


def new_event(name: str = "seen", **more: Any) -> Object:
    """A new-style Event with everything that it needs."""
    body = {
        "eventTime": LONG_AGO_MICRO,
        "reportingController": "purelb.io/allocator",
        "reportingInstance": "allocator-0",
        "action": "Allocate",
        "reason": "AddressAssigned",
        "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": "<ns>", "name": "web"},
        "note": "192.0.2.1 from default",
        "type": "Normal",
    }
    return named("events.k8s.io/v1", "Event", name, **{**body, **more})


def crd(plural: str, versions: list[Object], *, kind: str, scope: str = "Namespaced", **spec: Any) -> Object:
    """A definition in the room's group."""
    names = {"plural": plural, "kind": kind} | spec.pop("names", {})
    spec = {"group": "<group>", "scope": scope, "names": names, "versions": versions} | spec
    return named("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.<group>", spec=spec)


def version(name: str = "v1", *, storage: bool = True, spec: Object | None = None, **more: Any) -> Object:
    """One version whose `spec` has this schema, with a status subresource unless told otherwise."""
    schema = {"type": "object", "properties": {"spec": spec or {"type": "object"}, "status": FREE}}
    body = {"schema": {"openAPIV3Schema": more.pop("schema", schema)}, "subresources": {"status": {}}} | more
    return {"name": name, "served": True, "storage": storage} | body


FREE: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
