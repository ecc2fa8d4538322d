# SPDX-License-Identifier: Apache-2.0
"""What is no object: versions, health, discovery, and the paths that do not exist. Only what both servers have is compared:
the embedded one has few kinds, and says so by having few rows."""

from __future__ import annotations

from tests.fidelity.cases.objects import CONFIG_MAPS, LEASES, SERVICE_ACCOUNTS, SERVICES, named
from tests.fidelity.steps import Case, Request, case, get, post

NOBODY = ""
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"

CASES: tuple[Case, ...] = (
    case("who may ask without a name", get("/version", token=NOBODY, only=("major",)), get("/healthz", token=NOBODY), get("/api", token=NOBODY), get("/apis", token=NOBODY),
         get(SERVICES, token=NOBODY), get(f"{SERVICES}/web", token=NOBODY), get("/api/v1/nodes", token=NOBODY), get("/nothing", token=NOBODY),
         Request(method="DELETE", path=LEASES, token=NOBODY), get(f"{LEASES}?watch=true", token=NOBODY), get("/apis/none.example.com/v1/things", token=NOBODY),
         Request(method="PATCH", path=f"{SERVICES}/web/status", token=NOBODY)),
    case("a token that nobody gave out", get("/version", token="wrong", only=("major", "message")), get(SERVICES, token="wrong")),
    case("a token of a ServiceAccount", post(SERVICE_ACCOUNTS, named("v1", "ServiceAccount", "one")),
         post(f"{SERVICE_ACCOUNTS}/one/token", {"spec": {"expirationSeconds": 3600}}, keep="t", only=("kind", "spec.expirationSeconds")),
         get("/version", token="<t.token>", only=("major",))),
    case("aggregated discovery", get("/api", accept=AGGREGATED, only=("kind", "apiVersion")), get("/apis", accept=AGGREGATED, only=("kind", "apiVersion"))),
    case("health", get("/healthz"), get("/livez"), get("/readyz")),
    case("the version", get("/version", only=("major", "minor", "gitVersion"))),
    case("the core versions", get("/api", only=("kind", "versions"))),
    case("groups of a kind", get("/apis", only=("kind", "apiVersion"))),
    case("a group", get("/apis/coordination.k8s.io"), get("/apis/events.k8s.io"), get("/apis/discovery.k8s.io"), get("/apis/apiextensions.k8s.io")),
    case("resources of a group", get("/apis/coordination.k8s.io/v1"), get("/apis/discovery.k8s.io/v1"), get("/apis/events.k8s.io/v1"), get("/apis/apiextensions.k8s.io/v1")),
    case("paths that are none", get("/"  "nothing"), get("/api/v2"), get("/apis/none.example.com/v1"), get("/api/v1/nothings"), get("/api/v1/namespaces/<ns>/nothings/x")),
    case("methods that are none", post(f"{CONFIG_MAPS}/x", {}), Request(method="DELETE", path="/version"), Request(method="POST", path="/api", body={}),
         Request(method="PUT", path=SERVICES, body={})),
    case("no HEAD without a body", Request(method="OPTIONS", path=SERVICES)),
    case("HTTP details: a trailing slash", get(f"{SERVICES}/")),
    case("openapi v3", get("/openapi/v3/apis/none.example.com/v1")),
)  # fmt: skip
