# SPDX-License-Identifier: Apache-2.0
"""TLS between a socket and HTTP: who says nothing, who says nonsense, who reads slowly, who leaves."""

import asyncio
import gc
import os
import random
import resource
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from purelb.sandbox.apiserver import tls
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.exchange import ApiRequest
from purelb.sandbox.apiserver.http import Server, serve
from purelb.sandbox.apiserver.pki import Pki
from purelb.sandbox.apiserver.watch import BATCH_BYTES

SERVICES = "/api/v1/namespaces/default/services"


class Peer:
    """A server, and a way to speak to it without a client's help."""

    def __init__(self, server: Server, pki: Pki) -> None:
        self.server = server
        self.context = ssl.create_default_context(cadata=pki.ca_pem.decode())
        self.port = int(server.url.rpartition(":")[2])
        self.token = server.core.tokens.issue(namespace="default", account="tester")

    async def silent(self, count: int) -> list[socket.socket]:
        loop = asyncio.get_running_loop()
        made = []
        for number in range(count):
            one = socket.socket()
            one.setblocking(False)
            await loop.sock_connect(one, ("127.0.0.1", self.port))
            made.append(one)
            if number % 100 == 0:
                await asyncio.sleep(0)
        return made

    async def connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context, server_hostname="localhost")

    async def ask(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.connected()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {self.token}\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        return reader, writer


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    pki = Pki(tmp_path)
    core = ApiCore(rng=random.Random(1).random, epoch=datetime.now(UTC))
    async with serve(core, pki=pki) as server:
        yield Peer(server, pki)


def resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


_OPENER = """
import socket, sys
kept = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
print("open", flush=True)
sys.stdin.read()
"""


async def test_ten_thousand_clients_that_say_nothing_cost_little_and_hinder_nobody(peer: Peer) -> None:
    wanted = 10_000
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted + 500:
        why = f"{wanted + 500} descriptors are needed, {hard} are allowed: raise `ulimit -Hn`"
        if os.environ.get("CI") == "true" or os.environ.get("PURELB_REQUIRE_TOOLS") == "1":
            pytest.fail(why, pytrace=False)
        pytest.skip(f"SKIPPED: {why}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(most, wanted + 500), hard))
    asyncio.get_running_loop().set_debug(False)  # which keeps a stack for each connection
    gc.collect()
    before = resident()
    opener = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OPENER, str(peer.port), str(wanted),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert opener.stdin is not None
    assert opener.stdout is not None
    try:
        assert await opener.stdout.readline() == b"open\n"
        reader, writer = await peer.ask(f"{SERVICES}?watch=true")
        assert await reader.readuntil(b"kubernetes")
        writer.close()
        assert (resident() - before) / wanted < 16 * 1024, "bytes for each"
    finally:
        opener.stdin.close()
        await opener.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def ended(one: socket.socket) -> bool:
    """Whether the server has closed, gently or not, without saying anything but that."""
    try:
        async with asyncio.timeout(20):
            return await asyncio.get_running_loop().sock_recv(one, 100) == b""
    except ConnectionResetError:
        return True


async def test_who_does_not_finish_a_handshake_is_cut(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_S", 0.05)
    [silent] = await peer.silent(1)
    [half] = await peer.silent(1)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(half, b"\x16\x03\x01\x02\x00")  # a record that never comes
    for one in (silent, half):
        assert await ended(one)
        one.close()


async def test_who_speaks_no_tls_is_left(peer: Peer) -> None:
    [plain] = await peer.silent(1)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(plain, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await ended(plain)
    plain.close()


async def test_a_reader_that_does_not_read_holds_one_batch_and_the_writers_go_on(peer: Peer) -> None:
    reader, writer = await peer.ask(f"{SERVICES}?watch=true")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    gc.collect()  # those of earlier tests
    made = [one for one in gc.get_objects() if isinstance(one, tls.TlsTransport)]
    [transport] = made
    big = {"metadata": {"annotations": {"big": "x" * 60_000}}}
    before = resident()
    for number in range(400):
        big["metadata"]["annotations"]["n"] = str(number)
        peer.server.core.handle(_patch(big, peer.token), peer.server.now())
        await asyncio.sleep(0)
    kept = 400 * 65_000  # the log's own
    assert transport.get_write_buffer_size() <= BATCH_BYTES + 70_000
    assert resident() - before < 2 * kept + 16 * 1024 * 1024
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    seen = 0
    async with asyncio.timeout(20):
        while seen < 400:
            seen += (await reader.readuntil(b"}\n")).count(b'"type":"MODIFIED"')
    writer.close()


async def test_a_goodbye_ends_the_connection_on_both_sides(peer: Peer) -> None:
    reader, writer = await peer.ask(f"{SERVICES}?watch=true")
    await reader.readuntil(b"kubernetes")
    assert peer.server.open_streams == 1
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(20):
        while peer.server.open_streams:
            await asyncio.sleep(0.01)


async def test_a_frame_is_made_once_for_all_who_read_it(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    several = [await peer.ask(f"{SERVICES}?watch=true&resourceVersion={peer.server.core.revision}") for _ in range(5)]
    written: list[int] = []
    plain = tls.TlsTransport.write

    def noted(self: tls.TlsTransport, data: bytes | bytearray | memoryview) -> None:
        written.append(id(data))
        plain(self, data)

    monkeypatch.setattr(tls.TlsTransport, "write", noted)
    peer.server.core.handle(_patch({"metadata": {"labels": {"a": "b"}}}, peer.token), peer.server.now())
    for reader, _ in several:
        assert b"MODIFIED" in await reader.readuntil(b"}\n")
    assert (len(written), len(set(written))) == (5, 1)
    for _, writer in several:
        writer.close()


async def test_what_two_writers_bring_in_one_pass_goes_out_together(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await peer.ask(f"{SERVICES}?watch=true&resourceVersion={peer.server.core.revision}")
    sizes: list[int] = []
    plain = tls.TlsTransport.write

    def noted(self: tls.TlsTransport, data: bytes | bytearray | memoryview) -> None:
        sizes.append(bytes(data).count(b'"MODIFIED"'))
        plain(self, data)

    monkeypatch.setattr(tls.TlsTransport, "write", noted)
    for value in "abc":
        peer.server.core.handle(_patch({"metadata": {"labels": {"a": value}}}, peer.token), peer.server.now())
    for _ in range(3):
        assert b"MODIFIED" in await reader.readuntil(b"}\n")
    assert sizes == [3]
    writer.close()


def _patch(body: object, token: str) -> ApiRequest:
    return ApiRequest(
        method="PATCH",
        target=f"{SERVICES}/kubernetes",
        headers={"content-type": "application/merge-patch+json", "authorization": f"Bearer {token}"},
        body=msgspec.json.encode(body),
    )
