# SPDX-License-Identifier: Apache-2.0
"""A right that nobody uses is a right too many, and a refused request is one too few.

The API server's audit log is the witness: it names every request of the components' ServiceAccounts and what became of it.
Get, list and watch are one right here: a rule that lets somebody read is not split by the way of reading.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest

from hack.processes import wait_until
from tests.conformance.conftest import own_namespace
from tests.conformance.installation import NAMESPACE
from tests.conformance.test_rbac import ACCOUNTS, READ, Access
from tests.conformance.test_stories import create

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.installation import Installation

pytestmark = pytest.mark.timeout(240)

# What only a bad day needs: after a write whose outcome is unknown its object is read.
ON_BAD_DAYS = {
    "allocator": frozenset[Access](),
    "lbnodeagent": frozenset({Access("read", "lbnodestatuses", "purelb.io")}),
}


class Request(NamedTuple):
    """A right that a component made use of, and what the authorizer said."""

    access: Access
    decision: str
    status: int


def right(access: Access) -> Access:
    return access._replace(verb="read") if access.verb in READ else access


def written(installed: Installation) -> list[bytes]:
    """The whole lines of the audit log; the server may be at work at the next."""
    return installed.cluster.audit_log.read_bytes().rpartition(b"\n")[0].splitlines()


def requests(installed: Installation, account: str, *, since: int = 0) -> Iterator[Request]:
    """Every finished request of a component's process, from so many lines on; tests borrow the same tokens."""
    for line in written(installed)[since:]:
        event = json.loads(line)
        if event["user"]["username"] != f"system:serviceaccount:{NAMESPACE}:{account}" or "objectRef" not in event:
            continue
        if not event.get("userAgent", "").startswith(f"purelb-{account}/"):
            continue
        target = event["objectRef"]
        resource = "/".join(part for part in (target["resource"], target.get("subresource")) if part)
        access = Access(event["verb"], resource, target.get("apiGroup", ""), target.get("name", ""))
        decision = event.get("annotations", {}).get("authorization.k8s.io/decision", "")
        yield Request(access, decision, event.get("responseStatus", {}).get("code", 0))


class Day(NamedTuple):
    """`began`: how many lines the audit log had before."""

    installed: Installation
    began: int


@pytest.fixture(scope="module")
def busy_day(installation: Installation) -> Day:
    """A day on which something of everything happens, a start of each component included."""
    installed = installation
    installed.wait_at_work()
    began = len(written(installed))
    with own_namespace(installed.api) as namespace:
        assert installed.components["allocator"].stop(grace_s=30) == 0
        installed.start_allocator()
        installed.wait_at_work()
        # The policy is overridden, which is the one write of a spec that the allocator makes.
        create(installed, namespace, "local", externalTrafficPolicy="Local")
        # Endpoints are read from the first Service on that needs them.
        create(installed, namespace, "near", annotations={"purelb.io/node-affinity": "service-endpoints"})
        for name in ("local", "near"):
            (address,) = installed.wait_addresses(namespace, name)
            installed.wait_one_holder(address)
        # An Event that says what was said before is added to the first one's series.
        create(installed, namespace, "moving", annotations={"purelb.io/addresses": "172.30.1.227"})
        assert installed.wait_addresses(namespace, "moving") == ("172.30.1.227",)
        told(installed, namespace, "moving", "AddressAssigned", 1)
        for wanted in ("172.30.1.226", "172.30.1.227"):
            move = {"metadata": {"annotations": {"purelb.io/addresses": wanted}}}
            installed.api.patch(f"/api/v1/namespaces/{namespace}/services/moving", move).ok()
            has = partial(lambda ip: installed.addresses(namespace, "moving") == (ip,), wanted)
            wait_until(f"it has {wanted}", has, within_s=30)
        told(installed, namespace, "moving", "AddressAssigned", 2)
        # A selector that needs values and has none: no agent can use the object. Twice.
        broken = lb_node_agent("broken", "In")
        installed.applier.apply([broken])
        try:
            told(installed, NAMESPACE, "broken", "InvalidNodeSelector", 1)
            installed.applier.apply([lb_node_agent("broken", "NotIn")])
            installed.applier.apply([broken])
            told(installed, NAMESPACE, "broken", "InvalidNodeSelector", 2)
        finally:
            installed.api.delete(installed.applier.path(broken)).ok()
        node = installed.topology.nodes[0]
        assert installed.components[f"agent-{node.name}"].stop(grace_s=30) == 0
        installed.start_agent(node)
        installed.wait_at_work()
    return Day(installed, began)


def lb_node_agent(name: str, operator: str) -> dict[str, object]:
    selector = {"matchExpressions": [{"key": "a", "operator": operator}]}
    metadata = {"name": name, "namespace": NAMESPACE}
    return {
        "apiVersion": "purelb.io/v2",
        "kind": "LBNodeAgent",
        "metadata": metadata,
        "spec": {"nodeSelector": selector},
    }


def told(installed: Installation, namespace: str, about: str, reason: str, times: int) -> None:
    """Until an Event about an object says that it happened so often."""

    def probe() -> object:
        items = installed.api.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events").ok()["items"]
        seen = [
            (item["reason"], (item.get("series") or {"count": 1})["count"])
            for item in items
            if item["regarding"]["name"] == about
        ]
        return (reason, times) in seen or seen

    wait_until(f"{reason} was told of {about} {times} times", probe, within_s=60)


@pytest.mark.parametrize("account", sorted(ACCOUNTS))
def test_no_request_of_a_component_was_refused_by_the_authorizer(busy_day: Day, account: str) -> None:
    # Only of this day: an API server that starts anew answers 403 to everybody before it has read its roles.
    seen = list(requests(busy_day.installed, account, since=busy_day.began))
    assert seen, "the audit log shows no request at all"
    assert [request for request in seen if request.decision != "allow"] == []


@pytest.mark.parametrize("account", sorted(ACCOUNTS))
def test_every_right_of_a_component_is_used(busy_day: Day, account: str) -> None:
    granted = {right(access) for part in ACCOUNTS[account] for access in part} - ON_BAD_DAYS[account]

    def used() -> object:
        asked = {right(request.access) for request in requests(busy_day.installed, account) if request.status < 400}
        # a rule names an object or means any; a request always names one where there is one
        missing = granted - asked - {access._replace(name="") for access in asked}
        return sorted(missing) if missing else True

    wait_until(f"{account} has used every right", used, within_s=30)
