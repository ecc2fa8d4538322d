# SPDX-License-Identifier: Apache-2.0
"""Revisions, the bounded past, and what two equal servers have in common."""

from purelb.sandbox.apiserver.core import History
from tests.sandbox.apiserver.driver import SERVICES, Api, service


def touch(api: Api, value: int) -> None:
    assert api.patch(f"{SERVICES}/web", {"metadata": {"annotations": {"n": str(value)}}}).code == 200


def test_each_write_is_the_next_revision(api: Api) -> None:
    before = api.core.revision
    rvs = [int(api.post(SERVICES, service(name)).rv) for name in ("a", "b", "c")]
    assert rvs == [before + 1, before + 2, before + 3]


def test_a_write_that_changes_nothing_keeps_its_revision_and_makes_no_event(api: Api) -> None:
    api.post(SERVICES, service())
    first = api.patch(f"{SERVICES}/web", {"metadata": {"labels": {"a": "b"}}})
    stream = api.watch(SERVICES, resourceVersion=first.rv)
    again = api.patch(f"{SERVICES}/web", {"metadata": {"labels": {"a": "b"}}})
    put = api.put(f"{SERVICES}/web", again.body)
    assert (again.rv, put.rv, stream.events()) == (first.rv, first.rv, [])


def test_the_last_event_of_an_object_has_its_final_state_and_the_deletions_own_revision(api: Api) -> None:
    made = api.post(SERVICES, service(labels={"a": "b"}))
    stream = api.watch(SERVICES, resourceVersion=made.rv)
    api.delete(f"{SERVICES}/web")
    [(kind, obj)] = stream.events()
    assert kind == "DELETED"
    assert obj["metadata"]["labels"] == {"a": "b"}
    assert int(obj["metadata"]["resourceVersion"]) == api.core.revision == int(made.rv) + 1


def test_compaction_answers_410_and_never_a_gap(api: Api) -> None:
    made = api.post(SERVICES, service())
    touch(api, 1)
    api.core.compact()
    touch(api, 2)
    [(kind, obj)] = api.watch(SERVICES, resourceVersion=made.rv).events()
    assert (kind, obj["code"], obj["reason"]) == ("ERROR", 410, "Expired")
    fresh = api.watch(SERVICES, resourceVersion=api.core.revision - 1)
    assert fresh.names() == [("MODIFIED", "web")]


def test_the_past_is_bounded_by_count_and_age_together() -> None:
    api = Api(history=History(entries=10, age=60.0))
    start = api.post(SERVICES, service()).rv
    for value in range(50):
        touch(api, value)
    assert len(api.watch(SERVICES, resourceVersion=start).events()) == 50, "young entries stay, however many"
    api.now += 61.0
    touch(api, 50)
    assert api.watch(SERVICES, resourceVersion=start).events()[0][0] == "ERROR"
    assert len(api.watch(SERVICES, resourceVersion=api.core.revision - 9).events()) == 9


def test_the_past_is_bounded_by_size_at_any_age() -> None:
    api = Api(history=History(size_bytes=100_000))
    api.post(SERVICES, service())
    start = api.core.revision
    for value in range(200):
        touch(api, value)
    assert api.watch(SERVICES, resourceVersion=start).events()[0][0] == "ERROR"


def test_a_reader_that_falls_behind_the_past_is_ended() -> None:
    api = Api(history=History(size_bytes=20_000))
    api.post(SERVICES, service())
    slow = api.watch(SERVICES, resourceVersion=api.core.revision)
    for value in range(200):
        touch(api, value)
    assert slow.events() == []
    assert slow.watcher.ended


def test_entries_are_forgotten_in_strides_without_losing_a_position() -> None:
    api = Api(history=History(entries=100, age=0.0))
    api.post(SERVICES, service())
    for value in range(2500):
        api.now += 0.01
        touch(api, value)
    assert len(api.watch(SERVICES, resourceVersion=api.core.revision - 90).events()) == 90


def test_two_servers_fed_the_same_requests_give_the_same_bytes() -> None:
    answers = []
    for _ in range(2):
        api = Api(seed=7)
        api.post(SERVICES, service(ipFamilyPolicy="PreferDualStack"))
        api.post(SERVICES, {"metadata": {"generateName": "x-"}, "spec": {"ports": [{"port": 1}]}})
        made = api.raw("GET", "/api/v1/services")
        answers.append(getattr(made, "body", b""))
    assert answers[0] == answers[1] != b""
