# SPDX-License-Identifier: Apache-2.0
"""Who may ask: certificates, tokens, nobody."""

import pytest

from purelb.sandbox.apiserver.core import ApiResponse
from tests.sandbox.apiserver.driver import Api

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


def code(api: Api, path: str, token: str = "") -> int:
    api.user = None
    made = api.raw("GET", path, headers={"authorization": f"Bearer {token}"} if token else {})
    assert isinstance(made, ApiResponse)
    return made.status


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/version", 200),
        ("/readyz", 200),
        ("/livez", 200),
        ("/healthz", 200),
        ("/api", 403),
        ("/api/v1/services", 403),
        ("/nonsense", 403),
    ],
)
def test_nobody_may_read_the_version_and_the_health_only(api: Api, path: str, expected: int) -> None:
    assert code(api, path) == expected


def test_the_refusal_names_who_what_and_where(api: Api) -> None:
    api.user = None
    message = api.get("/api/v1/namespaces/default/services").body["message"]
    assert (
        message
        == 'services is forbidden: User "system:anonymous" cannot list resource "services" in API group "" in the namespace "default"'
    )


def test_an_unknown_token_is_401_also_where_nobody_may_read(api: Api) -> None:
    assert [code(api, path, "odd") for path in ("/api", "/version")] == [401, 401]


def test_a_token_works_until_it_is_revoked_or_expires(api: Api) -> None:
    token = api.core.tokens.issue(namespace="default", account="a", expires_at=api.now + 10)
    other = api.core.tokens.issue(namespace="default", account="a")
    assert [code(api, "/api", one) for one in (token, other)] == [200, 200]
    api.now += 10
    api.core.tokens.revoke(other)
    assert [code(api, "/api", one) for one in (token, other)] == [401, 401]


def test_a_token_names_its_pod_and_node(api: Api) -> None:
    token = api.core.tokens.issue(namespace="purelb", account="agent", pod="agent-x", pod_uid="u", node="n1")
    user = api.core.tokens.user(token, api.now)
    assert user is not None
    assert user.name == "system:serviceaccount:purelb:agent"
    assert "system:serviceaccounts:purelb" in user.groups
    assert user.extra["authentication.kubernetes.io/node-name"] == ("n1",)
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("agent-x",)


def test_a_token_can_be_asked_for_and_dies_with_its_account(api: Api) -> None:
    admin = api.user
    api.post(ACCOUNTS, {"metadata": {"name": "agent"}})
    asked = {"spec": {"expirationSeconds": 600, "audiences": ["x"]}}
    made = api.post(f"{ACCOUNTS}/agent/token", asked)
    token = made.body["status"]["token"]
    assert (made.code, made.body["status"]["expirationTimestamp"]) == (201, "2026-01-01T00:10:01Z")
    assert code(api, "/api", token) == 200
    api.user = admin
    assert api.post(f"{ACCOUNTS}/agent/token", {"spec": {"expirationSeconds": 5}}).code == 422
    assert api.post(f"{ACCOUNTS}/other/token", {}).code == 404
    api.delete(f"{ACCOUNTS}/agent")
    assert code(api, "/api", token) == 401
