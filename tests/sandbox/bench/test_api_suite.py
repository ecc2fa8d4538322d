# SPDX-License-Identifier: Apache-2.0
"""The API server's benchmark without its figures: that what it measures happens, on servers that are really served."""

import argparse
import json
from pathlib import Path

import aiohttp
import pytest

from purelb.process.command import ANSWER_IS_NO, DONE
from purelb.sandbox.bench import api, command
from purelb.sandbox.bench.results import Budget, Ratio, Row, row
from purelb.sandbox.bench.serving import serving

CASES = 5


def test_a_small_run_measures_every_row_and_judges_two_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TRIALS", 1), ("PATCHES", 40), ("WATCHERS", 7), ("ROUNDS", 3)):
        monkeypatch.setattr(api, name, value)
    rows = api.measure()
    assert [found.suite for found in rows] == ["api"] * CASES
    assert [found.budget.at_most for found in rows if found.budget is not None] == [4.0, 0.2]
    bare, *others = rows
    assert all(found.ratio is None or found.ratio.to == bare.case for found in others)
    assert bare.p50 > 0
    assert rows[1].p50 > bare.p50, "it does what the bare handler does, and its own work"


async def test_both_servers_answer_the_same_patch(tmp_path: Path) -> None:
    for kind in ("bare", "embedded"):
        async with serving(kind, tmp_path / kind) as server:
            before = await server.cpu_s()
            client = await api._Client.of(server, tmp_path / kind)
            async with client.session:
                if kind == "embedded":
                    await client.create("web")
                    async with client.session.get("/api/v1/namespaces/default/services/web") as answer:
                        assert (await answer.json())["spec"]["type"] == "LoadBalancer"
                await client.patch(b'{"metadata":{"annotations":{"a":"b"}}}')
            assert await server.cpu_s() > before
            assert 10 < await server.rss_mib() < 500
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.ClientError):
                    async with session.get(server.url):
                        raise AssertionError("somebody who does not know the authority was served")


@pytest.mark.parametrize(("ratio", "code"), [(3.9, DONE), (4.1, ANSWER_IS_NO)], ids=["kept", "missed"])
def test_the_suite_needs_no_other_server_and_says_when_a_budget_was_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: float, code: int
) -> None:
    def measured() -> list[Row]:
        budget = Budget(of="ratio", at_most=4.0)
        return [row(suite="api", case="c", unit="us", values=[1.0], ratio=Ratio(to="b", value=ratio), budget=budget)]

    monkeypatch.setattr(api, "measure", measured)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    parser = argparse.ArgumentParser()
    command.configure(parser)
    assert command.run(parser.parse_args(["api", f"--out={tmp_path / 'results.json'}"])) == code
    assert json.loads((tmp_path / "results.json").read_bytes())["suites"][0]["name"] == "api"
