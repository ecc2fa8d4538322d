# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.bench.bare`: how fast a client that does nothing else can write the same patches.

Plain aiohttp and json, the same number of connections as the allocator has writers, the same bodies: the ceiling that the
allocator's rate is divided by. A process of its own, as the allocator is one. Reads a JSON request on stdin and
prints seconds, for whoever runs it by hand; the benchmark takes both rates from one watch instead.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from typing import Any

import aiohttp


async def patch_all(request: dict[str, Any]) -> float:
    """Seconds for all patches of the request (`server`, `ca`, `token`, `workers`, `patches`: path and body each)."""
    context = ssl.create_default_context(cadata=request["ca"])
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    headers = {"Authorization": f"Bearer {request['token']}", "Content-Type": "application/merge-patch+json"}
    left = list(reversed(request["patches"]))
    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    async with aiohttp.ClientSession(request["server"], connector=connector, headers=headers) as session:

        async def worker() -> None:
            while left:
                path, body = left.pop()
                async with session.patch(path, data=json.dumps(body).encode()) as answer:
                    text = await answer.read()
                    if answer.status != 200:
                        raise RuntimeError(f"PATCH {path}: {answer.status} {text[:200]!r}")
                    json.loads(text)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(request["workers"]):
                group.create_task(worker())
        return time.perf_counter() - began


if __name__ == "__main__":
    print(asyncio.run(patch_all(json.load(sys.stdin))))
