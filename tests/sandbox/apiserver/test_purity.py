# SPDX-License-Identifier: Apache-2.0
"""The server decides without a loop, a clock, a socket or chance of its own; three files talk."""

import ast
from pathlib import Path

import pytest

import purelb.sandbox.apiserver

ROOM = Path(purelb.sandbox.apiserver.__file__).parent
TALK = {"__main__.py", "http.py", "streams.py", "tls.py", "memory.py", "pki.py"}
BANNED = {"asyncio", "aiohttp", "logging", "os", "random", "secrets", "socket", "ssl", "threading", "time", "uuid"}


@pytest.mark.parametrize(
    "path", sorted(path for path in ROOM.glob("*.py") if path.name not in TALK), ids=lambda path: path.name
)
def test_decides_without_the_world(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & BANNED
    now = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"now", "utcnow", "today"}
        and isinstance(node.value, ast.Name)
        and node.value.id in {"datetime", "date"}
    ]
    assert not now, "reads the clock"
