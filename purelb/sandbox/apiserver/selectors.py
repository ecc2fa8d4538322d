# SPDX-License-Identifier: Apache-2.0
"""Label and field selectors: text to a predicate, or a refusal with the words of the real server.

Field selectors are few on purpose: each resource allows a closed set of paths, everything else is 400.
"""

import re
from collections.abc import Mapping

import msgspec

from purelb.sandbox.apiserver.answers import Obj, Refusal, bad_request
from purelb.sandbox.apiserver.kinds import Kind

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|[^\s=!(),]+)")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


class Requirement(msgspec.Struct, frozen=True):
    """One term: `op` is `in`, `notin`, `exists` or `absent`."""

    key: str
    op: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        match self.op:
            case "in":
                return self.key in labels and labels[self.key] in self.values
            case "notin":
                return self.key not in labels or labels[self.key] not in self.values
            case "exists":
                return self.key in labels
            case _:
                return self.key not in labels


class LabelSelector(msgspec.Struct, frozen=True):
    terms: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(term.matches(labels) for term in self.terms)


def _tokens(text: str) -> list[str]:
    found, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unparsable(text, text[position:])
        found.append(match[1])
        position = match.end()
    return found


def _unparsable(text: str, at: str) -> Refusal:
    return bad_request(f"unable to parse requirement: found '{at[:64]}' in label selector {text[:256]!r}")


def parse_labels(text: str) -> LabelSelector:
    """`a=b,c!=d,e in (f,g),h,!i`. Raises Refusal (400) naming what does not parse."""
    tokens, terms, at = _tokens(text), [], 0

    def take() -> str:
        nonlocal at
        at += 1
        return tokens[at - 1] if at <= len(tokens) else ""

    def value() -> str:
        nonlocal at
        if at < len(tokens) and tokens[at] not in {",", ")"}:
            found = take()
            if not _VALUE.fullmatch(found):
                raise _unparsable(text, found)
            return found
        return ""

    while at < len(tokens):
        negated = tokens[at] == "!"
        at += negated
        key = take()
        if not _KEY.fullmatch(key):
            raise _unparsable(text, key)
        sign = tokens[at] if at < len(tokens) else ","
        if negated or sign == ",":
            terms.append(Requirement(key, "absent" if negated else "exists"))
        elif sign in {"=", "==", "!="}:
            at += 1
            terms.append(Requirement(key, "notin" if sign == "!=" else "in", frozenset({value()})))
        elif sign in {"in", "notin"}:
            at += 1
            if take() != "(":
                raise _unparsable(text, sign)
            values = {value()}
            while (following := take()) == ",":
                values.add(value())
            if following != ")":
                raise _unparsable(text, following or "end of text")
            terms.append(Requirement(key, sign, frozenset(values)))
        else:
            raise _unparsable(text, sign)
        if at < len(tokens) and (take() != "," or at == len(tokens)):
            raise _unparsable(text, tokens[at - 1])
    return LabelSelector(tuple(terms))


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
