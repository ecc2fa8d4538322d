# SPDX-License-Identifier: Apache-2.0
"""What is the server's own choice in an answer becomes a word, so that two runs and two servers can be compared.

Pure. Rules: the same uid, object revision or node port has the same word within one case, so that "it did not change" is part
of the comparison; the revision of a list or a bookmark is `<rv>`, for what else happens in a cluster moves it. Times of today
are the server's, other times are the case's and stay. Words of addresses and ports replace only what the case did not send.
`managedFields` are left out, for they belong to server-side apply, and so are hashes of discovery. Not promised: anything about the order of map keys.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d(\.\d+)?Z")
_REVISIONS_IN_TEXT = (
    (re.compile(r"(current: )\d+"), r"\1<rv>"),
    (re.compile(r"(too old resource version: )\d+ \(\d+"), r"\1<rv> (<rv>"),
    (re.compile(r"(ResourceVersion in the precondition \()\d+"), r"\1<rv>"),
    (re.compile(r"(ResourceVersion in record \()\d+"), r"\1<rv>"),
    # a patched object that is refused is shown whole, managedFields and all
    (
        re.compile(r'(Invalid value: )"?(?:\{\\?"(?:apiVersion|kind)\\?":|map\[).*[}\]]"?(?=: )', re.DOTALL),
        r"\1<object>",
    ),
)
_AGE = re.compile(r"\b\d+(s|m|m\d+s)\b")
ABSENT: Any = object()
_IN_TEXTS = frozenset({"ipv4", "ipv6", "port"})
_LEFT_OUT = frozenset({"managedFields", "storageVersionHash"})
_SUFFIX = 5  # letters that generateName appends, to at most 58 of its own


class Normaliser:
    """The words of one case. `names` (a room's namespace and group) are known from the start; `sent` is all it sends."""

    def __init__(self, names: Mapping[str, str], *, sent: str) -> None:
        self._names = dict(names)
        self._sent = sent
        self._words: dict[tuple[str, object], str] = {}
        self._today = {str(datetime.now(UTC).date() + timedelta(days=days)) for days in (-1, 0, 1)}
        self._prefixes = tuple(prefix[:58] for prefix in re.findall(r'"generateName": ?"([^"]+)"', sent))
        self._loose = False

    def body(self, answer: Any) -> Any:
        """A whole answer: an object, a list, a table, a text."""
        kind = answer.get("kind", "") if isinstance(answer, dict) else ""
        self._loose = kind.endswith("List") or kind == "Table"
        shown = self._value(answer, ())
        return in_order(shown) if kind == "Status" else shown

    def event(self, event: Any) -> Any:
        """One line of a watch."""
        self._loose = event.get("type") == "BOOKMARK"
        return self._value(event, ())

    def text(self, text: str) -> str:
        for name, word in self._names.items():
            text = text.replace(name, word)
        for prefix in self._prefixes:
            text = re.sub(re.escape(prefix) + f"[a-z0-9]{{{_SUFFIX}}}\\b", f"{prefix}<random>", text)
        for (what, value), word in self._words.items():
            if what in _IN_TEXTS:
                text = re.sub(f"(?<![0-9a-f.:]){re.escape(str(value))}(?![0-9a-f.:])", word, text)
        text = _UUID.sub(lambda found: self._word("uid", found[0]), text)
        text = _TIME.sub(self._time, text)
        for pattern, replacement in _REVISIONS_IN_TEXT:
            text = pattern.sub(replacement, text)
        return text

    def _value(self, value: Any, path: tuple[str, ...]) -> Any:
        match value:
            case dict():
                return {
                    self.text(name): self._value(inner, (*path, name))
                    for name, inner in value.items()
                    if name not in _LEFT_OUT
                }
            case list():
                return [self._value(inner, path) for inner in value]
            case str():
                return self._string(value, path)
            case int() if path and path[-1] in {"nodePort", "healthCheckNodePort"} and str(value) not in self._sent:
                return self._word("port", value)
            case _:
                return value

    def _string(self, value: str, path: tuple[str, ...]) -> str:
        field = path[-1] if path else ""
        if field == "resourceVersion" and value not in {"", "0"}:
            of_an_object = not self._loose or not {"items", "rows"}.isdisjoint(path)
            return self._word("rv", value) if of_an_object else "<rv>"
        if field == "continue" and value:
            return "<token>"
        if field in {"clusterIP", "clusterIPs"} and value not in {"", "None"} and f'"{value}"' not in self._sent:
            return self._word("ipv6" if ":" in value else "ipv4", value)
        return self.text(value)

    def _word(self, what: str, value: object) -> str:
        number = sum(known == what for known, _ in self._words) + 1
        return self._words.setdefault((what, value), f"<{what}-{number}>")

    def _time(self, found: re.Match[str]) -> str:
        if found[1] not in self._today or found[0] in self._sent:
            return found[0]
        return "<time>" if found[2] is None else f"<time.{len(found[2]) - 1}>"


def in_order(status: Any) -> Any:
    """A Status whose causes are sorted and each said once, in `details` and in the message.

    The real server finds them in the order of a Go map, and some of them on several of its ways.
    """
    causes = (status.get("details") or {}).get("causes") or []
    if len(causes) < 2:
        return status
    once = {_said(cause): cause for cause in causes}
    ordered = sorted(once, key=lambda text: (once[text].get("field", ""), text))
    said = ordered[0] if len(ordered) == 1 else f"[{', '.join(ordered)}]"
    before = status.get("message", "").partition(": [" if len(ordered) > 1 else f": {said}")[0] + ": "
    if sorted(status.get("message", "")) != sorted(before + said):
        return status
    return {
        **status,
        "message": before + said,
        "details": {**status["details"], "causes": [once[text] for text in ordered]},
    }


def _said(cause: Mapping[str, str]) -> str:
    return f"{cause['field']}: {cause['message']}" if cause.get("field") else cause["message"]


def without_ages(text: str) -> str:
    """A table that kubectl printed, its ages replaced and its columns two blanks apart."""
    return "\n".join(re.sub(r" {2,}", "  ", _AGE.sub("<age>", line)).rstrip() for line in text.splitlines())


def different(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every place where two JSON values differ: its path, and both sides (ABSENT: not there)."""
    match one, other:
        case dict(), dict():
            for name in sorted(one.keys() | other.keys()):
                at = f"{path}.{name}" if path else name
                if name not in one or name not in other:
                    yield at, one.get(name, ABSENT), other.get(name, ABSENT)
                else:
                    yield from different(one[name], other[name], at)
        case list(), list():
            for index in range(max(len(one), len(other))):
                at = f"{path}[{index}]"
                if index >= min(len(one), len(other)):
                    yield at, *(side[index] if index < len(side) else ABSENT for side in (one, other))
                else:
                    yield from different(one[index], other[index], at)
        case _ if type(one) is not type(other) or one != other:
            yield path, one, other
        case _:
            return
