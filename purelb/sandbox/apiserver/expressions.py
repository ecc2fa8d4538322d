# SPDX-License-Identifier: Apache-2.0
"""CEL rules of CustomResourceDefinitions: compiled once, checked for what they call, evaluated per object.

A rule that does not parse, or calls or names something unknown, is a mistake found when the definition is created; a rule
that raises at run time rejects the object. So an unchecked rule never passes silently.
Not here: static types and the cost budget; the real server's judgement of the shipped rules is the fidelity suite's.
Known difference of the library: `size()` of a string counts bytes of UTF-8, not code points.
"""

import ipaddress
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cel

KEYWORDS = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")


def escaped(name: str) -> str:
    """A property's name as rules spell it: `namespace` is `__namespace__`, `a-b` is `a__dash__b`."""
    if name in KEYWORDS:
        return f"__{name}__"
    if name.isidentifier() and "__" not in name:
        return name
    return (
        name.replace("__", "__underscores__").replace(".", "__dot__").replace("-", "__dash__").replace("/", "__slash__")
    )


def _is_ip(text: str, version: int | None = None) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    # The real function refuses zones and IPv4-mapped IPv6 as well.
    mapped = found.version == 6 and (found.ipv4_mapped is not None or found.scope_id is not None)
    return not mapped and version in {None, found.version}


def _is_cidr(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    address, slash, length = text.partition("/")
    return bool(slash) and length.isdecimal() and _is_ip(address)


def _is_sorted(items: Sequence[Any]) -> bool:
    return all(one <= other for one, other in itertools.pairwise(items))


def _index_of(inside: Any, wanted: Any) -> int:
    if isinstance(inside, str):
        return inside.find(wanted)
    return inside.index(wanted) if wanted in inside else -1


def _last_index_of(inside: Any, wanted: Any) -> int:
    if isinstance(inside, str):
        return inside.rfind(wanted)
    return len(inside) - 1 - list(reversed(inside)).index(wanted) if wanted in inside else -1


def _find(text: str, pattern: str) -> str:
    match = re.search(pattern, text)
    return match[0] if match else ""


def _split(text: str, by: str, limit: int = -1) -> list[str]:
    return text.split(by) if limit < 0 else text.split(by, limit - 1)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "isIP": _is_ip,
    "isCIDR": _is_cidr,
    "isSorted": _is_sorted,
    "sum": sum,
    "min": min,
    "max": max,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "find": _find,
    "lowerAscii": lambda text: text.lower(),
    "upperAscii": lambda text: text.upper(),
    "replace": lambda text, old, new: text.replace(old, new),
    "split": _split,
    "substring": lambda text, start, end=None: text[start:end],
    "trim": lambda text: text.strip(),
    "join": lambda items, by="": by.join(items),
}
"""What this server adds to the library's own functions: those of Kubernetes' CEL libraries that rules of ours use."""

_OF_THE_LIBRARY = frozenset(
    [
        "bytes",
        "contains",
        "double",
        "duration",
        "dyn",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "hasValue",
        "int",
        "matches",
        "orValue",
        "size",
        "startsWith",
        "string",
        "timestamp",
        "type",
        "uint",
        "value",
    ]
)


NO_OLD: Any = object()
"""No old value: a creation, or an element that cannot be matched with one of before."""


class Unsaid(ValueError):
    """An entry without a rule."""


_NO_DURATION = "type conversion error from 'string' to 'google.protobuf.Duration'"


class Rule:
    """One entry of `x-kubernetes-validations`, compiled. `transition` rules see the old value and run on updates only."""

    __slots__ = ("_message", "_message_expression", "_program", "field_path", "optional_old", "reason", "transition")

    def __init__(self, written: Mapping[str, Any]) -> None:
        """Raises ValueError saying what is wrong with the rule."""
        text = written.get("rule")
        if not isinstance(text, str) or not text.strip():
            raise Unsaid("rule is not specified")
        self._program = compiled(text)
        self.transition = "oldSelf" in self._program.variables()
        self.optional_old = written.get("optionalOldSelf") is True
        self._message = str(written.get("message") or "") or f"failed rule: {' '.join(text.split())}"
        self.reason = str(written.get("reason") or "FieldValueInvalid")
        self.field_path = str(written.get("fieldPath") or "")
        expression = written.get("messageExpression")
        self._message_expression = compiled(expression) if expression else None

    def broken(self, value: Any, old: Any) -> str | None:
        """The message if the rule does not hold (or cannot be evaluated), None if it does. `old` NO_OLD: there is none."""
        if self.transition and self.optional_old:
            old = cel.OptionalValue.none() if old is NO_OLD else cel.OptionalValue.of(old)
        elif self.transition and old is NO_OLD:
            return None
        context = cel.Context(
            variables={"self": value} | ({"oldSelf": old} if self.transition else {}), functions=dict(FUNCTIONS)
        )
        try:
            if self._program.execute(context) is True:
                return None
        except Exception as error:  # noqa: BLE001 - the library raises what the expression met: each is a rejection
            if "Function 'duration'" in str(error):
                return f"{_NO_DURATION} evaluating rule: {self._message}"
            why = f"no such key: {error.args[0]}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            return f"rule evaluation error: {why} evaluating rule: {self._message}"
        if self._message_expression is not None:
            try:
                said = self._message_expression.execute(context)
            except Exception:  # noqa: BLE001 - as the real server: a message that cannot be made falls back
                return self._message
            if isinstance(said, str) and said.strip() and "\n" not in said:
                return said
        return self._message


def compiled(text: str) -> cel.Program:
    """Raises ValueError if the text does not parse or uses a name this server does not supply."""
    try:
        program = cel.compile(text)
    except ValueError as error:
        raise ValueError(f"compilation failed: {str(error).splitlines()[0][:512]}") from error
    for function in program.functions():
        if function[0].isalpha() and function not in FUNCTIONS and function not in _OF_THE_LIBRARY:
            raise ValueError(f"compilation failed: undeclared reference to '{function}'")
    bound = set(_BOUND.findall(text)) | {"self", "oldSelf"}
    for variable in program.variables():
        if variable not in bound and variable not in {
            "int",
            "uint",
            "double",
            "string",
            "bool",
            "bytes",
            "list",
            "map",
        }:
            raise ValueError(f"compilation failed: undeclared reference to '{variable}'")
    return program
