# SPDX-License-Identifier: Apache-2.0
"""OpenAPI v3 structural schemas, made from the Structs of `kinds.py` and the shapes beside their fields.

Why not msgspec's own JSON schema: it has `$ref`, `anyOf` for optional fields and enforces on decoding what it describes; a CRD wants
a tree without references, defaults for each version, list types and CEL rules. A type this file does not know is a `TypeError` when
the CRDs are made, never a guess. Everything is what Kubernetes 1.25 accepts.
"""

import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from purelb.api.rules import RULES
from purelb.api.shapes import PerVersion, Rule, Shape
from purelb.kube.model import Condition, LabelSelector, ObjectMeta

Version = Literal["v1", "v2"]
Schema = dict[str, Any]

_PLAIN: Final[Mapping[type, str]] = {str: "string", int: "integer", bool: "boolean"}


def _label(description: str, most: int) -> Schema:
    return {"type": "string", "description": description, "maxLength": most}


SELECTOR: Final[Schema] = {
    "type": "object",
    "properties": {
        "matchLabels": {
            "type": "object",
            "description": "Labels and the values they must have.",
            "maxProperties": 64,
            "additionalProperties": {"type": "string", "maxLength": 63},
        },
        "matchExpressions": {
            "type": "array",
            "description": "Requirements that must all hold.",
            "maxItems": 64,
            "x-kubernetes-list-type": "atomic",
            "items": {
                "type": "object",
                "required": ["key", "operator"],
                "properties": {
                    "key": _label("The label it is about.", 317),
                    "operator": {
                        "type": "string",
                        "maxLength": 63,
                        "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                    },
                    "values": {
                        "type": "array",
                        "description": "For In and NotIn.",
                        "maxItems": 256,
                        "x-kubernetes-list-type": "atomic",
                        "items": {"type": "string", "maxLength": 63},
                    },
                },
            },
        },
    },
    "x-kubernetes-map-type": "atomic",
}

CONDITION: Final[Schema] = {
    "type": "object",
    "required": ["type", "status", "reason", "message", "lastTransitionTime"],
    "properties": {
        "type": _label("What the condition is about.", 316),
        "status": {"type": "string", "maxLength": 63, "enum": ["True", "False", "Unknown"]},
        "reason": _label("One word.", 1024),
        "message": _label("A sentence for people.", 32768),
        "lastTransitionTime": {"type": "string", "format": "date-time", "maxLength": 64},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
    },
}


def object_schema(struct: type[msgspec.Struct], *, version: Version) -> Schema:
    """The schema of a Struct; a root kind has `apiVersion` and `kind`, and `metadata` without a schema of its own."""
    hints = get_type_hints(struct, include_extras=True)
    properties: Schema = {}
    required: list[str] = []
    if struct.__struct_config__.tag is not None:
        properties["apiVersion"] = _label("Version of the schema.", 317)
        properties["kind"] = _label("Kind of the object.", 63)
    for field in msgspec.structs.fields(struct):
        shape, hint = _shape(hints[field.name])
        if hint is ObjectMeta:
            properties[field.encode_name] = {"type": "object"}
            continue
        properties[field.encode_name] = _schema(hint, shape, version=version)
        if shape.required:
            required.append(field.encode_name)
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    rules = RULES.get(struct, ())
    if rules:
        schema["x-kubernetes-validations"] = _rules(rules)
    return schema


def _schema(hint: object, shape: Shape, *, version: Version) -> Schema:
    schema = _typed(hint, shape, version=version)
    if shape.description:
        schema["description"] = shape.description
    schema.update(shape.bounds)
    if shape.pattern is not None:
        # An empty string in an optional field means "not set".
        allowed = shape.required or re.search(shape.pattern, "") is not None
        schema["pattern"] = shape.pattern if allowed else f"^$|{shape.pattern}"
    if shape.enum:
        schema["enum"] = list(shape.enum)
    if shape.default is not msgspec.UNSET:
        default = getattr(shape.default, version) if isinstance(shape.default, PerVersion) else shape.default
        schema["default"] = list(default) if isinstance(default, tuple) else default
    if shape.rules:
        schema["x-kubernetes-validations"] = [*schema.get("x-kubernetes-validations", ()), *_rules(shape.rules)]
    return schema


def _typed(hint: object, shape: Shape, *, version: Version) -> Schema:
    if isinstance(hint, type) and hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if hint is LabelSelector:
        return dict(SELECTOR)
    if hint is Condition:
        return dict(CONDITION)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return object_schema(hint, version=version)
    if get_origin(hint) is tuple:
        item_shape, item = _shape(get_args(hint)[0])
        schema: Schema = {"type": "array", "items": _schema(item, item_shape, version=version)}
        if shape.list_key is None:
            schema["x-kubernetes-list-type"] = "atomic"
        else:
            schema["x-kubernetes-list-type"] = "map"
            schema["x-kubernetes-list-map-keys"] = [shape.list_key]
        return schema
    raise TypeError(f"{hint!r} has no schema: teach schema.py about it")


def _shape(hint: object) -> tuple[Shape, object]:
    """The shape that stands with a type, and the type without it and without None."""
    shape = Shape()
    if get_origin(hint) is Annotated:
        hint, *marks = get_args(hint)
        shape = next((mark for mark in marks if isinstance(mark, Shape)), shape)
    if get_origin(hint) in {Union, types.UnionType}:
        given = [part for part in get_args(hint) if part is not type(None)]
        if len(given) != 1:
            raise TypeError(f"{hint!r} is more than one type")
        hint = given[0]
    return shape, hint


def _rules(rules: tuple[Rule, ...]) -> list[Schema]:
    return [{"rule": rule.rule, "message": rule.message} for rule in rules]
