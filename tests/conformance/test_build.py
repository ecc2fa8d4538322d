# SPDX-License-Identifier: Apache-2.0
"""hack/build with a compiler of ours: what it does when there is none, when it fails half way, and when all is there.

The stand-in for Go writes a small file where the real one writes a binary, so these tests take no seven minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hack.binaries import BUILD

NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy")
FAKE_GO = """#!/bin/sh
set -e
while [ "$1" != -o ]; do shift; done
echo "$3" >> "$ASKED"
case "$3" in *"$BREAKS") echo "no such luck" >&2; echo half > "$2"; exit 1 ;; esac
printf '#!/bin/sh\\n' > "$2"
chmod +x "$2"
"""


class Workshop:
    """A cache of its own, a PATH without the real Go, and a record of what was compiled."""

    def __init__(self, directory: Path, *, with_go: bool = True, with_kubectl: bool = True) -> None:
        self.asked = directory / "asked"
        self.asked.touch()
        tools = directory / "tools"
        tools.mkdir()
        for tool in [
            "awk",
            "bash",
            "cat",
            "chmod",
            "cut",
            "dirname",
            "env",
            "find",
            "flock",
            "id",
            "mkdir",
            "mktemp",
            "mv",
            "nice",
            "rm",
            "sed",
            "sha256sum",
            "sort",
            "stat",
            "tr",
            "xargs",
        ]:
            found = shutil.which(tool)
            assert found is not None, f"{tool} is missing"
            (tools / tool).symlink_to(found)
        if with_go:
            (tools / "go").write_text(FAKE_GO)
            (tools / "go").chmod(0o755)
        if with_kubectl:
            (tools / "kubectl").touch(mode=0o755)
        self.environment = {"PATH": str(tools), "PURELB_CACHE": str(directory / "cache"), "ASKED": str(self.asked)}
        self.out = Path(self.run("--where").stdout.strip())

    def run(self, *arguments: str, breaks: str = "-nothing-") -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "BREAKS": breaks}
        return subprocess.run(
            [BUILD, *arguments], check=False, capture_output=True, text=True, env=environment, timeout=50
        )

    def compiled(self) -> list[str]:
        """Packages that were compiled since the last question."""
        lines = self.asked.read_text().split()
        self.asked.write_text("")
        return [os.path.basename(line) for line in lines]  # noqa: PTH119 - a Go package, not a path


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_without_go_it_says_so_and_what_to_install(tmp_path: Path) -> None:
    done = Workshop(tmp_path, with_go=False).run()
    assert done.returncode == 3
    assert "no Go on PATH: install Go 1.24 or newer" in done.stderr


def test_the_cache_lies_outside_the_checkout_and_names_the_version(workshop: Workshop) -> None:
    assert workshop.out.is_relative_to(workshop.environment["PURELB_CACHE"])
    assert workshop.out.name.startswith("kubernetes-1.")


def test_it_builds_all_four_once(workshop: Workshop) -> None:
    assert workshop.run("--check").returncode == 1
    assert workshop.run().returncode == 0
    assert workshop.compiled() == list(NAMES)
    assert sorted(path.name for path in workshop.out.iterdir() if os.access(path, os.X_OK)) == sorted(NAMES)
    assert workshop.run("--check").returncode == 0
    assert workshop.run().returncode == 0
    assert workshop.compiled() == []


def test_a_machine_without_kubectl_gets_one_too(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, with_kubectl=False)
    assert workshop.run().returncode == 0
    assert workshop.compiled() == [*NAMES, "kubectl"]


def test_a_failed_build_leaves_nothing_half_done_and_goes_on_where_it_stopped(workshop: Workshop) -> None:
    assert workshop.run(breaks="kube-controller-manager").returncode != 0
    assert workshop.compiled() == list(NAMES[:3])
    present = {path.name for path in workshop.out.iterdir() if not path.name.endswith((".stamp", ".lock"))}
    assert present == set(NAMES[:2])
    check = workshop.run("--check")
    assert check.returncode == 1
    assert "kube-controller-manager kube-proxy" in check.stderr
    assert workshop.run().returncode == 0
    assert workshop.compiled() == list(NAMES[2:])


def test_what_a_killed_build_left_is_cleared_away(workshop: Workshop) -> None:
    workshop.out.mkdir(parents=True)
    left = workshop.out / ".building.abc123"
    left.mkdir()
    (left / "etcd").write_text("half")
    assert workshop.run().returncode == 0
    assert not left.exists()


def test_a_binary_made_from_something_else_is_made_again(workshop: Workshop) -> None:
    workshop.run()
    workshop.compiled()
    (workshop.out / "etcd.stamp").write_text("of another go.sum\n")
    assert "etcd" in workshop.run("--check").stderr
    assert workshop.run().returncode == 0
    assert workshop.compiled() == ["etcd"]
