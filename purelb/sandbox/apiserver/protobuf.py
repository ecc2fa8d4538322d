# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' protobuf bodies, for the few kinds that `kubectl create KIND` sends in no other form. Reading only.

A table of field numbers turns the wire form into the object that JSON would have given; zero values are absent, as a typed
encoder's `omitempty` has it. Answers are always JSON, which every client that sends protobuf accepts as well.
Numbers: the `generated.proto` files of k8s.io/api v0.34 and k8s.io/apimachinery. Kinds without a table answer 415.
"""

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from purelb.sandbox.apiserver.answers import Obj, Refusal, bad_request

PROTOBUF = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

# A field is (name, kind of value). Kinds: "text", "int", "bool" (may be unset), "flag", "bytes", "time", "port" (IntOrString), a table for a message,
# [kind] for a repeated field, {"": kind} for a map from text.
Table = Mapping[int, tuple[str, Any]]

_OWNER: Table = {
    1: ("kind", "text"),
    3: ("name", "text"),
    4: ("uid", "text"),
    5: ("apiVersion", "text"),
    6: ("controller", "bool"),
    7: ("blockOwnerDeletion", "bool"),
}
_META: Table = {
    1: ("name", "text"),
    2: ("generateName", "text"),
    3: ("namespace", "text"),
    5: ("uid", "text"),
    6: ("resourceVersion", "text"),
    7: ("generation", "int"),
    8: ("creationTimestamp", "time"),
    9: ("deletionTimestamp", "time"),
    11: ("labels", {"": "text"}),
    12: ("annotations", {"": "text"}),
    13: ("ownerReferences", [_OWNER]),
    14: ("finalizers", ["text"]),
}
_REFERENCE: Table = {1: ("kind", "text"), 2: ("namespace", "text"), 3: ("name", "text"), 4: ("uid", "text")}
_PORT: Table = {
    1: ("name", "text"),
    2: ("protocol", "text"),
    3: ("port", "int"),
    4: ("targetPort", "port"),
    5: ("nodePort", "int"),
    6: ("appProtocol", "text"),
}
_SERVICE_SPEC: Table = {
    1: ("ports", [_PORT]),
    2: ("selector", {"": "text"}),
    3: ("clusterIP", "text"),
    4: ("type", "text"),
    5: ("externalIPs", ["text"]),
    7: ("sessionAffinity", "text"),
    8: ("loadBalancerIP", "text"),
    9: ("loadBalancerSourceRanges", ["text"]),
    10: ("externalName", "text"),
    11: ("externalTrafficPolicy", "text"),
    12: ("healthCheckNodePort", "int"),
    13: ("publishNotReadyAddresses", "flag"),
    17: ("ipFamilyPolicy", "text"),
    18: ("clusterIPs", ["text"]),
    19: ("ipFamilies", ["text"]),
    20: ("allocateLoadBalancerNodePorts", "bool"),
    21: ("loadBalancerClass", "text"),
    22: ("internalTrafficPolicy", "text"),
    23: ("trafficDistribution", "text"),
}
_BOUND: Table = {1: ("kind", "text"), 2: ("apiVersion", "text"), 3: ("name", "text"), 4: ("uid", "text")}
_TABLES: Mapping[tuple[str, str], Table] = {
    ("v1", "Namespace"): {1: ("metadata", _META)},
    ("v1", "ConfigMap"): {
        1: ("metadata", _META),
        2: ("data", {"": "text"}),
        3: ("binaryData", {"": "bytes"}),
        4: ("immutable", "bool"),
    },
    ("v1", "Secret"): {
        1: ("metadata", _META),
        2: ("data", {"": "bytes"}),
        3: ("type", "text"),
        4: ("stringData", {"": "text"}),
        5: ("immutable", "bool"),
    },
    ("v1", "ServiceAccount"): {
        1: ("metadata", _META),
        2: ("secrets", [_REFERENCE]),
        3: ("imagePullSecrets", [{1: ("name", "text")}]),
        4: ("automountServiceAccountToken", "bool"),
    },
    ("v1", "Service"): {1: ("metadata", _META), 2: ("spec", _SERVICE_SPEC)},
    ("authentication.k8s.io/v1", "TokenRequest"): {
        1: ("metadata", _META),
        2: ("spec", {1: ("audiences", ["text"]), 3: ("boundObjectRef", _BOUND), 4: ("expirationSeconds", "int")}),
    },
}
_UNKNOWN: Table = {1: ("typeMeta", {1: ("apiVersion", "text"), 2: ("kind", "text")}), 2: ("raw", "raw")}


def decode_protobuf(raw: bytes) -> Obj:
    """The object in a protobuf body. Raises 400 for what is none, 415 for a kind that has no table here."""
    if not raw.startswith(_MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = _message(raw[len(_MAGIC) :], _UNKNOWN)
        head: Obj = envelope.get("typeMeta", {})
        table = _TABLES.get((head.get("apiVersion", ""), head.get("kind", "")))
        if table is None:
            raise Refusal(
                415,
                "UnsupportedMediaType",
                f"this server reads {head.get('kind', 'this kind')[:64]} as JSON only: "
                "create it with `kubectl create ... --dry-run=client -o yaml | kubectl apply -f -`",
            )
        return {"apiVersion": head["apiVersion"], "kind": head["kind"]} | _message(envelope.get("raw", b""), table)
    except (ValueError, IndexError, OverflowError) as error:
        raise bad_request(f"the body is no protobuf message: {error}") from error


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        match tag & 7:
            case 0:
                number, at = _varint(raw, at)
                yield tag >> 3, number
            case 2:
                length, at = _varint(raw, at)
                if at + length > len(raw):
                    raise ValueError("a field is longer than the message")
                yield tag >> 3, raw[at : at + length]
                at += length
            case 1 | 5 as wire:
                at += 8 if wire == 1 else 4
            case wire:
                raise ValueError(f"wire type {wire}")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _message(raw: bytes, table: Table) -> Obj:
    found: Obj = {}
    for number, value in _fields(raw):
        if number not in table:
            continue
        name, kind = table[number]
        if isinstance(kind, list):
            found.setdefault(name, []).append(_value(value, kind[0]))
        elif isinstance(kind, dict) and "" in kind:
            pair = _message(_bytes(value), {1: ("key", "text"), 2: ("value", kind[""])})
            found.setdefault(name, {})[pair.get("key", "")] = pair.get("value", "")
        else:
            found[name] = _value(value, kind)
    return {name: value for name, value in found.items() if value is False or value not in ("", 0, {}, None)}


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")  # noqa: TRY004 - what the bytes say, not what was passed
    return value


def _value(value: int | bytes, kind: Any) -> Any:
    if isinstance(value, int):
        if kind not in ("int", "bool", "flag"):
            raise ValueError("a number where none should be")
        if kind == "flag":
            return True if value else None
        return bool(value) if kind == "bool" else value - (1 << 64) * (value >> 63)
    match kind:
        case "raw":
            return value
        case "text":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "time":
            seconds = _message(value, {1: ("seconds", "int")}).get("seconds")
            return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
        case "port":
            either = _message(value, {1: ("type", "int"), 2: ("number", "int"), 3: ("text", "text")})
            return either.get("text", "") if either.get("type") else either.get("number", 0)
        case "int" | "bool" | "flag":
            raise ValueError("text where a number should be")
        case _:
            return _message(value, kind)
