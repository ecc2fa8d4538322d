# SPDX-License-Identifier: Apache-2.0
"""The embedded server as a child of a test run: `python -m tests.fidelity.embedded DIRECTORY`.

Prints the path of a kubeconfig, then obeys lines on stdin: `compact` forgets the past and `skip SECONDS` moves its clock; both answer `done`. The end of stdin,
which is also the end of the parent, ends it. Rejected: a server in the test's own process, for then neither could wait for the other.
"""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.http import serve
from purelb.sandbox.apiserver.pki import Pki


async def main(directory: Path) -> None:
    core = ApiCore(rng=random.SystemRandom().random, epoch=datetime.now(UTC))
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with serve(core, pki=Pki(directory)) as server:
        print(server.admin_kubeconfig(), flush=True)
        while command := await lines.readline():
            match command.strip():
                case b"compact":
                    core.compact()
                    print("done", flush=True)
                case command if command.startswith(b"skip "):
                    server.skip(float(command[5:]))
                    print("done", flush=True)
                case other:
                    raise ValueError(f"no such command: {other!r}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
