# SPDX-License-Identifier: Apache-2.0
"""Log lines: valid JSON, one per change, none twice."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from purelb.kube.metrics import NO_SINK
from purelb.process.logs import BURST_LINES, REPEAT_AFTER, Admission, LineHandler
from tests.virtual_clock import VirtualClock


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO) -> Iterator[logging.Logger]:
    logger = logging.getLogger("purelb.tests.logs")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = LineHandler(component="allocator", form="json", clock=VirtualClock(), sink=NO_SINK, stream=stream)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_code_sentence_and_subjects(log: logging.Logger, stream: io.StringIO) -> None:
    log.info("%s is given", "192.0.2.1", extra={"code": "addressAssigned", "service": "shop/web", "group": None})
    (line,) = lines(stream)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "component": "allocator",
        "code": "addressAssigned",
        "msg": "192.0.2.1 is given",
        "service": "shop/web",
    }


def test_a_line_about_what_happened_a_while_ago_has_the_time_of_then(log: logging.Logger, stream: io.StringIO) -> None:
    log.info("first", extra={"code": "first", "ago": 3600.0})
    log.info("second", extra={"code": "second"})
    first, second = lines(stream)
    assert "ago" not in first
    apart = datetime.fromisoformat(second["ts"]) - datetime.fromisoformat(first["ts"])
    assert apart >= timedelta(seconds=3600)


def test_newlines_and_quotes_from_outside_stay_inside_one_valid_line(log: logging.Logger, stream: io.StringIO) -> None:
    log.info("odd", extra={"code": "odd", "service": 'a"\n{"level":"info"}\x1b[2J'})
    (line,) = lines(stream)
    assert line["service"] == 'a"\n{"level":"info"}\x1b[2J'


def test_a_value_from_outside_is_cut(log: logging.Logger, stream: io.StringIO) -> None:
    log.info("long", extra={"code": "long", "error": "x" * 10_000})
    (line,) = lines(stream)
    assert len(line["error"]) == 512


def test_a_line_stays_below_8_kib_and_says_that_it_was_cut(log: logging.Logger, stream: io.StringIO) -> None:
    log.info("wide", extra={"code": "wide", "key": ["y" * 400] * 64})
    (line,) = lines(stream)
    assert line["truncated"] is True
    assert len(stream.getvalue()) <= 8192


def test_a_warning_of_a_library_becomes_info(log: logging.Logger, stream: io.StringIO) -> None:
    log.warning("careful")
    (line,) = lines(stream)
    assert (line["level"], line["code"], line["logger"]) == ("info", "library", "purelb.tests.logs")


def test_an_unexpected_exception_carries_its_trace(log: logging.Logger, stream: io.StringIO) -> None:
    try:
        raise ValueError("nobody thought of this")
    except ValueError:
        log.info("failed", exc_info=True, extra={"code": "panic", "key": "a/b"})
    (line,) = lines(stream)
    assert (line["error"], line["errorType"]) == ("nobody thought of this", "ValueError")
    assert any("test_logs" in part for part in line["trace"])


def test_a_thousand_equal_failures_are_one_line_and_one_summary() -> None:
    admission = Admission()
    failure = ("writeFailed", "shop/web", "Forbidden")
    admitted = [admission.admit(failure, now=float(second)) for second in range(601)]
    assert admitted[0] == 0
    assert admitted[1:600] == [None] * 599
    assert admitted[600] == 599
    assert REPEAT_AFTER == 600


def test_failures_of_other_subjects_are_written_beside_each_other() -> None:
    admission = Admission()
    assert [admission.admit(("writeFailed", name), now=0.0) for name in ("a", "b", "a")] == [0, 0, None]


def test_a_flood_is_cut_by_the_bucket_and_counted() -> None:
    admission = Admission()
    admitted = [admission.admit(None, now=0.0) for _ in range(int(BURST_LINES) + 5)]
    assert admitted.count(None) == 5
    assert admission.dropped == 5
    assert admission.admit(None, now=0.1) == 0


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (
            "waiting for https://someone:secret@host.example:6443/api?token=secret",
            "waiting for https://host.example:6443/api",
        ),
        ("GET https://a:se@cret@host.example/x?y=secret: refused", "GET https://host.example/x"),
        (
            'at "http://host.example/path" and tcp://u@[2001:db8::1]:80',
            'at "http://host.example/path" and tcp://[2001:db8::1]:80',
        ),
        ("mail someone@host.example?really", "mail someone@host.example?really"),
    ],
)
def test_of_a_url_neither_user_information_nor_query_is_written(
    log: logging.Logger, stream: io.StringIO, written: str, shown: str
) -> None:
    log.info("%s", written, extra={"code": "odd", "error": written, "key": [written]})
    (line,) = lines(stream)
    assert line["msg"].startswith(shown)
    assert line["msg"] == line["error"] == line["key"][0]
    assert "secret" not in stream.getvalue()
    assert "cret" not in stream.getvalue()


def test_the_state_may_be_longer_than_other_lines_and_not_without_end(log: logging.Logger, stream: io.StringIO) -> None:
    tasks = [f"informer:{number} at somewhere.py:1" for number in range(512)]
    log.info("state", extra={"code": "stateDump", "tasks": tasks})
    log.info("state", extra={"code": "stateDump", "tasks": ["é" * 400] * 512})
    whole, cut = lines(stream)
    assert whole["tasks"] == tasks
    assert cut["truncated"] is True
    assert all(len(line.encode()) <= 64 * 1024 for line in stream.getvalue().splitlines())


def test_the_limit_of_a_line_counts_bytes(log: logging.Logger, stream: io.StringIO) -> None:
    log.info("wide", extra={"code": "wide", **{f"field{number}": "é" * 500 for number in range(12)}})
    (text,) = stream.getvalue().splitlines()
    assert len(text.encode()) <= 8192


async def test_what_a_flood_dropped_is_told_once_a_minute_even_if_nothing_is_said_any_more() -> None:
    clock, stream = VirtualClock(), io.StringIO()
    handler = LineHandler(component="allocator", form="json", clock=clock, sink=NO_SINK, stream=stream)
    async with asyncio.TaskGroup() as group:
        telling = group.create_task(handler.sum_up())
        await clock.advance(1.0)
        for _ in range(int(BURST_LINES) + 5):
            handler.emit(logging.makeLogRecord({"levelno": logging.INFO, "msg": "again", "code": "again"}))
        await clock.advance(3600.0)
        telling.cancel()
    (told,) = (line for line in lines(stream) if line["code"] == "linesSuppressed")
    assert (told["dropped"], told["msg"]) == (5, "5 lines were left out")
