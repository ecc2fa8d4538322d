# SPDX-License-Identifier: Apache-2.0
"""What an agent shows of itself: its addresses, peers and kernel, and never more than was asked for."""

from __future__ import annotations

import json
from typing import Any

from purelb.process.statedoc import encoded
from tests.lbnodeagent.lan import Lan


def shown(agent: Any, most: int = 100) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encoded(agent.show(most=most)))
    return found


async def test_it_tells_whose_each_address_is_and_what_the_kernel_has() -> None:
    lan = Lan()
    await lan.prepare()
    for number in range(6):
        await lan.serve(f"web{number}", f"192.0.2.{10 + number}")
    async with lan.running() as crew:
        for name, agent in crew.agents.items():
            found = shown(agent)
            verdicts = {row["ip"]: row["verdict"] for row in found["view"]["addresses"]}
            ours = {row["address"] for row in found["kernel"]["ours"]}
            for ip in (f"192.0.2.{10 + number}" for number in range(6)):
                (holder,) = lan.answering(ip)
                assert (f"{ip}/32" in ours) == (holder == name)
                assert verdicts[ip].startswith("ours") if holder == name else verdicts[ip] == f"of {holder}"
            assert {row["node"]: row["seen"] for row in found["membership"]} == {
                other: "alive" for other in crew.agents if other != name
            }
            assert found["kernel"]["subnets"] == ["192.0.2.0/24"]
            assert (found["queue"]["ready"], found["view"]["holdsLease"]) == (0, True)
            assert shown(agent, 2)["view"]["addresses"][2:] == ["and 4 more"]


async def test_an_agent_that_has_not_begun_shows_that_it_knows_nothing() -> None:
    lan = Lan(nodes=1)
    await lan.prepare()
    found = shown(lan.component("n1"))
    assert (found["view"]["synced"], found["kernel"]["known"], found["membership"]) == (False, False, [])
