# SPDX-License-Identifier: Apache-2.0
"""The hooks on sockets: what a client of the network sees of each of them. The core's part is in `test_spoiling`."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
import pytest

from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.faults import (
    Answer,
    Chunks,
    CutStream,
    Delay,
    DropEvent,
    Effect,
    Expire,
    Garble,
    Hang,
    LoseAnswer,
    Refuse,
    Reset,
    Rule,
    Silence,
)
from purelb.sandbox.apiserver.http import Server, serve
from purelb.sandbox.apiserver.pki import Pki

CONFIGS = "/api/v1/namespaces/default/configmaps"
TRIES_S = 0.3
COMES_WITHIN_S = 20.0


class Client:
    def __init__(self, server: Server, pki: Pki, session: aiohttp.ClientSession) -> None:
        self.server = server
        self._session = session
        self._tls = ssl.create_default_context(cadata=pki.ca_pem.decode())
        token = server.core.tokens.issue(namespace="default", account="tester")
        self._headers = {"Authorization": f"Bearer {token}"}

    def order(self, effect: Effect, **match: object) -> None:
        self.server.core.faults.add(Rule(effect=effect, **match))  # type: ignore[arg-type]

    def ask(self, method: str, path: str, body: object = None) -> "aiohttp.client._RequestContextManager":
        return self._session.request(method, self.server.url + path, json=body, headers=self._headers, ssl=self._tls)

    async def create(self, name: str) -> int:
        async with self.ask("POST", CONFIGS, {"metadata": {"name": name}}) as answer:
            return answer.status

    async def names(self) -> list[str]:
        async with self.ask("GET", CONFIGS) as answer:
            return [item["metadata"]["name"] for item in (await answer.json())["items"]]

    async def watched(self, *names: str, expect: int) -> list[str]:
        """What a watch brings of these additions: their names, `ERROR`, `garbage`, and how it ended.

        What is expected is waited for; once so much was seen, a moment without more is `silence`.
        """
        seen: list[str] = []
        async with self.ask("GET", f"{CONFIGS}?watch=true&resourceVersion={self.server.core.revision}") as stream:
            for name in names:
                assert await self.create(name) == 201
            try:
                while seen[-1:] != ["end"]:
                    async with asyncio.timeout(COMES_WITHIN_S if len(seen) < expect else TRIES_S):
                        line = await stream.content.readline()
                    seen += [_shown(line) if line else "end"]
            except TimeoutError:
                seen.append("silence")
            except aiohttp.ClientError:
                seen.append("cut")
        return seen


def _shown(line: bytes) -> str:
    try:
        event = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return "garbage"
    return str(event["object"]["metadata"].get("name") or event["type"])


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    core, pki = ApiCore(rng=random.Random(1).random, epoch=datetime.now(UTC)), Pki(tmp_path)
    async with serve(core, pki=pki) as server, aiohttp.ClientSession() as session:
        yield Client(server, pki, session)


@pytest.mark.parametrize(
    ("effect", "seen"),
    [
        (CutStream(after_frames=1, clean=True), ["a", "end"]),
        (Silence(after_frames=1), ["a", "silence"]),
        (Garble(after_frames=1), ["a", "garbage", "c", "silence"]),
        (Expire(after_frames=1), ["a", "ERROR", "end"]),
        (DropEvent(after_events=1), ["a", "c", "silence"]),
        (Chunks(size_bytes=7), ["a", "b", "c", "silence"]),
        (Chunks(size_bytes=100_000), ["a", "b", "c", "silence"]),
    ],
    ids=str,
)
async def test_a_watch_with(client: Client, effect: Effect, seen: list[str]) -> None:
    client.order(effect, verb="watch")
    expected = [each for each in seen if each != "silence"]
    assert await client.watched("a", "b", "c", expect=len(expected)) == seen


@pytest.mark.parametrize("effect", [CutStream(after_frames=1), CutStream(after_bytes=20)], ids=str)
async def test_a_cut_watch_is_a_broken_connection_and_not_an_end(client: Client, effect: Effect) -> None:
    client.order(effect, verb="watch")
    seen = await client.watched("a", "b", "c", expect=4)
    assert seen in (["a", "cut"], ["cut"]), "a client need not see what came before the break"


@pytest.mark.parametrize(("effect", "done"), [(Reset(), []), (Refuse(), []), (LoseAnswer(), ["a"])], ids=str)
async def test_a_broken_connection_for_a_write_says_nothing_of_whether_it_was_done(
    client: Client, effect: Effect, done: list[str]
) -> None:
    client.order(effect, verb="create", count=1)
    with pytest.raises(aiohttp.ClientError):
        await client.create("a")
    assert await client.names() == done


async def test_a_hang_is_an_open_connection_without_an_answer_until_its_client_leaves(client: Client) -> None:
    client.order(Hang(), verb="create", count=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(TRIES_S):
            await client.create("a")
    async with asyncio.timeout(COMES_WITHIN_S):
        while client.server.open_streams:
            await asyncio.sleep(0.01)
    assert await client.names() == []


async def test_a_delayed_write_is_answered_once_it_is_done(client: Client) -> None:
    client.order(Delay(seconds=0.2), verb="create", count=1)
    began = asyncio.get_running_loop().time()
    assert await client.create("a") == 201
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_the_token_of_one_subject_can_be_rejected_and_no_other(client: Client) -> None:
    client.order(Answer(code=401), subject="system:serviceaccount:default:tester")
    assert await client.create("a") == 401
    other = client.server.core.tokens.issue(namespace="default", account="other")
    client._headers = {"Authorization": f"Bearer {other}"}
    assert await client.create("a") == 201
