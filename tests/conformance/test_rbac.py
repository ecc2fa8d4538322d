# SPDX-License-Identifier: Apache-2.0
"""The shipped roles, enforced by the real authorizer for tokens that the TokenRequest API gave out.

`allowed` is the whole of what a component may do: the server's own list of rules is compared with it, so a rule too many is
as red as one too few. The refusals are asked one by one as well, because they are what an intruder with the token would try.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from hack.processes import wait_until
from tests.conformance.installation import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hack.api import Api
    from hack.control_plane import ControlPlane
    from tests.conformance.installation import Installation

READ = ("get", "list", "watch")
EVERYWHERE = "kube-public"  # a namespace of somebody else: what is allowed there is allowed cluster-wide

_BASIC = "selfsubject"  # what every authenticated identity may ask about itself


class Access(NamedTuple):
    """One verb on one resource, of one object by name where the rule names it."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""


def each(verbs: Iterable[str], *resources: str, group: str = "", name: str = "") -> set[Access]:
    return {Access(verb, resource, group, name) for verb in verbs for resource in resources}


ALLOCATOR_CLUSTER = (
    each(READ, "services", "nodes", "namespaces")
    | each(["patch"], "services", "services/status")
    | each(READ, "servicegroups", "lbnodeagents", group="purelb.io")
    | each(["patch"], "servicegroups/status", "lbnodeagents/status", group="purelb.io")
    | each(["create", "patch"], "events", group="events.k8s.io")
)
ALLOCATOR_HERE = (
    each(READ, "lbnodestatuses", group="purelb.io")
    | each([*READ, "create"], "leases", group="coordination.k8s.io")
    | each(["patch"], "leases", group="coordination.k8s.io", name="purelb-allocator")
)
AGENT_CLUSTER = (
    each(READ, "services", "nodes")
    | each(READ, "endpointslices", group="discovery.k8s.io")
    | each(READ, "servicegroups", "lbnodeagents", group="purelb.io")
)
AGENT_HERE = (
    each(["create", "patch"], "events", group="events.k8s.io")
    | each([*READ, "create", "patch", "delete"], "leases", group="coordination.k8s.io")
    | each(["get", "create", "patch"], "lbnodestatuses", group="purelb.io")
)
ACCOUNTS = {
    "allocator": (ALLOCATOR_CLUSTER, ALLOCATOR_HERE),
    "lbnodeagent": (AGENT_CLUSTER, AGENT_HERE),
}


@pytest.fixture(params=sorted(ACCOUNTS))
def account(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(shipped: Installation, control_plane: ControlPlane, account: str) -> Iterator[Api]:
    """A client with the ServiceAccount's own token."""
    assert shipped.api.get(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}").status == 200
    api = control_plane.api(token=control_plane.token(NAMESPACE, account))
    yield api
    api.close()


def rules(client: Api, namespace: str) -> set[Access]:
    """What the server says this identity may do in a namespace, cluster-wide rules included."""
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    status = client.post(path, review).ok()["status"]
    assert status["incomplete"] is False
    return {
        Access(verb, resource, group, name)
        for rule in status["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames") or [""]
        if not resource.startswith(_BASIC)
    }


def wait_rules(client: Api, namespace: str, expected: set[Access]) -> None:
    """Until these are the rules, no more and no less: the authorizer hears of them by a watch of its own."""

    def probe() -> object:
        found = rules(client, namespace)
        return found == expected or {"too many": found - expected, "too few": expected - found}

    wait_until(f"the rules in {namespace} are those of the shipped roles", probe, within_s=30)


def test_a_component_may_do_elsewhere_exactly_what_its_cluster_rules_say(client: Api, account: str) -> None:
    wait_rules(client, EVERYWHERE, ACCOUNTS[account][0])


def test_a_component_may_do_exactly_its_rules_in_its_own_namespace(client: Api, account: str) -> None:
    cluster, here = ACCOUNTS[account]
    wait_rules(client, NAMESPACE, cluster | here)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets", None),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps", None),
        ("GET", "/api/v1/namespaces/kube-system/secrets", None),
        ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/allocator/token", {"spec": {}}),
        ("PATCH", "/api/v1/nodes/n1", {"metadata": {"labels": {"a": "b"}}}),
        ("DELETE", "/api/v1/namespaces/default/services/kubernetes", None),
        ("PATCH", f"/apis/purelb.io/v2/namespaces/{NAMESPACE}/servicegroups/default", {"spec": {"drain": True}}),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", {"metadata": {"name": "mine"}}),
        ("PATCH", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/any", {"metadata": {"labels": {}}}),
        ("GET", "/apis/purelb.io/v2/lbnodestatuses", None),
    ],
)
def test_no_component_gets_past_the_real_authorizer(client: Api, method: str, path: str, body: object) -> None:
    content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
    answer = client.request(method, path, body, content_type=content_type)
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")


def test_an_agent_writes_no_service(shipped: Installation, control_plane: ControlPlane) -> None:
    api = control_plane.api(token=control_plane.token(NAMESPACE, "lbnodeagent"))
    for path in (
        "/api/v1/namespaces/default/services/kubernetes",
        "/api/v1/namespaces/default/services/kubernetes/status",
    ):
        assert api.patch(path, {"metadata": {"annotations": {"a": "b"}}}).status == 403
    api.close()


def test_the_workloads_of_the_overlay_pass_the_servers_strict_validation(shipped: Installation) -> None:
    for body in shipped.workloads():
        collection = shipped.applier.path(body).rsplit("/", maxsplit=1)[0]
        shipped.api.post(f"{collection}?dryRun=All&fieldValidation=Strict", body).ok()
