# SPDX-License-Identifier: Apache-2.0
"""Duration text as the API has it: `500ms`, `1m30s`. Seconds inside, milliseconds exact."""

import re
from typing import Final

_WHOLE: Final = re.compile(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+", re.ASCII)
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

# Longer text is refused before it is read; admission has the same bound.
_TEXT_MAX: Final = 32


def parse_duration(text: str) -> float | None:
    """Seconds; None for text that is not a duration (a bare number, a sign, another unit). Never raises."""
    if len(text) > _TEXT_MAX or not _WHOLE.fullmatch(text):
        return None
    # One rounding at the end: 0.1 + 0.2 would otherwise not be 0.3.
    return round(sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text)), 9)


def print_duration(seconds: float) -> str:
    """Canonical text, whole milliseconds, largest unit first: `1h30m`, `1.5s` as `1s500ms`, zero as `0s`. Rounds to 1 ms."""
    left = round(seconds * 1000)
    pieces = []
    for unit, milliseconds in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, milliseconds)
        if count:
            pieces.append(f"{count}{unit}")
    return "".join(pieces) or "0s"
