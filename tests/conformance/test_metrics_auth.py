# SPDX-License-Identifier: Apache-2.0
"""Who may read the metrics, as the real API server judges tokens and rights, asked with the rights that we ship for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from hack.api import inside
from hack.processes import wait_until
from purelb.cli.rbac import render_metrics_auth
from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.process.scrapers import ACCESS, Scrapers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hack.api import Api
    from hack.control_plane import ControlPlane
    from tests.conformance.manifests import Applier

pytestmark = pytest.mark.timeout(120)


def token_in(kubeconfig: Path) -> str:
    (user,) = json.loads(kubeconfig.read_text())["users"]
    token: str = user["user"]["token"]
    return token


def wait_allowed(admin: Api, namespace: str, account: str, what: dict[str, object]) -> None:
    """Until the authorizer has heard of the rule, which it does by a watch of its own."""
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{namespace}:{account}", "groups": groups, **what},
    }

    def probe() -> object:
        status = admin.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review).ok()["status"]
        return status["allowed"] or status

    wait_until(f"{account} is allowed {what}", probe, within_s=30)


@pytest.fixture
def allowed(applier: Applier, admin: Api, namespace: str) -> Iterator[None]:
    """Our accounts with the rights of the component, and two that ask: one is bound to the reading role."""
    accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        for name in ("allocator", "lbnodeagent", "scraper", "stranger")
    ]
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "scraper-reads"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "purelb:metrics-reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "scraper", "namespace": namespace}],
    }
    rules = [*yaml.safe_load_all(render_metrics_auth(namespace)), binding]
    applier.apply([*accounts, *rules])
    wait_allowed(admin, namespace, "scraper", {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}})
    for resource, group in (
        ("tokenreviews", "authentication.k8s.io"),
        ("subjectaccessreviews", "authorization.k8s.io"),
    ):
        asking = {"verb": "create", "group": group, "resource": resource}
        wait_allowed(admin, namespace, "allocator", {"resourceAttributes": asking})
    yield
    for rule in rules:
        admin.delete(applier.path(rule)).ok()


@pytest.mark.usefixtures("allowed")
async def test_a_token_is_known_and_allowed_or_it_reads_nothing(control_plane: ControlPlane, namespace: str) -> None:
    tokens = {
        name: token_in(control_plane.kubeconfig_of_service_account(namespace, name)) for name in ("scraper", "stranger")
    }
    ours = control_plane.kubeconfig_of_service_account(namespace, "allocator")
    with inside(control_plane.netns):
        clock = SystemClock()
        access = await load_access(kubeconfig=ours)
        async with ApiClient(access, user_agent="tests", clock=clock, allow=ACCESS) as client:
            scrapers = Scrapers(client, clock=clock)
            assert await scrapers.admit(f"Bearer {tokens['scraper']}") is None
            refused = [await scrapers.admit(f"Bearer {token}") for token in (tokens["stranger"], "forged")]
            assert [each.status for each in refused if each is not None] == [403, 401]
