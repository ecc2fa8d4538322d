# SPDX-License-Identifier: Apache-2.0
"""The components under measurement: started as processes of their own, the way a pod would start them.

They take the in-cluster path (a service account's token, CA and namespace at the standard place), because a kubeconfig
would bring in a library that no pod carries, and the memory would not be the memory that ships.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.error import URLError
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

INSTALL_NAMESPACE: Final = "purelb-system"
STARTED_WITHIN_S: Final = 30.0
ENDED_WITHIN_S: Final = 25.0


def account_directory(directory: Path, *, token: str, ca_pem: bytes, namespace: str) -> Path:
    """The three files of a service account, below `directory`."""
    directory.mkdir(mode=0o700, parents=True)
    (directory / "token").write_text(token)
    (directory / "ca.crt").write_bytes(ca_pem)
    (directory / "namespace").write_text(namespace)
    return directory


@asynccontextmanager
async def started(
    *, arguments: list[str], server: str, account: Path, port: int, log: Path, env: Mapping[str, str]
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run `purelb ARGUMENTS` in this network namespace until the block ends; ready when the block begins."""
    place = urlsplit(server)
    network = os.open("/proc/self/ns/net", os.O_RDONLY)
    request = {
        "network": network,
        "hostname": "bench",
        "account": str(account),
        "argv": [sys.executable, "-m", "purelb.cli.main", *arguments, "--host=127.0.0.1", f"--port={port}"],
    }
    environment = {
        "PATH": os.environ["PATH"],
        "PURELB_NAMESPACE": INSTALL_NAMESPACE,
        "KUBERNETES_SERVICE_HOST": place.hostname or "",
        "KUBERNETES_SERVICE_PORT": str(place.port or 443),
        **env,
    }
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: ASYNC220  its end is waited for in a thread
            [sys.executable, "-m", "purelb.sandbox.rig.enter", "start", json.dumps(request)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=[network],
        )
    os.close(network)
    try:
        # In a thread: the loop goes on to take the times at which events arrive.
        await asyncio.to_thread(_wait_ready, process, port=port, log=log)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(_wait_ended, process)


def rss_mib(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_s(pid: int) -> float:
    """CPU seconds a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait_ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(ENDED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_ready(process: subprocess.Popen[bytes], *, port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTED_WITHIN_S
    last = ""
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the component ended with {process.returncode}:\n{tail(log)}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except URLError as error:
            last = str(error)
            time.sleep(0.05)
    raise RuntimeError(f"the component was not ready within {STARTED_WITHIN_S:.0f} s ({last}):\n{tail(log)}")


def tail(log: Path) -> str:
    """The last lines of a log, for an error that quotes it."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
