# SPDX-License-Identifier: Apache-2.0
"""One release wakes one waiter; what helps everybody wakes everybody, oldest first."""

from __future__ import annotations

from purelb.allocator.refusals import AddressChanges, GroupsChange, PoolHasRoom, QuotaHasRoom
from purelb.allocator.waiting import Waiting
from tests.allocator.objects import ip, key

ROOM = PoolHasRoom("default", 4)


def line() -> Waiting:
    waiting = Waiting()
    for name, created in (("young", "3"), ("old", "1"), ("middle", "2")):
        waiting.put(key(name), created, (ROOM,))
    return waiting


def test_a_pool_wakes_its_oldest_waiter_and_the_next_after_it() -> None:
    waiting = line()
    assert waiting.wake(ROOM) == (key("old"),)
    assert waiting.woken_for(key("old")) == ROOM
    assert waiting.woken_for(key("old")) is None
    waiting.put(key("old"), "1", ())
    assert waiting.wake(ROOM) == (key("middle"),)


def test_another_pool_and_another_quota_wake_nobody() -> None:
    waiting = line()
    assert waiting.wake(PoolHasRoom("default", 6)) == ()
    assert waiting.wake(QuotaHasRoom("default", "shop", 4)) == ()


def test_an_address_that_changes_hands_wakes_everybody_who_waits_for_it() -> None:
    waiting = Waiting()
    wait = AddressChanges(ip("192.0.2.1"))
    waiting.put(key("b"), "2", (wait,))
    waiting.put(key("a"), "1", (wait, ROOM))
    assert waiting.wake(wait) == (key("a"), key("b"))


def test_a_changed_group_wakes_who_waits_for_groups_each_once() -> None:
    waiting = line()
    waiting.put(key("b"), "2", (GroupsChange("UnknownGroup"), GroupsChange("NotInAnyPool")))
    waiting.put(key("a", "bank"), "1", (GroupsChange("UnknownGroup"),))
    assert waiting.groups_changed() == (key("a", "bank"), key("b"))
    assert len(waiting.groups_changed({"default"})) == 5
    assert waiting.in_namespace("bank") == (key("a", "bank"),)


def test_who_waits_for_nothing_any_more_leaves_no_line_behind() -> None:
    waiting = line()
    for name in ("old", "middle", "young"):
        waiting.put(key(name), "", ())
    assert (len(waiting), waiting.wake(ROOM)) == (0, ())
