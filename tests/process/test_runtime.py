# SPDX-License-Identifier: Apache-2.0
"""The process as an operator sees it: started, asked, signalled; judged by output and exit code."""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kube.authority import Authority

COMPONENT = Path(__file__).with_name("loopback_component.py")
ENVIRONMENT = {"PATH": os.environ["PATH"]}


class Running:
    """The process; the namespace setting tells the component of this test how to behave."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    def wait_for(self, code: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.lines.append(json.loads(text))
            if self.lines[-1]["code"] == code:
                return self.lines[-1]
        raise AssertionError(f"the process ended without {code}; it said {self.lines}")

    def end(self) -> int:
        assert self.process.stdout is not None
        self.lines += [json.loads(text) for text in self.process.stdout]
        return self.process.wait(30)

    def codes(self) -> list[str]:
        return [line["code"] for line in self.lines]


@contextmanager
def running(behaviour: str, *arguments: str) -> Iterator[Running]:
    told = ["--host=127.0.0.1", "--port=0", "--state-socket=", f"--namespace={behaviour}", *arguments]
    command = [sys.executable, str(COMPONENT), *told]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    with process:
        try:
            yield Running(process)
        finally:
            process.kill()


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
            assert "Server" not in answer.headers
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_sigterm_stops_a_component_with_exit_code_0() -> None:
    with running("waits") as it:
        it.wait_for("phaseChanged")
        it.process.send_signal(signal.SIGTERM)
        assert it.end() == 0
        assert it.codes() == ["starting", "listening", "phaseChanged", "stopping", "phaseChanged", "stopped"]


def test_the_pages_answer_with_a_cause_and_nothing_else_is_served() -> None:
    with running("waits") as it:
        address = it.wait_for("listening")["address"]
        it.wait_for("phaseChanged")
        assert get(address, "/healthz") == (200, "ok\n")
        assert get(address, "/readyz?verbose") == (200, "phase: ok\nok\n")
        status, metrics = get(address, "/metrics")
        assert status == 200
        assert 'purelb_process_phase{phase="Running"} 1.0' in metrics
        assert get(address, "/")[0] == 404


def test_a_second_signal_ends_the_process_at_once() -> None:
    with running("hangs") as it:
        it.wait_for("phaseChanged")
        it.process.send_signal(signal.SIGTERM)
        it.wait_for("phaseChanged")
        it.process.send_signal(signal.SIGTERM)
        assert it.end() == 143


def test_a_shutdown_over_its_budget_is_cut_and_ends_with_0() -> None:
    with running("hangs", "--shutdown-budget=200ms") as it:
        it.wait_for("phaseChanged")
        it.process.send_signal(signal.SIGINT)
        assert it.end() == 0
        assert "shutdownStepCut" in it.codes()


def test_a_name_that_is_still_looked_up_does_not_keep_a_process_that_has_stopped() -> None:
    with running("asks-a-name") as it:
        it.wait_for("phaseChanged")
        it.process.send_signal(signal.SIGTERM)
        assert it.end() == 0
        assert it.codes()[-1] == "stopped"


@pytest.mark.parametrize(
    ("behaviour", "code", "said"),
    [
        pytest.param("returns", 5, "taskEnded", id="a component that returns unasked is an internal error"),
        pytest.param("raises", 5, "taskDied", id="an exception is an internal error"),
        pytest.param("cannot-be-built", 5, "taskDied", id="so is one before the first task"),
        pytest.param("cannot-start", 3, "selfCheckFailed", id="an environment that cannot work says so"),
    ],
)
def test_no_task_ends_in_silence(behaviour: str, code: int, said: str) -> None:
    with running(behaviour) as it:
        assert it.end() == code
        assert said in it.codes()


def test_a_taken_port_is_exit_3_and_names_the_port() -> None:
    with running("waits") as first:
        port = first.wait_for("listening")["address"].rpartition(":")[2]
        with running("waits", f"--port={port}") as second:
            assert second.end() == 3
            (line,) = (line for line in second.lines if line["code"] == "selfCheckFailed")
            assert f"cannot listen on 127.0.0.1:{port}: address in use" in line["error"]


def test_wrong_settings_are_exit_2_with_a_line_each() -> None:
    with running("waits", "--log-level=warn", "--bogus", "--port=x") as it:
        assert it.process.wait(30) == 2
        assert it.process.stderr is not None
        assert it.process.stderr.read().splitlines() == [
            "--bogus: is not a flag of this command; see --help",
            '--port: "x" is not a whole number',
            '--log-level: "warn" is not one of info, debug',
        ]


def test_a_check_tells_all_that_is_missing_and_serves_nothing() -> None:
    with running("waits") as first:
        port = first.wait_for("listening")["address"].rpartition(":")[2]
        with running("waits", f"--port={port}", "--kubeconfig=/nowhere", "--check") as second:
            assert second.end() == 1
            assert [(line["code"], line["check"]) for line in second.lines] == [
                ("selfCheckFailed", "http"),
                ("selfCheckFailed", "access"),
            ]
            assert second.lines[1]["error"].startswith("kubeconfig '/nowhere' does not exist")
            assert [line["hint"].partition(",")[0] for line in second.lines] == [
                "end what listens there",
                "give --kubeconfig a file that can be used",
            ]


def test_modes_are_judged_with_the_settings() -> None:
    with running("waits", "--dry-run=twice", "--check=perhaps", "--metrics-auth=kubernetes") as it:
        assert it.process.wait(30) == 2
        assert it.process.stderr is not None
        assert it.process.stderr.read().splitlines() == [
            "--metrics-auth: needs TLS, as a token must not travel in clear: give --metrics-tls-cert and --metrics-tls-key as well",
            '--check: "perhaps" is neither true nor false',
            '--dry-run: "twice" is not one of off, on, once',
        ]


@pytest.mark.parametrize(
    ("modes", "said"),
    [
        (("--check", "--dry-run"), "--check: cannot be combined with --dry-run: start the process once for each"),
        (
            ("--dry-run=once", "--check", "--print-config"),
            "--print-config: cannot be combined with --check or --dry-run: start the process once for each",
        ),
    ],
    ids=["check and dry run", "all three"],
)
def test_of_the_modes_one_at_a_time_is_meant(modes: tuple[str, ...], said: str) -> None:
    with running("waits", *modes) as it:
        assert it.end() == 2
        assert it.lines == []
        assert it.process.stderr is not None
        assert it.process.stderr.read().splitlines() == [said]


def test_a_check_says_that_there_can_be_no_state_socket(tmp_path: Path) -> None:
    missing = tmp_path / "none" / "state.sock"
    with running("waits", "--check", "--kubeconfig=/nowhere", f"--state-socket={missing}") as it:
        assert it.end() == 1
        assert [line["check"] for line in it.lines] == ["state-socket", "access"]
        assert it.lines[0]["error"] == f"there can be no state socket at {missing}: No such file or directory"
        assert "--state-socket" in it.lines[0]["hint"]


@pytest.mark.parametrize(
    ("behaviour", "mode", "code", "out"),
    [
        pytest.param("changes", "once", 1, "+ thing\n", id="what would change is printed, and the answer is no"),
        pytest.param("stays", "once", 0, "", id="nothing to change is exit 0"),
        pytest.param("raises", "once", 3, "", id="an environment that cannot work is exit 3"),
        pytest.param("returns", "once", 5, "", id="a component that ends by itself is an internal error"),
    ],
)
def test_a_dry_run_answers_once(behaviour: str, mode: str, code: int, out: str) -> None:
    with running(behaviour, f"--dry-run={mode}") as it:
        assert it.process.wait(30) == code
        assert it.process.stdout is not None
        assert it.process.stdout.read() == out


@pytest.mark.parametrize(("mode", "code"), [("on", 0), ("once", 1)])
def test_a_dry_run_ends_with_a_signal_and_an_unfinished_one_is_not_a_yes(mode: str, code: int) -> None:
    with running("hangs", f"--dry-run={mode}", "--log-level=debug") as it:
        assert it.process.stderr is not None
        assert "phaseChanged" in it.process.stderr.readline()
        it.process.send_signal(signal.SIGTERM)
        assert it.process.wait(30) == code


def test_a_dry_run_that_waits_says_for_what_and_outlives_the_signals_of_a_running_process() -> None:
    with running("is-missing", "--dry-run=once") as it:
        assert it.process.stderr is not None
        said = it.process.stderr.readline()
        assert said == "waiting: node: the Node does not exist\n"
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            it.process.send_signal(number)
        it.process.send_signal(signal.SIGTERM)
        assert it.process.stderr.readline() == "stopped before everything was known: node: the Node does not exist\n"
        assert it.process.wait(30) == 1


def test_the_state_can_be_asked_for_by_signal() -> None:
    with running("waits") as it:
        it.wait_for("phaseChanged")
        it.process.send_signal(signal.SIGUSR1)
        state = it.wait_for("stateDump")
        assert state["phase"] == "Running"
        assert any(re.match(r"waiting:component at ", task) for task in state["tasks"])


def test_the_state_of_a_process_that_knows_much_is_one_line_of_64_kib_at_most() -> None:
    with running("knows-much") as it:
        it.wait_for("phaseChanged")
        it.process.send_signal(signal.SIGUSR1)
        state = it.wait_for("stateDump")
        assert len(json.dumps(state, separators=(",", ":"))) <= 64 * 1024
        assert "truncated" not in state
        assert (state["cut"], len(state["queue"])) == ("lists hold 100 items at most", 100)
        assert state["settings"]["log_level"] == {"value": "info", "from": "default"}


def test_with_certificates_the_listener_speaks_tls_and_a_pair_that_does_not_fit_is_exit_3(tmp_path: Path) -> None:
    authority = Authority()
    for name, content in zip(("tls.crt", "tls.key"), authority.issue("localhost", "127.0.0.1"), strict=True):
        (tmp_path / name).write_bytes(content)
    told = [f"--metrics-tls-cert={tmp_path / 'tls.crt'}", f"--metrics-tls-key={tmp_path / 'tls.key'}"]
    with running("waits", *told) as it:
        address = it.wait_for("listening")["address"]
        context = ssl.create_default_context(cadata=authority.pem.decode())
        with urllib.request.urlopen(f"https://{address}/healthz", timeout=20, context=context) as answer:
            assert answer.read() == b"ok\n"
        with pytest.raises(OSError, match=r"."):
            get(address, "/healthz")
    (tmp_path / "tls.key").write_bytes(Authority().issue("localhost")[1])
    with running("waits", *told) as it:
        assert it.end() == 3
        assert [(line["code"], line["check"]) for line in it.lines] == [("selfCheckFailed", "tls")]


def test_the_configuration_in_force_is_printed_with_its_sources() -> None:
    with running("waits", "--print-config") as it:
        assert it.process.wait(30) == 0
        assert it.process.stdout is not None
        printed = it.process.stdout.read()
        assert "namespace: waits  # flag" in printed
        assert "logLevel: info  # default" in printed
