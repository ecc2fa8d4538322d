# SPDX-License-Identifier: Apache-2.0
"""The server by itself, as a person starts it: where it listens, whom its certificate names, how it ends."""

import asyncio
import signal
import socket
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml
from cryptography import x509


async def started(state: Path, *arguments: str) -> tuple[asyncio.subprocess.Process, str]:
    """The process and the URL in the kubeconfig that it names."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "purelb.sandbox.apiserver", "--state-dir", str(state), *arguments,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert b"listening on" in await process.stdout.readline()
    said = (await process.stdout.readline()).decode().strip()
    return process, server_of(Path(said.removeprefix("export KUBECONFIG=")))


def server_of(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"])


async def ended(process: asyncio.subprocess.Process) -> int:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        return await process.wait()


def names(state: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate((state / "server.crt").read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "0.0.0.0"])
async def test_whoever_trusts_its_authority_reaches_it_where_it_was_told_to_listen(tmp_path: Path, host: str) -> None:
    process, url = await started(tmp_path, "--host", host)
    try:
        trust = ssl.create_default_context(cafile=tmp_path / "ca.crt")
        async with aiohttp.ClientSession() as session, session.get(f"{url}/version", ssl=trust) as answer:
            assert answer.status == 200
        assert {"localhost", "127.0.0.1", "::1", host} <= names(tmp_path)
    finally:
        assert await ended(process) == 0


async def test_listening_on_every_address_it_is_reached_by_this_machines_name(tmp_path: Path) -> None:
    process, _ = await started(tmp_path, "--host", "0.0.0.0")
    assert await ended(process) == 0
    assert socket.gethostname() in names(tmp_path)


async def test_another_host_with_the_same_state_makes_another_certificate_of_the_same_authority(tmp_path: Path) -> None:
    first, _ = await started(tmp_path, "--host", "127.0.0.2")
    assert await ended(first) == 0
    authority = (tmp_path / "ca.crt").read_bytes()
    second, _ = await started(tmp_path, "--host", "127.0.0.3")
    assert await ended(second) == 0
    assert (tmp_path / "ca.crt").read_bytes() == authority
    assert "127.0.0.3" in names(tmp_path)
    assert "127.0.0.2" not in names(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--port", "70000"), 2, "'70000' is no port"),
        (("--host", "203.0.113.9"), 3, "cannot listen on 203.0.113.9:0: Cannot assign requested address; give --host"),
        (("--port", "TAKEN"), 3, "another program has it: --port 0 takes a free one"),
        (("--state-dir", "/dev/null/x"), 3, "in /dev/null/x: Not a directory; give --state-dir a directory"),
    ],
)
async def test_what_it_cannot_do_is_a_line_and_an_exit_code(
    tmp_path: Path, arguments: tuple[str, str], code: int, said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        words = ("--state-dir", str(tmp_path), *(number if word == "TAKEN" else word for word in arguments))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "purelb.sandbox.apiserver", *words, stderr=asyncio.subprocess.PIPE
        )
        _, told = await process.communicate()
    assert process.returncode == code
    assert said in told.decode()
    assert "Traceback" not in told.decode()


GARBAGE = {
    "no HTTP at all": b"\x00\x01\x02 garbage\r\n\r\n",
    "a method that is none": b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a version that is none": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "a header that is none": b"GET /version HTTP/1.1\r\nHo st: a\r\n\r\n",
    "a length that is none": b"POST /version HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n{}",
    "a line without end": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "an address that is none": b"GET http://[::1/version HTTP/1.1\r\nHost: a\r\n\r\n",
    "a second request that is none": b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n\x00\x01\r\n\r\n",
    "a chunk that is none": b"POST /version HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
}


async def test_whoever_sends_garbage_is_answered_with_400_and_nothing_is_said_here(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "purelb.sandbox.apiserver", "--state-dir", str(tmp_path),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    port = int((await process.stdout.readline()).decode().rpartition(":")[2])
    trust = ssl.create_default_context(cafile=tmp_path / "ca.crt")

    async def answer_to(words: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
        writer.write(words)
        async with asyncio.timeout(10):
            said = await reader.read()
        writer.close()
        return said

    answers = {what: await answer_to(words) for what, words in GARBAGE.items()}
    assert {what for what, said in answers.items() if b" 400 Bad Request" not in said} == set()
    process.send_signal(signal.SIGTERM)
    _, told = await process.communicate()
    assert told.decode() == ""
