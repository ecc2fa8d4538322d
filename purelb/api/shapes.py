# SPDX-License-Identifier: Apache-2.0
"""What the schema of a field says beyond its type, as data beside the field.

A `Shape` stands in the `Annotated` of a Struct's field; `schema.py` reads it and nothing else does. It is not `msgspec.Meta` on purpose:
the decoder would enforce that, and an object stored before a rule existed would then not be readable at all, where the parser of
groups must be able to say what is wrong with it. So admission enforces shapes, and parsers check again what they rely on.

Rule: every string, list and map has a bound, so that the cost of CEL rules can be estimated on every server.
An empty string in an optional field means "not set"; `schema.py` therefore lets the patterns of optional fields match it.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, Struct, UnsetType

Default = str | int | bool | tuple[str, ...]


class PerVersion(Struct, frozen=True):
    """A default that differs between the versions: how a cluster's older objects keep their meaning."""

    v1: Default
    v2: Default


class Rule(Struct, frozen=True):
    """A CEL rule on the value it stands with, and what the API server says when it does not hold."""

    rule: str
    message: str


class Shape(Struct, frozen=True, kw_only=True):
    """Schema keywords of one field, list item or map value. `bounds` are keywords that are copied as they stand."""

    description: str = ""
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    default: Default | PerVersion | UnsetType = UNSET
    required: bool = False
    list_key: str | None = None
    rules: tuple[Rule, ...] = ()
    bounds: Mapping[str, int | str] = {}


def text(
    description: str = "",
    *,
    most: int,
    least: int = 0,
    pattern: str | None = None,
    default: str | PerVersion | UnsetType = UNSET,
    required: bool = False,
    rules: tuple[Rule, ...] = (),
) -> Shape:
    """A string of at most `most` characters."""
    bounds = {"minLength": least, "maxLength": most} if least else {"maxLength": most}
    return Shape(
        description=description, pattern=pattern, default=default, required=required, rules=rules, bounds=bounds
    )


def word(
    description: str = "",
    *,
    of: tuple[str, ...],
    default: str | PerVersion | UnsetType = UNSET,
    required: bool = False,
) -> Shape:
    """One of a closed set of words. The empty string is not one: a version-dependent default could not replace it."""
    return Shape(description=description, enum=of, default=default, required=required, bounds={"maxLength": 63})


def number(
    description: str = "", *, least: int = 0, most: int | None = None, default: int | UnsetType = UNSET, bits: int = 64
) -> Shape:
    """An integer from `least` to `most`."""
    bounds: dict[str, int | str] = {"minimum": least, "format": f"int{bits}"}
    if most is not None:
        bounds["maximum"] = most
    return Shape(description=description, default=default, bounds=bounds)


def switch(description: str = "", *, default: bool | PerVersion | UnsetType = UNSET) -> Shape:
    """A boolean."""
    return Shape(description=description, default=default)


def several(
    description: str = "", *, most: int, list_key: str | None = None, default: tuple[str, ...] | UnsetType = UNSET
) -> Shape:
    """A list of at most `most` items; `list_key` names the field that tells items of a map-like list apart."""
    return Shape(description=description, default=default, list_key=list_key, bounds={"maxItems": most})


def part(description: str = "", *, required: bool = False, rules: tuple[Rule, ...] = ()) -> Shape:
    """An object."""
    return Shape(description=description, required=required, rules=rules)


DURATION_PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"


def duration(
    description: str = "", *, least: str | None = None, most: str | None = None, default: str | UnsetType = UNSET
) -> Shape:
    """Duration text such as `500ms` or `1m30s`, between two others when they are given."""
    limits = []
    if least is not None:
        limits.append(Rule(f"self == '' || duration(self) >= duration('{least}')", f"must be at least {least}"))
    if most is not None:
        limits.append(Rule(f"self == '' || duration(self) <= duration('{most}')", f"must be at most {most}"))
    return text(description, most=32, pattern=DURATION_PATTERN, default=default, rules=tuple(limits))
