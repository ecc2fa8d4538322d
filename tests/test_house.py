# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that no linter knows: licence lines, deciding files that do not talk, a runtime that could be lifted out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for part in ("purelb", "tests", "hack") for path in (ROOT / part).rglob("*.py"))
NOT_FOR_DECIDING = {"asyncio", "aiohttp", "logging", "os", "pyroute2", "random", "socket", "subprocess", "time"}

# Files that decide: no loop, clock, socket, logger or randomness. A new deciding file is added here; of the allocator all do that
# are not named in tests/allocator/test_room.py.
DECIDING = (
    "purelb/net/*.py",
    "purelb/api/*.py",
    "purelb/kube/lines.py",
    "purelb/kube/model.py",
    "purelb/kube/selectors.py",
    "purelb/kube/durations.py",
    "purelb/kube/resources.py",
    "purelb/kube/reflector.py",
    "purelb/kube/listwatch.py",
    "purelb/kube/backoff.py",
    "purelb/kube/initial.py",
    "purelb/kube/audit.py",
    "purelb/kube/store.py",
    "purelb/kube/order.py",
    "purelb/kube/lease.py",
    "purelb/kube/leasewords.py",
    "purelb/kube/election.py",
    "purelb/kube/heartbeat.py",
    "purelb/kube/limiters.py",
    "purelb/kube/events.py",
    "purelb/lbnodeagent/config.py",
    "purelb/lbnodeagent/links.py",
    "purelb/lbnodeagent/membership.py",
    "purelb/lbnodeagent/election.py",
    "purelb/lbnodeagent/endpoints.py",
    "purelb/lbnodeagent/vip.py",
    "purelb/lbnodeagent/vipwords.py",
    "purelb/lbnodeagent/desired.py",
    "purelb/lbnodeagent/plan.py",
    "purelb/lbnodeagent/gratuitous.py",
    "purelb/lbnodeagent/report.py",
    "purelb/sandbox/invariants.py",
    "purelb/sandbox/apiserver/core.py",
    "purelb/sandbox/apiserver/mvcc.py",
    "purelb/sandbox/apiserver/schema.py",
    "purelb/sandbox/apiserver/patch.py",
    "purelb/sandbox/apiserver/rules.py",
)


def deciding_files() -> list[Path]:
    return sorted({path for pattern in DECIDING for path in ROOT.glob(pattern)})


def imported(tree: ast.Module) -> Iterator[str]:
    """Modules that are imported when the file runs; those for type checkers alone do not count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in ast.walk(node):
                if isinstance(child, ast.Import | ast.ImportFrom):
                    child.names = []
                    if isinstance(child, ast.ImportFrom):
                        child.module = None
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_source_file_names_its_licence_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert "tests" in path.parts or ast.get_docstring(ast.parse(text)), "a file says why it exists"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text.replace("TODO|FIXME|XXX", ""))


@pytest.mark.parametrize("pattern", DECIDING)
def test_each_deciding_file_of_the_list_exists(pattern: str) -> None:
    assert list(ROOT.glob(pattern)), f"{pattern} is gone: take it off the list"


@pytest.mark.parametrize("path", deciding_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_that_decides_knows_no_loop_clock_socket_logger_or_randomness(path: Path) -> None:
    tree = ast.parse(path.read_text())
    talking = {name for name in imported(tree) if name.partition(".")[0] in NOT_FOR_DECIDING}
    waiting = [node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
    assert not talking
    assert not waiting


@pytest.mark.parametrize("path", sorted((ROOT / "purelb/kube").glob("*.py")), ids=lambda path: path.name)
def test_the_runtime_could_be_lifted_out(path: Path) -> None:
    rest = [
        line
        for line in path.read_text().splitlines()
        if not re.match(r"\s*(from purelb\.kube[. ]|import purelb\.kube)", line)
    ]
    assert not [line for line in rest if "purelb" in line.lower()]


REVEALING = {
    "purelb/kube/calls.py": "puts a token into the header of a request",
    "purelb/kube/credentials.py": "reads whose a token is",
    "purelb/kube/secret.py": "compares two secrets",
    "purelb/process/scrapers.py": "has a scraper's token reviewed",
}


def test_only_listed_modules_reveal_a_secret_and_each_of_them_does() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.is_relative_to(ROOT / "purelb")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "reveal"
    }
    assert found == set(REVEALING)
