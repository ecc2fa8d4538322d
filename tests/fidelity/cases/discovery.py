# SPDX-License-Identifier: Apache-2.0
"""What is no object: versions, health, discovery, and the paths that do not exist. Only what both servers have is compared:
the embedded one has few kinds, and says so by having few rows."""

from __future__ import annotations

from tests.fidelity.cases.objects import CONFIG_MAPS, SERVICES
from tests.fidelity.steps import Case, Request, case, get, post

CASES: tuple[Case, ...] = (
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
