# SPDX-License-Identifier: Apache-2.0
"""Paths that are no resources: health, version, discovery and OpenAPI documents."""

from collections.abc import Mapping

from purelb.sandbox.apiserver import discovery
from purelb.sandbox.apiserver.answers import PlainNotFound, method_not_allowed, unknown_path
from purelb.sandbox.apiserver.definitions import Custom
from purelb.sandbox.apiserver.exchange import PLAIN, ApiRequest, ApiResponse, answer, encoded
from purelb.sandbox.apiserver.kinds import Registry


def about(request: ApiRequest, kinds: Registry, customs: Mapping[str, Custom], *, minor: str) -> ApiResponse:
    """The answer for a path that is no resource. Raises PlainNotFound for a path that is nothing at all."""
    path = request.path.rstrip("/") or "/"
    if path in {"/healthz", "/readyz", "/livez"}:
        return ApiResponse(status=200, headers=PLAIN, body=b"ok")
    if request.method != "GET":
        if path in {"/version", "/api", "/apis"}:
            raise method_not_allowed()
        raise PlainNotFound
    aggregated = discovery.wants_aggregated(request.headers.get("accept", ""))
    match path.split("/")[1:]:
        case ["version"]:
            return answer(200, discovery.version(minor))
        case ["api" | "apis" as root] if aggregated:
            found = discovery.aggregated(kinds, core=root == "api")
            return answer(200, found, headers={"content-type": discovery.AGGREGATED_TYPE})
        case ["api"]:
            return answer(200, discovery.core_versions())
        case ["apis"]:
            return answer(200, discovery.groups(kinds))
        case ["api", "v1"]:
            return answer(200, discovery.resources(kinds, "", "v1"))
        case ["apis", group] if group and group in kinds.group_versions():
            return answer(200, discovery.group(group, kinds.group_versions()[group], alone=True))
        case ["apis", group, version] if version in kinds.group_versions().get(group, ()):
            return answer(200, discovery.resources(kinds, group, version))
        case ["openapi", "v2"]:
            if discovery.wants_openapi_v2_bytes(request.headers.get("accept", "")):
                return encoded(200, discovery.NO_OPENAPI_V2_BYTES, headers={"content-type": discovery.OPENAPI_V2_TYPE})
            return answer(200, discovery.NO_OPENAPI_V2)
        case ["openapi", "v3"]:
            return answer(200, discovery.openapi_index(kinds, customs))
        case ["openapi", "v3", "api", "v1"]:
            return answer(200, discovery.openapi(kinds, customs, "", "v1"))
        case ["openapi", "v3", "apis", group, version] if version in kinds.group_versions().get(group, ()):
            return answer(200, discovery.openapi(kinds, customs, group, version))
        case ["api", *_]:
            raise unknown_path()
        case ["apis", group, *_] if any(kind.group == group and not kind.custom for kind in kinds):
            raise unknown_path()
        case _:
            raise PlainNotFound
