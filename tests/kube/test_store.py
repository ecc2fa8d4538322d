# SPDX-License-Identifier: Apache-2.0
"""Objects, indices, snapshots, and our own writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.kube.handlers import Deliveries, Registration
from purelb.kube.metrics import INFORMER_UNCHANGED
from purelb.kube.model import ObjectMeta, PartialObject, key
from purelb.kube.store import Added, Change, Deleted, Rejected, Store, Unchanged, Updated
from tests.kube.told import Told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.kube.store import Snapshot


def thing(name: str, rv: str = "1", *, uid: str = "", **labels: str) -> PartialObject:
    return PartialObject(metadata=ObjectMeta(name=name, resource_version=rv, uid=uid, labels=labels or None))


def by_labels(obj: PartialObject) -> tuple[str, ...]:
    return tuple(sorted(f"{name}={value}" for name, value in (obj.metadata.labels or {}).items()))


def filled(*objects: PartialObject, rv: str = "10") -> Store[PartialObject]:
    store: Store[PartialObject] = Store({"labels": by_labels})
    store.replace(objects, {}, rv)
    return store


def stored(store: Store[PartialObject], name: str) -> PartialObject:
    obj = store.get(name)
    assert obj is not None
    return obj


# Changes


def test_a_new_object_is_added_and_a_known_one_updated() -> None:
    store = filled()
    first, second = thing("a", "11", x="1"), thing("a", "12", x="2")
    assert store.upsert(first, "11") == (Added(first),)
    assert store.upsert(second, "12") == (Updated(first, second),)
    assert store.get("a") is second
    assert store.rv == "12"


def test_a_version_in_which_only_the_version_moved_is_stored_as_unchanged() -> None:
    store = filled(thing("a", "1", x="1"))
    old, new = stored(store, "a"), thing("a", "2", x="1")
    assert store.upsert(new, "2") == (Unchanged(old, new),)
    assert store.get("a") is new


def test_a_deletion_tells_what_the_server_sent_and_one_that_did_not_decode_what_was_known() -> None:
    store = filled(thing("a"), thing("b"))
    last, known = thing("a", "9", x="9"), stored(store, "b")
    assert store.remove("a", last, "11") == (Deleted(last, final=True),)
    assert store.remove("b", None, "12") == (Deleted(known, final=True),)
    assert store.keys() == ()


def test_a_deletion_of_what_is_not_known_changes_nothing() -> None:
    store = filled()
    assert store.remove("a", thing("a"), "11") == ()
    assert store.remove("a", thing("a"), "11") == ()
    assert store.rv == "11"


def test_another_uid_under_the_same_key_is_a_deletion_and_an_addition() -> None:
    store = filled(thing("a", uid="one"))
    old, new = stored(store, "a"), thing("a", "5", uid="two")
    assert store.upsert(new) == (Deleted(old, final=False), Added(new))


@pytest.mark.parametrize(("before", "after"), [("", "two"), ("one", ""), ("", "")])
def test_an_absent_uid_counts_as_the_same(before: str, after: str) -> None:
    store = filled(thing("a", uid=before, x="1"))
    old, new = stored(store, "a"), thing("a", "5", uid=after, x="2")
    assert store.upsert(new) == (Updated(old, new),)


def test_an_object_without_a_name_is_rejected_and_nothing_changes() -> None:
    store = filled(thing("a"))
    assert store.upsert(thing(""), "12") == Rejected("", "it has no name")
    assert store.keys() == ("a",)
    assert store.undecodable == {}


# Replacing


def test_a_replace_tells_deletions_first_and_then_the_rest_in_the_order_of_the_list() -> None:
    a, b, c = thing("a", x="1"), thing("b", uid="one"), thing("c")
    store = filled(a, b, c)
    new_b, d, new_a = thing("b", uid="two"), thing("d"), thing("a", "2", x="2")
    changes = store.replace((d, new_b, new_a), {}, "20")
    assert changes == (
        Deleted(c, final=False),
        Deleted(b, final=False),
        Added(d),
        Added(new_b),
        Updated(a, new_a),
    )
    assert store.values() == (new_a, new_b, d)
    assert store.rv == "20"


def test_a_replace_by_nothing_deletes_everything() -> None:
    store = filled(thing("a", x="1"), thing("b", x="1"))
    assert [type(change) for change in store.replace((), {}, "20")] == [Deleted, Deleted]
    assert len(store) == 0
    assert store.index_values("labels") == ()


def test_a_replace_is_not_seen_before_it_is_complete() -> None:
    store = filled(thing("a"))
    replacement = store.replacement({}, "20")
    replacement.take(thing("b"))
    assert store.keys() == ("a",)
    store.commit(replacement)
    assert store.keys() == ("b",)


# Indices


def test_an_index_follows_each_change_and_keeps_no_empty_value() -> None:
    store = filled(thing("b", x="1"), thing("a", x="1", y="1"))
    assert [key(obj) for obj in store.by_index("labels", "x=1")] == ["a", "b"]
    store.upsert(thing("a", "2", y="2"))
    assert [key(obj) for obj in store.by_index("labels", "x=1")] == ["b"]
    assert store.by_index("labels", "y=1") == ()
    assert store.index_values("labels") == ("x=1", "y=2")
    store.remove("b", None)
    assert store.index_values("labels") == ("y=2",)


def test_an_index_added_later_is_filled_and_a_name_is_given_once() -> None:
    store = filled(thing("a"), thing("b"))
    store.add_index("first letter", lambda obj: (obj.metadata.name[0],))
    assert store.by_index("first letter", "b") == (store.get("b"),)
    with pytest.raises(ValueError, match="there is an index 'labels' already"):
        store.add_index("labels", by_labels)


def test_an_index_that_was_not_declared_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        filled().by_index("unknown", "x")


def breaks_on_bad(obj: PartialObject) -> tuple[str, ...]:
    if obj.metadata.labels and "bad" in obj.metadata.labels:
        raise RuntimeError("cannot index")
    return ("all",)


def test_an_object_that_cannot_be_indexed_leaves_its_older_version_in_place() -> None:
    store: Store[PartialObject] = Store({"all": breaks_on_bad})
    good = thing("a")
    store.replace((good, thing("b", bad="1"), thing("c")), {}, "1")
    assert store.keys() == ("a", "c")
    answer = store.upsert(thing("a", "2", bad="1"), "2")
    assert isinstance(answer, Rejected)
    assert "cannot index" in answer.why
    assert store.get("a") is good
    assert set(store.stale) == {"a"}
    assert set(store.undecodable) == {"a", "b"}


# What cannot be read


def test_an_object_that_cannot_be_read_survives_a_replace_until_it_is_read_or_deleted() -> None:
    a, b = thing("a", x="1"), thing("b")
    store = filled(a, b)
    assert store.replace((b,), {"a": "broken", "new": "broken"}, "20") == (Unchanged(b, b),)
    assert store.get("a") is a
    assert store.by_index("labels", "x=1") == (a,)
    assert store.stale == {"a": "broken"}
    assert store.undecodable == {"a": "broken", "new": "broken"}
    repaired = thing("a", "21", x="2")
    assert store.upsert(repaired) == (Updated(a, repaired),)
    assert store.stale == {}
    store.remove("new", None)
    assert store.undecodable == {}


def test_what_is_spoiled_by_an_event_is_stale_until_a_list_no_longer_has_it() -> None:
    a = thing("a")
    store = filled(a)
    store.spoil("a", "broken", "11")
    assert store.stale == {"a": "broken"}
    assert store.rv == "11"
    assert store.replace((), {}, "20") == (Deleted(a, final=False),)
    assert store.undecodable == {}


# Snapshots


def test_a_snapshot_never_changes() -> None:
    store = filled(*(thing(f"n{number}", x="1") for number in range(50)))
    snapshot = store.snapshot()
    before = (snapshot.keys(), snapshot.by_index("labels", "x=1"), snapshot.rv, dict(snapshot.undecodable))
    for number in range(1000):
        store.upsert(thing(f"n{number % 60}", str(number), y=str(number)), str(100 + number))
        store.remove(f"n{number % 7}", None, str(100 + number))
        store.spoil(f"n{number % 5}", "broken")
    store.replace((), {}, "9999")
    after = (snapshot.keys(), snapshot.by_index("labels", "x=1"), snapshot.rv, dict(snapshot.undecodable))
    assert after == before


def test_two_snapshots_without_a_change_between_them_share_everything() -> None:
    store = filled(thing("a"))
    assert store.snapshot()._objects is store.snapshot()._objects


# Our own writes


def test_what_we_wrote_is_seen_at_once_and_older_events_do_not_revert_it() -> None:
    store = filled(thing("a", "5", x="old"))
    old, ours = stored(store, "a"), thing("a", "20", x="ours")
    assert store.note_write(ours) == (Updated(old, ours),)
    assert store.rv == "10"
    assert store.upsert(thing("a", "15", x="between"), "15") == ()
    assert store.upsert(thing("a", "20", x="ours"), "20") == ()
    assert store.get("a") is ours
    assert store.dropped == 2
    newer = thing("a", "21", x="newer")
    assert store.upsert(newer, "21") == (Updated(ours, newer),)
    again = thing("a", "9", x="any")
    assert store.upsert(again, "9") == (Updated(newer, again),)


def test_an_event_that_was_faster_than_the_answer_wins() -> None:
    store = filled(thing("a", "25", x="newer"))
    assert store.note_write(thing("a", "20", x="ours")) == ()
    assert store.note_write(thing("a", "25", x="ours")) == ()


@pytest.mark.parametrize(("before", "ours"), [("abc", "20"), ("5", "abc"), ("5", ""), ("", "20"), ("5", "٢٠")])
def test_versions_that_are_not_decimal_are_not_compared(before: str, ours: str) -> None:
    store = filled(thing("a", before, x="old"))
    assert store.note_write(thing("a", ours, x="ours")) == ()
    assert store.get("a") == thing("a", before, x="old")


def test_a_list_older_than_our_write_neither_reverts_nor_removes_it() -> None:
    store = filled(thing("a", "5", x="old"))
    a, b = thing("a", "20", x="ours"), thing("b", "21", x="created")
    store.note_write(a)
    assert store.note_write(b) == (Added(b),)
    assert store.replace((thing("a", "5", x="old"),), {}, "15") == ()
    assert store.values() == (a, b)
    assert [key(obj) for obj in store.by_index("labels", "x=created")] == ["b"]
    assert store.replace((thing("a", "20", x="ours"),), {}, "30") == (Deleted(b, final=False), Unchanged(a, a))


def test_our_write_during_a_replace_is_not_lost() -> None:
    store = filled(thing("a", "5", x="old"), thing("b", "6"))
    replacement = store.replacement({}, "40")
    replacement.take(thing("a", "30", x="listed"))
    ours = thing("a", "25", x="ours")
    store.note_write(ours)
    changes = store.commit(replacement)
    assert Updated(ours, thing("a", "30", x="listed")) in changes


def test_what_we_created_is_not_resurrected_after_its_deletion_was_seen() -> None:
    store = filled(rv="10")
    store.remove("a", thing("a", "30"), "30")
    assert store.note_write(thing("a", "20")) == ()
    assert store.keys() == ()


def test_an_older_deletion_does_not_remove_what_we_wrote() -> None:
    store = filled(thing("a", "5"))
    store.note_write(thing("a", "20", x="ours"))
    assert store.remove("a", thing("a", "12"), "12") == ()
    assert store.get("a") == thing("a", "20", x="ours")
    assert store.remove("a", thing("a", "22"), "22") == (Deleted(thing("a", "22"), final=True),)


def test_a_bookmark_past_our_write_ends_its_protection() -> None:
    store = filled(thing("a", "5"))
    store.note_write(thing("a", "20", x="ours"))
    assert store.remove("a", thing("a", "12"), "12") == ()
    store.progress("20")
    assert store.remove("a", thing("a", "12"), "12") == (Deleted(thing("a", "12"), final=True),)


# One truth

NAMES = st.sampled_from("abcde")
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), NAMES, st.sampled_from(["", "p", "q"])),
        st.tuples(st.just("remove"), NAMES, st.just("")),
        st.tuples(st.just("spoil"), NAMES, st.just("")),
        st.tuples(st.just("write"), NAMES, st.sampled_from(["p", "q"])),
        st.tuples(st.just("replace"), st.text("abcde", max_size=5), st.sampled_from(["p", "q"])),
        st.tuples(st.just("snapshot"), NAMES, st.just("")),
    )
)


def known_after(known: dict[str, PartialObject], changes: tuple[Change[PartialObject], ...] | Rejected) -> None:
    if isinstance(changes, Rejected):
        return
    for change in changes:
        match change:
            case Added(obj):
                assert key(obj) not in known, "added twice in a row"
                known[key(obj)] = obj
            case Updated(old, new) | Unchanged(old, new):
                assert known[key(old)] == old
                known[key(new)] = new
            case Deleted(obj, _):
                del known[key(obj)]


def shown(snapshot: Snapshot[PartialObject]) -> object:
    values = snapshot.index_values("labels")
    return (
        snapshot.values(),
        {value: snapshot.by_index("labels", value) for value in values},
        dict(snapshot.undecodable),
    )


@given(OPERATIONS)
def test_indices_and_what_was_told_always_agree_with_the_objects(operations: list[tuple[str, str, str]]) -> None:
    store: Store[PartialObject] = Store({"labels": by_labels})
    known: dict[str, PartialObject] = {}
    taken: list[tuple[Snapshot[PartialObject], object]] = []
    for number, (what, name, label) in enumerate(operations, start=1):
        rv = str(number * 10)
        made: Mapping[str, str] = {"x": label} if label else {}
        match what:
            case "upsert":
                known_after(known, store.upsert(thing(name, rv, **made), rv))
            case "remove":
                known_after(known, store.remove(name, None, rv))
            case "spoil":
                store.spoil(name, "broken", rv)
            case "write":
                known_after(known, store.note_write(thing(name, str(number * 10 + 15), **made)))
            case "replace":
                objects = [thing(each, rv, **made) for each in dict.fromkeys(name)]
                known_after(known, store.replace(objects, {}, rv))
            case _:
                snapshot = store.snapshot()
                taken.append((snapshot, shown(snapshot)))
        assert all(shown(snapshot) == then for snapshot, then in taken), "a snapshot changed"
        assert known == {each: store.get(each) for each in store.keys()}  # noqa: SIM118  not a dictionary
        rebuilt: dict[str, set[str]] = {}
        for obj in store.values():
            for value in by_labels(obj):
                rebuilt.setdefault(value, set()).add(key(obj))
        assert {
            value: {key(o) for o in store.by_index("labels", value)} for value in store.index_values("labels")
        } == rebuilt


# What is told of it


def test_a_change_of_nothing_but_the_version_is_counted_and_told_on_request_only() -> None:
    sink, heard = Told(), list[str]()

    class Hears:
        def added(self, obj: PartialObject, *, initial: bool) -> None: ...

        def updated(self, old: PartialObject, new: PartialObject) -> None:
            heard.append(new.metadata.resource_version)

        def deleted(self, obj: PartialObject, *, final: bool) -> None: ...

    deliveries: Deliveries[PartialObject] = Deliveries("things", sink)
    for wanted in (False, True):
        deliveries.add(Registration(Hears(), deliver_unchanged=wanted), ())
    deliveries.tell((Unchanged(thing("a", "1"), thing("a", "2")), Updated(thing("a", "2"), thing("a", "3"))))
    assert heard == ["2", "3", "3"]
    assert sink.counts == {(INFORMER_UNCHANGED.name, "things"): 1}
