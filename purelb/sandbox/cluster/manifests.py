# SPDX-License-Identifier: Apache-2.0
"""A directory of manifests, read whole before any of it is sent, then created or merged into what is there.

Files are taken by name, documents in their order; namespaces and definitions go first, because others need them. What kinds there are is asked of the
server, so that a definition in the same directory is known. Not here: deleting what is no longer in the directory, kustomizations, other formats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml

from purelb.kube.errors import KubeError
from purelb.kube.model import PartialObject
from purelb.kube.resources import Resource
from purelb.sandbox.cluster.kubelet import put

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from purelb.kube.client import ApiClient

FIRST: Final = ("Namespace", "CustomResourceDefinition")
API_VERSION: Final = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?v[0-9a-z]+")
SUFFIXES: Final = (".yaml", ".yml", ".json")


class NoManifest(ValueError):
    """Which file, and what is wrong with it."""


class NotApplied(Exception):
    """Which object the server did not take, and why."""


class _Meta(msgspec.Struct, frozen=True):
    name: str
    namespace: str | None = None


class _Head(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    metadata: _Meta


class Manifest(msgspec.Struct, frozen=True):
    """`where`: file and number of the document, for people."""

    where: str
    body: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.body['kind']} {self.body['metadata']['name']}"


def read(directory: Path) -> tuple[Manifest, ...]:
    """All objects, in the order in which they can be made. Raises NoManifest."""
    try:
        files = sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES)
    except OSError as error:
        raise NoManifest(f"{directory}: {error.strerror}") from error
    if not files:
        raise NoManifest(f"{directory}: no file ends in {', '.join(SUFFIXES)}")
    found = [manifest for path in files for manifest in _documents(path)]
    return tuple(sorted(found, key=lambda manifest: manifest.body["kind"] not in FIRST))


def _documents(path: Path) -> list[Manifest]:
    try:
        bodies = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise NoManifest(f"{path}: {' '.join(str(error).split())}") from error
    found = []
    for number, body in enumerate(bodies, 1):
        where = f"{path}, document {number}"
        items = body["items"] if isinstance(body, dict) and body.get("kind") == "List" and "items" in body else [body]
        found += [Manifest(where, _checked(item, where)) for item in items if item is not None]
    return found


def _checked(body: object, where: str) -> Mapping[str, Any]:
    try:
        head = msgspec.convert(body, _Head)
    except msgspec.ValidationError as error:
        raise NoManifest(f"{where}: not an object with apiVersion, kind and metadata.name: {error}") from error
    if API_VERSION.fullmatch(head.api_version) is None:
        raise NoManifest(f"{where}: apiVersion {head.api_version!r}: such as v1 or purelb.io/v2")
    return msgspec.convert(body, dict[str, Any])


async def apply(client: ApiClient, manifests: Sequence[Manifest]) -> None:
    """Create each, or merge it into what is there. Raises NotApplied at the first that is refused."""
    for manifest in manifests:
        try:
            resource = await _resource(client, manifest)
            meta = manifest.body["metadata"]
            where = {"namespace": meta.get("namespace", "default")} if resource.namespaced else {}
            await put(client, resource, {**manifest.body, "metadata": {**meta, **where}})
        except KubeError as error:
            raise NotApplied(f"{manifest.name} ({manifest.where}): {error}") from error


async def _resource(client: ApiClient, manifest: Manifest) -> Resource[PartialObject]:
    """What the server calls the kind. Raises NotApplied if it has none of that name."""
    group, _, version = manifest.body["apiVersion"].rpartition("/")
    base = f"/apis/{group}/{version}" if group else f"/api/{version}"
    listed = msgspec.json.decode((await client.raw("GET", base)).body)
    for one in listed["resources"]:
        if one["kind"] == manifest.body["kind"] and "/" not in one["name"]:
            return Resource(
                group=group,
                version=version,
                plural=one["name"],
                kind=one["kind"],
                namespaced=one["namespaced"],
                type=PartialObject,
            )
    raise NotApplied(f"{manifest.name} ({manifest.where}): the server has no {manifest.body['kind']} in {base}")
