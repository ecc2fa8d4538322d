# SPDX-License-Identifier: Apache-2.0
"""A request's body becomes an object: decoded, shaped by its kind's schema, in the version that is stored.

Whatever the bytes are, the outcome is an object whose metadata has the right types, or a refusal: too deep, not JSON, another
kind, wrong types. What `fieldValidation` says decides whether unknown and repeated fields are an error, a warning or nothing.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from purelb.sandbox.apiserver import rules
from purelb.sandbox.apiserver.answers import (
    Obj,
    bad_request,
    invalid,
    invalid_object,
    unsupported,
    unsupported_media_type,
)
from purelb.sandbox.apiserver.builtins import METADATA_NODE, NODES
from purelb.sandbox.apiserver.defaults import fill, prune
from purelb.sandbox.apiserver.go_words import said
from purelb.sandbox.apiserver.paths import Target
from purelb.sandbox.apiserver.protobuf import PROTOBUF, decode_protobuf
from purelb.sandbox.apiserver.state import State
from purelb.sandbox.apiserver.validation import validate
from purelb.sandbox.apiserver.views import EVENTS, event_to_core

DEPTH_MAX = 500


class Body(msgspec.Struct, frozen=True):
    """A decoded JSON value, and the paths of fields that stood in it twice."""

    value: Any
    duplicates: tuple[str, ...] = ()


def decode(raw: bytes, media: str, *, find_duplicates: bool, accepted: tuple[str, ...] = ("application/json",)) -> Body:
    """Raises 415 for another media type, 400 for what is no JSON or nests too deep."""
    if media == PROTOBUF and "application/json" in accepted:
        return Body(decode_protobuf(raw))
    if media and media not in accepted:
        raise unsupported_media_type(accepted)
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {str(error)[:256]}") from error
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
        raise bad_request(f"json nests deeper than {DEPTH_MAX}")
    return Body(value, _duplicates(raw) if find_duplicates else ())


def _depth(value: Any) -> int:
    """Levels of nesting, counted without recursion."""
    deepest, level = 0, [value]
    while level and deepest <= DEPTH_MAX:
        deepest += 1
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    return deepest


class _Pairs(list[tuple[str, Any]]):
    """An object with its repeated names."""


def _duplicates(raw: bytes) -> tuple[str, ...]:
    found: dict[str, None] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, _Pairs):
            seen: set[str] = set()
            for name, inner in value:
                at = f"{path}.{name}" if path else name
                if name in seen:
                    found[at] = None
                seen.add(name)
                walk(inner, at)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                walk(inner, f"{path}[{index}]")

    walk(json.loads(raw, object_pairs_hook=_Pairs), "")
    return tuple(found)


def shaped(
    body: Body, target: Target, state: State, query: Mapping[str, str], *, stored: Mapping[str, Any] | None = None
) -> tuple[Obj, tuple[str, ...]]:
    """The object in its stored version with the defaults of the version it came in, and warnings about its fields.

    Of a built-in kind, what is byte for byte as in `stored` is not looked at again: it was judged when it was stored.
    """
    obj, kind = body.value, target.kind
    if obj is None:
        obj = {}
    if not isinstance(obj, dict):
        raise bad_request(f"the body of the request is no {kind.kind}")
    _check_type(obj, target)
    metadata = obj.get("metadata")
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict):
        raise _unreadable(target, "metadata: must be an object")
    metadata = rules.without_nulls(metadata)
    unknown = [f"metadata.{path}" for path in prune(METADATA_NODE, metadata, root=False)]
    if wrong := validate(METADATA_NODE, metadata, "metadata"):
        raise _unreadable(target, said(kind.kind, METADATA_NODE, metadata, wrong[0], root="metadata"))
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in metadata and not metadata[name]:
            del metadata[name]
    metadata.pop("managedFields", None)
    obj["metadata"] = metadata
    if kind.custom:
        obj = _whole(obj)
        node = state.customs[kind.key].versions[target.version].node
        unknown += sorted(prune(node, obj))
        fill(node, obj)
    else:
        judged = {"metadata": metadata} | _unchanged(obj, stored or {})
        rest = {
            name: rules.without_nulls(value) for name, value in obj.items() if name not in judged and value is not None
        }
        tree = NODES.get((target.group, kind.kind))
        if tree is not None:
            unknown += prune(tree, rest, root=False)
            if wrong := validate(tree, rest):
                raise _unreadable(target, said(kind.kind, tree, rest, wrong[0]))
        obj = judged | rest
    complaints = [f'unknown field "{path}"' for path in unknown]
    complaints += [f'duplicate field "{path}"' for path in body.duplicates]
    warnings = _judged(complaints, query.get("fieldValidation", "Warn"), target)
    if target.api_version == EVENTS:
        return event_to_core(obj), warnings
    obj["apiVersion"] = kind.stored_as
    return obj, warnings


def _unchanged(obj: Obj, stored: Mapping[str, Any]) -> Obj:
    """The fields that an update leaves as they were. Bytes are compared, for 1 equals True and 1.0."""
    encode = msgspec.json.encode
    return {name: value for name, value in obj.items() if name in stored and encode(value) == encode(stored[name])}


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 3.0 is stored as 3."""
    match value:
        case dict():
            return {name: _whole(inner) for name, inner in value.items()}
        case list():
            return [_whole(item) for item in value]
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case _:
            return value


def _check_type(obj: Obj, target: Target) -> None:
    kind, api_version = obj.get("kind"), obj.get("apiVersion")
    if not kind and target.kind.custom:
        raise bad_request("Object 'Kind' is missing in the body of the request")
    if not api_version and target.kind.custom:
        raise bad_request("Object 'apiVersion' is missing in the body of the request")
    kind, api_version = kind or target.kind.kind, api_version or target.api_version
    if api_version != target.api_version:
        raise bad_request(
            f"the API version in the data ({str(api_version)[:64]}) does not match the expected API version ({target.api_version})"
        )
    if kind != target.kind.kind and target.kind.custom:
        wrong = invalid("kind", kind, f"must be {target.kind.kind}")
        metadata = obj.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else ""
        raise invalid_object(str(kind)[:64], target.group, str(name or "")[:253], [wrong])
    if kind != target.kind.kind:
        raise _unreadable(target, f"the body is a {str(kind)[:64]}")
    obj["kind"], obj["apiVersion"] = kind, api_version


def _unreadable(target: Target, why: str) -> Exception:
    kind = target.kind.kind
    return bad_request(f'{kind} in version "{target.version}" cannot be handled as a {kind}: {why}')


def _judged(complaints: list[str], mode: str, target: Target) -> tuple[str, ...]:
    match mode:
        case "Ignore":
            return ()
        case "" | "Warn":
            return tuple(complaints[:32])
        case "Strict":
            if complaints:
                joined = ", ".join(complaints[:32])
                raise bad_request(
                    f'{target.kind.kind} in version "{target.version}" cannot be handled as a {target.kind.kind}: strict decoding error: {joined}'
                )
            return ()
        case other:
            words = ("", "Ignore", "Strict", "Warn")
            raise invalid_object(
                "CreateOptions", "meta.k8s.io", "", [unsupported("fieldValidation", other[:32], words)]
            )
