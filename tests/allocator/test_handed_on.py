# SPDX-License-Identifier: Apache-2.0
"""What becomes free is offered to one waiter, and what that one leaves to the next: nothing stays free that somebody waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.allocator.observed import published
from purelb.allocator.ranges import ip_text
from tests.allocator.objects import group, key, service, v4
from tests.allocator.theatre import Theatre

if TYPE_CHECKING:
    from collections.abc import Mapping


def comes(stage: Theatre, name: str, annotations: Mapping[str, str] | None = None) -> None:
    """A Service that is younger than all before it, and is answered."""
    created = f"2026-01-01T00:00:{len(stage.there['services']):02}Z"
    ours = "purelb.io/purelb"
    stage.put("services", service(name, created=created, annotations=annotations, load_balancer_class=ours))
    stage.heal(seconds=1.0)


def held(stage: Theatre, name: str) -> tuple[str, ...]:
    return tuple(ip_text(address) for address in published(stage.there["services"][f"shop/{name}"]))


def go_at_once(stage: Theatre, *names: str) -> None:
    """They are deleted, and nobody who waits has a turn in between."""
    for name in names:
        stage.delete(f"shop/{name}")
    stage.deliver("services")
    for name in names:
        stage.step(key(name))
    stage.heal(seconds=60.0)


def test_of_three_addresses_of_two_pools_that_become_free_at_once_none_is_left_while_somebody_waits_for_it() -> None:
    """The oldest waits for both pools and is woken for both before it has its turn; the other one waits for the first pool only."""
    stage = Theatre(1)
    stage.put("groups", group("default", v4("192.0.2.10-192.0.2.11"), priority=1))
    stage.put("groups", group("spare", v4("192.0.2.20"), auto_assign=True, priority=2))
    for name in ("a", "b", "c", "both"):
        comes(stage, name)
    comes(stage, "one", {"purelb.io/service-group": "default"})
    go_at_once(stage, "a", "b", "c")
    assert (held(stage, "both"), held(stage, "one")) == (("192.0.2.10",), ("192.0.2.11",))


def test_who_asks_for_more_than_its_quota_has_left_is_not_in_the_way_of_who_asks_for_less() -> None:
    stage = Theatre(1)
    stage.put("groups", group("default", v4("192.0.2.10-192.0.2.19"), quota_per_namespace=2))
    for name in ("a", "b"):
        comes(stage, name)
    for name in ("two", "too"):
        comes(stage, name, {"purelb.io/addresses": "192.0.2.15,192.0.2.16"})
    comes(stage, "one")
    assert (held(stage, "two"), held(stage, "too"), held(stage, "one")) == ((), (), ())
    go_at_once(stage, "a")
    assert (held(stage, "two"), held(stage, "too"), held(stage, "one")) == ((), (), ("192.0.2.10",))
    go_at_once(stage, "b", "one")
    assert (held(stage, "two"), held(stage, "too")) == (("192.0.2.15", "192.0.2.16"), ())


def test_who_goes_on_waiting_for_a_full_pool_wakes_nobody() -> None:
    """One comes in between and takes what was free: the line is asked once, and not from one end to the other."""
    stage = Theatre(1)
    stage.put("groups", group("default", v4("192.0.2.10")))
    for name in ("a", "first", "second"):
        comes(stage, name)
    stage.delete("shop/a")
    stage.deliver("services")
    stage.step(key("a"))
    assert (key("first") in stage.ready, key("second") in stage.ready) == (True, False)
    pinned = {"purelb.io/addresses": "192.0.2.10"}
    new = service("new", created="2026-01-02T00:00:00Z", annotations=pinned, load_balancer_class="purelb.io/purelb")
    stage.put("services", new)
    stage.deliver("services")
    stage.step(key("new"))
    stage.step(key("first"))
    assert key("second") not in stage.ready
