# SPDX-License-Identifier: Apache-2.0
"""The embedded API server and components as processes of their own, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.resources import NAMESPACES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from purelb.kube.resources import Resource

ENVIRONMENT = {"PATH": os.environ["PATH"]}
PURELB = (sys.executable, "-m", "purelb.cli.main")


class Api:
    """An embedded API server; `stand_still` is what a machine does that is out of memory: it accepts and never answers."""

    def __init__(self, process: subprocess.Popen[str], kubeconfig: Path) -> None:
        self.process = process
        self.kubeconfig = kubeconfig

    def purelb(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A one-shot command as the admin."""
        command = [*PURELB, *words, "--kubeconfig", str(self.kubeconfig)]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)

    def install(self) -> None:
        """Our kinds, and the namespaces of PureLB and of Services."""
        applied = self.purelb("crds", "--apply")
        assert applied.returncode == 0, applied.stderr
        for name in ("purelb", "shop"):
            self.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def create(self, resource: Resource[Any], body: Mapping[str, object], namespace: str | None = None) -> None:
        """One object, as the admin."""

        async def create() -> None:
            async with ApiClient(
                await load_access(kubeconfig=self.kubeconfig), user_agent="admin", clock=SystemClock()
            ) as client:
                await client.create(resource, body, namespace=namespace)

        asyncio.run(create())

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)


@contextlib.contextmanager
def api_server(directory: Path) -> Iterator[Api]:
    command = [sys.executable, "-m", "purelb.sandbox.apiserver", "--port=0", f"--state-dir={directory}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("export KUBECONFIG="):
                    yield Api(process, Path(line.strip().partition("=")[2]))
                    break
        finally:
            process.kill()


class Component:
    """A running component, its lines and its pages."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    def wait_for(self, code: str, **fields: object) -> dict[str, Any]:
        """The next line with this code and these fields."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line: dict[str, Any] = json.loads(text)
            self.lines.append(line)
            if line["code"] == code and fields.items() <= line.items():
                return line
        raise AssertionError(f"it ended without {code} {fields}; it said {self.lines}")

    def end(self, within_s: float) -> int:
        """Its exit code; it must end by itself."""
        assert self.process.stdout is not None
        code = self.process.wait(within_s)
        self.lines += [json.loads(text) for text in self.process.stdout]
        return code

    def get(self, path: str) -> tuple[int, str]:
        address = next(line["address"] for line in self.lines if line["code"] == "listening")
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def wait_ready(self, within_s: float = 30.0) -> None:
        """Until /readyz says 200."""
        ends = time.monotonic() + within_s
        while (seen := self.get("/readyz"))[0] != 200:
            assert time.monotonic() < ends, seen
            time.sleep(0.05)


@contextlib.contextmanager
def component(name: str, api: Api, *arguments: str) -> Iterator[Component]:
    """`purelb NAME` against `api`, listening on a free port of loopback; killed at the end if it still runs."""
    command = [*PURELB, name, f"--kubeconfig={api.kubeconfig}", "--namespace=purelb", "--host=127.0.0.1", "--port=0"]
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
    ) as process:
        try:
            yield Component(process)
        finally:
            process.kill()
