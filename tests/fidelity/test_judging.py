# SPDX-License-Identifier: Apache-2.0
"""The suite can fail: what is different is said, what is listed is covered, and what is listed in vain is said as well."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.fidelity.normal import ABSENT, Normaliser, different, in_order, without_ages
from tests.fidelity.rooms import written
from tests.fidelity.runner import merged
from tests.fidelity.steps import case, delete, get, kubectl, post
from tests.fidelity.transcripts import judge

LEASES = "/apis/coordination.k8s.io/v1/namespaces/<ns>/leases"


def record(**body: Any) -> list[dict[str, Any]]:
    return [{"asked": "GET /x", "status": 200, "body": body}]


def test_equal_transcripts_are_nothing_to_speak_of() -> None:
    assert judge(record(a=1), record(a=1), {}) == []


def test_a_difference_that_nobody_listed_is_a_complaint_with_both_sides() -> None:
    (complaint,) = judge(record(a=1), record(a=2), {})
    assert "1.body.a" in complaint
    assert "real:     1" in complaint
    assert "embedded: 2" in complaint


def test_a_listed_field_covers_itself_and_what_is_below_it_but_not_its_neighbours() -> None:
    theirs, ours = record(a={"b": 1}, ab=1), record(a={"b": 2}, ab=2)
    assert [line.split()[0] for line in judge(theirs, ours, {"1.body.a": "why"})] == ["1.body.ab"]


def test_a_listed_difference_that_is_gone_is_a_complaint() -> None:
    assert judge(record(a=1), record(a=1), {"1.body.a": "why"}) == ["listed, but both servers agree: 1.body.a"]


def test_true_is_not_1_and_null_is_not_absent() -> None:
    assert list(different({"a": True, "b": None}, {"a": 1})) == [("a", True, 1), ("b", None, ABSENT)]


@pytest.fixture
def words() -> Normaliser:
    return Normaliser({"purelb-conf-12": "<ns>"}, sent='{"generateName": "web-", "ip": "10.96.7.7"}')


def test_equal_uids_and_revisions_get_equal_words(words: Normaliser) -> None:
    uid, other = "0b0e0000-0000-4000-8000-000000000001", "0b0e0000-0000-4000-8000-000000000002"
    first = words.body({"metadata": {"uid": uid, "resourceVersion": "17"}})
    again = words.body({"metadata": {"uid": uid, "resourceVersion": "18"}, "owner": other})
    assert first == {"metadata": {"uid": "<uid-1>", "resourceVersion": "<rv-1>"}}
    assert again == {"metadata": {"uid": "<uid-1>", "resourceVersion": "<rv-2>"}, "owner": "<uid-2>"}


def test_the_revision_of_a_list_and_of_a_bookmark_is_nobodys(words: Normaliser) -> None:
    item = {"metadata": {"resourceVersion": "5"}}
    listed = words.body({"kind": "LeaseList", "metadata": {"resourceVersion": "9"}, "items": [item]})
    assert (listed["metadata"], listed["items"][0]["metadata"]) == (
        {"resourceVersion": "<rv>"},
        {"resourceVersion": "<rv-1>"},
    )
    assert words.event({"type": "BOOKMARK", "object": item})["object"]["metadata"] == {"resourceVersion": "<rv>"}


def test_times_of_today_are_the_servers_and_others_stay(words: Normaliser) -> None:
    now = datetime.now(UTC)
    text = {
        "a": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "b": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "c": "2020-01-01T00:00:00Z",
    }
    assert words.body(text) == {"a": "<time>", "b": "<time.6>", "c": "2020-01-01T00:00:00Z"}


def test_only_addresses_that_were_not_sent_are_replaced(words: Normaliser) -> None:
    assert words.body({"clusterIPs": ["10.96.7.7", "10.96.1.2", "fd00::1", "None"]}) == {
        "clusterIPs": ["10.96.7.7", "<ipv4-1>", "<ipv6-1>", "None"]
    }


def test_generated_names_and_namespaces_are_replaced_in_texts_too(words: Normaliser) -> None:
    assert words.body({"message": 'web-abcde in "purelb-conf-12"'}) == {"message": 'web-<random> in "<ns>"'}


def test_causes_are_compared_in_the_order_of_their_fields() -> None:
    causes = [{"field": "b", "reason": "r", "message": "x"}, {"field": "a", "reason": "r", "message": "y"}]
    status = {"message": 'T "n" is invalid: [b: x, a: y]', "details": {"causes": causes}}
    assert in_order(status) == {
        "message": 'T "n" is invalid: [a: y, b: x]',
        "details": {"causes": [causes[1], causes[0]]},
    }


def test_a_cause_that_is_said_twice_counts_once() -> None:
    cause = {"field": "a", "reason": "r", "message": "y"}
    status = {"message": 'T "n" is invalid: a: y', "details": {"causes": [cause, cause]}}
    assert in_order(status) == {"message": 'T "n" is invalid: a: y', "details": {"causes": [cause]}}


def test_ages_are_left_out_of_tables() -> None:
    assert without_ages("NAME    AGE\none     1m3s\n") == "NAME  AGE\none  <age>"


def test_a_merge_leaves_its_target_alone() -> None:
    target = {"a": {"b": 1, "c": 2}}
    assert merged(target, {"a": {"b": None}, "d": 3}) == {"a": {"c": 2}, "d": 3}
    assert target == {"a": {"b": 1, "c": 2}}


def test_a_room_is_used_again_only_after_cases_that_are_easy_to_undo() -> None:
    assert written(case("x", get("/version"), post(f"{LEASES}?dryRun=All", {}), delete(f"{LEASES}/a/b"))) == {LEASES}
    assert written(case("x", post("/api/v1/namespaces/<ns>/pods", {}))) is None
    assert written(case("x", post("/api/v1/namespaces", {}))) is None
    assert written(case("x", kubectl("get", "lease"))) is None
