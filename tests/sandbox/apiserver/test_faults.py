# SPDX-License-Identifier: Apache-2.0
"""Each hook does what it says, to whom it says, as often as it says."""

import msgspec
import pytest

from purelb.sandbox.apiserver.core import ApiResponse, Watcher
from purelb.sandbox.apiserver.faults import Answer, CutStream, Delay, Hang, LoseAnswer, Reset, Rule
from tests.sandbox.apiserver.driver import SERVICES, Api, service

JSON = {"content-type": "application/json"}


def test_a_status_code_with_its_retry_after(api: Api) -> None:
    api.core.faults.add(Rule(effect=Answer(code=429, retry_after=2), verb="create", resource="services", count=1))
    refused = api.post(SERVICES, service())
    assert (refused.code, refused.body["reason"], refused.headers["Retry-After"]) == (429, "TooManyRequests", "2")
    assert api.post(SERVICES, service()).code == 201, "once"


def test_a_rule_matches_subject_verb_resource_and_name(api: Api) -> None:
    api.core.faults.add(Rule(effect=Answer(code=503), subject="*-admin", verb="get", resource="services", name="kube*"))
    assert api.get(f"{SERVICES}/kubernetes").code == 503
    assert [api.get(SERVICES).code, api.get(f"{SERVICES}/web").code, api.get("/api/v1/nodes").code] == [200, 404, 200]
    api.core.faults.clear()
    assert api.get(f"{SERVICES}/kubernetes").code == 200


def test_a_probability_draws_from_its_own_seed(api: Api) -> None:
    drawn = []
    for _ in range(2):
        number = api.core.faults.add(Rule(effect=Answer(code=500), probability=0.5, seed=3))
        drawn.append([api.get(SERVICES).code for _ in range(40)])
        api.core.faults.remove(number)
    assert drawn[0] == drawn[1]
    assert 5 < drawn[0].count(500) < 35


def test_a_delay_carries_out_later(api: Api) -> None:
    api.core.faults.add(Rule(effect=Delay(seconds=2.0), verb="create"))
    made = api.raw("POST", SERVICES, body=msgspec.json.encode(service()), headers=JSON)
    assert isinstance(made, Watcher)
    assert (made.frames(api.now), api.get(f"{SERVICES}/web").code) == ([], 404)
    api.now += 2.0
    assert made.frames(api.now)
    assert (made.head and made.head.status, api.get(f"{SERVICES}/web").code) == (201, 200)


def test_a_hang_is_never_answered_nor_carried_out(api: Api) -> None:
    api.core.faults.add(Rule(effect=Hang(), verb="create"))
    made = api.raw("POST", SERVICES, body=msgspec.json.encode(service()), headers=JSON)
    assert isinstance(made, Watcher)
    api.now += 10_000
    assert (made.frames(api.now), made.ended, made.due(), api.get(f"{SERVICES}/web").code) == ([], False, None, 404)


def test_a_reset_is_not_carried_out_and_a_lost_answer_is(api: Api) -> None:
    for effect, code in ((Reset(), 404), (LoseAnswer(), 200)):
        number = api.core.faults.add(Rule(effect=effect, verb="create"))
        made = api.raw("POST", SERVICES, body=msgspec.json.encode(service()), headers=JSON)
        assert isinstance(made, Watcher)
        assert (made.aborted, made.ended, made.head) == (True, True, None)
        api.core.faults.remove(number)
        assert api.get(f"{SERVICES}/web").code == code


def test_a_cut_stream_ends_after_its_frames_cleanly_or_not(api: Api) -> None:
    for name in ("a", "b"):
        api.post(SERVICES, service(name))
    for clean in (True, False):
        number = api.core.faults.add(Rule(effect=CutStream(after_frames=2, clean=clean), verb="watch"))
        stream = api.watch(SERVICES)
        assert stream.names() == [("ADDED", "a"), ("ADDED", "b")]
        assert (stream.watcher.ended, stream.watcher.aborted) == (True, not clean)
        api.core.faults.remove(number)


def test_rules_in_force_can_be_read_with_their_count(api: Api) -> None:
    number = api.core.faults.add(Rule(effect=Answer(code=500), resource="nodes"))
    api.get("/api/v1/nodes")
    assert [(one, fired) for one, _, fired in api.core.faults] == [(number, 1)]
    assert isinstance(api.raw("GET", "/api/v1/nodes"), ApiResponse)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"effect":{"type":"Delay","seconds":2}}', Rule(effect=Delay(seconds=2.0))),
        ('{"effect":{"type":"Hang"},"verb":"get","count":1}', Rule(effect=Hang(), verb="get", count=1)),
        (
            '{"effect":{"type":"CutStream","after_frames":3,"clean":true},"subject":"*:agent"}',
            Rule(effect=CutStream(after_frames=3, clean=True), subject="*:agent"),
        ),
    ],
)
def test_a_rule_can_be_written_as_json(text: str, rule: Rule) -> None:
    assert msgspec.json.decode(text, type=Rule) == rule
    assert msgspec.json.decode(msgspec.json.encode(rule), type=Rule) == rule
