# SPDX-License-Identifier: Apache-2.0
"""Structural schemas of custom resources: checked once, then pruning, defaults, validation and CEL per object.

A schema is compiled into a tree of `Node`s when its definition is written; what is not structural, what this server
does not know, and defaults that break their own schema are errors with the path. Pruning, defaulting and validation are
three walks over the same tree, in that order, as in the real server. Values that an update leaves as they were are not
judged again (ratcheting), so an object stored before a rule existed can still get a status.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from purelb.sandbox.apiserver.answers import (
    FieldError,
    duplicate,
    invalid,
    quoted,
    required,
    too_long,
    too_many,
    unsupported,
    wrong_type,
)
from purelb.sandbox.apiserver.expressions import Rule, escaped

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
_TYPES = ("object", "array", "string", "integer", "number", "boolean")
_STRUCTURAL_ONLY = ("type", "default", "description", "nullable", "additionalProperties", "title")


class Node:
    """One place of a schema. Built by `compile_schema`; immutable afterwards."""

    __slots__ = ("additional", "default", "embedded", "int_or_string", "items", "keep", "list_keys", "list_type",
                 "logic", "nullable", "pattern", "properties", "rules", "type", "written")  # fmt: skip

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
        self.rules: tuple[Rule, ...] = ()
        self.logic: tuple[tuple[str, tuple[Node, ...]], ...] = ()


def compile_schema(written: Any, path: str, errors: list[FieldError]) -> Node:
    """A tree for a structural schema. Mistakes are appended to `errors`; the tree is only good if none was."""
    node = _compile(written, path, errors, logical=False)
    if not errors:
        _check_defaults(node, path, errors)
    return node


def _compile(written: Any, path: str, errors: list[FieldError], *, logical: bool) -> Node:
    if not isinstance(written, dict):
        errors.append(required(path, "must be an object"))
        return Node({})
    node = Node(written)
    errors += [
        FieldError("FieldValueForbidden", f"{path}.{word}", "Forbidden: not supported in structural schemas")
        for word in written
        if word not in _KNOWN
    ]
    if logical:
        errors += [
            FieldError("FieldValueForbidden", f"{path}.{word}", "Forbidden: must be empty to be structural")
            for word in _STRUCTURAL_ONLY
            if word in written and not (word == "type" and node.type in {"integer", "string"})
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
        name: _compile(inner, f"{path}.properties[{name}]", errors, logical=logical)
        for name, inner in (written.get("properties") or {}).items()
    }
    if node.type == "array" and "items" not in written and not logical:
        errors.append(required(f"{path}.items", "must be specified"))
    if "items" in written:
        node.items = _compile(written["items"], f"{path}.items", errors, logical=logical)
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
            node.additional = _compile(additional, f"{path}.additionalProperties", errors, logical=False)
        elif additional is True:
            node.keep = True
        else:
            errors.append(
                FieldError(
                    "FieldValueForbidden",
                    f"{path}.additionalProperties",
                    "Forbidden: additionalProperties cannot be set to false",
                )
            )
    if node.list_type not in {"atomic", "set", "map"}:
        errors.append(unsupported(f"{path}.x-kubernetes-list-type", node.list_type, ("atomic", "map", "set")))
    if node.list_type == "map":
        errors += _check_list_map(node, path)
    logic = []
    for word in ("allOf", "anyOf", "oneOf", "not"):
        below = written.get(word)
        if below is not None:
            several = below if isinstance(below, list) else [below]
            logic.append((word, tuple(_compile(one, f"{path}.{word}", errors, logical=True) for one in several)))
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
        except ValueError as error:
            errors.append(invalid(at, rule.get("rule", "") if isinstance(rule, dict) else rule, str(error)))


def _check_defaults(node: Node, path: str, errors: list[FieldError]) -> None:
    if node.default is not ABSENT:
        value = msgspec.json.decode(msgspec.json.encode(node.default))
        fill(node, value)
        errors += [
            invalid(f"{path}.default", node.default, f"must validate against its schema: {error.message}")
            for error in validate(node, value, f"{path}.default")
        ]
    for name, below in node.properties.items():
        _check_defaults(below, f"{path}.properties[{name}]", errors)
    if node.items is not None:
        _check_defaults(node.items, f"{path}.items", errors)
    if node.additional is not None:
        _check_defaults(node.additional, f"{path}.additionalProperties", errors)


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


# --- pruning and defaults --------------------------------------------------------------------------------------------

_ROOT = ("apiVersion", "kind", "metadata")


def prune(node: Node, value: Any, *, path: str = "", root: bool = True) -> list[str]:
    """Remove what the schema does not name; answers the paths that were removed."""
    gone: list[str] = []
    if isinstance(value, dict):
        for name in list(value):
            inner = f"{path}.{name}" if path else name
            if (root or node.embedded) and name in _ROOT:
                continue
            if name in node.properties:
                gone += prune(node.properties[name], value[name], path=inner, root=False)
            elif node.additional is not None:
                gone += prune(node.additional, value[name], path=inner, root=False)
            elif not node.keep:
                del value[name]
                gone.append(inner)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            gone += prune(node.items, item, path=f"{path}[{index}]", root=False)
    return gone


def fill(node: Node, value: Any) -> None:
    """Set defaults in place. A null where null is not allowed counts as absent."""
    if isinstance(value, dict):
        for name, below in node.properties.items():
            if name in value and value[name] is None and not below.nullable:
                del value[name]
            if below.default is not ABSENT and name not in value:
                value[name] = msgspec.json.decode(msgspec.json.encode(below.default))
            if name in value:
                fill(below, value[name])
        if node.additional is not None:
            for name in value:
                if name not in node.properties:
                    fill(node.additional, value[name])
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            fill(node.items, item)


# --- validation ------------------------------------------------------------------------------------------------------


def type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case list():
            return "array"
        case _:
            return "object"


def validate(node: Node, value: Any, path: str = "", old: Any = ABSENT) -> list[FieldError]:
    """All mistakes of a value against its schema, CEL rules not included."""
    if old is not ABSENT and old == value:
        return []
    found = type_name(value)
    if value is None and node.nullable:
        return []
    fits = (
        not node.type
        or found == node.type
        or (node.type == "number" and found == "integer")
    )  # fmt: skip
    if node.int_or_string:
        fits = found in {"integer", "string"}
    if not fits:
        kind = "integer,string" if node.int_or_string else node.type
        return [wrong_type(path, found, f'{path} in body must be of type {kind}: "{found}"')]
    errors: list[FieldError] = []
    written = node.written
    if (choices := written.get("enum")) is not None and value not in choices:
        errors.append(unsupported(path, value, [str(choice) for choice in choices]))
    match value:
        case bool() | None:
            pass
        case str():
            errors += _string(node, value, path)
        case int() | float():
            errors += _number(written, value, path)
        case list():
            errors += _array(node, value, path, old)
        case _:
            errors += _object(node, value, path, old)
    for word, several in node.logic:
        errors += _logic(word, several, value, path)
    return errors


def _string(node: Node, value: str, path: str) -> Iterator[FieldError]:
    written = node.written
    if "maxLength" in written and len(value) > written["maxLength"]:
        yield too_long(path, written["maxLength"])
    if "minLength" in written and len(value) < written["minLength"]:
        yield invalid(path, value, f"{path} in body should be at least {written['minLength']} chars long")
    if node.pattern is not None and not node.pattern.search(value):
        yield invalid(path, value, f"{path} in body should match '{written['pattern']}'")
    form = str(written.get("format", ""))
    if form in _FORMATS and not _FORMATS[form](value):
        yield wrong_type(path, value, f"{path} in body must be of type {form}: {quoted(value)}")


def _ip(value: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(value).version == version
    except ValueError:
        return False


def _cidr(value: str) -> bool:
    try:
        ipaddress.ip_interface(value)
    except ValueError:
        return False
    return "/" in value


_MICROTIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[-+]\d\d:\d\d)")


def _instant(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None and "T" in value.upper()
    except ValueError:
        return False


_FORMATS: Mapping[str, Callable[[str], bool]] = {
    "ipv4": lambda value: _ip(value, 4),
    "ipv6": lambda value: _ip(value, 6),
    "cidr": _cidr,
    "date-time": _instant,
    "microtime": lambda value: _MICROTIME.fullmatch(value) is not None and _instant(value),  # of built-in kinds only
    "uuid": lambda value: re.fullmatch(r"(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", value) is not None,
    "duration": lambda value: (
        re.fullmatch(r"[-+]?([0-9]+(\.[0-9]*)?\s*(ns|us|µs|ms|s|m|h|d|w)\s*)+|0", value) is not None
    ),
    "byte": lambda value: (
        re.fullmatch(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", value) is not None
    ),
}


def _number(written: Mapping[str, Any], value: float, path: str) -> Iterator[FieldError]:
    least, most = written.get("minimum"), written.get("maximum")
    if least is not None and (value < least or (written.get("exclusiveMinimum") and value == least)):
        words = "greater than" if written.get("exclusiveMinimum") else "greater than or equal to"
        yield invalid(path, value, f"{path} in body should be {words} {least}")
    if most is not None and (value > most or (written.get("exclusiveMaximum") and value == most)):
        words = "less than" if written.get("exclusiveMaximum") else "less than or equal to"
        yield invalid(path, value, f"{path} in body should be {words} {most}")
    bits = {"int32": 31, "int64": 63}.get(written.get("format", ""))
    if bits is not None and not -(2**bits) <= value < 2**bits:
        yield invalid(path, value, f"Checked value must be of type integer with format {written['format']}")
    step = written.get("multipleOf")
    if step and not math.isclose(value / step, round(value / step)):
        yield invalid(path, value, f"{path} in body should be a multiple of {step}")


def list_key(node: Node, item: Any) -> str:
    """What identifies an element of a `map` or `set` list, as canonical text."""
    if node.list_type == "map":
        found = {name: item.get(name) for name in node.list_keys} if isinstance(item, dict) else None
        return msgspec.json.encode(found).decode()
    return msgspec.json.encode(item, order="sorted").decode()


def _array(node: Node, value: list[Any], path: str, old: Any) -> Iterator[FieldError]:
    written = node.written
    if "maxItems" in written and len(value) > written["maxItems"]:
        yield too_many(path, len(value), written["maxItems"])
        return
    if "minItems" in written and len(value) < written["minItems"]:
        yield invalid(path, len(value), f"{path} in body should have at least {written['minItems']} items")
    if node.list_type in {"map", "set"}:
        seen: set[str] = set()
        for index, item in enumerate(value):
            identity = list_key(node, item)
            if identity in seen:
                yield duplicate(f"{path}[{index}]", msgspec.json.decode(identity))
            seen.add(identity)
    if node.items is not None:
        before = matched(node, value, old)
        for index, item in enumerate(value):
            yield from validate(node.items, item, f"{path}[{index}]", before[index])


def matched(node: Node, value: list[Any], old: Any) -> list[Any]:
    """For each element the one it was before: by key in a `map` list, else unknown."""
    if node.list_type != "map" or not isinstance(old, list):
        return [ABSENT] * len(value)
    before = {list_key(node, item): item for item in old}
    return [before.get(list_key(node, item), ABSENT) for item in value]


def _object(node: Node, value: dict[str, Any], path: str, old: Any) -> Iterator[FieldError]:
    written = node.written
    for name in written.get("required") or ():
        if name not in value:
            yield required(f"{path}.{name}" if path else name)
    if "maxProperties" in written and len(value) > written["maxProperties"]:
        yield too_many(path, len(value), written["maxProperties"])
    if "minProperties" in written and len(value) < written["minProperties"]:
        yield invalid(path, len(value), f"{path} in body should have at least {written['minProperties']} properties")
    for name, inner in value.items():
        below = node.properties.get(name, node.additional)
        if below is not None:
            before = old.get(name, ABSENT) if isinstance(old, dict) else ABSENT
            yield from validate(below, inner, f"{path}.{name}" if path else name, before)


def _logic(word: str, several: tuple[Node, ...], value: Any, path: str) -> Iterator[FieldError]:
    passed = sum(not validate(one, value, path) for one in several)
    match word:
        case "allOf":
            for one in several:
                yield from validate(one, value, path)
        case "anyOf" if not passed:
            yield invalid(path, "", f"{path} in body must validate at least one schema (anyOf)")
        case "oneOf" if passed != 1:
            found = "Found none valid" if not passed else f"Found {passed} valid alternatives"
            yield invalid(path, "", f"{path} in body must validate one and only one schema (oneOf). {found}")
        case "not" if passed:
            yield invalid(path, "", f"{path} in body must not validate the schema (not)")
        case _:
            return


# --- CEL -------------------------------------------------------------------------------------------------------------


_BLOCKING = frozenset(
    {"FieldValueRequired", "FieldValueTypeInvalid", "FieldValueTooLong", "FieldValueTooMany", "FieldValueNotSupported"}
)
_UNCHECKED = FieldError(
    "FieldValueInvalid",
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
)


def judge(node: Node, value: Any, old: Any) -> list[FieldError]:
    """All mistakes of a whole object: schema first, then the rules, unless the schema's mistakes make them meaningless."""
    wrong = validate(node, value, "", old)
    if not any(error.reason in _BLOCKING for error in wrong):
        return [*wrong, *check_rules(node, value, "", old)]
    return [*wrong, _UNCHECKED] if has_rules(node) else wrong


def has_rules(node: Node) -> bool:
    below = [*node.properties.values(), *(one for one in (node.items, node.additional) if one is not None)]
    return bool(node.rules) or any(map(has_rules, below))


def check_rules(
    node: Node, value: Any, path: str = "", old: Any = ABSENT, *, root: bool = True
) -> Iterator[FieldError]:
    """Mistakes that the `x-kubernetes-validations` of this value and of all below it find."""
    if value is None or (old is not ABSENT and old == value and not _has_transition(node)):
        return
    if node.rules:
        bound = as_cel(node, value, root=root)
        before = ABSENT if old is ABSENT else as_cel(node, old, root=root)
        for rule in node.rules:
            if rule.transition and before is ABSENT:
                continue
            message = rule.broken(bound, before, with_old=rule.transition)
            if message is not None:
                at = f"{path}{rule.field_path}" if path else rule.field_path.lstrip(".")
                yield _rule_error(rule.reason, at, node.type or type_name(value), message)
    match value:
        case dict():
            for name, inner in value.items():
                below = node.properties.get(name, node.additional)
                if below is not None and not (root and name == "metadata"):
                    was = old.get(name, ABSENT) if isinstance(old, dict) else ABSENT
                    yield from check_rules(below, inner, f"{path}.{name}" if path else name, was, root=False)
        case list() if node.items is not None:
            for index, (inner, was) in enumerate(zip(value, matched(node, value, old), strict=True)):
                yield from check_rules(node.items, inner, f"{path}[{index}]", was, root=False)
        case _:
            return


def _rule_error(reason: str, path: str, kind: str, message: str) -> FieldError:
    match reason:
        case "FieldValueRequired":
            return required(path, message)
        case "FieldValueForbidden":
            return FieldError(reason, path, f"Forbidden: {message}")
        case "FieldValueDuplicate":
            return duplicate(path, kind)
        case _:
            return invalid(path, kind, message)


def _has_transition(node: Node) -> bool:
    below = [*node.properties.values(), *(one for one in (node.items, node.additional) if one is not None)]
    return any(rule.transition for rule in node.rules) or any(map(_has_transition, below))


def as_cel(node: Node, value: Any, *, root: bool = False) -> Any:
    """The value as rules see it: declared fields only, names escaped, whole numbers of type number as doubles."""
    match value:
        case dict() if node.additional is not None:
            return {name: as_cel(node.additional, inner) for name, inner in value.items()}
        case dict():
            seen = {
                escaped(name): as_cel(below, value[name]) for name, below in node.properties.items() if name in value
            }
            if root or node.embedded:
                metadata = value.get("metadata") or {}
                seen["metadata"] = {name: metadata[name] for name in ("name", "generateName") if name in metadata}
                seen |= {name: value[name] for name in ("apiVersion", "kind") if name in value}
            return seen
        case list():
            return [as_cel(node.items, inner) for inner in value] if node.items is not None else value
        case int() if node.type == "number" and not isinstance(value, bool):
            return float(value)
        case _:
            return value
