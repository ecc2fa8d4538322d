# SPDX-License-Identifier: Apache-2.0
"""A value against its structural schema: types, bounds, formats, list keys, logic. Rules are in `judgement`.

Values that an update leaves as they were are not judged again (ratcheting), so an object stored before a rule existed can
still get a status. Messages are those of kube-apiserver; lengths count characters, whatever its text says.
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
from purelb.sandbox.apiserver.schema import ABSENT, Node


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
    if type(value) is node.plain or (old is not ABSENT and old == value):
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
    elif "minLength" in written and len(value) < written["minLength"]:
        yield invalid(path, value, f"{path} in body should be at least {written['minLength']} chars long")
    elif node.pattern is not None and not node.pattern.search(value):
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
    for name in ("apiVersion", "kind") if node.embedded else ():
        if not value.get(name):
            yield required(f"{path}.{name}")
    for name in written.get("required") or ():
        if name not in value:
            yield required(f"{path}.{name}" if path else name)
    if "maxProperties" in written and len(value) > written["maxProperties"]:
        yield too_many(path, len(value), written["maxProperties"])
    if "minProperties" in written and len(value) < written["minProperties"]:
        yield invalid(path, len(value), f"{path} in body should have at least {written['minProperties']} properties")
    for name, inner in value.items():
        below = node.properties.get(name, node.additional)
        if below is not None and type(inner) is not below.plain:
            before = old.get(name, ABSENT) if isinstance(old, dict) else ABSENT
            yield from validate(below, inner, f"{path}.{name}" if path else name, before)


def _logic(word: str, several: tuple[Node, ...], value: Any, path: str) -> Iterator[FieldError]:
    passed = sum(not validate(one, value, path) for one in several)
    match word:
        case "allOf":
            for one in several:
                yield from validate(one, value, path)
        case "anyOf" if not passed:
            yield invalid("<nil>", "", f'"{path}" must validate at least one schema (anyOf)')
        case "oneOf" if passed != 1:
            found = "Found none valid" if not passed else f"Found {passed} valid alternatives"
            yield invalid("<nil>", "", f'"{path}" must validate one and only one schema (oneOf). {found}')
        case "not" if passed:
            yield invalid("<nil>", "", f'"{path}" must not validate the schema (not)')
        case _:
            return
