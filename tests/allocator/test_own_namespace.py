# SPDX-License-Identifier: Apache-2.0
"""The namespace that a Pod finds beside its token, and what stands there when it is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from purelb.allocator import settings

if TYPE_CHECKING:
    from pathlib import Path

FILES: dict[str, tuple[bytes | None, str]] = {
    "a name with its line end": (b"purelb-system\n", "purelb-system"),
    "bytes that are no text": (b"\xff\xfe\x00pure", ""),
    "nothing": (None, ""),
}


@pytest.mark.parametrize("what", FILES)
def test_the_install_namespace_is_the_one_in_the_file_or_asked_for(
    what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, wanted = FILES[what]
    if content is not None:
        (tmp_path / "namespace").write_bytes(content)
    monkeypatch.setattr(settings, "SERVICE_ACCOUNT_DIR", tmp_path)
    assert settings.own_namespace() == wanted
    problems = [str(problem) for problem in settings.rules(settings.AllocatorSettings())]
    assert any("the install namespace is unknown" in problem for problem in problems) == (not wanted)
