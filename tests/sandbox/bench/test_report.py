# SPDX-License-Identifier: Apache-2.0
"""The page of the manual and the table on the terminal."""

import argparse
import json
from pathlib import Path

import msgspec
import pytest

from purelb.process.command import BAD_USAGE, CANNOT_WORK_HERE, DONE
from purelb.sandbox.bench import command
from purelb.sandbox.bench.catalogue import SUITES, repeated_by
from purelb.sandbox.bench.report import page, table
from purelb.sandbox.bench.results import encoded
from tests.sandbox.bench.findings import against, results, run, timed


def asked(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(words))


def test_each_budget_is_a_line_with_what_was_measured_and_whether_it_was_kept() -> None:
    text = page(results(against("api", "first", 3.5, at_most=4.0), against("api", "second", 4.5, at_most=4.0)))
    assert "| first | 1 | 3.5 x | ratio <= 4 | kept | 3.5 x the bare one |" in text
    assert "| second | 1 | 4.5 x | ratio <= 4 | **missed** | 4.5 x the bare one |" in text
    assert "1 of 2 budgets are kept" in text
    assert "- api: second" in text


def test_a_figure_without_a_budget_is_shown_and_not_judged() -> None:
    assert "| memory | 1 | 5 | 5 | 5 | MiB |  |" in page(results(timed("api", "memory", 5.0, unit="MiB")))


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_says_how_it_is_repeated_and_whether_there_are_results(name: str) -> None:
    text = page(results(timed("api", "c", 1.0)))
    _, _, section = text.partition(f"\n## {name}\n")
    section = section.partition("\n## ")[0]
    assert f"`{repeated_by(name)}`" in section
    assert ("do not have it yet" in section) is (name != "api")


def test_every_suite_tells_when_it_was_measured_what_was_noisy_and_what_is_missing() -> None:
    ran = msgspec.structs.replace(run(noisy=("load 9 on 2 cores at the start",)), failed=("burst failed: E: x",))
    text = page(results(timed("api", "c", 1.0), ran=ran))
    assert "Measured 2026-01-01T00:00:00+00:00 at `abc1234`: A processor, 2 cores, 4096 MiB" in text
    assert "Noisy: load 9 on 2 cores at the start." in text
    assert "Not complete: burst failed: E: x." in text


def test_the_table_on_the_terminal_names_noise_and_missed_budgets() -> None:
    text = table(results(against("api", "c", 4.5, at_most=4.0), ran=run(noisy=("busy",))))
    assert "noisy: busy" in text
    assert "4.5 x the bare one | ratio <= 4: MISSED |" in text


def test_the_page_of_a_file_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = results(timed("api", "c", 1.0))
    (tmp_path / "r.json").write_bytes(encoded(made))
    assert asked("report", str(tmp_path / "r.json")) == DONE
    assert capsys.readouterr().out == page(made)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), (b"{", "truncated"), (json.dumps({"schema": 1, "rows": []}).encode(), "missing required")],
    ids=["missing", "cut", "of the form before"],
)
def test_a_file_that_is_not_one_of_results_is_refused_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes | None, words: str
) -> None:
    file = tmp_path / "r.json"
    if text is not None:
        file.write_bytes(text)
    assert asked("report", str(file)) == CANNOT_WORK_HERE
    said = capsys.readouterr().err
    assert str(file) in said
    assert words in said


def test_a_report_is_of_one_file() -> None:
    assert asked("report", "one", "two") == BAD_USAGE
