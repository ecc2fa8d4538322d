# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from purelb.sandbox.cluster.manifests import NoManifest, read

if TYPE_CHECKING:
    from pathlib import Path


def test_files_are_taken_by_name_and_what_others_need_goes_first(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n---\n---\n"
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    )
    (tmp_path / "a.json").write_text(
        '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n7"}}]}'
    )
    (tmp_path / "README.md").write_text("not for us")
    assert [manifest.name for manifest in read(tmp_path)] == ["Namespace shop", "Node n7", "Service web"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: Service", "document 1: not an object"),
        ("a: [", "expected"),
        ("apiVersion: ../v1\nkind: Service\nmetadata: {name: a}", "such as v1"),
        ("- 1", "not an object"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: 3}", "metadata.name: Expected `str`"),
    ],
)
def test_what_is_no_object_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(NoManifest, match=f"x.yaml.*{says}"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["", "nowhere", "x.yaml"])
def test_a_directory_without_manifests_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.yaml" if name == "x.yaml" else tmp_path / "x.txt").touch()
    with pytest.raises(NoManifest, match=str(tmp_path / name)):
        read(tmp_path / name)
