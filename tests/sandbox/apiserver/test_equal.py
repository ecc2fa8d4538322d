# SPDX-License-Identifier: Apache-2.0
"""Two equal servers that are asked the same say the same, to the byte, in whatever process they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox.apiserver.equal import answers


@pytest.mark.parametrize("seed", range(3))
def test_two_servers_in_one_process_give_the_same_bytes(seed: int) -> None:
    first, second = list(answers(seed, 150)), list(answers(seed, 150))
    assert first == second
    codes = {answer.split()[1] for answer in first if answer.split()[1] != b"of"}
    assert {b"200", b"201", b"404", b"409", b"422"} <= codes, "the requests are of all sorts"
    assert any(b'"type":"ADDED"' in answer for answer in first)


def test_hashes_have_no_say_in_what_a_server_answers() -> None:
    root = Path(__file__).parents[3]
    said = {
        subprocess.run(
            [sys.executable, "-m", "tests.sandbox.apiserver.equal", "7", "300"],
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": str(number)},
            cwd=root, check=True, capture_output=True, text=True,
        ).stdout
        for number in (1, 2, 3)
    }  # fmt: skip
    assert len(said) == 1
