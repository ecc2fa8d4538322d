# SPDX-License-Identifier: Apache-2.0
"""The codes of log lines: what the sources write and what the table says are the same, and failures say the same fields."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from purelb.api.codes import CODES, Code
from purelb.kube.failures import failure

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2] / "purelb"
PATHS = sorted(path for path in ROOT.rglob("*.py") if "sandbox" not in path.parts and path.name != "codes.py")
TABLE = {row.code: row for row in CODES}

# Where the code of a line is chosen among words: the functions in which these words stand.
CHOSEN = {
    "kube/troubles.py": (),
    "lbnodeagent/deciding.py": ("_word",),
    "lbnodeagent/peering.py": ("_went_stale", "_say"),
    "process/signals.py": (),  # that of a dump is a constant of logs
    "process/logs.py": (),  # writes the code of whoever logs
    "process/readonly.py": (),  # the code of a status
}


class Line:
    """A dictionary in the sources that has a `code`: the fields of a log line."""

    def __init__(self, path: Path, node: ast.Dict, value: ast.expr) -> None:
        self.where = f"{path.relative_to(ROOT)}:{node.lineno}"
        self.file = str(path.relative_to(ROOT))
        self.number = isinstance(value, ast.Constant) and not isinstance(value.value, str)
        self.code = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
        self.keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        self.made = {
            each.func.id
            for key, each in zip(node.keys, node.values, strict=True)
            if key is None and isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
        }
        self.spread = any(key is None for key in node.keys)


def lines() -> Iterator[Line]:
    for path in PATHS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "code":
                        yield Line(path, node, value)


def logged() -> list[Line]:
    """Of those, what goes to a log: a status of the API has a code too."""
    return [line for line in lines() if not line.number]


def words(path: Path, functions: tuple[str, ...] | None = None) -> Iterator[str]:
    """The strings of a file, or of some functions of it, but for docstrings."""
    tree = ast.parse(path.read_text())
    roots: list[ast.AST] = [tree]
    if functions is not None:
        roots = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in functions]
    for root in roots:
        for node in ast.walk(root):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def notices() -> Iterator[str]:
    """The words of the reflector, which become codes."""
    for node in ast.walk(ast.parse((ROOT / "kube/reflector.py").read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            at = {"Notice": 1, "_notice": 0}.get(name)
            if at is not None and isinstance(word := node.args[at], ast.Constant):
                text = str(word.value)
                yield text[0].lower() + text[1:]


def test_every_code_of_the_sources_is_in_the_table() -> None:
    unknown = [f"{line.where}: {line.code}" for line in logged() if line.code is not None and line.code not in TABLE]
    assert unknown == []
    assert [word for word in notices() if word not in TABLE] == []
    for file, functions in CHOSEN.items():
        found = {word for word in words(ROOT / file, functions) if re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", word)}
        assert found <= set(TABLE), file


def test_a_code_that_is_chosen_is_chosen_where_the_tests_look() -> None:
    assert {line.file for line in logged() if line.code is None} <= set(CHOSEN)


def test_every_row_of_the_table_is_written_somewhere() -> None:
    written = {word for path in PATHS for word in words(path)} | set(notices())
    assert [row.code for row in CODES if row.code not in written] == []


@pytest.mark.parametrize("row", CODES, ids=lambda row: row.code)
def test_a_code_is_a_token_that_is_explained_once(row: Code) -> None:
    assert re.fullmatch(r"[a-z][a-zA-Z]*", row.code)
    assert row.means.endswith(".")
    assert [other.code for other in CODES].count(row.code) == 1


def test_the_fields_of_a_failure_are_made_in_one_place() -> None:
    by_hand = [line.where for line in logged() if line.keys & {"error", "errorType", "attempt"}]
    assert by_hand == []


def test_a_line_that_is_a_failure_says_its_error() -> None:
    silent = [
        f"{line.where}: {line.code}"
        for line in logged()
        if line.code in TABLE
        and TABLE[line.code].failure
        and not line.spread
        and line.code not in {"taskDied", "handlerRaised"}
    ]
    assert silent == [], "say **failure(...); those that are logged with their exception get it from there"
    surprising = [
        line.where for line in logged() if "failure" in line.made and line.code and not TABLE[line.code].failure
    ]
    assert surprising == []


def test_a_failure_says_what_applies_and_leaves_out_the_rest() -> None:
    assert failure(ValueError("no"), attempt=2, retry_in=0.12345, took=1.0) == {
        "error": "no",
        "errorType": "ValueError",
        "attempt": 2,
        "retryIn": 0.123,
        "took": 1.0,
    }
    assert failure("EPERM", kind="OSError") == {"error": "EPERM", "errorType": "OSError"}
    assert failure(None) == {"error": "no answer"}
