# SPDX-License-Identifier: Apache-2.0
"""Objects on their way to a server: where a kind lives, and create-else-patch.

Paths come from the server's discovery, never from a table here, so that a kind the server does not know is an error with its
name. Applying is create, else merge patch: what `purelb sandbox up` does as well.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from hack.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hack.api import Answer, Api

Object = dict[str, Any]

# A kind that others in the same set of manifests stand on goes first; the rest follow in the order given.
_FIRST = ("Namespace", "CustomResourceDefinition", "ServiceAccount")


class Applier:
    """Writes manifests with one identity."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._kinds: dict[str, dict[str, Object]] = {}

    def apply(self, objects: Iterable[Object]) -> list[Object]:
        """Create or merge-patch each; CRDs are Established before what follows them. Answers what the server made of them."""
        ordered = sorted(
            objects, key=lambda body: _FIRST.index(body["kind"]) if body["kind"] in _FIRST else len(_FIRST)
        )
        written = []
        for body in ordered:
            written.append(self.apply_one(body).ok())
            if body["kind"] == "CustomResourceDefinition":
                self.wait_established(body["metadata"]["name"])
        return written

    def apply_one(self, body: Object) -> Answer:
        answer = self.create(body)
        if answer.status == 409:
            answer = self._api.patch(self.path(body), body)
        return answer

    def create(self, body: Object) -> Answer:
        return self._api.post(self.path(body).rsplit("/", maxsplit=1)[0], body)

    def path(self, body: Object) -> str:
        """The path of the object itself."""
        version, kind = body["apiVersion"], body["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if kind not in self._kinds.get(version, {}):
            listed = self._api.get(root).ok()["resources"]
            self._kinds[version] = {entry["kind"]: entry for entry in listed if "/" not in entry["name"]}
        found = self._kinds[version].get(kind)
        assert found is not None, f"the server knows no {kind} in {version}"
        inside = f"/namespaces/{body['metadata'].get('namespace', 'default')}" if found["namespaced"] else ""
        return f"{root}{inside}/{found['name']}/{body['metadata']['name']}"

    def wait_established(self, crd: str) -> None:
        """Until the API server serves the kind: every served version is in discovery and answers a list."""
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}"

        def probe() -> object:
            body = self._api.get(path).ok()
            said = body.get("status", {}).get("conditions") or []  # null right after the creation
            if not any(entry["type"] == "Established" and entry["status"] == "True" for entry in said):
                return said
            spec = body["spec"]
            group, plural = spec["group"], spec["names"]["plural"]
            answers: dict[str, object] = {}
            for root in (f"/apis/{group}/{v['name']}" for v in spec["versions"] if v["served"]):
                answers[f"{root}/{plural}"] = self._api.get(f"{root}/{plural}").status == 200
                # Discovery has a worker of its own, which may be later than the first list.
                known = self._api.get(root)
                answers[root] = known.status == 200 and plural in {each["name"] for each in known.body["resources"]}
            return set(answers.values()) == {True} or answers

        wait_until(f"{crd} is served", probe, within_s=30)


def read(*paths: Path) -> list[Object]:
    """All objects of YAML files, and of the *.yaml files of directories, in name order."""
    files = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    documents = [body for file in files for body in yaml.safe_load_all(file.read_text()) if body]
    return [body for body in documents if body["kind"] != "Kustomization"]  # a recipe, not an object


def kustomize(directory: Path) -> list[Object]:
    """What `kubectl kustomize` makes of an overlay."""
    done = subprocess.run(["kubectl", "kustomize", directory], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"kubectl kustomize {directory}: {done.stderr.strip()}"
    return [body for body in yaml.safe_load_all(done.stdout) if body]
