# SPDX-License-Identifier: Apache-2.0
"""An agent and an allocator are told to stop while the real API server is frozen: exit 0 in time, addresses stay."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from hack.processes import wait_until
from tests.conformance.test_stories import create

if TYPE_CHECKING:
    from hack.processes import Process
    from tests.conformance.installation import Installation

pytestmark = pytest.mark.timeout(180)

BUDGET_S = {"allocator": 10.0, "lbnodeagent": 20.0}
SLACK_S = 10.0  # for a machine that has much else to do: who waits for an answer instead waits for ever


def lines(process: Process) -> list[dict[str, object]]:
    return [json.loads(text) for text in process.log.read_text().splitlines()]


def test_a_frozen_api_server_keeps_nobody_from_ending_within_its_budget(
    installed: Installation, namespace: str
) -> None:
    create(installed, namespace, "web")
    (address,) = installed.wait_addresses(namespace, "web")
    holder = installed.wait_one_holder(address).node
    site = next(site for site in installed.topology.nodes if site.name == holder)
    agent, allocator = installed.components[f"agent-{holder}"], installed.components["allocator"]
    before = {process.name: len(lines(process)) for process in (agent, allocator)}
    installed.cluster.freeze_api_server()
    try:
        for process in (agent, allocator):
            process.signal(signal.SIGTERM)
        assert allocator.wait(within_s=BUDGET_S["allocator"] + SLACK_S) == 0
        assert agent.wait(within_s=BUDGET_S["lbnodeagent"] + SLACK_S) == 0
        assert [found.node for found in installed.holders(address)] == [holder], "nobody could take it: it stays"
    finally:
        installed.cluster.thaw_api_server()
        installed.start_agent(site)
        heir = installed.start_allocator()
    installed.wait_ready(f"agent-{holder}", "allocator")
    # The lease could not be given back, so it runs out first; who comes after this test finds an allocator at work.
    said_before = before["allocator"]
    wait_until(
        "the next allocator leads",
        lambda: any(
            line["code"] == "phaseChanged" and line["phase"] == "Running" for line in lines(heir)[said_before:]
        ),
        within_s=40,
        alive=[heir],
    )
    for process in (agent, allocator):
        said = lines(process)[before[process.name] :]
        ended = next(index for index, line in enumerate(said) if line["code"] == "stopped")
        cut = {line["step"] for line in said[:ended] if line["code"] == "shutdownStepCut"}
        assert cut & {"lease", "report", "writes", "budget"}, said[:ended]
    # The mark of leaving may have been committed when the server thawed: then a peer took over what the next agent adopts,
    # and without a look at the link the one that yields lets its lifetime end.
    installed.wait_one_holder(address, within_s=45)
