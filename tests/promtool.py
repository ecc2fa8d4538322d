# SPDX-License-Identifier: Apache-2.0
"""What `promtool check metrics` says of a scrape, and what it may say: names that we inherited and keep."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

FROZEN = Path(__file__).with_name("promtool.txt")


def complaints(scrape: str) -> set[str]:
    """One line for each complaint, without what depends on its moment."""
    asked = subprocess.run(["promtool", "check", "metrics"], input=scrape, check=False, capture_output=True, text=True)
    assert asked.returncode in {0, 3}, asked.stderr  # 3: there are complaints; 1: it could not be parsed
    return {line.strip() for line in (asked.stdout + asked.stderr).splitlines() if line.strip()}


def frozen() -> dict[str, set[str]]:
    """The complaints that stay, by component; a line of the file is the component, a tab, the complaint."""
    found: dict[str, set[str]] = {}
    for line in FROZEN.read_text().splitlines():
        if line and not line.startswith("#"):
            component, complaint = re.split(r"\t", line, maxsplit=1)
            found.setdefault(component, set()).add(complaint)
    return found
