# SPDX-License-Identifier: Apache-2.0
"""What the sandbox's commands print: a line per step with its duration, and small tables.

On a terminal a step is shown while it runs and rewritten when it is done; elsewhere, or with NO_COLOR or CI set, every line is written once and plainly.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GREEN: Final = "32"
RED: Final = "31"
DIM: Final = "2"
BOLD: Final = "1"
WIDTH: Final = 54


class Line:
    """A step that is running; its `note` is printed behind it when it is done."""

    def __init__(self) -> None:
        self.note = ""


class Screen:
    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._marks = _marks(self._out.encoding)
        self.lively = self._out.isatty() and not os.environ.get("NO_COLOR") and not os.environ.get("CI")

    def say(self, text: str = "", *, style: str = "") -> None:
        self._out.write(f"{self._styled(text, style)}\n")
        self._out.flush()

    @contextmanager
    def step(self, what: str) -> Iterator[Line]:
        """One step: what is being done, then how long it took and what came of it. An exception marks it as failed and goes on."""
        line, started = Line(), time.monotonic()
        self.begin(what)
        try:
            yield line
        except BaseException:
            self.done(what, seconds=time.monotonic() - started, note=line.note, good=False)
            raise
        self.done(what, seconds=time.monotonic() - started, note=line.note)

    def begin(self, what: str) -> None:
        """Show that a step is running; only a terminal does."""
        if self.lively:
            self._out.write(f"  {self._marks[2]} {what}")
            self._out.flush()

    def done(self, what: str, *, seconds: float, note: str = "", good: bool = True) -> None:
        """One step that is over."""
        mark = self._styled(self._marks[0], GREEN) if good else self._styled(self._marks[1], RED)
        start = "\r\x1b[2K" if self.lively else ""
        tail = f"  {self._styled(note, DIM)}" if note else ""
        self._out.write(f"{start}  {mark} {what:<{WIDTH}} {seconds:6.2f} s{tail}\n")
        self._out.flush()

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], *, indent: str = "  ") -> None:
        widths = [max(len(str(row[column])) for row in (header, *rows)) for column in range(len(header))]
        for number, row in enumerate((header, *rows)):
            text = "   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            self.say(indent + text, style=DIM if number == 0 else "")

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if style and text and self.lively else text


def _marks(encoding: str | None) -> tuple[str, str, str]:
    """Done, failed, running; in plain letters where the output cannot hold more."""
    try:
        "✓✗…".encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "ok", "NO", ".."
    return "✓", "✗", "…"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def program(name: str = "") -> str:
    """What to type to call `purelb sandbox` from here, for the sandbox `name`: with the path where a shell would not find it."""
    called = Path(sys.argv[0])
    found = shutil.which("purelb")
    here = "purelb"
    if (found is None or not called.exists() or not called.samefile(found)) and called.name == "purelb":
        here = os.path.relpath(called) if called.is_relative_to(Path.cwd()) else str(called)
    return f"{here} sandbox" + (f" --name {name}" if name not in {"", "default"} else "")
