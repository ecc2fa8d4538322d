# SPDX-License-Identifier: Apache-2.0
"""The server on sockets: TLS, tokens, certificates, streams, and connections that end badly."""

import asyncio
import io
import random
import ssl
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
import pytest

from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.faults import CutStream, Reset, Rule
from purelb.sandbox.apiserver.http import Server, listening, serve
from purelb.sandbox.apiserver.mvcc import History
from purelb.sandbox.apiserver.pki import Pki

SERVICES = "/api/v1/namespaces/default/services"
SERVICE = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}


class Client:
    """Someone with a client certificate."""

    def __init__(self, server: Server, pki: Pki, session: aiohttp.ClientSession) -> None:
        self.server, self.pki, self.session = server, pki, session
        certificate, key = pki.client("tester", ("system:masters",))
        path = pki.directory / "tester.pem"
        path.write_bytes(certificate + key)
        self.tls = ssl.create_default_context(cadata=pki.ca_pem.decode())
        self.tls.load_cert_chain(path)

    def get(self, path: str, *, url: str = "") -> "aiohttp.client._RequestContextManager":
        return self.session.get((url or self.server.url) + path, ssl=self.tls)

    def post(self, path: str, body: object) -> "aiohttp.client._RequestContextManager":
        return self.session.post(self.server.url + path, json=body, ssl=self.tls)


def core() -> ApiCore:
    return ApiCore(rng=random.Random(1).random, epoch=datetime.now(UTC))


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    pki = Pki(tmp_path)
    async with serve(core(), pki=pki) as server, aiohttp.ClientSession() as session:
        yield Client(server, pki, session)


async def test_a_certificate_of_the_authority_and_a_token_are_let_in_and_nobody_else(client: Client) -> None:
    token = client.server.core.tokens.issue(namespace="default", account="tester")
    trust = ssl.create_default_context(cadata=client.pki.ca_pem.decode())
    codes = {}
    for name in (token, "wrong", ""):
        headers = {"Authorization": f"Bearer {name}"} if name else {}
        async with client.session.get(client.server.url + "/api/v1/services", headers=headers, ssl=trust) as answer:
            codes[name] = answer.status
    async with client.get("/api/v1/services") as answer:
        codes["certificate"] = answer.status
    assert codes == {token: 200, "wrong": 401, "": 403, "certificate": 200}


async def test_a_certificate_of_another_authority_is_refused_by_tls(client: Client, tmp_path: Path) -> None:
    foreign = Pki(tmp_path / "foreign")
    certificate, key = foreign.client("intruder", ("system:masters",))
    (tmp_path / "intruder.pem").write_bytes(certificate + key)
    tls = ssl.create_default_context(cadata=client.pki.ca_pem.decode())
    tls.load_cert_chain(tmp_path / "intruder.pem")
    with pytest.raises(aiohttp.ClientError):
        async with client.session.get(client.server.url + "/api", ssl=tls):
            raise AssertionError("was let in")


async def test_it_listens_on_several_sockets_made_elsewhere(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    sockets = [listening("127.0.0.1", 0), listening("127.0.0.1", 0), listening("::1", 0)]
    async with serve(core(), pki=pki, sockets=sockets) as server, aiohttp.ClientSession() as session:
        someone = Client(server, pki, session)
        assert len(set(server.urls)) == 3
        for url in server.urls:
            async with someone.get("/version", url=url) as answer:
                assert answer.status == 200


async def test_a_watch_streams_what_is_written_after_it(client: Client) -> None:
    async with client.get(SERVICES + "?watch=true") as stream:
        first = msgspec.json.decode(await stream.content.readline())
        async with client.post(SERVICES, SERVICE) as made:
            assert made.status == 201
        second = msgspec.json.decode(await stream.content.readline())
    assert stream.headers["Transfer-Encoding"] == "chunked"
    assert [first["object"]["metadata"]["name"], second["object"]["metadata"]["name"]] == ["kubernetes", "web"]


async def test_a_watch_ends_at_its_time_without_anything_happening(client: Client) -> None:
    async with client.get(SERVICES + "?watch=true&timeoutSeconds=1&allowWatchBookmarks=true") as stream:
        lines = (await stream.read()).splitlines()
    assert [msgspec.json.decode(line)["type"] for line in lines] == ["ADDED", "BOOKMARK"]


async def test_a_reader_that_leaves_is_forgotten_at_once(client: Client) -> None:
    async with client.get(SERVICES + "?watch=true") as stream:
        await stream.content.readline()
        assert client.server.open_streams == 1
        stream.close()
    async with asyncio.timeout(20):
        while client.server.open_streams:
            await asyncio.sleep(0.01)


async def test_a_slow_reader_is_ended_once_it_is_further_behind_than_the_past_reaches(tmp_path: Path) -> None:
    small = ApiCore(rng=random.Random(1).random, epoch=datetime.now(UTC), history=History(size_bytes=1 << 20))
    pki = Pki(tmp_path)
    async with serve(small, pki=pki) as server, aiohttp.ClientSession() as session:
        someone = Client(server, pki, session)
        async with someone.get(SERVICES + "?watch=true") as stream:
            for number in range(800):
                body = {"metadata": {"annotations": {"n": str(number), "big": "x" * 20_000}}}
                headers = {"Content-Type": "application/merge-patch+json"}
                url = server.url + SERVICES + "/kubernetes"
                async with session.patch(url, json=body, headers=headers, ssl=someone.tls) as answer:
                    assert answer.status == 200
            lines = (await stream.read()).splitlines()
    assert 1 < len(lines) < 800, "it saw the beginning, then its stream ended instead of filling our memory"


async def test_closing_the_server_ends_its_streams_cleanly(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    async with aiohttp.ClientSession() as session:
        async with serve(core(), pki=pki) as server:
            stream = await Client(server, pki, session).get(SERVICES + "?watch=true")
            await stream.content.readline()
        assert await stream.read() == b""


@pytest.mark.parametrize("after", [0, 1], ids=["at once", "after a frame"])
async def test_a_cut_stream_is_a_broken_connection_for_the_reader(client: Client, after: int) -> None:
    client.server.core.faults.add(Rule(effect=CutStream(after_frames=after), verb="watch"))
    with pytest.raises(aiohttp.ClientError):
        async with client.get(SERVICES + "?watch=true") as stream:
            await stream.read()


async def test_a_reset_is_a_broken_connection_before_any_answer(client: Client) -> None:
    client.server.core.faults.add(Rule(effect=Reset(), verb="create"))
    with pytest.raises(aiohttp.ClientError):
        async with client.post(SERVICES, SERVICE):
            raise AssertionError("was answered")
    async with client.get(SERVICES + "/web") as answer:
        assert answer.status == 404


async def test_a_read_of_a_coming_revision_waits_on_the_wire_too(client: Client) -> None:
    rv = client.server.core.revision + 1
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_names(client, f"{SERVICES}?resourceVersion={rv}"))
        while not client.server.open_streams:
            await asyncio.sleep(0)
        async with client.post(SERVICES, SERVICE):
            pass
    assert reading.result() == ["kubernetes", "web"]


async def _names(client: Client, path: str) -> list[str]:
    async with client.get(path) as answer:
        return [item["metadata"]["name"] for item in (await answer.json())["items"]]


async def test_a_body_of_four_mebibytes_is_413(client: Client) -> None:
    async with client.session.post(
        client.server.url + SERVICES, data=io.BytesIO(b"x" * (4 << 20)), ssl=client.tls
    ) as answer:
        assert answer.status == 413


async def test_an_encoded_path_reaches_the_core_as_it_was_sent(client: Client) -> None:
    async with client.session.get(
        client.server.url + "/api/v1/namespaces/default/services/a%2Fb", ssl=client.tls
    ) as answer:
        assert answer.status == 404
    async with client.get(SERVICES + "?labelSelector=a%20in%20(b,c)") as answer:
        assert (await answer.json())["items"] == []


def test_keys_are_private_and_an_authority_is_read_back(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    path = pki.admin_kubeconfig("https://127.0.0.1:1")
    for secret in (path, pki.server_key, pki.directory / "ca.key"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(pki.directory.stat().st_mode) == 0o700
    assert Pki(tmp_path / "pki").ca_pem == pki.ca_pem
    assert Pki(tmp_path / "other").ca_pem != pki.ca_pem
