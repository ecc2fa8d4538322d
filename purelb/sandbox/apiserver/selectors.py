# SPDX-License-Identifier: Apache-2.0
"""Field selectors: each resource allows a closed set of paths, everything else is 400. Label selectors are in `labels`."""

import re
from collections.abc import Mapping

import msgspec

from purelb.sandbox.apiserver.answers import Obj, bad_request
from purelb.sandbox.apiserver.kinds import Kind

_SELECTABLE: Mapping[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "status.phase",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.podIP",
    ),
    "secrets": ("type",),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "services": ("spec.clusterIP", "spec.type"),
    "replicasets.apps": ("status.replicas",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}
_EVENTS_K8S_IO = {"regarding": "involvedObject", "reportingController": "reportingComponent"}


class FieldTerm(msgspec.Struct, frozen=True):
    path: str
    value: str
    negated: bool

    def matches(self, obj: Obj) -> bool:
        return (field(obj, self.path) == self.value) != self.negated


def field(obj: Obj, path: str) -> str:
    """The text of a field as selectors see it: absent is empty, booleans are `true` and `false`."""
    found: object = obj
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    match found:
        case None:
            return ""
        case bool():
            return "true" if found else "false"
        case dict():
            return str(found.get("component", ""))  # the one object that is selectable: `source` of an Event
        case _:
            return str(found)


def parse_fields(text: str, kind: Kind, *, group: str, custom: tuple[str, ...] = ()) -> tuple[FieldTerm, ...]:
    """`a=b,c!=d` over the paths this kind allows. Raises Refusal (400)."""
    terms = []
    for part in text.split(",") if text else ():
        match = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", part.strip(), re.DOTALL)
        if match is None:
            raise bad_request(f"invalid selector: '{text[:256]}'; can't understand '{part[:128]}'")
        path, sign, value = match.groups()
        if group == "events.k8s.io":
            head, dot, tail = path.partition(".")
            path = _EVENTS_K8S_IO.get(head, head) + dot + tail
        if path not in {"metadata.name", "metadata.namespace", *_SELECTABLE.get(kind.key, ()), *custom}:
            if kind.custom or kind.key in _SELECTABLE:
                raise bad_request(f"field label not supported: {path[:128]}")
            raise bad_request(
                f'"{path[:128]}" is not a known field selector: only "metadata.name", "metadata.namespace"'
            )
        terms.append(FieldTerm(path, value, sign == "!="))
    return tuple(terms)
