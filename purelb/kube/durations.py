# SPDX-License-Identifier: Apache-2.0
"""Durations as Kubernetes writes them (`metav1.Duration`, Go duration text): `10s`, `500ms`, `1m30s`, `0.5h`.

A bare number is refused: whoever writes `10` means seconds as often as milliseconds. Signs, `us` and `ns` are refused as
well, since nothing here is negative or that short.
"""

from __future__ import annotations

import re
from typing import Final

PATTERN: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"

_WHOLE: Final = re.compile(PATTERN)
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNIT: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TEXT_MAX_CHARS: Final = 64


def parse_duration(text: str) -> float | None:
    """Seconds, or None when the text is not a duration of this form."""
    if len(text) > _TEXT_MAX_CHARS or not _WHOLE.fullmatch(text) or not text.isascii():
        return None
    return sum(float(number) * _UNIT[unit] for number, unit in _PART.findall(text))


def duration_text(seconds: float) -> str:
    """The shortest text of these seconds, to the millisecond: 90.0 is `1m30s`, 0.2 is `200ms`, 0.0 is `0s`."""
    ms = round(seconds * 1000)
    if ms == 0:
        return "0s"
    parts: list[str] = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
