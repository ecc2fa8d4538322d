# SPDX-License-Identifier: Apache-2.0
"""Whose turn comes first when a term begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from purelb.allocator.keys import Key, ServiceKey
from purelb.allocator.observed import Ownership
from purelb.allocator.rebuild import rebuild
from purelb.allocator.serving import Rules
from purelb.allocator.state import Config, State, Stores
from purelb.kube.queue import INITIAL, LIVE
from purelb.kube.store import Store
from tests.allocator.objects import INSTALL, group, service
from tests.allocator.test_landing import ByHand
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from purelb.kube.model import Service

OURS = {"purelb.io/allocated-by": "PureLB"}


class Turns(ByHand):
    """Hands that remember who is to have a turn, and how soon."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[tuple[str, int]] = []

    def soon(self, key: Key, *, priority: int = 0) -> None:
        if isinstance(key, ServiceKey):
            self.turns.append((key.name, priority))


async def turns(*services: Service) -> list[tuple[str, int]]:
    stores: list[Store[Any]] = [Store() for _ in range(7)]
    for each in services:
        stores[0].upsert(each)
    stores[1].upsert(group())
    hands = Turns()
    state = State(Config(Ownership(default_announcer=True), Rules(), INSTALL), Stores(*stores))
    await rebuild(state, hands, VirtualClock())
    return hands.turns


async def test_those_who_wait_for_an_address_come_before_those_who_have_one() -> None:
    assert await turns(
        service("served", created="2026-01-01T00:00:00Z", annotations=OURS, ingress=("192.0.2.10",)),
        service("waits", created="2026-01-02T00:00:00Z"),
        service("served-too", created="2026-01-03T00:00:00Z", annotations=OURS, ingress=("192.0.2.11",)),
        service("waits-too", created="2026-01-04T00:00:00Z"),
    ) == [("served", INITIAL), ("waits", LIVE), ("served-too", INITIAL), ("waits-too", LIVE)]


async def test_a_service_of_somebody_else_waits_for_nothing_of_ours() -> None:
    assert await turns(service("theirs", load_balancer_class="example.com/other")) == [("theirs", INITIAL)]
