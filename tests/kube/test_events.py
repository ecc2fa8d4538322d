# SPDX-License-Identifier: Apache-2.0
"""Which Events are written, told what happened and when."""

from __future__ import annotations

import tracemalloc
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.kube.events import Correlator, Fate, Happened, Send, Subject, clip, event_name, namespace_of
from purelb.kube.model import ObjectReference


def service(name: str = "web") -> ObjectReference:
    return ObjectReference(api_version="v1", kind="Service", namespace="shop", name=name, uid=f"uid-{name}")


class Story:
    """Occurrences at their instants; every write is answered at once."""

    def __init__(self) -> None:
        self.correlator = Correlator()
        self.stamp = 0
        self.written: list[tuple[float, Send]] = []
        self.answer: Literal["stored", "gone", "failed", "unsent"] = "stored"

    def happens(
        self,
        at: float,
        *,
        about: str = "web",
        reason: str = "Refused",
        note: str = "n",
        distinct: str = "",
        send: bool = True,
    ) -> Fate:
        self.send(at) if send else None
        self.stamp += 1
        subject = Subject("Warning", reason, "Allocate", service(about), None, distinct)
        fate = self.correlator.receive(Happened(subject, note, self.stamp, f"t{at:g}"), at)
        self.send(at) if send else None
        return fate

    def send(self, at: float) -> None:
        """Carry out what is due until `at`, each at its own time."""
        while True:
            due = self.correlator.deadline()
            now = at if self.correlator.waiting or due is None or due > at else due
            while (send := self.correlator.take(now)) is not None:
                self.written.append((now, send))
                self.stamp += 1
                self.correlator.sent(send, now=now, outcome=self.answer, stamp=self.stamp)
            if due is None or due > at:
                return

    def told(self) -> list[tuple[float, str, int]]:
        return [(at, "create" if send.create else "series", send.count) for at, send in self.written]


def test_the_first_is_created_the_second_makes_it_a_series_and_more_are_counted_until_it_is_silent() -> None:
    story = Story()
    assert story.happens(0) == "new"
    assert story.happens(10) == "series"
    story.happens(20)
    story.happens(30)
    assert story.told() == [(0, "create", 1), (10, "series", 2)]
    story.send(389)
    assert len(story.written) == 2
    story.send(390)
    assert story.told()[2:] == [(390, "series", 4)]
    assert story.written[2][1].last == "t30"
    story.send(10_000)
    assert len(story.written) == 3


def test_after_silence_the_same_is_a_new_event() -> None:
    story = Story()
    story.happens(0)
    story.happens(361)
    assert story.told() == [(0, "create", 1), (361, "create", 1)]
    assert story.written[0][1].name != story.written[1][1].name


def test_a_steady_failure_costs_four_writes_an_hour() -> None:
    story = Story()
    for second in range(3600):
        story.happens(float(second))
    assert [(what, count) for _, what, count in story.told()] == [("create", 1), ("series", 2), ("series", 1801)]
    story.send(3601)
    story.happens(3601)
    assert len(story.told()) <= 4


@pytest.mark.parametrize("what", ["reason", "about"])
def test_what_differs_in_reason_or_object_is_another_event(what: str) -> None:
    story = Story()
    story.happens(0)
    story.happens(0, **{what: "other"})  # type: ignore[arg-type]
    assert story.told() == [(0, "create", 1), (0, "create", 1)]


def test_the_note_does_not_make_an_event_another() -> None:
    story = Story()
    story.happens(0, note="192.0.2.1 is taken")
    story.happens(1, note="192.0.2.2 is taken")
    assert story.told() == [(0, "create", 1), (1, "series", 2)]
    assert story.written[0][1].note == "192.0.2.1 is taken"


def test_what_its_teller_counts_as_another_is_another_event_within_the_same_bucket() -> None:
    story = Story()
    story.happens(0, note="192.0.2.1 from default", distinct="192.0.2.1")
    story.happens(1, note="192.0.2.2 from default", distinct="192.0.2.2")
    story.happens(2, note="192.0.2.2 from default", distinct="192.0.2.2")
    assert story.told() == [(0, "create", 1), (1, "create", 1), (2, "series", 2)]
    assert [send.note for _, send in story.written] == [
        "192.0.2.1 from default",
        "192.0.2.2 from default",
        "192.0.2.2 from default",
    ]
    fates = [story.happens(3, distinct=str(number)) for number in range(30)]
    assert fates.count("spam") == 30 - (25 - 2)


def test_what_happens_before_the_first_write_goes_out_with_it() -> None:
    story = Story()
    story.happens(0, send=False)
    story.happens(1, send=False)
    story.happens(2, send=False)
    story.send(3)
    assert story.told() == [(3, "create", 3)]


def test_what_happens_while_the_first_write_is_on_its_way_is_written_after_it() -> None:
    story = Story()
    story.happens(0, send=False)
    on_its_way = story.correlator.take(0)
    assert on_its_way is not None
    story.happens(1, send=False)
    assert story.correlator.take(1) is None  # one write of a series at a time
    story.correlator.sent(on_its_way, now=2, outcome="stored", stamp=99)
    story.send(2)
    assert story.told() == [(2, "series", 2)]


def test_a_series_whose_event_is_gone_is_created_again_under_another_name() -> None:
    story = Story()
    story.happens(0)
    first = story.written[0][1].name
    story.answer = "gone"
    story.happens(1, send=False)
    patch = story.correlator.take(1)
    assert patch is not None
    story.correlator.sent(patch, now=1, outcome="gone", stamp=77)
    again = story.correlator.take(1)
    assert again is not None
    assert (again.create, again.count) == (True, 2)
    assert again.name != first


def test_a_write_that_failed_is_not_repeated_before_its_series_is_due_anyway() -> None:
    story = Story()
    story.answer = "failed"
    for second in range(300):
        story.happens(float(second))
    assert story.told() == [(0, "create", 1)]
    story.send(5000)
    assert story.told() == [(0, "create", 1), (659, "create", 300)]


def test_the_twenty_sixth_distinct_event_of_a_burst_is_dropped_and_another_object_is_unaffected() -> None:
    story = Story()
    fates = [story.happens(0, reason=f"r{number}") for number in range(27)]
    assert fates == ["new"] * 25 + ["spam"] * 2
    assert story.happens(0, about="other", reason="r26") == "new"
    assert story.happens(0, reason="r3") == "series"  # what is known already costs nothing
    assert story.happens(299, reason="r25") == "spam"
    assert story.happens(300, reason="r25") == "new"
    assert story.happens(300, reason="r26") == "spam"


def test_of_more_than_4096_series_the_one_that_nobody_spoke_of_for_longest_is_forgotten() -> None:
    story = Story()
    for number in range(4096):
        assert story.happens(0, about=f"s{number}") == "new"
    assert story.happens(1, about="s0") == "series"
    assert story.happens(2, about="one more") == "new"
    assert story.happens(3, about="s0") == "series"
    assert story.happens(3, about="s2") == "series"
    assert story.happens(3, about="s1") == "new"


def test_beyond_a_thousand_waiting_writes_new_events_are_dropped() -> None:
    story = Story()
    fates = [story.happens(0, about=f"s{number}", send=False) for number in range(1001)]
    assert fates[999:] == ["new", "queue_full"]
    story.send(1)
    assert len(story.written) == 1000
    assert story.happens(1, about="s1000") == "new"


def test_forty_thousand_occurrences_about_as_many_objects_use_no_more_memory_than_ten_thousand() -> None:
    def run(objects: int) -> int:
        correlator = Correlator()
        tracemalloc.start()
        for number in range(objects):
            subject = Subject("Normal", "r", "a", service(f"s{number}"), None)
            correlator.receive(Happened(subject, "n", number, "t"), number * 0.001)
            if (send := correlator.take(number * 0.001)) is not None:
                correlator.sent(send, now=number * 0.001, outcome="stored", stamp=number)
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size

    assert run(40_000) < 1.5 * run(10_000)


def test_an_event_is_named_after_its_object_and_stays_a_valid_name() -> None:
    assert event_name("web", 0x1234) == "web.0000000000001234"
    assert len(event_name("a" * 253, 1)) == 253
    assert event_name("Not A Name", 1) == f"event.{1:032x}"
    assert event_name("", 1) == f"event.{1:032x}"
    cut_at_a_dash = "a" * 235 + "-" + "b" * 17
    assert event_name(cut_at_a_dash, 1) == f"event.{1:032x}"


def test_an_event_about_a_cluster_scoped_object_lives_in_default() -> None:
    assert namespace_of(ObjectReference(kind="Node", name="n1")) == "default"
    assert namespace_of(service()) == "shop"


def test_a_note_is_cut_at_the_boundary_of_a_character() -> None:
    cut = clip("ä" * 3000, 1024)
    assert cut == "ä" * 512
    assert clip("x" + "ä" * 3000, 1024) == "x" + "ä" * 511


@given(st.text(max_size=40), st.integers(0, 60))
def test_a_cut_text_is_a_start_of_the_whole_and_fits(text: str, limit: int) -> None:
    cut = clip(text, limit)
    assert text.startswith(cut)
    assert len(cut.encode()) <= limit
    assert cut == text or len((cut + text[len(cut)]).encode()) > limit


@given(st.lists(st.tuples(st.floats(0, 900), st.sampled_from(["a", "b", "c"])), max_size=80))
def test_no_occurrence_is_uncounted_once_all_is_silent(gaps: list[tuple[float, str]]) -> None:
    story, now = Story(), 0.0
    for gap, about in gaps:
        now += gap
        story.happens(now, about=about)
    story.send(now + 5000)
    counted: dict[tuple[str, str], int] = {}
    for _, send in story.written:
        counted[send.subject.regarding.name, send.name] = send.count
    for about in "abc":
        assert sum(count for (name, _), count in counted.items() if name == about) == sum(
            1 for _, other in gaps if other == about
        )
