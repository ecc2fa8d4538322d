# SPDX-License-Identifier: Apache-2.0
"""What Go's decoder says about a value of the wrong type in a built-in kind, for that is what a person reads at kubectl.

It names the struct that has the field, the path without indices, and the Go type. Structs are data here; a place that is not
among them, and a time that does not parse, is told in our own words.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from purelb.sandbox.apiserver.answers import FieldError
from purelb.sandbox.apiserver.schema import Node
from purelb.sandbox.apiserver.validation import type_name

_OF_ALL: dict[str, str] = {"metadata": "ObjectMeta", "metadata.ownerReferences": "OwnerReference"}
_STRUCTS: Mapping[str, Mapping[str, str]] = {
    "Service": {
        "spec": "ServiceSpec",
        "spec.ports": "ServicePort",
        "spec.sessionAffinityConfig": "SessionAffinityConfig",
        "spec.sessionAffinityConfig.clientIP": "ClientIPConfig",
        "status": "ServiceStatus",
        "status.conditions": "Condition",
        "status.loadBalancer": "LoadBalancerStatus",
        "status.loadBalancer.ingress": "LoadBalancerIngress",
        "status.loadBalancer.ingress.ports": "PortStatus",
    },
    "Lease": {"spec": "LeaseSpec"},
    "EndpointSlice": {
        "endpoints": "Endpoint",
        "endpoints.conditions": "EndpointConditions",
        "endpoints.targetRef": "ObjectReference",
        "ports": "EndpointPort",
    },
    "Event": {"involvedObject": "ObjectReference", "series": "EventSeries", "source": "EventSource"},
    "Node": {"spec": "NodeSpec", "spec.taints": "Taint"},
    "Namespace": {"spec": "NamespaceSpec", "status": "NamespaceStatus"},
    "ConfigMap": {},
    "Secret": {},
    "ServiceAccount": {"secrets": "ObjectReference", "imagePullSecrets": "LocalObjectReference"},
}
_TYPES = {
    "string": "string",
    "boolean": "bool",
    "array": "array",
    "object": "object",
    "number": "number",
    "integer": "number",
}


def said(kind: str, tree: Node, value: Any, error: FieldError, *, root: str = "") -> str:
    """The error of a typed decoder for the first mistake that `validate` found in `value`, or the mistake's own words.

    `root` is where the value stands in its object (`metadata`).
    """
    steps = _steps(error.field.removeprefix(root).lstrip("."))
    structs = _OF_ALL | dict(_STRUCTS.get(kind, {}))
    place, struct, names = tree, structs.get(root, kind) if root else kind, [root] if root else []
    found = value
    for step in steps:
        found = _inside(found, step)
        below = place.items if isinstance(step, int) else place.properties.get(step, place.additional)
        if below is None:
            return str(error)
        if isinstance(step, str) and place.properties:
            struct = structs.get(".".join(names), kind if not names else "")
            names.append(step)
        place = below
    wanted = _go_type(place, structs.get(".".join(names), ""))
    if not struct or not wanted or place.int_or_string or (place.type == "string" and isinstance(found, str)):
        return str(error)
    if found is None:  # Go takes null as the zero value, so its decoder has no word for it
        return str(error)
    shown = _TYPES[type_name(found)]
    if shown == "number" and wanted.startswith("int"):
        shown = f"number {msgspec.json.encode(found).decode()}"
    return f"json: cannot unmarshal {shown} into Go struct field {struct}.{'.'.join(names)} of type {wanted}"


def _inside(value: Any, step: str | int) -> Any:
    match value, step:
        case dict(), str():
            return value.get(step)
        case list(), int():
            return value[step]
        case _:
            return None


def _steps(path: str) -> list[str | int]:
    found: list[str | int] = []
    for part in path.split(".") if path else ():
        name, *indices = part.split("[")
        found += [name, *(int(index.rstrip("]")) for index in indices)]
    return found


def _go_type(place: Node, struct: str) -> str:
    match place.type:
        case "string":
            return "string"
        case "boolean":
            return "bool"
        case "integer":
            return str(place.written.get("format", "int32"))
        case "array" if place.items is not None:
            inner = _go_type(place.items, struct)
            return f"[]{inner}" if inner else ""
        case "object" if place.additional is not None:
            inner = _go_type(place.additional, "")
            return f"map[string]{inner}" if inner else ""
        case "object" if struct:
            return f"v1.{struct}"
        case _:
            return ""
