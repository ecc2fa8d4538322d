# SPDX-License-Identifier: Apache-2.0
"""The text of /metrics is not made as often as somebody likes to ask."""

from __future__ import annotations

import itertools

from aiohttp.test_utils import TestClient, TestServer

from purelb.process import http
from purelb.process.sparing import EVERY_S, STOCK, Sparing
from tests.virtual_clock import VirtualClock


def counting() -> Sparing:
    numbers = itertools.count(1)
    return Sparing(lambda: b"%d" % next(numbers))


def test_who_asks_now_and_then_gets_a_fresh_text_each_time() -> None:
    page = counting()
    assert [page.text(now=EVERY_S * turn) for turn in range(1000)] == [b"%d" % turn for turn in range(1, 1001)]


def test_a_burst_beyond_the_stock_is_given_the_last_text() -> None:
    page = counting()
    assert {page.text(now=7.0) for _ in range(10_000)} == {b"%d" % turn for turn in range(1, STOCK + 1)}


def test_no_text_is_older_than_promised_however_many_ask() -> None:
    now = 0.0
    page = Sparing(lambda: b"%f" % now)
    for turn in range(100_000):
        now = turn / 1000
        assert now - float(page.text(now)) <= EVERY_S + 0.001


def test_after_a_while_the_stock_is_full_again_and_no_fuller() -> None:
    page = counting()
    for _ in range(STOCK):
        page.text(now=0.0)
    later = STOCK * EVERY_S * 100
    assert {page.text(now=later) for _ in range(1000)} == {b"%d" % turn for turn in range(STOCK + 1, 2 * STOCK + 1)}


async def test_the_page_of_the_listener_is_made_sparingly() -> None:
    made = 0

    def make() -> bytes:
        nonlocal made
        made += 1
        return b"m"

    app = http.application(metrics=make, health=dict, ready=dict, clock=VirtualClock())
    async with TestClient(TestServer(app)) as client:
        for _ in range(3 * STOCK):
            answer = await client.get("/metrics")
            assert await answer.read() == b"m"
    assert made == STOCK
