# SPDX-License-Identifier: Apache-2.0
"""The shortest way through the server: over TLS and in memory, the same story."""

import random
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from purelb.kube.clock import SystemClock
from purelb.kube.transport import Request
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.http import serve
from purelb.sandbox.apiserver.memory import MemoryTransport
from purelb.sandbox.apiserver.pki import Pki


def core() -> ApiCore:
    return ApiCore(rng=random.Random(1).random, epoch=datetime.now(UTC))


async def test_a_token_is_let_in_over_tls_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    import ssl

    pki = Pki(tmp_path)
    async with serve(core(), pki=pki) as server:
        token = server.core.tokens.issue(namespace="default", account="tester")
        trust = ssl.create_default_context(cadata=pki.ca_pem.decode())
        async with aiohttp.ClientSession() as session:
            codes = {}
            for name in (token, "wrong", ""):
                headers = {"Authorization": f"Bearer {name}"} if name else {}
                async with session.get(f"{server.url}/api/v1/services", headers=headers, ssl=trust) as answer:
                    codes[name] = answer.status
    assert codes == {token: 200, "wrong": 401, "": 403}


async def test_the_memory_transport_streams_a_watch() -> None:
    api = MemoryTransport(core(), clock=SystemClock())
    async with api.stream(Request(method="GET", target="/api/v1/services?watch=true&timeoutSeconds=1")) as stream:
        chunks = [chunk async for chunk in stream]
    assert stream.status == 200
    assert b'"ADDED"' in chunks[0]
