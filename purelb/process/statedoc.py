# SPDX-License-Identifier: Apache-2.0
"""The state of a running process as one JSON document: what `purelb state` prints and SIGUSR1 logs.

The process says its settings, phase, checks, tasks, last decisions and the limits that were reached; the component adds its view
(`Component.show`). Every list in it is bounded by `most`, and for a receiver that takes only so many bytes `fitting` looks for
the longest lists that fit. Decisions are the lines of the log that are about a Service, an address, a group or a node: the same
words, kept as long as 500 newer ones have not come. Secrets are not in it, since no setting and no view holds one.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import fields as struct_fields

from purelb.kube.secret import Secret, redacted
from purelb.process.logs import bare_urls, happened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from msgspec import Struct

    from purelb.kube.clock import Clock

DECISIONS_MAX: Final = 500
ITEMS_MAX: Final = 500
_FEWER: Final = (100, 20, 5, 1)
_SUBJECTS: Final = ("service", "ip", "group", "node", "interface", "lease")
_DECIDING: Final = ("purelb.allocator", "purelb.lbnodeagent")

Document = dict[str, object]


class Decisions(logging.Handler):
    """The last decisions, in the order in which they were made. Attached to our loggers beside the one that writes lines."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(logging.INFO)
        self._clock = clock
        self._kept: deque[Document] = deque(maxlen=DECISIONS_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        code, subject = getattr(record, "code", None), _subject(record)
        if code is None or subject is None or not record.name.startswith(_DECIDING):
            return
        kept: Document = {
            "time": happened(record, self._clock.wall()),
            "key": subject,
            "outcome": code,
            "reason": getattr(record, "reason", None) or getattr(record, "cause", None),
            "text": bare_urls(record.getMessage())[:256],
        }
        self._kept.append({name: value for name, value in kept.items() if value is not None})

    def last(self, most: int) -> list[Document]:
        """The newest `most` of them, oldest first."""
        return list(self._kept)[-most:]


def _subject(record: logging.LogRecord) -> str | None:
    found = (getattr(record, name, None) for name in _SUBJECTS)
    return next((str(subject)[:256] for subject in found if subject), None)


def settings_of(settings: Struct, sources: Mapping[str, str]) -> Document:
    """Each setting with where it came from."""
    return {
        field.name: {"value": _plain(getattr(settings, field.name)), "from": sources.get(field.name, "default")}
        for field in struct_fields(type(settings))
    }


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str() | Secret():
            return bare_urls(str(value))
        case tuple() | list():
            return [_plain(item) for item in value]
        case _:
            return str(value)


def encoded(document: Mapping[str, object]) -> bytes:
    """As JSON; what JSON does not know is shown as its text."""
    return msgspec.json.encode(document, enc_hook=_shown, order="deterministic")


def _shown(value: object) -> str:
    return redacted(value) if isinstance(value, Secret) else str(value)


def fitting(make: Callable[[int], Mapping[str, object]], *, max_bytes: int) -> Mapping[str, object]:
    """The document with the longest lists that encode to at most `max_bytes`; with the shortest, if none does."""
    made = make(ITEMS_MAX)
    for most in _FEWER:
        if len(encoded(made)) <= max_bytes:
            break
        made = {**make(most), "cut": f"lists hold {most} items at most"}
    return made


def cut(items: Iterable[Any], most: int) -> list[Any]:
    """The first `most` items, and how many more there are."""
    listed = list(items)
    return listed if len(listed) <= most else [*listed[:most], f"and {len(listed) - most} more"]
