# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io

import pytest

from purelb.sandbox.screen import Screen, milliseconds


def test_without_a_terminal_a_step_is_one_plain_line_when_it_is_over() -> None:
    out = io.StringIO()
    with Screen(out).step("something") as line:
        assert out.getvalue() == ""
        line.note = "and what came of it"
    (only,) = out.getvalue().splitlines()
    assert only.startswith("  ✓ something")
    assert only.endswith("s  and what came of it")


def test_a_step_that_fails_is_marked_and_the_failure_goes_on() -> None:
    out = io.StringIO()
    with pytest.raises(ZeroDivisionError), Screen(out).step("something"):
        raise ZeroDivisionError
    assert out.getvalue().startswith("  ✗ something")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    out = io.StringIO()
    Screen(out).table(("A", "B"), [("long one", "x"), ("y", "z")], indent="")
    assert out.getvalue().splitlines() == ["A          B", "long one   x", "y          z"]


def test_times_are_told_in_the_unit_one_would_say() -> None:
    assert (milliseconds(0.0123), milliseconds(1.5), milliseconds(12.34)) == ("12 ms", "1500 ms", "12.3 s")


def test_an_output_that_cannot_hold_the_marks_gets_letters() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="latin-1")
    with Screen(out).step("something"):
        pass
    assert raw.getvalue().startswith(b"  ok something")
