# SPDX-License-Identifier: Apache-2.0
"""The initial state as the first events of a watch, as a script: an input goes in, exactly these actions come out."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.kube import decode, initial, position
from purelb.kube.decode import Event, Failed, Foreign, Garbled, Poison, Spoiled
from purelb.kube.errors import ApiError, KubeError, Status, StatusCause, StatusDetails, TransportError, api_error
from purelb.kube.listwatch import (
    Batch,
    CannotStream,
    Close,
    Ended,
    List,
    ListFailed,
    Opened,
    Progress,
    Reachable,
    Relist,
    Remove,
    Replace,
    Spoil,
    Start,
    Stop,
    Synced,
    Tick,
    Upsert,
    Watch,
)
from purelb.kube.model import ObjectMeta, PartialObject
from tests.kube.script import REFUSED, Script, event, page, refusal, thing

FIRST = Watch(rv="", timeout_s=300.0, match="NotOlderThan", initial_events=True)
LISTED = List(rv="0", limit=500)


def after(rv: str) -> Watch:
    return Watch(rv=rv, timeout_s=300.0, match="NotOlderThan", initial_events=True)


def end(rv: str, value: str = "true") -> Event[PartialObject]:
    return Event(
        "BOOKMARK",
        PartialObject(metadata=ObjectMeta(resource_version=rv, annotations={"k8s.io/initial-events-end": value})),
    )


def streaming(**options: Any) -> Script:
    script = Script(streams=True, **options)
    script.feed(Start()).expect(FIRST)
    script.feed(Opened()).expect()
    return script


def synced(rv: str = "10", *, at: float = 0.0, **options: Any) -> Script:
    script = streaming(**options)
    script.feed(Batch((event("ADDED", "a", "5"), end(rv))), at=at)
    script.expect(Replace((thing("a", "5"),), (), rv), Synced())
    assert script.machine.state == "Watching"
    return script


# The initial state


def test_objects_are_stored_when_the_server_says_that_those_were_all_and_the_watch_goes_on() -> None:
    with streaming() as script:
        script.feed(Batch((event("ADDED", "b", "7"), event("ADDED", "a", "5")))).expect()
        script.feed(Batch((event("ADDED", "c", "6"), end("10"), event("ADDED", "d", "11")))).expect(
            Replace((thing("b", "7"), thing("a", "5"), thing("c", "6")), (), "10"),
            Synced(),
            Upsert(thing("d", "11"), "11"),
        )
        assert (script.machine.state, script.machine.last_rv) == ("Watching", "11")
        assert script.machine.deadline() is None


def test_an_empty_collection_syncs() -> None:
    with streaming() as script:
        script.feed(Batch((end("10"),))).expect(Replace((), (), "10"), Synced())


@pytest.mark.parametrize("value", ["True", "1", "", "false", "true "])
def test_only_the_exact_word_ends_the_initial_state(value: str) -> None:
    with streaming() as script:
        script.feed(Batch((event("ADDED", "a", "5"), end("10", value), event("BOOKMARK", "", "11")))).expect()
        assert script.machine.state == "Streaming"


def test_changes_on_the_way_are_part_of_the_initial_state() -> None:
    with streaming() as script:
        script.feed(
            Batch(
                (
                    event("ADDED", "a", "1"),
                    event("ADDED", "b", "2"),
                    event("MODIFIED", "a", "8"),
                    event("DELETED", "b", "9"),
                    event("DELETED", "never", "9"),
                    event("MODIFIED", "c", "10"),
                    end("12"),
                )
            )
        ).expect(Replace((thing("a", "8"), thing("c", "10")), (), "12"), Synced())


def test_what_cannot_be_read_is_part_of_it_too_and_costs_nobody_else_anything() -> None:
    never, once, mended, gone, nobody = (Poison(key=key, rv="3", error="x") for key in ("n", "o", "m", "g", ""))
    with streaming() as script:
        script.feed(
            Batch(
                (
                    Spoiled(type="ADDED", poison=never),
                    event("ADDED", "o", "1"),
                    Spoiled(type="MODIFIED", poison=once),
                    Spoiled(type="ADDED", poison=mended),
                    event("MODIFIED", "m", "4"),
                    Spoiled(type="ADDED", poison=gone),
                    Spoiled(type="DELETED", poison=gone),
                )
            )
        ).expect()
        script.feed(Batch((Spoiled(type="ADDED", poison=nobody), event("ADDED", "", "6")))).expect(
            Spoil(nobody), Spoil(Poison(rv="6", error="it has no name"))
        )
        script.feed(Batch((end("10"),))).expect(
            Replace((thing("o", "1"), thing("m", "4")), (never,), "10"), Synced(), Spoil(once)
        )


def test_foreign_kinds_and_unknown_types_are_skipped_and_named() -> None:
    with streaming() as script:
        script.feed(Batch((Foreign(type="ADDED", kind="Pod"), event("INVENTED", "x", "11"), end("12")))).expect(
            Replace((), (), "12"), Synced()
        )
        assert script.codes() == ["foreignEvent", "unknownEvent"]


def test_an_initial_state_of_the_version_that_we_had_counts_as_news() -> None:
    with synced() as script:
        script.feed(Relist("asked")).expect(Close(), after("10"))
        script.feed(Opened(), Batch((event("ADDED", "a", "5"), end("10"))))
        script.expect(Replace((thing("a", "5"),), (), "10", 1))
        script.feed(Ended()).expect(Watch("10", 300.0))
        script.feed(Opened(), Ended()).expect()
        assert script.waits == 0.8, "but not the watch that follows it"


def test_a_consistent_start_asks_for_the_same() -> None:
    with Script(streams=True, consistent=True) as script:
        script.feed(Start()).expect(FIRST)


# After it


def test_once_synced_a_watch_that_ended_is_continued_without_the_initial_state() -> None:
    with synced() as script:
        script.feed(Ended(), at=0.1).expect(Watch(rv="10", timeout_s=300.0))
        script.feed(Opened(), Batch((event("MODIFIED", "a", "11"), end("12")))).expect(
            Upsert(thing("a", "11"), "11"), Progress("12")
        )
        script.feed(Ended(TransportError("eof", ""))).expect(Watch(rv="12", timeout_s=300.0))


def test_an_expired_watch_streams_again_from_where_it_stood() -> None:
    with synced() as script:
        script.feed(Batch((Failed(error=refusal(410, "Expired")),))).expect(Close())
        script.tick().expect(after("10"))
        script.feed(Opened(), Batch((end("30"),))).expect(Replace((), (), "30"))


def test_a_relist_streams_and_a_consistent_one_names_no_version() -> None:
    with synced() as script:
        script.feed(Relist("asked")).expect(Close(), after("10"))
        script.feed(Opened(), Batch((end("20"),))).expect(Replace((), (), "20", 1))
        script.feed(Relist("asked", consistent=True)).expect(Close(), FIRST)
        script.feed(Opened(), Batch((end("30"),))).expect(Replace((), (), "30", 2))


def test_version_zero_is_never_asked_for() -> None:
    with synced("0") as script:
        script.feed(Relist("asked")).expect(Close(), FIRST)


def test_a_relist_asked_for_on_the_way_is_served_by_another_stream() -> None:
    with streaming() as script:
        script.feed(Batch((event("ADDED", "a", "5"),)), Relist("asked")).expect()
        script.feed(Batch((end("10"), event("ADDED", "late", "11")))).expect(
            Replace((thing("a", "5"),), (), "10", 0), Synced(), Close(), after("10")
        )
        script.feed(Opened(), Batch((end("12"),))).expect(Replace((), (), "12", 1))


# Ended before that

INTERRUPTED: dict[str, tuple[Batch[PartialObject] | Ended, tuple[object, ...]]] = {
    "a clean end": (Ended(), ()),
    "an early end": (Ended(TransportError("eof", "")), ()),
    "a reset": (Ended(TransportError("reset", "")), ()),
    "refused": (Ended(REFUSED), ()),
    "429": (Ended(refusal(429)), ()),
    "429 in the stream": (Batch((Failed(error=refusal(429)),)), (Close(),)),
    "500": (Ended(refusal(500)), ()),
    "404": (Ended(refusal(404)), ()),
    "500 in the stream": (Batch((Failed(error=refusal(500)),)), (Close(),)),
    "a line that is not an event": (Batch((Garbled(why="x"),)), (Close(),)),
}


@pytest.mark.parametrize("how", INTERRUPTED)
def test_interrupted_it_begins_anew_after_a_wait_and_nothing_of_it_is_left(how: str) -> None:
    seen, closes = INTERRUPTED[how]
    with streaming() as script:
        script.feed(Batch((event("ADDED", "ghost", "5"),)), at=20.0).expect()
        script.feed(seen, at=25.0).expect(*closes)
        assert script.waits == 0.8
        script.tick().expect(FIRST)
        script.feed(Opened(), Batch((end("10"),))).expect(Replace((), (), "10"), Synced())


def test_429_is_asked_again_not_before_its_time() -> None:
    with Script(streams=True) as script:
        script.feed(Start()).expect(FIRST)
        script.feed(Ended(refusal(429, retry_after=7.0))).expect()
        assert script.waits == 7.0
        script.tick().expect(FIRST)


def test_a_server_that_is_back_is_asked_within_two_seconds() -> None:
    with Script(streams=True, rng=lambda: 0.9) as script:
        script.feed(Start()).taken()
        for _ in range(4):
            script.feed(Ended(REFUSED)).expect()
            script.tick().taken()
        script.feed(Ended(REFUSED)).expect()
        assert script.waits is not None
        assert script.waits > 20
        script.feed(Reachable()).expect()
        assert script.waits == 1.8


GONE: dict[str, ApiError] = {
    "expired": refusal(410, "Expired"),
    "too large": api_error(Status(code=504, message="Too large resource version: 20, current: 10")),
    "too large by its cause": api_error(
        Status(code=504, details=StatusDetails(causes=(StatusCause(reason="ResourceVersionTooLarge"),)))
    ),
}


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize("where", ["on open", "in the stream"])
def test_a_version_that_is_not_there_is_replaced_by_the_newest_once(how: str, where: str) -> None:
    error = GONE[how]
    with synced() as script:
        script.feed(Relist("asked")).expect(Close(), after("10"))
        if where == "on open":
            script.feed(Ended(error)).expect(FIRST)
        else:
            script.feed(Opened(), Batch((Failed(error=error),))).expect(Close(), FIRST)
        script.feed(Ended(error)).expect()
        assert script.waits == 0.8
        script.tick().expect(FIRST)
        script.feed(Opened(), Batch((end("30"),))).expect(Replace((), (), "30", 1))
        script.feed(Relist("again")).expect(Close(), after("30"))


# Servers that cannot

REFUSALS: dict[str, KubeError] = {"400": refusal(400), "403": refusal(403), "422": refusal(422)}


@pytest.mark.parametrize("how", REFUSALS)
@pytest.mark.parametrize("where", ["on open", "in the stream"])
def test_a_server_that_refuses_is_listed_at_once_and_ever_after(how: str, where: str) -> None:
    error = REFUSALS[how]
    assert isinstance(error, ApiError)
    with Script(streams=True) as script:
        script.feed(Start()).expect(FIRST)
        if where == "on open":
            script.feed(Ended(error)).expect(LISTED)
        else:
            script.feed(Opened(), Batch((Failed(error=error),))).expect(Close(), LISTED)
        listed_ever_after(script)


def test_a_server_that_is_only_just_starting_and_has_no_rights_yet_is_asked_for_a_stream_again() -> None:
    with synced() as script:
        script.feed(Ended(TransportError("refused", ""))).taken()
        script.tick().taken()
        script.feed(Ended(refusal(403, "Forbidden"))).taken()  # it is back, but has not loaded the rights
        script.tick().expect(after("10"))
        script.feed(Ended(refusal(403, "Forbidden"))).expect()
        assert script.waits is not None
        assert script.waits <= 2.0
        script.tick().expect(after("10"))
        script.feed(Opened()).taken()
        script.feed(Ended(None), at=script.at + 0.5).expect()
        assert script.waits is not None
        assert script.waits <= 2.0, "its cache began anew"
        script.tick().expect(after("10"))
        script.feed(Ended(refusal(403, "Forbidden")), at=script.at + 31.0).expect(List(rv="10"))


def listed_ever_after(script: Script) -> None:
    script.feed(page("a")).expect(Replace(page("a").objects, (), "10"), Synced(), Watch("10", 300.0))
    script.feed(Opened(), Batch((Failed(error=refusal(410, "Expired")),)), at=500.0).expect(Close())
    script.tick().expect(List(rv="10"))
    script.feed(ListFailed(refusal(410, "Expired"))).expect(List(rv="", limit=500))


def test_a_server_too_old_is_never_asked() -> None:
    with Script(streams=True) as script:
        script.feed(Start()).expect(FIRST)
        script.feed(CannotStream()).expect(LISTED)
        listed_ever_after(script)


def test_a_server_that_says_nothing_is_listed_after_thirty_seconds_and_ever_after() -> None:
    with streaming() as script:
        script.feed(Batch((event("ADDED", "a", "5"),)), at=9.0).expect()
        for at in (19.0, 29.0):
            assert script.machine.deadline() == at
            script.tick().expect()
        assert script.codes() == ["initialStateWaits"] * 2
        script.tick().expect(Close(), LISTED)
        assert script.at == 39.0
        assert script.codes()[-1] == "initialStateMissing"
        listed_ever_after(script)


def test_a_request_that_is_not_even_answered_counts_as_silence() -> None:
    with Script(streams=True) as script:
        script.feed(Start()).expect(FIRST)
        script.tick().expect()
        script.tick().expect()
        script.tick().expect(Close(), LISTED)
        assert script.at == 30.0


def test_any_event_is_a_sign_of_life() -> None:
    with streaming() as script:
        for at in range(9, 200, 9):
            script.feed(Batch((event("MODIFIED", "a", str(at)),)), at=float(at)).expect()
        script.tick().expect()
        assert script.at == 208.0
        script.feed(Batch((end("300"),))).expect(Replace((thing("a", "198"),), (), "300"), Synced())
        assert script.machine.deadline() is None


def test_a_machine_that_slept_does_not_take_its_own_silence_for_the_servers() -> None:
    with streaming() as script:
        script.feed(Tick(), at=3600.0).expect()
        assert script.machine.state == "Streaming"
        assert script.waits == 10.0


def test_a_server_that_sends_changes_until_the_time_is_up_and_never_the_end_is_listed() -> None:
    for runs, wanted in ((299.0, ()), (300.0, (LISTED,))):
        with streaming() as script:
            script.feed(Batch((event("ADDED", "a", "5"),)), at=295.0).expect()
            script.feed(Ended(), at=runs).expect(*wanted)


def test_an_initial_state_larger_than_any_collection_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    assert initial.OBJECTS_MAX == decode.PAGES_MAX * position.PAGE_SIZE == 5_000_000, "as large as a list may be"
    monkeypatch.setattr("purelb.kube.initial.OBJECTS_MAX", 3)
    with streaming() as script:
        script.feed(Batch(tuple(event("ADDED", name, "1") for name in "abc"))).expect()
        script.feed(Batch((event("ADDED", "d", "2"),))).expect(Close())
        assert script.waits == 0.8
        assert script.codes() == ["watchGarbled"]
        script.tick().expect(FIRST)


# Stopping


@pytest.mark.parametrize("stage", ["asked", "opened", "half way"])
def test_stopped_on_the_way_it_closes_once(stage: str) -> None:
    with Script(streams=True) as script:
        script.feed(Start()).taken()
        if stage != "asked":
            script.feed(Opened())
        if stage == "half way":
            script.feed(Batch((event("ADDED", "a", "5"),)))
        script.feed(Stop()).expect(Close())
        script.feed(Batch((end("10"),)), Ended(), CannotStream(), Stop()).expect()
        assert script.machine.deadline() is None


def test_a_delete_after_the_end_is_a_delete() -> None:
    with synced() as script:
        script.feed(Batch((event("DELETED", "a", "11"),))).expect(Remove("a", thing("a", "11"), "11"))
