# SPDX-License-Identifier: Apache-2.0
"""What the server says about itself: version, groups, resources (plain and aggregated), and OpenAPI.

kubectl reads all of it before its first real request. Each OpenAPI document has, per kind, the schema with its GVK and one
PATCH operation with `fieldValidation`: that parameter is how kubectl decides to leave validation to the server. Strategic
merge is not listed there, so that kubectl computes such patches from its own built-in types.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from purelb.sandbox.apiserver.answers import Obj
from purelb.sandbox.apiserver.builtins import METADATA, TREES
from purelb.sandbox.apiserver.definitions import Custom
from purelb.sandbox.apiserver.kinds import ALL_VERBS, Kind, Registry

SERVER_VERSION = "1.34"
_SUBRESOURCE_VERBS = {"status": ("get", "patch", "update"), "scale": ("get", "patch", "update"), "token": ("create",),
                      "binding": ("create",), "finalize": ("update",)}  # fmt: skip


def version(minor: str) -> Obj:
    """`/version`. `minor` is major.minor, as in `--server-version`."""
    major, _, rest = minor.partition(".")
    return {
        "major": major,
        "minor": rest,
        "gitVersion": f"v{minor}.0+purelb.sandbox",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "python",
        "platform": "linux/amd64",
    }


def wants_aggregated(accept: str) -> bool:
    """Whether the client asked for aggregated discovery in a version we speak, before plain JSON."""
    first = accept.split(",", maxsplit=1)[0].replace(" ", "")
    return "as=APIGroupDiscoveryList" in first and "v=v2;" in first + ";"


AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def aggregated(kinds: Registry, *, core: bool) -> Obj:
    items = []
    for group, versions in kinds.group_versions().items():
        if (group == "") == core:
            shown = [
                {
                    "version": name,
                    "freshness": "Current",
                    "resources": [_aggregated_kind(kind, group, name) for kind in kinds.in_group_version(group, name)],
                }
                for name in versions
            ]
            items.append(
                {
                    "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
                    "versions": shown,
                }
            )
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _verbs(kind: Kind) -> list[str]:
    """In the order that the real server names them, which differs for custom resources."""
    return list(_CUSTOM_VERBS if kind.custom else ALL_VERBS)


_CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


def _aggregated_kind(kind: Kind, group: str, name: str) -> Obj:
    gvk = {"group": group, "version": name, "kind": kind.kind}
    found: Obj = {
        "resource": kind.plural,
        "responseKind": gvk,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": _verbs(kind),
    }
    if kind.short:
        found["shortNames"] = list(kind.short)
    if kind.categories:
        found["categories"] = list(kind.categories)
    if kind.subresources:
        found["subresources"] = [
            {"subresource": one, "responseKind": gvk, "verbs": list(_SUBRESOURCE_VERBS.get(one, ("get",)))}
            for one in kind.subresources
        ]
    return found


def core_versions() -> Obj:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(kinds: Registry) -> Obj:
    found = kinds.group_versions()
    del found[""]
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [group(name, versions) for name, versions in found.items()],
    }


def group(name: str, versions: list[str], *, alone: bool = False) -> Obj:
    shown = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    head = {"kind": "APIGroup", "apiVersion": "v1"} if alone else {}
    return head | {"name": name, "versions": shown, "preferredVersion": shown[0]}


def resources(kinds: Registry, group_: str, version_: str) -> Obj:
    shown: list[Obj] = []
    for kind in kinds.in_group_version(group_, version_):
        head = {"singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind}
        row: Obj = {"name": kind.plural} | head | {"verbs": _verbs(kind)}
        if kind.short:
            row["shortNames"] = list(kind.short)
        if kind.categories:
            row["categories"] = list(kind.categories)
        shown.append(row | {"storageVersionHash": ""})
        shown += [
            {"name": f"{kind.plural}/{one}"}
            | head
            | {"singularName": "", "verbs": list(_SUBRESOURCE_VERBS.get(one, ("get",)))}
            for one in kind.subresources
        ]
    group_version = f"{group_}/{version_}" if group_ else version_
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": shown}


# --- OpenAPI v2 ------------------------------------------------------------------------------------------------------

# kubectl asks for it before it applies a `kind: List`, which has no document of version 3, and skips what it finds no definition for: each item is then
# judged by us, with fieldValidation. So there is a document, and it defines nothing.
# Clients ask for it with an @, which no header may name as its own type.
OPENAPI_V2_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def wants_openapi_v2_bytes(accept: str) -> bool:
    return "com.github.proto-openapi.spec.v2" in accept


NO_OPENAPI_V2: Obj = {"swagger": "2.0", "info": {"title": "PureLB sandbox", "version": SERVER_VERSION}, "paths": {}}
# The same as gnostic's openapi.v2.Document: swagger is field 1, info field 2 with title and version, paths field 8.
_INFO = b"".join(
    bytes([tag, len(text)]) + text for tag, text in ((0x0A, b"PureLB sandbox"), (0x12, SERVER_VERSION.encode()))
)
NO_OPENAPI_V2_BYTES = b"\x0a\x032.0" + bytes([0x12, len(_INFO)]) + _INFO + b"\x42\x00"


# --- OpenAPI v3 ------------------------------------------------------------------------------------------------------


def _prefix(group_: str, version_: str) -> str:
    return f"apis/{group_}/{version_}" if group_ else f"api/{version_}"


def openapi_index(kinds: Registry, customs: Mapping[str, Custom]) -> Obj:
    paths = {}
    for group_, versions in kinds.group_versions().items():
        for version_ in versions:
            prefix = _prefix(group_, version_)
            digest = hashlib.sha256(msgspec.json.encode(openapi(kinds, customs, group_, version_))).hexdigest().upper()
            paths[prefix] = {"serverRelativeURL": f"/openapi/v3/{prefix}?hash={digest}"}
    return {"paths": paths}


_META_NAME = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def openapi(kinds: Registry, customs: Mapping[str, Custom], group_: str, version_: str) -> Obj:
    """One document: schemas with their GVK, and the operations kubectl looks for."""
    schemas: Obj = {_META_NAME: METADATA}
    paths: Obj = {}
    for kind in kinds.in_group_version(group_, version_):
        name = f"{'.'.join(reversed(group_.split('.'))) if group_ else 'io.k8s.api.core'}.{version_}.{kind.kind}"
        gvk = {"group": group_, "version": version_, "kind": kind.kind}
        schemas[name] = _schema(kind, customs.get(kind.key), group_, version_) | {
            "x-kubernetes-group-version-kind": [gvk]
        }
        scope = "/namespaces/{namespace}" if kind.namespaced else ""
        reference = {"$ref": f"#/components/schemas/{name}"}
        answer = {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}}
        body = {"content": {"application/json": {"schema": reference}}}
        paths[f"/{_prefix(group_, version_)}{scope}/{kind.plural}"] = {
            "post": {"operationId": f"create{kind.kind}", "parameters": _PARAMETERS, "requestBody": body, "responses": answer,
                     "x-kubernetes-action": "post", "x-kubernetes-group-version-kind": gvk},
        }  # fmt: skip
        paths[f"/{_prefix(group_, version_)}{scope}/{kind.plural}/{{name}}"] = {
            "get": {"operationId": f"read{kind.kind}", "responses": answer, "x-kubernetes-action": "get", "x-kubernetes-group-version-kind": gvk},
            "put": {"operationId": f"replace{kind.kind}", "parameters": _PARAMETERS, "requestBody": body, "responses": answer,
                    "x-kubernetes-action": "put", "x-kubernetes-group-version-kind": gvk},
            "patch": {"operationId": f"patch{kind.kind}", "parameters": _PARAMETERS, "responses": answer,
                      "requestBody": {"content": {media: {"schema": {"type": "object"}} for media in _PATCHES}},
                      "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": gvk},
        }  # fmt: skip
    return {
        "openapi": "3.0.0",
        "info": {"title": "PureLB sandbox", "version": SERVER_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }


_PATCHES = ("application/json-patch+json", "application/merge-patch+json")
_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation")
]


def _schema(kind: Kind, custom: Custom | None, group_: str, version_: str) -> Obj:
    written: Mapping[str, Any]
    if custom is not None:
        written = custom.versions[version_].schema
    else:
        written = TREES.get((group_, kind.kind)) or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    text = {"type": "string"}
    head = {"apiVersion": text, "kind": text, "metadata": {"allOf": [{"$ref": f"#/components/schemas/{_META_NAME}"}]}}
    return dict(written) | {"properties": dict(written.get("properties") or {}) | head}
