# SPDX-License-Identifier: Apache-2.0
"""Structural schemas of custom resources, compiled into a tree of `Node`s when their definition is written.

What is not structural, what this server does not know, and a rule that does not compile are errors with the path. The tree
is what pruning and defaults (`defaults`) and validation (`validation`) walk, in that order, as in the real server.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from purelb.sandbox.apiserver.answers import FieldError, invalid, required, unsupported
from purelb.sandbox.apiserver.expressions import Rule, Unsaid

ABSENT: Any = object()
"""No old value: a creation, or an element that cannot be matched with one of before."""

_KNOWN = frozenset(
    [
        "type",
        "properties",
        "required",
        "enum",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "items",
        "additionalProperties",
        "nullable",
        "oneOf",
        "anyOf",
        "allOf",
        "not",
        "default",
        "description",
        "title",
        "example",
        "externalDocs",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
    ]
)
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_STRUCTURAL_ONLY = ("type", "default", "description", "nullable", "additionalProperties", "title")


class _Words(msgspec.Struct):
    """The words of a schema with their types: what does not convert to this is no schema at all."""

    type: str | None = None
    properties: "dict[str, _Words | None] | None" = None
    items: "_Words | None" = None
    additional: "_Words | bool | None" = msgspec.field(name="additionalProperties", default=None)
    required: list[str] | None = None
    enum: list[Any] | None = None
    pattern: str | None = None
    format: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool | None = msgspec.field(name="exclusiveMinimum", default=None)
    exclusive_maximum: bool | None = msgspec.field(name="exclusiveMaximum", default=None)
    multiple_of: float | None = msgspec.field(name="multipleOf", default=None)
    min_length: int | None = msgspec.field(name="minLength", default=None)
    max_length: int | None = msgspec.field(name="maxLength", default=None)
    min_items: int | None = msgspec.field(name="minItems", default=None)
    max_items: int | None = msgspec.field(name="maxItems", default=None)
    min_properties: int | None = msgspec.field(name="minProperties", default=None)
    max_properties: int | None = msgspec.field(name="maxProperties", default=None)
    unique: bool | None = msgspec.field(name="uniqueItems", default=None)
    nullable: bool | None = None
    one_of: "list[_Words] | None" = msgspec.field(name="oneOf", default=None)
    any_of: "list[_Words] | None" = msgspec.field(name="anyOf", default=None)
    all_of: "list[_Words] | None" = msgspec.field(name="allOf", default=None)
    not_: "_Words | None" = msgspec.field(name="not", default=None)
    description: str | None = None
    title: str | None = None
    int_or_string: bool | None = msgspec.field(name="x-kubernetes-int-or-string", default=None)
    keep: bool | None = msgspec.field(name="x-kubernetes-preserve-unknown-fields", default=None)
    embedded: bool | None = msgspec.field(name="x-kubernetes-embedded-resource", default=None)
    list_type: str | None = msgspec.field(name="x-kubernetes-list-type", default=None)
    list_keys: list[str] | None = msgspec.field(name="x-kubernetes-list-map-keys", default=None)
    rules: list[dict[str, Any]] | None = msgspec.field(name="x-kubernetes-validations", default=None)


def wrong_words(written: Any) -> str | None:
    """Why something is no schema, None if it is one."""
    try:
        msgspec.convert(written, _Words)
    except (msgspec.ValidationError, RecursionError) as error:
        return str(error)[:256]
    return None


_PLAIN: Mapping[str, type] = {"boolean": bool, "string": str}
_WORDS_OF_A_PLAIN_ONE = frozenset({"type", "description", "title", "default", "nullable"})


class Node:
    """One place of a schema. Built by `structural`; immutable afterwards."""

    __slots__ = ("additional", "default", "embedded", "int_or_string", "items", "keep", "list_keys", "list_type",
                 "logic", "nullable", "pattern", "plain", "properties", "rules", "type", "written")  # fmt: skip

    def __init__(self, written: Mapping[str, Any]) -> None:
        self.written = written
        self.type: str = written.get("type", "")
        self.properties: dict[str, Node] = {}
        self.items: Node | None = None
        self.additional: Node | None = None
        self.keep: bool = written.get("x-kubernetes-preserve-unknown-fields") is True
        self.embedded: bool = written.get("x-kubernetes-embedded-resource") is True
        self.int_or_string: bool = written.get("x-kubernetes-int-or-string") is True
        self.nullable: bool = written.get("nullable") is True
        self.list_type: str = written.get("x-kubernetes-list-type", "atomic")
        self.list_keys: tuple[str, ...] = tuple(written.get("x-kubernetes-list-map-keys", ()))
        self.default: Any = written.get("default", ABSENT)
        self.pattern: re.Pattern[str] | None = None
        # The type whose values are all good: most fields say no more than that they are text.
        self.plain = _PLAIN.get(self.type) if written.keys() <= _WORDS_OF_A_PLAIN_ONE else None
        self.rules: tuple[Rule, ...] = ()
        self.logic: tuple[tuple[str, tuple[Node, ...]], ...] = ()


def structural(
    written: Any, path: str, errors: list[FieldError], *, logical: bool = False, typed: bool = False
) -> Node:
    """A tree for a structural schema. Mistakes are appended to `errors`; the tree is only good if none was.

    `logical`: below a logical word, where a schema only restricts. `typed`: there, but of an int-or-string, which may name its types.
    """
    if not isinstance(written, dict):
        errors.append(required(path, "must be an object"))
        return Node({})
    written = {word: value for word, value in written.items() if value is not None}
    node = Node(written)
    if "$ref" in written:
        errors.append(FieldError("FieldValueForbidden", f"{path}.$ref", "Forbidden: $ref is not supported"))
        return node
    errors += [
        FieldError("FieldValueForbidden", f"{path}.{word}", "Forbidden: not supported in structural schemas")
        for word in written
        if word not in _KNOWN
    ]
    if logical:
        errors += [
            FieldError(
                "FieldValueForbidden",
                f"{path}.{word}",
                f"Forbidden: must be {'undefined' if word == 'default' else 'empty'} to be structural",
            )
            for word in _STRUCTURAL_ONLY
            if word in written and not (word == "type" and typed)
        ]
    elif not node.type and not node.int_or_string and not node.keep:
        errors.append(required(f"{path}.type", "must not be empty for specified object fields"))
    if node.type and node.type not in _TYPES:
        errors.append(unsupported(f"{path}.type", node.type, _TYPES))
    if written.get("uniqueItems"):
        errors.append(
            FieldError(
                "FieldValueForbidden",
                f"{path}.uniqueItems",
                "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            )
        )
    if isinstance(written.get("pattern"), str):
        try:
            node.pattern = go_pattern(written["pattern"])
        except re.error as error:
            errors.append(
                invalid(
                    f"{path}.pattern", written["pattern"], f"must be a valid regular expression, but isn't: {error}"
                )
            )
    node.properties = {
        name: structural(inner, f"{path}.properties[{name}]", errors, logical=logical)
        for name, inner in (written.get("properties") or {}).items()
    }
    if node.type == "array" and "items" not in written and not logical:
        errors.append(required(f"{path}.items", "must be specified"))
    if "items" in written:
        node.items = structural(written["items"], f"{path}.items", errors, logical=logical)
    additional = written.get("additionalProperties")
    if additional is not None:
        if node.properties and not logical:
            errors.append(
                FieldError(
                    "FieldValueForbidden",
                    f"{path}.additionalProperties",
                    "Forbidden: additionalProperties and properties are mutual exclusive",
                )
            )
        if isinstance(additional, dict):
            node.additional = structural(additional, f"{path}.additionalProperties", errors, logical=False)
        elif additional is True:
            node.keep = True
    if node.list_type not in {"atomic", "set", "map"}:
        errors.append(unsupported(f"{path}.x-kubernetes-list-type", node.list_type, ("atomic", "map", "set")))
    if node.list_type == "map":
        errors += _check_list_map(node, path)
    logic = []
    for word in ("allOf", "anyOf", "oneOf", "not"):
        below = written.get(word)
        if below is not None:
            indexed = [(f"[{at}]", one) for at, one in enumerate(below)] if isinstance(below, list) else [("", below)]
            several = (
                structural(one, f"{path}.{word}{at}", errors, logical=True, typed=typed or node.int_or_string)
                for at, one in indexed
            )
            logic.append((word, tuple(several)))
    node.logic = tuple(logic)
    node.rules = tuple(_compile_rules(written.get("x-kubernetes-validations") or (), path, errors))
    return node


def _check_list_map(node: Node, path: str) -> Iterator[FieldError]:
    if not node.list_keys:
        yield required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    items = node.items
    if items is None:
        return
    for key in node.list_keys:
        if key not in items.properties:
            yield invalid(
                f"{path}.x-kubernetes-list-map-keys",
                list(node.list_keys),
                f"entries must all be names of item properties: {key}",
            )
        elif key not in (items.written.get("required") or ()) and items.properties[key].default is ABSENT:
            yield required(
                f"{path}.items.properties[{key}].default",
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            )


def _compile_rules(written: Any, path: str, errors: list[FieldError]) -> Iterator[Rule]:
    for index, rule in enumerate(written):
        at = f"{path}.x-kubernetes-validations[{index}].rule"
        try:
            yield Rule(rule)
        except Unsaid:
            errors.append(required(at, "rule is not specified"))
        except ValueError as error:
            errors.append(invalid(at, rule.get("rule", "") if isinstance(rule, dict) else rule, str(error)))


def go_pattern(text: str) -> re.Pattern[str]:
    """A Go regular expression for Python: ASCII classes, and `$` is the end of the text and nothing else."""
    translated, in_class, index = [], False, 0
    while index < len(text):
        letter = text[index]
        if letter == "\\":
            pair = text[index : index + 2]
            translated.append(r"\Z" if pair == r"\z" else pair)
            index += 2
            continue
        if letter == "[" and not in_class:
            in_class = True
        elif letter == "]" and in_class:
            in_class = False
        translated.append(r"\Z" if letter == "$" and not in_class else letter)
        index += 1
    return re.compile("".join(translated), re.ASCII)
