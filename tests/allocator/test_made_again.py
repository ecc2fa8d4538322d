# SPDX-License-Identifier: Apache-2.0
"""A Service that is deleted and made again under its name, both seen at once: nothing of the first one is held against the second."""

from __future__ import annotations

from tests.allocator.objects import group, ip, key, service, v4
from tests.allocator.theatre import Theatre

OURS = "purelb.io/purelb"


def test_nothing_that_was_remembered_of_a_service_is_left_when_another_one_has_its_name() -> None:
    stage = Theatre(1)
    stage.put("groups", group("default", v4("192.0.2.10-192.0.2.11")))
    stage.put("services", service(load_balancer_class=OURS))
    stage.heal(seconds=1.0)
    state, now = stage.state, stage.time
    for _ in range(3):
        state.overrides.overridden(key("web"), now)
    assert state.overrides.contested(key("web"), now)
    stage.delete("shop/web")
    stage.put("services", service(uid="another", load_balancer_class=OURS))
    stage.deliver("services")
    stage.step(key("web"))
    assert not state.overrides.contested(key("web"), now), "who sets Local on the new one is heard"
    stage.heal(seconds=1.0)
    assert state.ledger.records[key("web")].uid == "another"
    assert state.ledger.records[key("web")].addresses == (ip("192.0.2.10"),)
