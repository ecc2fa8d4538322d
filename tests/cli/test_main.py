# SPDX-License-Identifier: Apache-2.0
"""The program before its subcommand has the word."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from purelb.cli.main import main

SLOW = """
import os, signal, time
os.kill(os.getpid(), signal.{name})
time.sleep(60)
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_a_command_is_imported_ends_the_program_without_a_word(
    tmp_path: Path, name: str, code: int
) -> None:
    (tmp_path / "slowly.py").write_text(SLOW.format(name=name))
    package = tmp_path / "slowly-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: slowly\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[purelb.commands]\nslow = slowly:command\n")
    ended = subprocess.run(
        [sys.executable, "-m", "purelb.cli.main", "slow"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")


def test_signals_are_as_before_once_it_has_returned(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(["version"]) == 0
    assert "purelb" in capsys.readouterr().out.lower()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_is_no_command_is_said_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["allocate"]) == 2
    said = capsys.readouterr().err
    assert said.startswith('purelb: "allocate" is not a command\n')
    assert "\n  allocator\n" in said


def test_without_a_command_the_usage_is_printed_and_asked_for_it_is_a_success(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [main([]), main(["--help"])] == [2, 0]
    assert capsys.readouterr().out.count("usage: purelb COMMAND") == 2
