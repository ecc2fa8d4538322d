# SPDX-License-Identifier: Apache-2.0
"""The runtime's benchmark without its figures: that what it measures happens, and that it needs no server and no root."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import pytest

from purelb.process.command import ANSWER_IS_NO, BAD_USAGE, DONE
from purelb.sandbox.bench import command, decoding, memory, recorded, runtime
from purelb.sandbox.bench.results import Budget, Row, row
from purelb.sandbox.bench.saturating import saturating
from purelb.sandbox.bench.stretches import Turns


def arguments(tmp_path: Path, *suites: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args([*suites, f"--out={tmp_path / 'made' / 'results.json'}"])


async def test_readers_of_the_saturated_watch_see_every_event() -> None:
    async with saturating() as url:
        assert await decoding.ours(url, 600) == 600
        assert await decoding.loads_with(json.loads)(url, 600) == 600
        assert await decoding.models(url, 50) == 50


async def test_the_saturating_server_answers_lists_and_patches_on_one_connection() -> None:
    async with saturating() as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/api/v1/services?labelSelector=n%3D7") as answer:
            assert len((await answer.json())["items"]) == 7
        async with session.patch(f"{url}/api/v1/namespaces/a/services/b", data=b"{}") as answer:
            assert (await answer.json())["kind"] == "Service"


@pytest.mark.parametrize("shape", ["service", "slice", "node"])
def test_both_forms_of_a_cache_hold_each_object(tmp_path: Path, shape: recorded.Shape) -> None:
    file = tmp_path / "list"
    file.write_bytes(recorded.listed(shape, 30))
    for form in ("dicts", "store"):
        held = memory.cache(form, shape, str(file))
        assert len(held) == 30  # type: ignore[arg-type]


def test_the_longest_stretch_is_that_between_two_looks_at_the_sockets() -> None:
    turns = Turns()

    async def hold() -> None:
        await asyncio.sleep(0)
        turns.longest = 0.0
        sum(range(300_000))
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        runner.run(hold())
    assert turns.longest > 0


@pytest.mark.parametrize(("value", "code"), [(1.0, DONE), (3.0, ANSWER_IS_NO)], ids=["kept", "missed"])
def test_the_suite_alone_needs_no_server_and_says_when_a_budget_was_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: float, code: int
) -> None:
    def measured() -> list[Row]:
        return [row(suite="runtime", case="c", unit="us", values=[value], budget=Budget(at_most=2.0))]

    monkeypatch.setattr(runtime, "measure", measured)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    wanted = arguments(tmp_path, "runtime")
    assert command.run(wanted) == code
    results = json.loads(Path(wanted.out).read_bytes())
    assert "kube-apiserver" not in results["versions"]
    assert results["suites"][0]["pass"] is (code == DONE)
    assert ("MISSED" in capsys.readouterr().out) is (code != DONE)


@pytest.mark.parametrize("installed", [True, False], ids=["with orjson", "without"])
async def test_every_reader_has_its_row_and_one_that_is_missing_is_a_missed_budget(
    monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    for name, less in {"TRIALS": 1, "EVENTS": 600, "EVENTS_OF_MODELS": 50}.items():
        monkeypatch.setattr(decoding, name, less)
    if not installed:
        monkeypatch.setitem(sys.modules, "orjson", None)
    async with saturating() as url:
        rows = await decoding.watching(url)
    against = {each.case.partition(", against ")[2]: each for each in rows}
    assert against["json.loads"].ok is not None
    (row_of_orjson,) = [each for words, each in against.items() if words.startswith("orjson")]
    if installed:
        assert row_of_orjson.ratio is not None
    else:
        assert row_of_orjson.ok is False
        assert "not measured" in row_of_orjson.case


@pytest.mark.parametrize("suites", [("steady",), ("runtime", "steady"), ()], ids=["one", "with another", "all"])
def test_the_other_suites_still_need_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suites: tuple[str, ...]
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert command.run(arguments(tmp_path, *suites)) == BAD_USAGE
