# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from purelb.sandbox.cluster import control
from purelb.sandbox.cluster.state import StateDirectory
from purelb.sandbox.commands import WORDS, command

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> int:
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(words))


@pytest.mark.parametrize("words", [(), ("upp",)], ids=["none", "an unknown one"])
def test_a_missing_or_unknown_word_is_answered_with_the_known_ones(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words, monkeypatch=monkeypatch, home=tmp_path) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in WORDS)


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("kubectl", "-n", "x", "get", "svc"),
        ("exec", "n1", "--", "ip", "addr"),
        ("start-node", "n1"),
        ("kill-node", "n1", "--how", "power-off"),
        ("partition", "n1", "--from", "lan"),
        ("heal",),
        ("drain", "n1"),
        ("fault", "list"),
    ],
)
def test_without_a_sandbox_every_word_says_how_to_start_one(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words, monkeypatch=monkeypatch, home=tmp_path) == 3
    assert "purelb sandbox up" in capsys.readouterr().err


def test_a_name_under_which_nothing_runs_is_answered_with_those_under_which_something_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--name", "nosuch", "status")
    assert run(*asked, monkeypatch=monkeypatch, home=tmp_path) == 3
    alone = "purelb sandbox status: no sandbox 'nosuch' is running: start it with `purelb sandbox --name nosuch up`"
    assert capsys.readouterr().err.strip() == alone
    with ExitStack() as stack:
        for name, answers in (("mine", True), ("other", True), ("dead", False)):
            state = StateDirectory(name, home=tmp_path)
            state.make()
            if answers:
                stack.enter_context(control.listen(state.socket))
        (tmp_path / "purelb/sandbox/No Name").mkdir()
        assert run(*asked, monkeypatch=monkeypatch, home=tmp_path) == 3
        assert capsys.readouterr().err.strip() == alone + "; running: mine, other (choose with --name)"
        assert run("--name", "nosuch", "down", monkeypatch=monkeypatch, home=tmp_path) == 0
        assert capsys.readouterr().out.strip() == (
            "sandbox nosuch is not running; running: mine, other (choose with --name)"
        )


@pytest.mark.parametrize(
    "words",
    [
        ("up", "--nodes", "0"),
        ("up", "--nodes", "100"),
        ("up", "--name", "demo-123"),
        ("exec", "n1"),
        ("exec", "n1", "--"),
        ("--name", "A/b", "status"),
        ("probe", "1.2.3"),
        ("fault", "add", "explode"),
        ("probe", "172.30.1.200", "--port", "0"),
        ("probe", "172.30.1.200", "--rate", "0"),
        ("probe", "172.30.1.200", "--rate", "nan"),
        ("probe", "172.30.1.200", "--seconds", "0"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused_with_2(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words, monkeypatch=monkeypatch, home=tmp_path) == 2
    assert capsys.readouterr().err


def test_what_is_no_address_is_named_and_not_probed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("probe", "1.2.3", monkeypatch=monkeypatch, home=tmp_path) == 2
    assert "'1.2.3' is not an IP address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("up", "--subnets", "4"), "--subnets 4: 3 nodes leave a subnet without one; use --nodes 4"),
        (("up", "--nics", "2"), "use --subnets 2"),
        (("up", "--router", "frr"), "routed addresses are not built yet"),
        (("up", "--apply", "/nowhere"), "/nowhere: No such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_built_yet_or_not_there_is_refused_with_the_reason(
    words: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*words, monkeypatch=monkeypatch, home=tmp_path) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_down_without_a_sandbox_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("down", monkeypatch=monkeypatch, home=tmp_path) == 0
    assert "is not running" in capsys.readouterr().out
