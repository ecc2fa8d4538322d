# SPDX-License-Identifier: Apache-2.0
"""The state of a process: over its socket, by the command, in the log, and never more than its bound."""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import os
import signal
import socket
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING, Never

import pytest

from purelb.allocator.metrics import METRICS as ALLOCATOR
from purelb.cli.state import command
from purelb.kube import metrics as kube_metrics
from purelb.kube.secret import Secret
from purelb.lbnodeagent.metrics import METRICS as AGENT
from purelb.process import metrics as process_metrics
from purelb.process.metrics import LIMITS
from purelb.process.options import STATE_SOCKET, ProcessSettings
from purelb.process.statedoc import DECISIONS_MAX, Decisions, cut, encoded, fitting, settings_of
from purelb.process.statesocket import VISITORS_MAX, answering, ask, why_not
from tests.process.test_runtime import running
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from pathlib import Path


def asked(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(arguments))


def test_the_command_prints_what_the_process_beside_it_knows(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "state.sock"
    with running("waits", f"--state-socket={path}", "--log-level=debug") as it:
        it.wait_for("phaseChanged")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert asked(f"--state-socket={path}") == 0
        said = json.loads(capfdbinary.readouterr().out)
        it.process.send_signal(signal.SIGTERM)
        assert it.end() == 0
    assert not path.exists()
    assert (said["component"], said["phase"], said["view"]) == ("waiting", "Running", {"behaviour": "waits"})
    assert said["settings"]["log_level"] == {"value": "debug", "from": "flag"}
    assert said["settings"]["state_socket"] == {"value": str(path), "from": "flag"}
    assert said["checks"] == {"phase": "ok"}
    assert set(said["health"].values()) == {"ok"}
    assert any(task.startswith("waiting:component at ") for task in said["tasks"])
    assert {"decisions", "limits", "loopLag", "queue", "version"} <= said.keys()


def test_a_socket_that_nobody_answers_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(f"--state-socket={tmp_path / 'none'}") == 3
    assert "nothing answers at " in capsys.readouterr().err


def test_what_a_killed_process_left_is_replaced_and_what_another_one_uses_is_not(tmp_path: Path) -> None:
    path = tmp_path / "state.sock"
    with running("waits", f"--state-socket={path}") as killed:
        killed.wait_for("phaseChanged")
    assert path.exists()
    with running("waits", f"--state-socket={path}") as first:
        first.wait_for("phaseChanged")
        with running("waits", f"--state-socket={path}") as second:
            assert second.wait_for("stateSocketFailed")["error"].endswith(f"another process answers there: '{path}'")
            second.wait_for("phaseChanged")
        assert json.loads(ask(str(path)))["phase"] == "Running"


@pytest.mark.parametrize("what", ["a file", "no directory"])
async def test_a_place_where_no_socket_can_be_is_no_reason_to_end(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "purelb")
    path = tmp_path / "sub" / "state.sock" if what == "no directory" else tmp_path / "state.sock"
    if what == "a file":
        path.write_text("mine")
    async with answering(str(path), dict):
        assert [record.code for record in caplog.records if hasattr(record, "code")] == ["stateSocketFailed"]
    assert what == "no directory" or path.read_text() == "mine"


def test_what_is_checked_of_a_place_for_the_socket_leaves_nothing_there(tmp_path: Path) -> None:
    path = tmp_path / "state.sock"
    assert why_not(str(path)) == ()
    assert list(tmp_path.iterdir()) == []
    assert why_not("") == ()
    path.write_text("mine")
    (lack,) = why_not(str(path))
    assert lack.error == f"there can be no state socket at {path}: something that is no socket is there"
    assert path.read_text() == "mine"
    (lack,) = why_not(f"{tmp_path}/{'x' * 200}")
    assert "path too long" in lack.error


@pytest.mark.parametrize(("path", "level"), [("missing/state.sock", "INFO"), (STATE_SOCKET, "DEBUG")])
async def test_a_directory_that_is_not_there_is_said_if_somebody_named_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    def bound(path: str) -> Never:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    monkeypatch.setattr("purelb.process.statesocket._bound", bound)  # this machine may have the usual directory
    caplog.set_level("DEBUG", "purelb")
    async with answering(str(tmp_path / path), dict):
        (record,) = caplog.records
    assert record.levelname == level
    assert bool(why_not(str(tmp_path / path))) is (level == "INFO")


async def told(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_who_does_not_read_holds_one_of_few_places(tmp_path: Path) -> None:
    path = str(tmp_path / "state.sock")
    with ExitStack() as stack:
        async with answering(path, lambda: {"big": "x" * 8_000_000}):
            for _ in range(VISITORS_MAX):
                silent = stack.enter_context(socket.socket(socket.AF_UNIX))
                silent.connect(path)
            await asyncio.sleep(0.05)
            reader, writer = await asyncio.open_unix_connection(path)
            assert await told(reader) == b""
            writer.close()


def record(code: str, name: str = "purelb.allocator.landing", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, __file__, 1, "said at %s", ("https://u:p@host/x?token=t",), None)
    made.__dict__.update({"code": code, **fields})
    return made


def test_decisions_are_the_last_lines_about_somebody() -> None:
    kept = Decisions(VirtualClock())
    kept.emit(record("phaseChanged"))
    kept.emit(record("leaseRenewed", name="purelb.kube.elector", lease="x"))
    for number in range(DECISIONS_MAX + 10):
        kept.emit(record("addressRefused", service=f"shop/{number}", reason="NoFreeAddress"))
    last = kept.last(10_000)
    assert (len(last), last[0]["key"], last[-1]["key"]) == (DECISIONS_MAX, "shop/10", f"shop/{DECISIONS_MAX + 9}")
    assert (last[-1]["outcome"], last[-1]["reason"]) == ("addressRefused", "NoFreeAddress")
    assert last[-1]["text"] == "said at https://host/x"
    assert [each["key"] for each in kept.last(2)] == [f"shop/{DECISIONS_MAX + 8}", f"shop/{DECISIONS_MAX + 9}"]


def test_a_document_is_made_smaller_until_it_fits() -> None:
    def make(most: int) -> dict[str, object]:
        return {"list": cut((f"item {number:05}" for number in range(1000)), most)}

    whole = fitting(make, max_bytes=1_000_000)
    assert len(whole["list"]) == 501  # type: ignore[arg-type]
    small = fitting(make, max_bytes=400)
    assert len(encoded(small)) <= 400
    assert small["list"][-1] == "and 980 more"  # type: ignore[index]
    assert small["cut"] == "lists hold 20 items at most"


def test_no_secret_and_no_password_of_a_url_is_encoded() -> None:
    settings = ProcessSettings(kubeconfig="https://me:secret@host/?token=secret")
    text = encoded({"settings": settings_of(settings, {}), "token": Secret("secret"), "path": os}).decode()
    assert "secret" not in text.replace("secret.py", "")
    assert "[redacted]" in text


def test_the_limits_that_are_shown_are_counted_somewhere() -> None:
    declared = {each.name for each in (*kube_metrics.METRICS, *process_metrics.METRICS, *ALLOCATOR, *AGENT)}
    assert declared >= LIMITS
