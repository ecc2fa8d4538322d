# SPDX-License-Identifier: Apache-2.0
"""What names, labels and annotations may look like: RFC 1123, RFC 1035 and Kubernetes' label syntax.

Limits and texts are those of `k8s.io/apimachinery/pkg/util/validation`.
"""

import re
from collections.abc import Iterator
from typing import Any

from purelb.sandbox.apiserver.answers import FieldError, Obj, invalid, required, too_long

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
ANNOTATIONS_MAX_BYTES = 256 * 1024

LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and "
    "end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def is_label(text: str) -> bool:
    return len(text) <= 63 and _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def wrong_name(name: str, syntax: str) -> str | None:
    """What is wrong with an object's name, None if nothing. `syntax` is `Kind.dns`."""
    match syntax:
        case "label" if "." in name:
            return "must not contain dots"
        case "label":
            most, pattern, text = 63, _LABEL, LABEL_TEXT
        case "label1035":
            most, pattern, text = 63, _LABEL_1035, LABEL_1035_TEXT
        case "path":
            if name in {".", ".."}:
                return f"may not be '{name}'"
            return "may not contain '/' or '%'" if "/" in name or "%" in name else None
        case _:
            most, pattern, text = 253, _SUBDOMAIN, SUBDOMAIN_TEXT
    if len(name) > most:
        return f"must be no more than {most} characters"
    return None if pattern.fullmatch(name) else text


def wrong_key(key: str) -> str | None:
    """What is wrong with the key of a label or an annotation."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        return f"a qualified name {_QUALIFIED_TEXT[10:]} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
    if slash and not prefix:
        return "prefix part must be non-empty"
    if slash and not is_subdomain(prefix):
        return "prefix part " + SUBDOMAIN_TEXT
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 characters"
    return None if _QUALIFIED.fullmatch(name) else _QUALIFIED_TEXT


def wrong_keys(key: str) -> Iterator[str]:
    """All that is wrong with a qualified name: of an empty one the real server says two things."""
    if why := wrong_key(key):
        yield why
    if key.rpartition("/")[2] == "":
        yield _QUALIFIED_TEXT


def wrong_value(value: str) -> str | None:
    """What is wrong with a label's value."""
    if len(value) > 63:
        return "must be no more than 63 characters"
    return None if value == "" or _QUALIFIED.fullmatch(value) else _VALUE_TEXT


def check_labels(labels: Any, path: str) -> Iterator[FieldError]:
    for key, value in (labels or {}).items():
        if why := wrong_key(key):
            yield invalid(path, key, why)
        if why := wrong_value(value):
            yield invalid(path, value, why)


_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def check_metadata(metadata: Obj, *, namespaced: bool, syntax: str, core: bool) -> Iterator[FieldError]:
    """Everything that holds for the metadata of every kind, and one rule of the `core` group. Types were checked before."""
    name, prefix = metadata.get("name", ""), metadata.get("generateName", "")
    if prefix and (why := wrong_name(prefix.removesuffix("-") + "a", syntax)):
        yield invalid("metadata.generateName", prefix, why)
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif why := wrong_name(name, syntax):
        yield invalid("metadata.name", name, why)
    if namespaced and not is_label(metadata.get("namespace", "")):
        yield invalid("metadata.namespace", metadata.get("namespace", ""), LABEL_TEXT)
    yield from check_labels(metadata.get("labels"), "metadata.labels")
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        if why := wrong_key(key.lower()):
            yield invalid("metadata.annotations", key, why)
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_MAX_BYTES:
        yield too_long("metadata.annotations", ANNOTATIONS_MAX_BYTES)
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        if why := wrong_key(finalizer):
            yield invalid("metadata.finalizers", finalizer, why)
        if core and "/" not in finalizer and finalizer not in _FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid(f"metadata.finalizers[{index}]", finalizer, why)
    owners = metadata.get("ownerReferences") or ()
    controllers = [f"{owner.get('kind')}/{owner.get('name')}" for owner in owners if owner.get("controller") is True]
    if len(controllers) > 1:
        why = f'Only one reference can have Controller set to true. Found "true" in references for {controllers[0]} and {controllers[1]}'
        yield invalid("metadata.ownerReferences", owners, why)
    for owner in owners:
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield invalid(f"metadata.ownerReferences.{field}", owner.get(field, ""), "must not be empty")
