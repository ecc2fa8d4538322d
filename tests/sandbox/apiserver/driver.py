# SPDX-License-Identifier: Apache-2.0
"""The server without HTTP, driven by a client of a few lines: requests are bytes, time is a number that tests move."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from purelb.sandbox.apiserver.core import ApiCore, ApiRequest, ApiResponse, History, Watcher
from purelb.sandbox.apiserver.identity import ADMIN, User

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TYPES = {"merge": "application/merge-patch+json", "json": "application/json-patch+json",
         "strategic": "application/strategic-merge-patch+json", "apply": "application/apply-patch+yaml"}  # fmt: skip


class Answer(msgspec.Struct, frozen=True):
    code: int
    body: Any
    headers: Mapping[str, str]

    @property
    def rv(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])


class Api:
    """One `ApiCore` and a hand on its clock."""

    def __init__(self, *, history: History | None = None, seed: int = 1, **settings: Any) -> None:
        self.core = ApiCore(history=history or History(), rng=random.Random(seed).random, epoch=EPOCH, **settings)
        self.now = 1.0
        self.user: User | None = ADMIN

    def raw(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None, **query: Any
    ) -> ApiResponse | Watcher:
        target = path + ("?" + urlencode({name: str(value) for name, value in query.items()}) if query else "")
        asked = ApiRequest(method=method, target=target, body=body, headers=dict(headers or {}), user=self.user)
        return self.core.handle(asked, self.now)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        media: str = "application/json",
        accept: str = "",
        **query: Any,
    ) -> Answer:
        headers = {"content-type": media} | ({"accept": accept} if accept else {})
        encoded = b"" if body is None else msgspec.json.encode(body)
        made = self.raw(method, path, body=encoded, headers=headers, **query)
        assert isinstance(made, ApiResponse), f"{method} {path} did not answer at once"
        shown: Any = made.body.decode()
        if made.headers["content-type"].startswith("application/json"):
            shown = msgspec.json.decode(made.body)
        return Answer(made.status, shown, made.headers)

    def get(self, path: str, **query: Any) -> Answer:
        return self.ask("GET", path, **query)

    def post(self, path: str, body: object, **query: Any) -> Answer:
        return self.ask("POST", path, body, **query)

    def put(self, path: str, body: object, **query: Any) -> Answer:
        return self.ask("PUT", path, body, **query)

    def patch(self, path: str, body: object, *, kind: str = "merge", **query: Any) -> Answer:
        return self.ask("PATCH", path, body, media=TYPES[kind], **query)

    def delete(self, path: str, body: object = None, **query: Any) -> Answer:
        return self.ask("DELETE", path, body, **query)

    def watch(self, path: str, **query: Any) -> "Stream":
        made = self.raw("GET", path, watch="true", **query)
        assert isinstance(made, Watcher), made
        return Stream(made, self)


class Stream:
    """Reads a watch as events."""

    def __init__(self, watcher: Watcher, api: Api) -> None:
        self.watcher = watcher
        self._api = api

    def events(self) -> list[tuple[str, Any]]:
        """Everything that may be read now."""
        found: list[tuple[str, Any]] = []
        while frames := self.watcher.frames(self._api.now):
            found += [(event["type"], event["object"]) for event in map(msgspec.json.decode, frames)]
        return found

    def names(self) -> list[tuple[str, str]]:
        return [(kind, obj["metadata"].get("name", "")) for kind, obj in self.events()]


SERVICES = "/api/v1/namespaces/default/services"


def service(name: str = "web", *, labels: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A Service of type LoadBalancer with one port, unless the spec says otherwise."""
    metadata = {"name": name} | ({"labels": dict(labels)} if labels else {})
    filled = {"type": "LoadBalancer", "ports": [{"port": 80}]} | spec
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": filled}


def definition(schema: Mapping[str, Any] | None = None, **version: Any) -> dict[str, Any]:
    """A CustomResourceDefinition of `tests.example.com` with one version."""
    shown = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema or FREE}} | version
    return definition_of(shown)


def definition_of(*versions: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "tests.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "tests", "kind": "Test"},
            "scope": "Namespaced",
            "versions": list(versions),
        },
    }


def fields(**properties: Any) -> dict[str, Any]:
    """A schema whose `spec` has these properties."""
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


FREE: Mapping[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TESTS = "/apis/example.com/v1/namespaces/default/tests"


def custom(name: str = "a", *, version: str = "v1", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"example.com/{version}", "kind": "Test", "metadata": {"name": name}, "spec": spec}
