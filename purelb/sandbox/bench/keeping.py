# SPDX-License-Identifier: Apache-2.0
"""The results file while a benchmark runs: written after each part, so that nothing measured is lost to what fails later.

A suite replaces its earlier results with the first rows that it has. One that fails before leaves them, and is said on
the terminal only; one that fails in the middle keeps the rows it has and says in `failed` what is missing.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import msgspec

from purelb.sandbox.bench.catalogue import SUITES
from purelb.sandbox.bench.results import Results, Row, Run, decoded, encoded, merged, only

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COMMITTED: Final = "bench/results.json"


class Gathering:
    """What one run has so far, over what the file held before."""

    def __init__(self, out: Path, run: Run) -> None:
        """`msgspec.DecodeError` where the file exists and is something else: it is not overwritten."""
        self._out = out
        self._run = run
        self._rows: list[Row] = []
        self._failed: dict[str, list[str]] = {}
        self.earlier = decoded(out.read_bytes()) if out.exists() else None

    def version(self, name: str, value: str) -> None:
        """What became known of the surroundings only later."""
        self._run = msgspec.structs.replace(self._run, versions={**self._run.versions, name: value})

    def add(self, rows: Iterable[Row]) -> None:
        """Keep the rows of a part that was measured."""
        self._rows += rows
        self._write()

    def failed(self, suites: Iterable[str], why: str) -> None:
        """Say of these suites that a part of them is missing."""
        for suite in suites:
            self._failed.setdefault(suite, []).append(why)
        self._write()

    @property
    def failures(self) -> dict[str, list[str]]:
        return self._failed

    def results(self) -> Results:
        """The whole file as it is now."""
        made = merged(self.earlier, self._run, self._rows, order=tuple(SUITES))
        measured = {found.suite for found in self._rows}
        runs = {
            name: msgspec.structs.replace(run, failed=tuple(self._failed.get(name, ()))) if name in measured else run
            for name, run in made.runs.items()
        }
        return msgspec.structs.replace(made, runs=runs)

    def measured(self) -> Results:
        """Only what this run measured."""
        return only(self.results(), {found.suite for found in self._rows})

    def _write(self) -> None:
        if not self._rows:
            return
        self._out.parent.mkdir(parents=True, exist_ok=True)
        beside = self._out.with_name(f".{self._out.name}.new")
        beside.write_bytes(encoded(self.results()))
        beside.replace(self._out)


def committed() -> Results | None:
    """The results of the last commit; None outside a checkout, or where they are of another form."""
    shown = subprocess.run(["git", "show", f"HEAD:{COMMITTED}"], check=False, capture_output=True)
    if shown.returncode != 0:
        return None
    try:
        return decoded(shown.stdout)
    except msgspec.DecodeError:
        return None
