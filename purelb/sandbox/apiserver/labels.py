# SPDX-License-Identifier: Apache-2.0
"""Label selectors: text to a predicate, or a refusal in the words of the real server, which a person at kubectl reads.

The grammar is that of `k8s.io/apimachinery/pkg/labels`: terms between commas, each a key, `!key`, or a key, an operator and
one value or several in brackets. `in` and `notin` are operators only where one is expected. Empty values are values.
"""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from purelb.sandbox.apiserver.answers import Refusal, bad_request, invalid
from purelb.sandbox.apiserver.names import wrong_key, wrong_value

_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^ \t\r\n=!(),<>]+)")
_SIGNS: Mapping[str, "Operator"] = {
    "=": "in", "==": "in", "!=": "notin", "in": "in", "notin": "notin", ">": "gt", "<": "lt",
}  # fmt: skip
_SYMBOLS = frozenset("=!(),<>") | {"==", "!="}
_SHOWN = 128  # characters of a token in a message

Operator = Literal["in", "notin", "exists", "absent", "gt", "lt"]


class Requirement(msgspec.Struct, frozen=True):
    """One term. `gt` and `lt` compare whole numbers; a label that is none matches neither."""

    key: str
    op: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        match self.op:
            case "in":
                return self.key in labels and labels[self.key] in self.values
            case "notin":
                return self.key not in labels or labels[self.key] not in self.values
            case "exists":
                return self.key in labels
            case "absent":
                return self.key not in labels
            case "gt" | "lt":
                found, [bound] = _whole(labels.get(self.key, "")), self.values
                return found is not None and (found > int(bound) if self.op == "gt" else found < int(bound))


class LabelSelector(msgspec.Struct, frozen=True):
    terms: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(term.matches(labels) for term in self.terms)


def parse_labels(text: str) -> LabelSelector:
    """`a=b,c!=d,e in (f,g),h,!i,j>5`. Raises Refusal (400) naming what does not parse."""
    reader, terms = _Reader(text), []
    while not reader.at_end:
        if not reader.at_name and reader.word != "!":
            raise _found(reader.word, "!, identifier, or 'end of string'")
        terms.append(_requirement(reader))
        if reader.at_end:
            break
        if reader.word != ",":
            raise _found(reader.word, "',' or 'end of string'")
        reader.step()
        if not reader.at_name and reader.word != "!":
            raise _found(reader.word, "identifier after ','")
    return LabelSelector(tuple(terms))


class _Reader:
    """The tokens of a selector, one ahead; the end reads as an empty one."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    @property
    def word(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._tokens)

    @property
    def at_name(self) -> bool:
        return not self.at_end and self.word not in _SYMBOLS

    def step(self) -> str:
        word = self.word
        self._at += 1
        return word


def _requirement(reader: _Reader) -> Requirement:
    negated = reader.word == "!"
    if negated:
        reader.step()
    if not reader.at_name:
        raise _unreadable(f"found '{reader.word[:_SHOWN]}', expected: identifier")
    key = reader.step()
    if why := wrong_key(key):
        raise _wrong("<nil>", key, why)
    if negated:
        return Requirement(key, "absent")
    if reader.at_end or reader.word == ",":
        return Requirement(key, "exists")
    sign = reader.step()
    operator = _SIGNS.get(sign)
    if operator is None:
        raise _unreadable(f"found '{sign[:_SHOWN]}', expected: in, notin, =, ==, !=, gt, lt")
    values = _several(reader) if sign in {"in", "notin"} else [_one(reader)]
    for index, value in enumerate(sorted(set(values))):
        if operator in {"gt", "lt"} and _whole(value) is None:
            raise _wrong(f"values[{index}]", value, "for 'Gt', 'Lt' operators, the value must be an integer")
        if why := wrong_value(value):
            raise _wrong(f"values[{index}][{key}]", value, why)
    return Requirement(key, operator, frozenset(values))


def _one(reader: _Reader) -> str:
    if reader.at_end or reader.word == ",":
        return ""
    if not reader.at_name:
        raise _unreadable(f"found '{reader.word}', expected: identifier")
    return reader.step()


def _several(reader: _Reader) -> list[str]:
    """What stands in brackets; nothing between two commas, or in the brackets at all, is an empty value."""
    if reader.word != "(":
        raise _unreadable(f"found '{reader.word[:_SHOWN]}' expected: '('")
    reader.step()
    if not reader.at_name and reader.word not in {",", ")"}:
        raise _unreadable(f"found '{reader.word}', expected: ',', ')' or identifier")
    values: list[str] = []
    while reader.word != ")":
        if reader.word == ",":
            reader.step()
            if not values or reader.word in {",", ")"}:
                values.append("")
        elif reader.at_name:
            values.append(reader.step())
            if reader.word not in {",", ")"}:
                raise _unreadable(f"found '{reader.word[:_SHOWN]}', expected: ',' or ')'")
        else:
            raise _unreadable(f"found '{reader.word}', expected: ',', or identifier")
    reader.step()
    return values or [""]


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[-+]?[0-9]{1,18}", text) else None


def _found(token: str, expected: str) -> Refusal:
    return bad_request(f"found '{token[:_SHOWN]}', expected: {expected}")


def _unreadable(why: str) -> Refusal:
    return bad_request(f"unable to parse requirement: {why}")


def _wrong(field: str, value: str, why: str) -> Refusal:
    return _unreadable(str(invalid(field, value[:_SHOWN], why)))
