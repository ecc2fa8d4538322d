# SPDX-License-Identifier: Apache-2.0
"""The runtime is a library: taken out of this repository and given another name, all of it still loads and works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOM = Path(__file__).parents[2] / "purelb" / "kube"

PROGRAM = """
import asyncio, importlib, pkgutil, sys
import elsewhere.kube as room

for module in pkgutil.iter_modules(room.__path__, "elsewhere.kube."):
    importlib.import_module(module.name)
assert not [name for name in sys.modules if name.partition(".")[0] == "purelb"], "it reaches back"

from elsewhere.kube.access import fixed_access
from elsewhere.kube.client import ApiClient
from elsewhere.kube.clock import SystemClock
from elsewhere.kube.informer import Informer
from elsewhere.kube.resources import SERVICES
from elsewhere.kube.transport import Response

class Empty:
    async def exchange(self, request):
        return Response(status=200, headers={}, body=b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[]}')

    def stream(self, request):
        raise AssertionError("it was to end before")

async def main():
    client = ApiClient(fixed_access("http://nowhere.test"), user_agent="t", clock=SystemClock(), transport=Empty())
    print(len((await client.list_page(SERVICES)).objects), Informer(client, SERVICES).name)

asyncio.run(main())
"""


def test_taken_out_and_renamed_it_loads_and_works(tmp_path: Path) -> None:
    room = tmp_path / "elsewhere" / "kube"
    room.mkdir(parents=True)
    (tmp_path / "elsewhere" / "__init__.py").touch()
    for path in ROOM.glob("*.py"):
        (room / path.name).write_text(path.read_text().replace("purelb.kube", "elsewhere.kube"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "services"]
