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
            time.sleep(0.2)  # what the question woke has gone back to sleep
            before = times_woken(backend.pid)
            time.sleep(1.2)
            assert times_woken(backend.pid) == before
        finally:
            backend.terminate()
