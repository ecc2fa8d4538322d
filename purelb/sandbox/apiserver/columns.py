# SPDX-License-Identifier: Apache-2.0
"""Printer columns of custom resources: what their JSON paths find, and ages as kubectl shows them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from purelb.sandbox.apiserver.answers import Obj
from purelb.sandbox.apiserver.definitions import Column


def human(seconds: float) -> str:
    """A duration with two significant units, as kubectl shows ages."""
    if seconds < -1:
        return "<invalid>"
    total = max(0, int(seconds))
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    return f"{years}y{days % 365}d" if days < 2920 and days % 365 else f"{years}y"


def age(stamp: str | None, at: datetime) -> str:
    if not stamp:
        return "<unknown>"
    try:
        written = datetime.fromisoformat(stamp)
    except ValueError:
        return "<unknown>"
    return human((at - written.replace(tzinfo=written.tzinfo or UTC)).total_seconds())


_STEP = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\\])+)|\[(?P<index>-?\d+)\]|\[(?P<star>\*)\]|\['(?P<quoted>[^']+)'\]"""
    r"""|\[\?\(\s*@\.(?P<field>[\w.\-/]+)\s*==\s*(?P<quote>["'])(?P<value>.*?)(?P=quote)\s*\)\]"""
)


def at_path(obj: Any, path: str) -> list[Any]:
    """What a JSON path of the kubectl dialect finds: names, indices, `[*]` and one equality filter."""
    found, position = [obj], 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return []
        position = step.end()
        found = [inner for one in found for inner in _descend(one, step)]
    return found


def _descend(one: Any, step: re.Match[str]) -> Iterator[Any]:
    if (name := step["name"] or step["quoted"]) is not None:
        name = name.replace("\\", "")
        if name == "*" and isinstance(one, dict):
            yield from one.values()
        elif isinstance(one, dict) and name in one:
            yield one[name]
    elif isinstance(one, list):
        if step["star"]:
            yield from one
        elif step["index"] is not None:
            index = int(step["index"])
            if -len(one) <= index < len(one):
                yield one[index]
        else:
            yield from (item for item in one if [step["value"]] == [str(x) for x in at_path(item, "." + step["field"])])


def custom_cell(obj: Obj, column: Column, at: datetime) -> object:
    found = at_path(obj, column.path)
    if not found or found == [None]:
        return None
    match column.type:
        case "date":
            return age(str(found[0]), at)
        case "string":
            return " ".join(_text(value) for value in found)
        case _:
            return found[0]


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)
