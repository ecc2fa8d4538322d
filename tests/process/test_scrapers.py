# SPDX-License-Identifier: Apache-2.0
"""Whose token may read the metrics: asked of the API server, remembered for a while, and never assumed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.process import http
from purelb.process.scrapers import ACCESS, NO_FOR_S, REMEMBERED_MAX, REVIEWS_MAX, YES_FOR_S, Refused, Scrapers
from tests.kube.scripted import Call, Scripted
from tests.process.test_connections import QUESTION, Visitor
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Reviewer:
    """An API server that knows tokens beginning with `good` or `other`, and lets the first read."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False
        self.held: list[Call] | None = None

    def respond(self, call: Call) -> None:
        if self.away:
            call.fail("refused")
        elif self.held is not None and call.path.endswith("tokenreviews"):
            self.held.append(call)
        else:
            self.answer(call)

    def answer(self, call: Call) -> None:
        spec = call.json["spec"]
        if call.path == "/apis/authentication.k8s.io/v1/tokenreviews":
            self.asked.append(spec["token"])
            known = spec["token"].startswith(("good", "other"))
            user = {"username": spec["token"], "uid": "u1", "groups": ["g"], "extra": {"scopes": ["s"]}}
            call.reply(
                {"kind": "TokenReview", "status": {"authenticated": known, "user": user if known else {}}}, status=201
            )
            return
        assert call.path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        assert spec["nonResourceAttributes"] == {"path": "/metrics", "verb": "get"}
        assert (spec["uid"], spec["groups"], spec["extra"]) == ("u1", ["g"], {"scopes": ["s"]})
        allowed = spec["user"].startswith("good")
        call.reply({"kind": "SubjectAccessReview", "status": {"allowed": allowed}}, status=201)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def reviewer() -> Reviewer:
    return Reviewer()


@pytest.fixture
async def scrapers(reviewer: Reviewer, clock: VirtualClock) -> AsyncIterator[Scrapers]:
    access = fixed_access("http://host.example")
    transport = Scripted(reviewer.respond)
    async with ApiClient(access, user_agent="test", clock=clock, transport=transport, allow=ACCESS) as client:
        yield Scrapers(client, clock=clock)


def status(answer: Refused | None) -> int:
    return 200 if answer is None else answer.status


@pytest.mark.parametrize(
    ("header", "expected", "asked"),
    [
        pytest.param("Bearer good", 200, 1, id="known and allowed"),
        pytest.param("bearer   good", 200, 1, id="the scheme has no case"),
        pytest.param("Bearer other", 403, 1, id="known and not allowed"),
        pytest.param("Bearer forged", 401, 1, id="not known"),
        pytest.param("", 401, 0, id="none at all"),
        pytest.param("Basic Z29vZA==", 401, 0, id="another scheme"),
        pytest.param("Bearer ", 401, 0, id="an empty one"),
        pytest.param("Bearer good" + "x" * 9000, 401, 0, id="one that is too long"),
    ],
)
async def test_who_may_read(scrapers: Scrapers, reviewer: Reviewer, header: str, expected: int, asked: int) -> None:
    assert status(await scrapers.admit(header)) == expected
    assert len(reviewer.asked) == asked


async def test_a_yes_is_remembered_for_a_minute_and_a_no_for_ten_seconds(
    scrapers: Scrapers, reviewer: Reviewer, clock: VirtualClock
) -> None:
    for token, lasts in (("good", YES_FOR_S), ("other", NO_FOR_S), ("forged", NO_FOR_S)):
        reviewer.asked.clear()
        first = await scrapers.admit(f"Bearer {token}")
        await clock.advance(lasts - 0.1)
        assert await scrapers.admit(f"Bearer {token}") == first
        assert reviewer.asked == [token]
        await clock.advance(0.2)
        await scrapers.admit(f"Bearer {token}")
        assert reviewer.asked == [token, token]


async def test_an_api_server_that_cannot_be_asked_is_never_a_yes_and_not_remembered(
    scrapers: Scrapers, reviewer: Reviewer
) -> None:
    reviewer.away = True
    assert status(await scrapers.admit("Bearer good")) == 503
    reviewer.away = False
    assert status(await scrapers.admit("Bearer good")) == 200


async def test_many_tokens_do_not_fill_the_memory_and_the_oldest_is_asked_about_again(
    scrapers: Scrapers, reviewer: Reviewer
) -> None:
    for number in range(REMEMBERED_MAX + 1):
        await scrapers.admit(f"Bearer forged{number}")
    reviewer.asked.clear()
    await scrapers.admit(f"Bearer forged{REMEMBERED_MAX}")
    assert reviewer.asked == []
    await scrapers.admit("Bearer forged0")
    assert reviewer.asked == ["forged0"]


async def test_one_token_is_reviewed_once_at_a_time_and_eight_at_most(
    scrapers: Scrapers, reviewer: Reviewer, clock: VirtualClock
) -> None:
    reviewer.held = []
    async with asyncio.TaskGroup() as group:
        asking = [
            group.create_task(scrapers.admit(f"Bearer good{number}")) for number in range(REVIEWS_MAX) for _ in range(3)
        ]
        await clock.settle()
        assert len(reviewer.held) == REVIEWS_MAX
        assert status(await scrapers.admit("Bearer good-and-late")) == 503
        asking[0].cancel()  # its scraper hung up: the others with this token are told to come again
        await clock.settle()
        held, reviewer.held = reviewer.held, None
        for call in held[1:]:
            reviewer.answer(call)
    assert [status(each.result()) for each in asking[1:]] == [503, 503] + [200] * 21


async def test_the_page_asks_for_a_token_and_the_probes_do_not(scrapers: Scrapers, clock: VirtualClock) -> None:
    app = http.application(metrics=lambda: b"m", health=dict, ready=dict, clock=clock, admit=scrapers.admit)
    sockets = http.listen("127.0.0.1", 0)
    async with http.serving(app, sockets):
        reader, writer = await asyncio.open_connection("127.0.0.1", sockets[0].getsockname()[1])
        visitor = Visitor(reader, writer)
        metrics = QUESTION.replace(b"/healthz", b"/metrics")
        assert await visitor.ask(QUESTION + b"\r\n") == 200
        assert await visitor.ask(metrics + b"\r\n") == 401
        assert b"www-authenticate: bearer" in visitor.head.lower()
        assert await visitor.ask(metrics + b"Authorization: Bearer other\r\n\r\n") == 403
        assert await visitor.ask(metrics + b"Authorization: Bearer good\r\n\r\n") == 200
        assert visitor.body == b"m"
        writer.transport.abort()
