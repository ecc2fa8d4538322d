# SPDX-License-Identifier: Apache-2.0
"""A right that nobody uses is a right too many, and a refused request is one too few.

The API server's audit log is the witness: it names every request of the components' ServiceAccounts and what became of it.
Get, list and watch are one right here: a rule that lets somebody read is not split by the way of reading.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hack.processes import wait_until
from tests.conformance.installation import NAMESPACE
from tests.conformance.test_rbac import ACCOUNTS, READ, Access
from tests.conformance.test_stories import create

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.installation import Installation

pytestmark = pytest.mark.timeout(120)

# Granted for what this release does not do yet; whoever builds it takes the line away, and a line that is not needed is red.
NOT_YET_USED = {
    "allocator": frozenset({Access("patch", "services")}),
    "lbnodeagent": frozenset[Access](),
}


def right(access: Access) -> Access:
    return access._replace(verb="read") if access.verb in READ else access


def requests(installed: Installation, account: str) -> Iterator[tuple[Access, int]]:
    """What a component asked for and the HTTP status it got, from the audit log."""
    for line in installed.cluster.audit_log.read_text().splitlines():
        event = json.loads(line)
        if event["user"]["username"] != f"system:serviceaccount:{NAMESPACE}:{account}" or "objectRef" not in event:
            continue
        target = event["objectRef"]
        resource = "/".join(part for part in (target["resource"], target.get("subresource")) if part)
        access = Access(event["verb"], resource, target.get("apiGroup", ""), target.get("name", ""))
        yield access, event.get("responseStatus", {}).get("code", 0)


@pytest.mark.parametrize("account", sorted(ACCOUNTS))
def test_no_request_of_a_component_was_forbidden(installed: Installation, account: str) -> None:
    seen = list(requests(installed, account))
    assert seen, "the audit log shows no request at all"
    assert [access for access, status in seen if status in {401, 403}] == []


@pytest.mark.parametrize("account", sorted(ACCOUNTS))
def test_every_right_of_a_component_is_used(installed: Installation, namespace: str, account: str) -> None:
    granted = {right(access) for part in ACCOUNTS[account] for access in part - NOT_YET_USED[account]}
    create(installed, namespace, "web")
    installed.wait_addresses(namespace, "web")
    node = installed.topology.nodes[0]
    assert installed.components[f"agent-{node.name}"].stop(grace_s=30) == 0
    installed.start_agent(node)
    installed.wait_ready(f"agent-{node.name}")

    def used() -> object:
        asked = {right(access) for access, status in requests(installed, account) if status < 400}
        # a rule names an object or means any; a request always names one where there is one
        missing = granted - asked - {access._replace(name="") for access in asked}
        return sorted(missing) if missing else True

    wait_until(f"{account} has used every right", used, within_s=30)


@pytest.mark.parametrize("account", sorted(ACCOUNTS))
def test_a_right_that_is_listed_as_unused_is_unused(installed: Installation, account: str) -> None:
    asked = {access._replace(name="") for access, status in requests(installed, account) if status < 400}
    assert asked & NOT_YET_USED[account] == set()
