# SPDX-License-Identifier: Apache-2.0
"""The one table of delays."""

from __future__ import annotations

import asyncio

import pytest

from purelb.kube.errors import ApiError, DecodeError, KubeError, NotFound, Status, TransportError, api_error
from purelb.kube.retry import retry_delay, with_retries
from tests.virtual_clock import VirtualClock


def refused(code: int, retry_after: float | None = None) -> ApiError:
    return api_error(Status(code=code), retry_after=retry_after)


GIVEN_UP = {
    "a certificate": TransportError("tls", ""),
    "a redirect": TransportError("redirect", ""),
    "too long an answer": TransportError("too_large", ""),
    "not found": refused(404),
    "a conflict": refused(409),
    "what does not decode": DecodeError("x"),
}
REPEATED: dict[str, KubeError] = {
    "429": refused(429),
    "500": refused(500),
    "503": refused(503),
    "no connection": TransportError("refused", ""),
    "a timeout": TransportError("timeout", ""),
    "an early end": TransportError("eof", ""),
}


@pytest.mark.parametrize("name", GIVEN_UP)
def test_what_a_second_attempt_cannot_mend_is_given_up(name: str) -> None:
    assert retry_delay(GIVEN_UP[name], 0, lambda: 0.0) is None


@pytest.mark.parametrize("name", REPEATED)
def test_what_may_pass_is_repeated_ten_times_with_growing_waits(name: str) -> None:
    delays = [retry_delay(REPEATED[name], attempt, lambda: 0.5) for attempt in range(11)]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0, None]


def test_the_jitter_is_half_to_one_and_a_half() -> None:
    error = TransportError("reset", "")
    assert retry_delay(error, 2, lambda: 0.0) == 0.5
    assert retry_delay(error, 2, lambda: 0.999) == pytest.approx(1.499)


@pytest.mark.parametrize("code", [429, 503])
def test_a_time_named_by_the_server_is_kept_and_spread_by_a_quarter(code: int) -> None:
    assert retry_delay(refused(code, 20.0), 0, lambda: 0.0) == 20.0
    assert retry_delay(refused(code, 20.0), 5, lambda: 1.0) == 25.0
    assert retry_delay(refused(code, 20.0), 10, lambda: 0.0) is None


@pytest.mark.parametrize("code", [429, 503])
def test_a_server_that_names_no_time_worth_the_name_is_not_asked_without_a_pause(code: int) -> None:
    delays = [retry_delay(refused(code, 0.0), attempt, lambda: 0.5) for attempt in range(11)]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0, None]
    assert [retry_delay(refused(code, 1.0), attempt, lambda: 0.0) for attempt in (0, 3, 4)] == [1.0, 1.0, 2.0]


async def test_a_patient_caller_waits_by_the_table_until_it_succeeds() -> None:
    clock = VirtualClock(0.0, chance=0.5)
    at: list[float] = []

    async def call() -> str:
        at.append(clock.now())
        if len(at) < 4:
            raise TransportError("refused", "")
        return "done"

    async with asyncio.TaskGroup() as group:
        task = group.create_task(with_retries(call, deadline=100.0, clock=clock))
        await clock.advance(100.0)
    assert task.result() == "done"
    assert at == [0.0, 0.25, 0.75, 1.75]


async def test_a_patient_caller_gives_up_when_the_next_attempt_would_be_too_late() -> None:
    clock = VirtualClock(0.0, chance=0.5)
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise TransportError("refused", "")

    async def caller() -> None:
        with pytest.raises(TransportError):
            await with_retries(call, deadline=1.0, clock=clock)

    async with asyncio.TaskGroup() as group:
        group.create_task(caller())
        await clock.advance(10.0)
    assert calls == 3


async def test_a_patient_caller_does_not_repeat_what_cannot_be_mended() -> None:
    clock = VirtualClock()
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise refused(404)

    with pytest.raises(NotFound):
        await with_retries(call, deadline=1e9, clock=clock)
    assert calls == 1
