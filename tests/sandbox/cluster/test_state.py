# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from purelb.sandbox.cluster.state import BadName, StateDirectory, Unusable

if TYPE_CHECKING:
    from pathlib import Path


def test_the_directory_is_its_owners_alone(tmp_path: Path) -> None:
    state = StateDirectory("one", home=tmp_path)
    state.make()
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 41])
def test_a_name_that_could_leave_its_place_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadName):
        StateDirectory(name, home=tmp_path)


def test_a_state_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unusable, match=str(tmp_path / "file")):
        StateDirectory("one", home=tmp_path / "file").make()
