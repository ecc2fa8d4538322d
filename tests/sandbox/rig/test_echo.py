# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from tests.sandbox.rig.rooms import until


def times_woken(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)


def sleeps(pid: int) -> bool:
    """Whether nothing wakes it for a while. What a question woke goes back to sleep in its own time."""
    before = times_woken(pid)
    time.sleep(1.2)
    return times_woken(pid) == before


def answer(port: int) -> dict[str, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=1) as response:
            said: dict[str, str] = json.load(response)
    except OSError:
        return {}
    return said


def test_a_backend_that_nobody_asks_sleeps() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "purelb.sandbox.rig.echo", "--port", str(port)]
    with subprocess.Popen(argv, env={**os.environ, "POD_NAME": "echo", "NODE_NAME": "n1"}) as backend:
        try:
            said = until(lambda: answer(port), what="it answers")
            assert said == {"pod": "echo", "node": "n1", "client": "127.0.0.1"}
            until(lambda: sleeps(backend.pid), what="it sleeps for longer than a second", limit_s=20.0)
        finally:
            backend.terminate()
