# SPDX-License-Identifier: Apache-2.0
"""The listener over TLS: whose certificate is shown, whose is asked for, and what happens when the files change."""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from purelb.process import http
from purelb.process.component import CannotStart
from purelb.process.tls import LOOK_EVERY, Certificates
from tests.kube.authority import Authority
from tests.process.test_connections import QUESTION, Visitor
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

METRICS = QUESTION.replace(b"/healthz", b"/metrics")


class Files:
    """What a Secret mounts."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key, self.ca = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"

    def hold(self, authority: Authority, *, name: str = "localhost") -> None:
        cert, key = authority.issue(name, "127.0.0.1")
        self.cert.write_bytes(cert)
        self.key.write_bytes(key)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@asynccontextmanager
async def listening(files: Files, clock: VirtualClock, *, clients: bool = False) -> AsyncIterator[int]:
    certificates = Certificates(cert=files.cert, key=files.key, client_ca=files.ca if clients else None)
    app = http.application(
        metrics=lambda: b"", health=dict, ready=dict, clock=clock, tls=certificates.next, client_certificate=clients
    )
    sockets = http.listen("127.0.0.1", 0)
    async with asyncio.TaskGroup() as group, http.serving(app, sockets):
        keeping = group.create_task(certificates.keep(clock))
        yield sockets[0].getsockname()[1]
        keeping.cancel()


@asynccontextmanager
async def visitor(port: int, trusted: Authority, own: tuple[Path, Path] | None = None) -> AsyncIterator[Visitor]:
    context = ssl.create_default_context(cadata=trusted.pem.decode())
    if own is not None:
        context.load_cert_chain(*own)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        yield Visitor(reader, writer)
    finally:
        writer.transport.abort()


async def test_a_new_pair_is_shown_within_30_s_and_a_bad_one_keeps_the_old(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    clock, first, second = VirtualClock(), Authority("first"), Authority("second")
    files.hold(first)
    caplog.set_level("INFO", "purelb")
    async with listening(files, clock) as port:
        async with visitor(port, first) as staying:
            assert await staying.ask(QUESTION + b"\r\n") == 200
            files.hold(second)
            await clock.advance(30.0)
            async with visitor(port, second) as newcomer:
                assert await newcomer.ask(QUESTION + b"\r\n") == 200
        files.key.write_bytes(first.issue("other")[1])
        await clock.advance(120.0)
        async with visitor(port, second) as later:
            assert await later.ask(QUESTION + b"\r\n") == 200
        files.hold(first)
        await clock.advance(30.0)
        async with visitor(port, first) as last:
            assert await last.ask(QUESTION + b"\r\n") == 200
    codes = [record.code for record in caplog.records if hasattr(record, "code")]
    assert codes == ["tlsReloaded", "tlsReloadFailed", "tlsReloaded"]
    assert LOOK_EVERY < 30.0


async def test_who_has_no_certificate_of_the_clients_gets_the_probes_and_no_metrics(
    files: Files, tmp_path: Path
) -> None:
    clock, servers, clients = VirtualClock(), Authority("servers"), Authority("clients")
    files.hold(servers)
    files.ca.write_bytes(clients.pem)
    own = tmp_path / "own.crt", tmp_path / "own.key"
    for path, content in zip(own, clients.issue("prometheus"), strict=True):
        path.write_bytes(content)
    strange = tmp_path / "strange.crt", tmp_path / "strange.key"
    for path, content in zip(strange, servers.issue("prometheus"), strict=True):
        path.write_bytes(content)
    async with listening(files, clock, clients=True) as port:
        async with visitor(port, servers) as kubelet:
            assert await kubelet.ask(QUESTION + b"\r\n") == 200
            assert await kubelet.ask(METRICS + b"\r\n") == 401
        async with visitor(port, servers, own) as prometheus:
            assert await prometheus.ask(METRICS + b"\r\n") == 200
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            async with visitor(port, servers, strange) as stranger:
                await stranger.ask(QUESTION + b"\r\n")


async def test_old_tls_is_refused(files: Files) -> None:
    authority = Authority()
    files.hold(authority)
    async with listening(files, VirtualClock()) as port:
        context = ssl.create_default_context(cadata=authority.pem.decode())
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        pytest.param("absent", "No such file or directory", id="a file is missing"),
        pytest.param("garbage", "cannot be used: ", id="not PEM"),
        pytest.param("stranger", "key values mismatch", id="a key of another certificate"),
        pytest.param("pipe", "cannot be used: ", id="a pipe into which nobody writes"),
        pytest.param(
            "nobody", "the client authority holds no certificate", id="an authority of the clients that is empty"
        ),
    ],
)
def test_a_pair_that_cannot_be_used_at_the_start_is_said(files: Files, what: str, said: str) -> None:
    files.hold(Authority())
    match what:
        case "absent":
            files.key.unlink()
        case "garbage":
            files.cert.write_bytes(b"hello")
        case "pipe":
            files.cert.unlink()
            os.mkfifo(files.cert)
        case "nobody":
            files.ca.write_bytes(b"")
        case _:
            files.key.write_bytes(Authority().issue("x")[1])
    with pytest.raises(CannotStart, match=said):
        Certificates(cert=files.cert, key=files.key, client_ca=files.ca if what == "nobody" else None)
