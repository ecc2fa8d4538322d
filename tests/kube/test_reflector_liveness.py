# SPDX-License-Identifier: Apache-2.0
"""When silence is taken for death, and what an audit does about what nobody announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from purelb.kube.decode import Failed, Page, Poison, Spoiled
from purelb.kube.errors import TransportError
from purelb.kube.listwatch import (
    Batch,
    Close,
    Compare,
    Compared,
    Difference,
    Ended,
    List,
    ListFailed,
    Notice,
    Opened,
    Progress,
    Relist,
    Replace,
    Spoil,
    Start,
    Stop,
    Tick,
    Upsert,
    Watch,
)
from tests.kube.script import REFUSED, Script, event, page, refusal, thing
from tests.kube.test_reflector import watching
from tests.kube.test_reflector_streams import FIRST, end, synced

if TYPE_CHECKING:
    from purelb.kube.decode import WatchEvent
    from purelb.kube.model import PartialObject

BOOKMARK = Batch((event("BOOKMARK", "", "11"),))


# Silence


def test_a_stream_that_never_showed_a_bookmark_may_be_silent_for_hours() -> None:
    with watching() as script:
        script.feed(Batch((event("MODIFIED", "a", "11"),))).taken()
        assert script.machine.deadline() is None
        script.feed(Tick(), at=3600.0).expect()


def test_the_bookmark_that_ends_an_initial_state_promises_no_other() -> None:
    with synced() as script:
        assert script.machine.deadline() is None
    with watching() as script:  # servers send it to old clients too
        script.feed(Batch((end("12"),))).expect(Progress("12"))
        assert script.machine.deadline() is None


def test_after_a_bookmark_150_seconds_of_silence_end_the_stream_and_it_is_continued_at_once() -> None:
    with watching() as script:
        script.feed(BOOKMARK, at=60.0).expect(Progress("11"))
        assert script.waits == 150.0
        script.feed(Tick(), at=209.9).expect()
        script.tick().expect(Close(), Watch("11", 300.0))
        assert script.codes() == ["watchIdle"]
        script.feed(Opened()).expect()
        assert script.machine.deadline() is None, "the new stream has shown none yet"


def test_every_event_counts_as_a_word() -> None:
    with watching() as script:
        script.feed(BOOKMARK, at=60.0).taken()
        script.feed(Batch((event("MODIFIED", "a", "12"),)), at=200.0).taken()
        assert script.machine.deadline() == 350.0
        script.feed(BOOKMARK, at=300.0).taken()
        assert script.machine.deadline() == 450.0


def test_an_idle_stream_of_the_initial_state_is_continued_as_a_plain_watch() -> None:
    with synced() as script:
        script.feed(BOOKMARK, at=60.0).taken()
        script.tick().expect(Close(), Watch("11", 300.0))


def test_a_stream_that_outlived_its_own_limit_is_continued_and_said_so() -> None:
    with watching() as script:
        script.feed(Ended(TransportError("timeout", "")), at=330.0).expect(Watch("10", 300.0))
        assert script.codes() == ["watchOutlived"]
        script.feed(Opened(), at=331.0)
        script.feed(Ended(TransportError("timeout", "")), at=400.0).expect(Watch("10", 300.0))
        assert script.codes() == ["watchOutlived"], "this one was cut short by the network"


# Audits

AUDIT = List(rv="", limit=500)
WATCH = Watch("10", 300.0)


def audited() -> Script:
    """A reflector whose audit is due 1000 s after its start; it has listed, at 800."""
    script = watching(audit=1000.0, rng=lambda: 0.0)
    assert script.machine.deadline() == 800.0
    script.tick().expect(Close(), AUDIT)
    return script


def test_an_audit_lists_from_the_quorum_compares_and_watches_on_from_where_it_stood() -> None:
    with audited() as script:
        script.feed(page("a", rv="99")).expect(Compare(page("a", rv="99").objects, ()), WATCH)
        script.feed(Compared({})).expect()
        script.feed(Opened(), at=801.0)
        assert script.machine.deadline() == 1600.0


@pytest.mark.parametrize(("draw", "at"), [(0.0, 28_800.0), (0.5, 36_000.0), (1.0, 43_200.0)])
def test_audits_are_drawn_from_a_fifth_around_their_period(draw: float, at: float) -> None:
    with watching(audit=36_000.0, rng=lambda: draw) as script:
        assert script.machine.deadline() == pytest.approx(at)


def test_without_a_period_there_is_no_audit() -> None:
    with watching(audit=0.0) as script:
        assert script.machine.deadline() is None


def test_what_no_event_explains_within_a_minute_is_counted_and_fetched_from_the_quorum() -> None:
    with audited() as script:
        script.feed(page("a")).taken()
        script.feed(Compared({"lost": Difference(None, "7"), "ghost": Difference("3", None)}), Opened()).expect()
        assert script.waits == 60.0
        script.tick().expect(Close(), AUDIT)
        assert script.notices[-1] == Notice("info", "auditDifferences", {"count": 2, "keys": "ghost, lost"})
        script.feed(page("a", rv="99")).expect(Replace(page("a", rv="99").objects, (), "99"), Watch("99", 300.0))
        script.feed(Opened())
        assert script.machine.deadline() == 1600.0


def test_of_many_objects_that_were_never_announced_five_are_named() -> None:
    for lost, keys in ((5, "k0, k1, k2, k3, k4"), (6, "k0, k1, k2, k3, k4, ...")):
        with audited() as script:
            script.feed(page("a")).taken()
            script.feed(Compared({f"k{number}": Difference(None, "7") for number in range(lost)}), Opened()).expect()
            script.tick().expect(Close(), AUDIT)
            assert script.notices[-1] == Notice("info", "auditDifferences", {"count": lost, "keys": keys})


def test_a_server_that_streams_is_audited_by_a_list_and_mended_by_a_stream() -> None:
    with synced(audit=1000.0) as script:
        script.tick().expect(Close(), AUDIT)
        script.feed(page("a", rv="99")).expect(Compare(page("a", rv="99").objects, ()), WATCH)
        script.feed(Compared({"lost": Difference(None, "7")}), Opened()).expect()
        script.tick().expect(Close(), FIRST)


EXPLAINED: dict[str, tuple[Difference, WatchEvent[PartialObject]]] = {
    "the version that was listed": (Difference("3", "7"), event("MODIFIED", "k", "7")),
    "an object that was new": (Difference(None, "7"), event("ADDED", "k", "7")),
    "its deletion": (Difference("3", None), event("DELETED", "k", "8")),
    "our own write, which was ahead of the list": (Difference("9", "7"), event("MODIFIED", "k", "9")),
    "our own creation, which was ahead of the list": (Difference("9", None), event("ADDED", "k", "9")),
    "a version that cannot be read": (Difference("3", "7"), Spoiled(type="MODIFIED", poison=Poison(key="k", rv="7", error=""))),
}  # fmt: skip


@pytest.mark.parametrize("how", EXPLAINED)
def test_a_difference_that_was_on_its_way_is_none(how: str) -> None:
    difference, seen = EXPLAINED[how]
    with audited() as script:
        script.feed(page("a")).taken()
        script.feed(Compared({"k": difference}), Opened()).expect()
        script.feed(Batch((event("MODIFIED", "other", "7"),))).taken()
        assert script.waits == 60.0
        script.feed(Batch((seen,))).taken()
        assert script.machine.deadline() == 1600.0


def test_another_version_of_the_object_explains_nothing() -> None:
    with audited() as script:
        script.feed(page("a")).taken()
        script.feed(Compared({"k": Difference("3", "7")}), Opened(), Batch((event("MODIFIED", "k", "12"),)))
        script.expect(Upsert(thing("k", "12"), "12"))
        script.tick().expect(Close(), AUDIT)
        assert script.codes()[-1] == "auditDifferences"


def test_a_stream_that_ends_meanwhile_changes_nothing() -> None:
    with audited() as script:
        script.feed(page("a")).taken()
        script.feed(Compared({"k": Difference("3", "7")}), Opened())
        script.feed(Ended(), at=810.0).expect(WATCH)
        script.feed(Opened())
        assert script.machine.deadline() == 860.0


def test_whatever_fetches_everything_anew_ends_the_suspicion() -> None:
    with audited() as script:
        script.feed(page("a")).taken()
        script.feed(Compared({"k": Difference("3", "7")}), Opened())
        script.feed(Batch((Failed(error=refusal(410, "Expired")),))).expect(Close())
        script.tick().expect(List(rv="10"))
        script.feed(page("a"), Opened())
        script.taken()
        assert script.machine.deadline() == 1600.0


def test_an_audit_that_fails_is_given_up_and_the_watch_goes_on_after_a_wait() -> None:
    with audited() as script:
        script.feed(ListFailed(REFUSED)).expect()
        assert script.waits == 0.8
        script.tick().expect(WATCH)
        script.feed(Opened())
        assert script.machine.deadline() == 1600.0


def test_an_audit_in_pages_whose_second_has_expired_reads_all_in_one() -> None:
    with audited() as script:
        script.feed(page("a", more="x")).expect(
            Compare(page("a").objects, (), first=True, last=False), List(rv="", limit=500, continue_="x")
        )
        script.feed(ListFailed(refusal(410, "Expired"))).expect(List(rv="", limit=0))
        script.feed(page("a", "b")).expect(Compare(page("a", "b").objects, (), first=True, last=True), WATCH)


def test_each_page_of_an_audit_is_compared_and_let_go() -> None:
    with audited() as script:
        script.feed(page("a", more="x")).taken()
        script.feed(page("b", more="y")).expect(
            Compare(page("b").objects, (), first=False, last=False), List(rv="", limit=500, continue_="y")
        )
        script.feed(page("c")).expect(Compare(page("c").objects, (), first=False, last=True), WATCH)


def test_a_relist_asked_for_during_an_audit_is_served_after_it() -> None:
    with audited() as script:
        script.feed(Relist("asked", consistent=True)).expect()
        script.feed(page("a", rv="99")).expect(Compare(page("a", rv="99").objects, ()), List(rv="", limit=500))
        script.feed(Compared({"k": Difference("3", "7")})).expect()
        script.feed(page("a", rv="99")).expect(Replace(page("a", rv="99").objects, (), "99", 1), Watch("99", 300.0))
        script.feed(Opened())
        assert script.machine.deadline() == 1600.0


def test_what_cannot_be_read_in_an_audit_is_compared_by_its_version() -> None:
    bad = Poison(key="k", rv="7", error="x")
    with audited() as script:
        script.feed(Page(objects=(), poison=(bad,), rv="99")).expect(Compare((), (bad,)), WATCH)
        script.feed(Compared({"k": Difference("3", "7")}), Opened())
        script.feed(Batch((Spoiled(type="MODIFIED", poison=bad),))).expect(Spoil(bad))
        assert script.machine.deadline() == 1600.0


def test_stopped_during_an_audit_it_closes_once() -> None:
    with audited() as script:
        script.feed(Stop()).expect(Close())
        script.feed(page("a"), Compared({"k": Difference(None, "1")})).expect()


def test_an_audit_that_falls_due_while_a_watch_is_being_opened_waits_for_it() -> None:
    with Script(audit=1000.0) as script:
        script.feed(Start(), page("a"), Opened()).taken()
        script.feed(Ended(), at=799.0).expect(WATCH)
        script.feed(Tick(), at=805.0).expect()
        script.feed(Opened()).expect()
        script.feed(Tick()).expect(Close(), AUDIT)
