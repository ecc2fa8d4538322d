# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.sandbox.apiserver.equal SEED COUNT`: a digest of all that a server says to so many drawn requests.

Two processes with the same arguments must print the same, whatever their hashes are: nothing that is answered may depend on
the order of a set. Answers are taken as bytes, heads and watches included.
"""

import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from purelb.sandbox.apiserver.core import ApiResponse, Watcher
from tests.sandbox.apiserver.driver import DEFINITIONS, SERVICES, TESTS, TYPES, Api, custom, definition, fields, service

NAMES = ("a", "b", "c")
CONFIGS = "/api/v1/namespaces/default/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
SCHEMA = fields(
    size={"type": "integer", "default": 3, "maximum": 9},
    mode={"type": "string", "enum": ["x", "y"]},
    when={"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
)
READS = ("/api", "/apis", "/apis/example.com/v1", "/openapi/v3", "/openapi/v3/api/v1", "/version", "/nothing", SERVICES)
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"

Ask = tuple[str, str, object, str, dict[str, str]]


def _service(rng: random.Random, name: str) -> dict[str, Any]:
    choices: dict[str, list[Any]] = {
        "type": ["LoadBalancer", "LoadBalancer", "NodePort", "Odd"],
        "ipFamilyPolicy": ["SingleStack", "PreferDualStack"],
        "externalTrafficPolicy": ["Local", "Cluster"],
        "loadBalancerSourceRanges": [["192.0.2.0/24"], ["192.0.2.1/24"], ["x", "y"]],
        "selector": [{"app": "web", "tier": "front"}, {"b": "1", "a": "2"}, {"-": "-", "+": "+"}],
        "sessionAffinity": ["ClientIP", "None"],
    }
    spec = {name: rng.choice(values) for name, values in choices.items() if rng.random() < 0.5}
    return service(name, labels={"z": "1", "app": rng.choice(NAMES), "m": "2"}, **spec)


def _writes(rng: random.Random) -> Ask:
    name = rng.choice(NAMES)
    makers: list[Callable[[], Ask]] = [
        lambda: ("POST", SERVICES, _service(rng, name), "application/json", {"fieldValidation": rng.choice(["Strict", "Warn"])}),
        lambda: ("PUT", f"{SERVICES}/{name}", _service(rng, name) | dict.fromkeys(("one", "two", "three", "four", "five"), 1), "application/json", {}),
        lambda: ("PATCH", f"{SERVICES}/{name}", {"spec": _service(rng, name)["spec"]}, TYPES["merge"], {}),
        lambda: ("PATCH", f"{SERVICES}/{name}", {"spec": {"ports": [{"port": rng.randint(1, 4), "name": name}]}}, TYPES["strategic"], {}),
        lambda: ("PATCH", f"{SERVICES}/{name}/status", {"status": {"loadBalancer": {"ingress": [{"ip": "2001:DB8::1"}]}}}, TYPES["merge"], {}),
        lambda: ("PATCH", f"{SERVICES}/{name}", {"metadata": {"labels": {"n": str(rng.random()), name: "x"}}}, TYPES["merge"], {}),
        lambda: ("DELETE", f"{SERVICES}/{name}", None, "", {}),
        lambda: ("POST", CONFIGS, {"metadata": {"generateName": f"{name}-", "labels": {"app": name}}, "data": {"k": name}}, "application/json", {}),
        lambda: ("DELETE", CONFIGS, None, "", {"labelSelector": f"app in ({name},q)"}),
        lambda: ("POST", LEASES, {"metadata": {"name": name}, "spec": {"leaseDurationSeconds": rng.randint(-1, 2)}}, "application/json", {}),
        lambda: ("POST", DEFINITIONS, definition(SCHEMA), "application/json", {}),
        lambda: ("DELETE", f"{DEFINITIONS}/tests.example.com", None, "", {}),
        lambda: ("POST", TESTS, custom(name, size=rng.randint(0, 12), mode=rng.choice("xyz"), when={"b": "1", "a": "2", "c": "3", "d": "4"}), "application/json", {}),
        lambda: ("PATCH", f"{TESTS}/{name}", [{"op": "replace", "path": "/spec/size", "value": rng.randint(0, 12)}], TYPES["json"], {}),
        lambda: ("POST", "/api/v1/namespaces", {"metadata": {"name": f"n{name}"}}, "application/json", {}),
        lambda: ("DELETE", f"/api/v1/namespaces/n{name}", None, "", {}),
        lambda: ("POST", "/api/v1/nodes", {"metadata": {"name": name}, "spec": {"taints": [{"key": "a", "effect": "Odd"}]}}, "application/json", {}),
    ]  # fmt: skip
    return rng.choice(makers)()


def answers(seed: int, count: int) -> Iterator[bytes]:
    """What a server says, request by request; what its watches bring comes after each write."""
    rng, api = random.Random(seed), Api(seed=seed)
    watches: list[Watcher] = []
    for number in range(count):
        api.now += rng.random() * 20
        if rng.random() < 0.7:
            method, path, body, media, query = _writes(rng)
        else:
            method, path, body, media, query = "GET", rng.choice((*READS, CONFIGS, TESTS, LEASES)), None, "", {}
            query = rng.choice(
                [
                    {},
                    {"limit": "1"},
                    {"labelSelector": "app in (b,a)"},
                    {"watch": "true", "allowWatchBookmarks": "true"},
                ]
            )
        headers = {"content-type": media} | ({"accept": TABLE} if rng.random() < 0.1 else {})
        made = api.raw(method, path, body=b"" if body is None else msgspec.json.encode(body), headers=headers, **query)
        if isinstance(made, ApiResponse):
            yield f"{number} {made.status} {sorted(made.headers.items())}".encode() + made.body
        else:
            watches.append(made)
        for place, watcher in enumerate(watches):
            while frames := watcher.frames(api.now):
                yield f"{number} of {place}".encode() + b"".join(frames)


def digest(seed: int, count: int) -> str:
    found = hashlib.sha256()
    for answer in answers(seed, count):
        found.update(answer)
    return found.hexdigest()


if __name__ == "__main__":
    print(digest(int(sys.argv[1]), int(sys.argv[2])))
