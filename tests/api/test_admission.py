# SPDX-License-Identifier: Apache-2.0
"""The examples of admission at the embedded API server; the conformance suite asks the real one the same."""

import random
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from purelb.api.crds import all_definitions
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.exchange import ApiRequest, ApiResponse
from purelb.sandbox.apiserver.identity import ADMIN
from tests.api.examples import EXAMPLES, NAMESPACE, Example


class Server:
    """A server with our CRDs and the install namespace."""

    def __init__(self) -> None:
        self._core = ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
        self._now = 1.0
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        for crd in all_definitions().values():
            status, answer = self.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
            assert status == 201, answer
        self._now += 10.0

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        request = ApiRequest(
            method=method,
            target=path,
            headers={"content-type": "application/json"},
            body=b"" if body is None else msgspec.json.encode(body),
            user=ADMIN,
        )
        made = self._core.handle(request, self._now)
        assert isinstance(made, ApiResponse)
        return made.status, msgspec.json.decode(made.body)


@pytest.fixture(scope="module")
def server() -> Server:
    return Server()


def collection(example: Example, version: str) -> str:
    return f"/apis/purelb.io/{version}/namespaces/{NAMESPACE}/{example.plural}"


def reach(found: Any, path: str) -> Any:
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.refused is None], ids=lambda e: e.name)
def test_admission_accepts_and_stores(server: Server, example: Example) -> None:
    status, answer = server.ask("POST", collection(example, example.version), example.object)
    assert status == 201, answer
    try:
        _, stored = server.ask("GET", f"{collection(example, 'v2')}/example")
        assert {path: reach(stored["spec"], path) for path in example.stored} == example.stored
    finally:
        server.ask("DELETE", f"{collection(example, 'v2')}/example")


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.refused is not None], ids=lambda e: e.name)
def test_admission_refuses(server: Server, example: Example) -> None:
    status, answer = server.ask("POST", collection(example, example.version), example.object)
    assert status == 422, answer
    assert example.refused is not None
    assert example.refused in answer["message"]
