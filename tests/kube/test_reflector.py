# SPDX-License-Identifier: Apache-2.0
"""The list and watch protocol, as a script: an input goes in, exactly these actions come out."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.decode import Failed, Foreign, Garbled, Page, Poison, Spoiled
from purelb.kube.errors import (
    DecodeError,
    Forbidden,
    KubeError,
    Status,
    StatusCause,
    StatusDetails,
    TransportError,
    TransportKind,
    api_error,
)
from purelb.kube.listwatch import (
    Batch,
    Close,
    Ended,
    Input,
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
from tests.kube.script import REFUSED, Script, event, page, refusal, thing

if TYPE_CHECKING:
    from purelb.kube.model import PartialObject


def watching(rv: str = "10", *, at: float = 0.0, **options: Any) -> Script:
    script = Script(**options)
    script.feed(Start(), page("a", rv=rv), Opened(), at=at)
    script.taken()
    script.notices.clear()
    assert script.machine.state == "Watching"
    return script


FIRST = List(rv="0", limit=500)
WATCH = Watch(rv="10", timeout_s=300.0)


# Starting and stopping


def test_a_first_list_is_stored_and_then_watched_from() -> None:
    with Script() as script:
        script.feed(Start()).expect(FIRST)
        script.feed(page("a", "b")).expect(Replace(page("a", "b").objects, (), "10"), Synced(), WATCH)
        script.feed(Opened()).expect()
        assert script.machine.deadline() is None


def test_an_empty_collection_syncs() -> None:
    with Script() as script:
        script.feed(Start()).expect(FIRST)
        script.feed(page()).expect(Replace((), (), "10"), Synced(), WATCH)


def test_stopped_before_its_start_it_asks_for_nothing() -> None:
    with Script() as script:
        script.feed(Stop(), Start(), Tick(), Relist("x")).expect()


STAGES: dict[str, tuple[tuple[Input[PartialObject], ...], tuple[object, ...]]] = {
    "while listing": ((Start(),), (Close(),)),
    "between two pages": ((Start(), page("a", more="next")), (Close(),)),
    "while opening": ((Start(), page("a")), (Close(),)),
    "while watching": ((Start(), page("a"), Opened()), (Close(),)),
    "while waiting": ((Start(), ListFailed(REFUSED)), ()),
}


@pytest.mark.parametrize("stage", STAGES)
def test_stopped_at_any_stage_it_closes_what_is_open_and_nothing_else(stage: str) -> None:
    inputs, closes = STAGES[stage]
    with Script() as script:
        script.feed(*inputs)
        script.taken()
        script.feed(Stop()).expect(*closes)
        script.feed(Start(), page("x"), Opened(), Ended(), Reachable(), Relist("x"), Stop(), Tick()).expect()
        assert script.machine.deadline() is None
        assert script.machine.state == "Stopped"


def test_a_second_list_does_not_sync_again() -> None:
    with watching() as script:
        script.feed(Relist("asked")).expect(Close(), List(rv="10"))
        script.feed(page("a", rv="20")).expect(Replace(page("a", rv="20").objects, (), "20", 1), Watch("20", 300.0))


# The version of a list


def test_a_first_list_that_must_be_consistent_reads_from_the_quorum() -> None:
    with Script(consistent=True) as script:
        script.feed(Start()).expect(List(rv="", limit=500))


def test_a_relist_never_goes_back_in_time() -> None:
    with watching() as script:
        script.feed(Batch((event("ADDED", "b", "17"),))).expect(Upsert(thing("b", "17"), "17"))
        script.feed(Relist("asked")).expect(Close(), List(rv="17"))


def test_a_consistent_relist_reads_from_the_quorum_until_it_succeeds() -> None:
    with watching() as script:
        script.feed(Relist("asked", consistent=True)).expect(Close(), List(rv="", limit=500))
        script.feed(ListFailed(REFUSED)).expect()
        script.tick().expect(List(rv="", limit=500))
        script.feed(page("a", rv="20")).expect(Replace(page("a", rv="20").objects, (), "20", 1), Watch("20", 300.0))
        script.feed(Relist("again")).expect(Close(), List(rv="20"))


def test_a_relist_asked_for_during_a_list_is_served_by_another_one() -> None:
    with Script() as script:
        script.feed(Start()).expect(FIRST)
        script.feed(Relist("asked", consistent=True)).expect()
        script.feed(page("a")).expect(Replace(page("a").objects, (), "10", 0), Synced(), List(rv="", limit=500))
        script.feed(page("a")).expect(Replace(page("a").objects, (), "10", 1), WATCH)


def test_a_consistent_relist_that_follows_an_ordinary_one_is_still_consistent() -> None:
    with watching() as script:
        script.feed(Relist("first")).expect(Close(), List(rv="10"))
        script.feed(Relist("second", consistent=True)).expect()
        script.feed(page("a", rv="20")).expect(Replace(page("a", rv="20").objects, (), "20", 1), List(rv="", limit=500))


def test_a_relist_asked_for_during_a_wait_does_not_shorten_it() -> None:
    with watching() as script:
        script.feed(Ended(REFUSED)).expect()
        script.tick().expect(List(rv="10"))
    with watching() as script:
        script.feed(Ended(), at=5.0).expect(WATCH)
        script.feed(Ended(REFUSED)).expect()
        assert script.waits == 0.8
        script.feed(Relist("asked", consistent=True)).expect()
        assert script.waits == 0.8
        script.tick().expect(List(rv="", limit=500))


def test_a_version_that_has_expired_is_replaced_by_the_newest_at_once() -> None:
    with watching() as script:
        script.feed(Relist("asked")).expect(Close(), List(rv="10"))
        script.feed(ListFailed(refusal(410, "Expired"))).expect(List(rv="", limit=500))
        script.feed(page("a", rv="30")).expect(Replace(page("a", rv="30").objects, (), "30", 1), Watch("30", 300.0))
        script.feed(Relist("again")).expect(Close(), List(rv="30"))


TOO_LARGE = {
    "by its cause": Status(
        code=504,
        reason="Timeout",
        details=StatusDetails(causes=(StatusCause(reason="ResourceVersionTooLarge"),)),
    ),
    "by its message": Status(code=504, reason="Timeout", message="Too large resource version: 20, current: 10"),
    "by its message alone": Status(code=504, message="Too large resource version"),
}


@pytest.mark.parametrize("shape", TOO_LARGE)
def test_a_version_that_the_server_has_not_seen_yet_is_replaced_by_the_newest_once(shape: str) -> None:
    error = api_error(TOO_LARGE[shape])
    with watching() as script:
        script.feed(Relist("asked")).expect(Close(), List(rv="10"))
        script.feed(ListFailed(error)).expect(List(rv="", limit=500))
        script.feed(ListFailed(error)).expect()
        assert script.waits == 0.8
        script.tick().expect(List(rv="", limit=500))


def test_a_watch_that_expired_is_listed_from_where_it_stood() -> None:
    with watching() as script:
        script.feed(Batch((event("MODIFIED", "a", "12"), Failed(error=refusal(410, "Expired"))))).expect(
            Upsert(thing("a", "12"), "12"), Close()
        )
        script.tick().expect(List(rv="12"))
        assert [(notice.level, notice.code) for notice in script.notices] == [("debug", "watchExpired")]


def test_a_server_that_was_restarted_is_listed_within_two_seconds_however_long_it_was_away() -> None:
    expired = Failed(error=refusal(410, "Expired"))
    with watching(rng=lambda: 0.5) as script:
        script.feed(Ended(), at=5.0).taken()
        assert outage(script, 5, timeout_s=450.0)[-1] == 19.2
        script.feed(Opened(), Batch((expired,))).expect(Close())
        assert script.waits == 1.0
        script.tick().expect(List(rv="10"))
        script.feed(page("a"), Opened(), Batch((expired,))).taken()
        assert script.waits == 45.0, "a server that says nothing else is not asked in a hurry twice"
        script.tick().expect(List(rv="10"))
        script.feed(page("a"), Opened(), Batch((event("ADDED", "b", "11"),)), Batch((expired,))).taken()
        assert script.waits == 1.0


# Pages


def test_ten_objects_in_pages_of_four_are_one_replace_with_the_version_of_the_first() -> None:
    names = [f"n{number}" for number in range(10)]
    with Script(page_size=4) as script:
        script.feed(Start()).expect(List(rv="0", limit=4))
        script.feed(page(*names[:4], more="4")).expect(List(rv="0", limit=4, continue_="4"))
        script.feed(page(*names[4:8], rv="", more="8")).expect(List(rv="0", limit=4, continue_="8"))
        script.feed(page(*names[8:], rv="99")).left.pop(0)
        script.expect(Synced(), WATCH)
        script.feed(Relist("asked")).expect(Close(), List(rv="10", limit=4))


def test_an_empty_first_page_does_not_lose_the_version() -> None:
    with Script() as script:
        script.feed(Start()).expect(FIRST)
        script.feed(page(more="x")).expect(List(rv="0", limit=500, continue_="x"))
        script.feed(page("a", rv="77")).expect(Replace(page("a", rv="77").objects, (), "10"), Synced(), WATCH)


def test_a_server_that_pages_its_cache_is_paged_ever_after() -> None:
    with Script() as script:
        script.feed(Start()).expect(FIRST)
        script.feed(page("a", more="x")).expect(List(rv="0", limit=500, continue_="x"))
        script.feed(page("b"), Opened())
        script.taken()
        script.feed(Relist("asked")).expect(Close(), List(rv="10", limit=500))


def test_a_page_that_expired_gives_one_list_without_pages_of_the_same_version() -> None:
    with watching(page_size=4) as script:
        script.feed(Relist("asked")).expect(Close(), List(rv="10", limit=4))
        script.feed(page("a", rv="20", more="x")).expect(List(rv="10", limit=4, continue_="x"))
        script.feed(ListFailed(refusal(410, "Expired"))).expect(List(rv="10", limit=0))
        script.feed(page("b", rv="21")).expect(Replace(page("b", rv="21").objects, (), "21", 1), Watch("21", 300.0))


# Events


def test_each_event_moves_the_version_and_a_bookmark_does_nothing_else() -> None:
    with watching() as script:
        events = (
            event("ADDED", "b", "10"),
            event("MODIFIED", "b", "20"),
            event("DELETED", "b", "30"),
            event("BOOKMARK", "", "40"),
        )
        versions = []
        seen: list[object] = []
        for each in events:
            seen += script.feed(Batch((each,))).taken()
            versions.append(script.machine.last_rv)
        assert seen == [
            Upsert(thing("b", "10"), "10"),
            Upsert(thing("b", "20"), "20"),
            Remove("b", thing("b", "30"), "30"),
            Progress("40"),
        ]
        assert versions == ["10", "20", "30", "40"]


def test_a_lower_version_is_taken_over() -> None:
    with watching("50") as script:
        script.feed(Batch((event("MODIFIED", "a", "7"),))).expect(Upsert(thing("a", "7"), "7"))
        assert script.machine.last_rv == "7"


def test_an_event_without_a_version_does_not_move_it() -> None:
    with watching() as script:
        script.feed(Batch((event("MODIFIED", "a", ""),))).expect(Upsert(thing("a", ""), ""))
        assert script.machine.last_rv == "10"


def test_foreign_kinds_and_unknown_types_are_skipped_and_named() -> None:
    with watching() as script:
        script.feed(Batch((Foreign(type="ADDED", kind="Pod"), event("INVENTED", "x", "11")))).expect()
        assert script.codes() == ["foreignEvent", "unknownEvent"]
        assert script.machine.last_rv == "10"


def test_a_watch_from_any_version_is_not_continued_from_the_middle_of_its_first_burst() -> None:
    with watching("") as script:
        script.feed(Batch((event("ADDED", "b", "9"), event("ADDED", "c", "4")))).taken()
        assert script.machine.last_rv == ""
        script.feed(Batch((event("MODIFIED", "b", "11"), event("ADDED", "d", "12")))).taken()
        assert script.machine.last_rv == "12"


def test_an_object_that_does_not_decode_neither_ends_the_watch_nor_is_listed_again() -> None:
    bad = Poison(key="a", uid="u", rv="11", error="x")
    with watching() as script:
        script.feed(Batch((Spoiled(type="MODIFIED", poison=bad), event("ADDED", "b", "12")))).expect(
            Spoil(bad), Upsert(thing("b", "12"), "12")
        )
        script.feed(Batch((Spoiled(type="DELETED", poison=bad),))).expect(Remove("a", None, "11"))
        assert script.machine.state == "Watching"


def test_what_could_not_be_read_in_a_list_goes_with_it() -> None:
    bad = Poison(key="b", error="x")
    with Script() as script:
        script.feed(Start()).expect(FIRST)
        script.feed(Page(objects=(thing("a", "1"),), poison=(bad,), rv="10")).expect(
            Replace((thing("a", "1"),), (bad,), "10"), Synced(), WATCH
        )


# Ends of a watch

ORDINARY_ENDS: dict[str, KubeError | None] = {
    "a clean end": None,
    "an early end": TransportError("eof", ""),
    "a reset": TransportError("reset", ""),
    "a timeout": TransportError("timeout", ""),
}


@pytest.mark.parametrize("end", ORDINARY_ENDS)
def test_after_a_second_a_watch_that_ended_is_continued_at_once(end: str) -> None:
    with watching() as script:
        script.feed(Ended(ORDINARY_ENDS[end]), at=1.0).expect(WATCH)


@pytest.mark.parametrize("end", ORDINARY_ENDS)
def test_after_one_event_a_watch_that_ended_is_continued_at_once(end: str) -> None:
    with watching() as script:
        script.feed(Batch((event("MODIFIED", "a", "11"),))).taken()
        script.feed(Ended(ORDINARY_ENDS[end]), at=0.01).expect(Watch(rv="11", timeout_s=300.0))


STILL: dict[str, tuple[Input[PartialObject], ...]] = {
    "a bookmark of the version that we have": (Batch((event("BOOKMARK", "", "10"),)),),
    "an object of the version that we have": (Batch((event("MODIFIED", "a", "10"),)),),
    "the same object again and again": (
        Batch((event("MODIFIED", "a", "10"),) * 3),
        Batch((event("ADDED", "a", "10"),)),
    ),
    "an event without a version": (Batch((event("MODIFIED", "a", ""),)),),
    "objects of a foreign kind": (Batch((Foreign(type="ADDED", kind="Table"),)),),
}


@pytest.mark.parametrize("what", STILL)
def test_a_watch_that_brought_nothing_newer_and_ended_within_a_second_is_very_short(what: str) -> None:
    with watching() as script:
        script.feed(*STILL[what]).taken()
        script.feed(Ended(), at=0.99).expect()
        assert script.waits == 0.8
        script.tick().expect(List(rv="10"))
        assert script.codes()[-1] == "shortWatch"
    with watching() as script:
        script.feed(*STILL[what]).taken()
        script.feed(Ended(), at=1.0).expect(WATCH)


def test_a_server_that_ends_each_watch_with_what_we_know_is_asked_ever_less_often() -> None:
    with watching() as script:
        watches = 0
        while script.at < 600.0:
            script.feed(Batch((event("BOOKMARK", "", "10"),)), Ended()).taken()
            script.tick().expect(List(rv="10"))
            script.feed(page("a"), Opened()).taken()
            watches += 1
        assert watches < 30


def test_an_event_that_moved_the_version_back_counts_as_news() -> None:
    with watching() as script:
        script.feed(Batch((event("MODIFIED", "a", "9"),))).taken()
        script.feed(Ended(), at=0.5).expect(Watch("9", 300.0))


@pytest.mark.parametrize("end", ORDINARY_ENDS)
def test_a_very_short_watch_is_waited_for_and_listed_again(end: str) -> None:
    with watching() as script:
        script.feed(Ended(ORDINARY_ENDS[end]), at=0.99).expect()
        assert script.waits == 0.8
        script.tick().expect(List(rv="10"))


@pytest.mark.parametrize("kind", ["eof", "timeout"])
def test_a_watch_that_could_not_be_opened_for_want_of_an_answer_counts_as_very_short(kind: TransportKind) -> None:
    with Script() as script:
        script.feed(Start(), page("a")).taken()
        script.feed(Ended(TransportError(kind, "")), at=65.0).expect()
        script.tick().expect(List(rv="10"))
        assert "shortWatch" in script.codes()


RELISTED: dict[str, tuple[Input[PartialObject], tuple[object, ...]]] = {
    "an error event 500": (Batch((Failed(error=refusal(500, "StoreReadError")),)), (Close(),)),
    "an error event 403": (Batch((Failed(error=refusal(403, "Forbidden")),)), (Close(),)),
    "a line that is not an event": (Batch((Garbled(why="x"),)), (Close(),)),
    "a line without an end": (Ended(TransportError("protocol", "")), ()),
    "an answer that does not decode": (Ended(DecodeError("x")), ()),
}


@pytest.mark.parametrize("what", RELISTED)
def test_a_stream_that_cannot_be_trusted_is_closed_and_listed_again_after_a_wait(what: str) -> None:
    seen, closes = RELISTED[what]
    with watching() as script:
        script.feed(seen, at=60.0).expect(*closes)
        assert script.waits == 0.8
        script.tick().expect(List(rv="10"))


REFUSED_OPENS = {"403": refusal(403), "410": refusal(410), "500": refusal(500), "reset": TransportError("reset", "")}


@pytest.mark.parametrize("what", REFUSED_OPENS)
def test_a_watch_that_is_refused_is_listed_again_after_a_wait(what: str) -> None:
    with Script() as script:
        script.feed(Start(), page("a")).taken()
        script.feed(Ended(REFUSED_OPENS[what])).expect()
        script.tick().expect(List(rv="10"))


def test_what_follows_an_error_event_is_not_believed() -> None:
    with watching() as script:
        script.feed(Batch((Failed(error=refusal(500)), event("ADDED", "ghost", "99")))).expect(Close())
        assert script.machine.last_rv == "10"


def test_a_path_that_is_gone_three_times_in_a_row_is_named_and_nothing_is_removed() -> None:
    with watching() as script:
        script.feed(Ended(refusal(404)), at=5.0).expect()
        script.tick().expect(List(rv="10"))
        script.feed(ListFailed(refusal(404))).expect()
        assert "ResourceMissing" not in script.codes()
        script.tick().expect(List(rv="10"))
        script.feed(ListFailed(refusal(404))).expect()
        assert script.codes().count("ResourceMissing") == 1


def test_the_timeout_of_a_watch_is_drawn_from_five_to_ten_minutes() -> None:
    for draw, wanted in ((0.0, 300.0), (0.5, 450.0), (0.75, 525.0)):
        with Script(rng=lambda draw=draw: draw) as script:  # type: ignore[misc]
            script.feed(Start(), page())
            assert script.left.pop() == Watch("10", wanted)
            script.taken()


@pytest.mark.parametrize(("least", "first"), [(1.0, 300.0), (1800.0, 1800.0)])
def test_a_configured_minimum_counts_only_above_the_default(least: float, first: float) -> None:
    with Script(watch_min=least) as script:
        script.feed(Start(), page())
        assert script.left.pop() == Watch("10", first)
        script.taken()


# Backoff


def outage(script: Script, failures: int, error: KubeError = REFUSED, *, timeout_s: float = 300.0) -> list[float]:
    """Let a watch fail to open `failures` times; the waits."""
    waits = []
    for _ in range(failures):
        script.feed(Ended(error)).expect()
        assert script.waits is not None
        waits.append(script.waits)
        script.tick().expect(Watch("10", timeout_s))
    return waits


def test_refused_again_and_again_a_watch_waits_longer_and_never_lists() -> None:
    with watching() as script:
        script.feed(Ended(), at=5.0).expect(WATCH)
        assert outage(script, 40) == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, *[30.0] * 34]


def test_each_wait_is_drawn_from_one_to_two_times_the_step() -> None:
    with watching(rng=lambda: 0.5) as script:
        script.feed(Ended(), at=5.0).taken()
        assert outage(script, 3, timeout_s=450.0) == [1.2, 2.4, 4.8]


def test_an_outage_of_ten_minutes_never_returns_to_the_first_step() -> None:
    with watching() as script:
        script.feed(Ended(), at=5.0).taken()
        waits = outage(script, 30)
        assert sum(waits) > 600
        assert min(waits[6:]) == 30.0


def test_only_two_minutes_of_health_start_the_waits_over() -> None:
    for healthy, wanted in ((119.0, 3.2), (121.0, 0.8)):
        with watching() as script:
            script.feed(Ended(), at=5.0).taken()
            assert outage(script, 2) == [0.8, 1.6]
            script.feed(Opened()).expect()
            script.feed(Ended(), at=script.at + healthy).taken()
            assert outage(script, 1) == [wanted]


def test_429_costs_one_step_each_and_no_further_list() -> None:
    with Script() as script:
        seen = script.feed(Start(), page("a")).taken()
        for _ in range(2):
            script.feed(Ended(refusal(429)), at=script.at).expect()
            seen += script.tick().taken()
        for _ in range(2):
            script.feed(Opened(), Batch((Failed(error=refusal(429)),))).expect(Close())
            seen += script.tick().taken()
    assert [type(action) for action in seen].count(List) == 1
    assert [type(action) for action in seen].count(Watch) == 5


def test_retry_after_raises_a_step_and_never_lowers_it() -> None:
    with watching() as script:
        script.feed(Ended(), at=5.0).taken()
        assert outage(script, 1, refusal(429, retry_after=7.0)) == [7.0]
        assert outage(script, 4, refusal(429)) == [1.6, 3.2, 6.4, 12.8]
        assert outage(script, 1, refusal(429, retry_after=7.0)) == [25.6]


HURRIES: dict[str, KubeError] = {"refused": REFUSED, "500": refusal(500), "429": refusal(429)}


@pytest.mark.parametrize("what", HURRIES)
def test_a_server_that_is_back_is_asked_within_two_seconds_once_per_step(what: str) -> None:
    draws = itertools.chain([0.0, 0.0, 0.75, 0.1], itertools.repeat(0.0))
    with Script(rng=lambda: next(draws)) as script:
        script.feed(Start(), ListFailed(HURRIES[what])).taken()
        script.tick().expect(FIRST)
        script.feed(ListFailed(HURRIES[what])).expect()
        assert script.waits == 1.6
        script.feed(Reachable()).expect()
        assert script.waits == 1.5
        script.feed(Reachable()).expect()
        assert script.waits == 1.5


def test_a_server_that_is_back_never_makes_a_wait_longer() -> None:
    with Script(rng=lambda: 0.9) as script:
        script.feed(Start(), ListFailed(REFUSED)).taken()
        assert script.waits == pytest.approx(1.52)
        script.feed(Reachable()).expect()
        assert script.waits == pytest.approx(1.52)


UNHURRIED: dict[str, KubeError] = {"after 403": refusal(403), "while Retry-After is pending": refusal(503, "", 60.0)}


@pytest.mark.parametrize("what", UNHURRIED)
def test_a_server_that_is_back_changes_nothing(what: str) -> None:
    with Script() as script:
        script.feed(Start(), ListFailed(UNHURRIED[what])).taken()
        before = script.waits
        script.feed(Reachable()).expect()
        assert script.waits == before


STARTING: dict[str, tuple[KubeError, float]] = {
    "storage is being initialized": (refusal(429, retry_after=1.0), 1.0),
    "rights are not loaded yet": (refusal(403, "Forbidden"), 0.0),
    "not ready yet": (refusal(503), 0.0),
    "not ready for another while": (refusal(503, retry_after=7.0), 7.0),
}


def back_from_an_outage(draw: float = 0.5) -> Script:
    """A reflector whose waits have grown to the longest, and whose server, that was down, is asked again."""
    script = Script(rng=lambda: draw)
    script.feed(Start()).taken()
    for _ in range(10):
        script.feed(ListFailed(REFUSED)).taken()
        script.feed(Tick(), at=script.machine.deadline()).taken()
    assert script.machine.state == "Listing"
    return script


@pytest.mark.parametrize("what", STARTING)
def test_a_server_that_is_only_just_starting_is_asked_again_within_two_seconds_of_what_it_asks_for(what: str) -> None:
    error, asked_for = STARTING[what]
    for draw, wanted in ((0.0, 1.0), (0.5, 1.5), (0.999, 1.999)):
        with back_from_an_outage(draw) as script:
            script.feed(ListFailed(error)).expect()
            assert script.waits == pytest.approx(asked_for + wanted)
            script.tick().expect(FIRST)
            script.feed(ListFailed(error)).expect()
            assert script.waits == pytest.approx(asked_for + wanted), "also the second time"


def test_a_watch_that_a_starting_server_refuses_after_it_has_listed_is_opened_within_two_seconds() -> None:
    with back_from_an_outage() as script:
        script.feed(page("a")).taken()
        script.feed(Ended(refusal(429, retry_after=1.0))).expect()
        assert script.waits == 2.5
        script.tick().expect(Watch("10", 450.0))


def test_a_watch_that_a_starting_server_ends_at_once_is_asked_for_again_within_two_seconds() -> None:
    with back_from_an_outage() as script:
        script.feed(page("a"), Opened()).taken()
        script.feed(Ended(None), at=script.at + 0.2).expect()
        assert script.waits == 1.5
        script.tick().expect(List(rv="10"))
        script.feed(page("a"), Opened(), at=script.at + 31.0).taken()
        script.feed(Ended(None), at=script.at + 0.2).expect()
        assert script.waits == 45.0, "a server that is back for long has no reason to"


def test_a_starting_server_whose_events_make_no_sense_is_not_asked_for_everything_in_a_hurry() -> None:
    with back_from_an_outage() as script:
        script.feed(page("a"), Opened()).taken()
        script.feed(Batch((Garbled(why="not JSON"),)), at=script.at + 0.2).expect(Close())
        assert script.waits == 45.0


def test_the_hurry_ends_thirty_seconds_after_the_first_answer() -> None:
    with back_from_an_outage() as script:
        began, asked = script.at, 0
        while (waits := script.feed(ListFailed(refusal(403))).waits) is not None and waits < 30.0:
            asked += 1
            script.tick().expect(FIRST)
        assert 30.0 <= script.at - began <= 32.0
        assert asked == 20
        script.feed(Tick(), at=script.at + 45.0).expect(FIRST)
        script.feed(ListFailed(refusal(403))).expect()
        assert script.waits == 45.0, "it does not begin anew"


def test_an_outage_whose_server_has_answered_for_long_hurries_nobody() -> None:
    with back_from_an_outage() as script:
        script.feed(page("a"), Opened()).taken()
        script.feed(Ended(refusal(403)), at=script.at + 31.0).expect()
        assert script.waits == 45.0


def test_a_second_outage_hurries_again() -> None:
    with back_from_an_outage() as script:
        script.feed(ListFailed(refusal(403))).taken()
        script.feed(Tick(), at=script.at + 100.0).taken()
        script.feed(ListFailed(refusal(403))).taken()
        assert script.waits == 45.0
        script.tick().taken()
        script.feed(ListFailed(REFUSED)).expect()
        assert script.waits == 45.0
        script.tick().taken()
        script.feed(ListFailed(refusal(403))).expect()
        assert script.waits == 1.5


def test_a_stream_that_was_cut_begins_an_outage() -> None:
    with watching(rng=lambda: 0.5) as script:
        script.feed(Ended(REFUSED), at=5.0).taken()
        for _ in range(6):
            script.feed(Tick(), at=script.machine.deadline()).taken()
            script.feed(ListFailed(refusal(500))).taken()
        script.feed(Tick(), at=script.at + 60.0).taken()
        script.feed(page("a"), Opened()).taken()
        script.feed(Ended(TransportError("eof", "")), at=script.at + 40.0).expect(Watch("10", 450.0))
        script.feed(Ended(refusal(403))).expect()
        assert script.waits == 1.5


def test_what_another_kind_of_refusal_follows_is_not_hurried() -> None:
    with back_from_an_outage() as script:
        script.feed(ListFailed(refusal(404))).expect()
        assert script.waits == 45.0


def test_a_server_that_is_back_is_not_asked_before_the_time_that_it_named() -> None:
    draws = itertools.chain([0.0] * 6, [0.5, 0.25], itertools.repeat(0.0))
    with Script(rng=lambda: next(draws)) as script:
        script.feed(Start()).taken()
        for _ in range(6):
            script.feed(ListFailed(refusal(500))).taken()
            script.feed(Tick(), at=script.machine.deadline()).taken()
        script.feed(ListFailed(refusal(429, retry_after=7.0))).expect()
        assert script.waits == 45.0
        script.feed(Reachable(), at=script.at + 1.0).expect()
        assert script.waits == 6.5


def test_trouble_is_named_with_its_error() -> None:
    with Script() as script:
        script.feed(Start(), ListFailed(Forbidden(Status(code=403, reason="Forbidden", message="no list for you"))))
        script.taken()
        assert script.codes() == ["listFailed"]
        assert "no list for you" in str(script.notices[0].details)


def test_a_tick_before_the_deadline_changes_nothing() -> None:
    with Script() as script:
        script.feed(Start(), ListFailed(REFUSED)).taken()
        script.feed(Tick(), at=0.79).expect()
        script.feed(Tick(), at=0.8).expect(List(rv="0", limit=500))


def test_what_a_given_up_request_still_says_is_ignored() -> None:
    with watching() as script:
        script.feed(Relist("asked")).expect(Close(), List(rv="10"))
        script.feed(Batch((event("ADDED", "late", "11"),)), Ended(), Opened()).expect()
        assert script.machine.last_rv == "10"
