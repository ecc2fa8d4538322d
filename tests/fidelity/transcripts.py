# SPDX-License-Identifier: Apache-2.0
"""What the real server said, on disk, and the list of what the embedded one is known to say otherwise.

One file per module of cases and minor version, written by runs against a real server and committed. `differences.toml` names a
test, a field and the reason; both directions are errors: a difference that is not listed, and a listed one that is gone.
A listed field covers what is below it.
"""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fidelity.normal import ABSENT, different

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fidelity.runner import Record

MINOR = "1.34"  # the version whose answers the embedded server gives
HERE = Path(__file__).parent
SHOWN_MAX = 400


def path_of(version: str, module: str) -> Path:
    return HERE / "transcripts" / version / f"{module}.json"


@cache
def _read(path: Path) -> dict[str, list[Record]]:
    return json.loads(path.read_text()) if path.exists() else {}


def read(version: str, module: str) -> dict[str, list[Record]]:
    """All transcripts of a module, by the name of their case."""
    return _read(path_of(version, module))


def write(version: str, module: str, case: str, records: list[Record], *, order: list[str]) -> None:
    """Put one transcript in its place; those of cases that are no more go away."""
    path = path_of(version, module)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {**read(version, module), case: records}
    path.write_text(json.dumps({name: known[name] for name in order if name in known}, indent=1) + "\n")
    _read.cache_clear()


@cache
def listed() -> dict[str, dict[str, str]]:
    """Field to reason, for each test."""
    with (HERE / "differences.toml").open("rb") as file:
        entries: list[dict[str, Any]] = tomllib.load(file).get("difference", [])
    found: dict[str, dict[str, str]] = {}
    for entry in entries:
        for field in entry["fields"]:
            found.setdefault(entry["test"], {})[field] = entry["reason"]
    return found


def judge(
    expected: list[Record],
    found: list[Record],
    known: dict[str, str],
    *,
    sides: tuple[str, str] = ("real", "embedded"),
) -> list[str]:
    """What has to be said about a run: differences nobody listed, and listed ones that are gone. Empty when all is well."""
    before, after = (f"{side}:".ljust(max(map(len, sides)) + 1) for side in sides)
    complaints, seen = [], set()
    for step, (theirs, ours) in enumerate(zip(expected, found, strict=True), 1):
        for at, one, other in different(theirs, ours):
            field = f"{step}.{at}"
            entry = covering(field, known)
            if entry is not None:
                seen.add(entry)
            else:
                asked = theirs["asked"]
                complaints.append(f"{field}  ({asked})\n    {before} {short(one)}\n    {after} {short(other)}")
    complaints += [f"listed, but both servers agree: {field}" for field in known if field not in seen]
    return complaints


def covering(field: str, known: Iterable[str]) -> str | None:
    """The listed field that speaks of this one: itself, or one that it is below of."""
    return next((name for name in known if field == name or field.startswith((f"{name}.", f"{name}["))), None)


def short(value: Any) -> str:
    text = "(absent)" if value is ABSENT else json.dumps(value)
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "..."
