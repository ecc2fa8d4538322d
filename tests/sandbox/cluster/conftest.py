# SPDX-License-Identifier: Apache-2.0
"""A state directory per test, empty of sandboxes at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from purelb.sandbox.cluster.reach import NotRunning, Sandbox
from purelb.sandbox.cluster.state import StateDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDirectory]:
    """A state directory; whatever runs in it at the end is ended."""
    state = StateDirectory("test", home=tmp_path)
    yield state
    try:
        Sandbox(state).end()
    except NotRunning:
        return
