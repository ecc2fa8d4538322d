# SPDX-License-Identifier: Apache-2.0
"""What a request asks for, apart from its path: verb, query, body, options, and the form it accepts as an answer."""

from collections.abc import Mapping

import msgspec

from purelb.sandbox.apiserver import patch
from purelb.sandbox.apiserver.answers import Obj, Refusal, bad_request, unsupported_media_type
from purelb.sandbox.apiserver.bodies import Body, decode
from purelb.sandbox.apiserver.exchange import JSON_TYPE, ApiRequest
from purelb.sandbox.apiserver.identity import ANONYMOUS
from purelb.sandbox.apiserver.kinds import Kind
from purelb.sandbox.apiserver.paths import Target
from purelb.sandbox.apiserver.views import View


class _Preconditions(msgspec.Struct):
    uid: str | None = None
    resourceVersion: str | None = None  # noqa: N815  as on the wire


class _DeleteOptions(msgspec.Struct):
    """The types of what is read of a delete's body."""

    preconditions: _Preconditions | None = None
    propagationPolicy: str | None = None  # noqa: N815  as on the wire
    gracePeriodSeconds: int | None = None  # noqa: N815  as on the wire
    dryRun: list[str] | None = None  # noqa: N815  as on the wire


def query_of(request: ApiRequest) -> Mapping[str, str]:
    try:
        return request.query()
    except ValueError as error:
        raise bad_request("too many query parameters") from error


def verb_of(request: ApiRequest, target: Target | None) -> str:
    """As RBAC names it."""
    named = target is not None and target.name is not None
    match request.method:
        case "GET" if "watch=" in request.target:
            return "watch"
        case "GET" | "HEAD":
            return "get" if named or target is None else "list"
        case "POST":
            return "create"
        case "PUT":
            return "update"
        case "PATCH":
            return "patch"
        case "DELETE":
            return "delete" if named else "deletecollection"
        case other:
            return other.lower()


def refused_to_nobody(request: ApiRequest, target: Target | None) -> Refusal:
    verb = verb_of(request, target)
    if target is None:
        why = f'forbidden: User "{ANONYMOUS.name}" cannot {verb} path "{request.path[:256]}"'
        return Refusal(403, "Forbidden", why, details={})
    where = f' in the namespace "{target.namespace}"' if target.namespace else " at the cluster scope"
    named = f' "{target.name}"' if target.name else ""
    what = target.kind.plural + (f"/{target.subresource}" if target.subresource else "")
    why = f'{target.resource}{named} is forbidden: User "{ANONYMOUS.name}" cannot {verb} resource "{what}" in API group "{target.group}"{where}'
    details: dict[str, object] = {"name": target.name, "group": target.group, "kind": target.kind.plural}
    return Refusal(403, "Forbidden", why, details={word: value for word, value in details.items() if value})


def media_of(request: ApiRequest) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def patch_media_of(request: ApiRequest, kind: Kind) -> str:
    """How a patch is written; 415, before its body is looked at, if that is none of the ways there are."""
    media = media_of(request)
    accepted = [patch.JSON_PATCH, patch.MERGE_PATCH, *([] if kind.custom else [patch.STRATEGIC_PATCH])]
    if media == patch.APPLY_PATCH:
        why = f"server-side apply ({media}) is not part of this server: use kubectl apply without --server-side, or a patch of type {', '.join(accepted)}; the real control plane has it"
        raise Refusal(415, "UnsupportedMediaType", why)
    if media not in {*accepted, patch.STRATEGIC_PATCH}:
        raise Refusal(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})
    if media not in accepted:
        raise unsupported_media_type(accepted)
    return media


def judges_fields(query: Mapping[str, str]) -> bool:
    return query.get("fieldValidation", "") in {"Strict", "Warn"}


def body_of(request: ApiRequest, query: Mapping[str, str]) -> Body:
    if not request.body:
        raise bad_request("the request has no body")
    return decode(request.body, media_of(request), find_duplicates=judges_fields(query))


def delete_options_of(request: ApiRequest) -> Obj:
    """DeleteOptions; no body means none."""
    if not request.body.strip():
        return {}
    found = decode(request.body, media_of(request), find_duplicates=False).value
    try:
        msgspec.convert(found, _DeleteOptions)
    except msgspec.ValidationError as error:
        why = f'DeleteOptions in version "v1" cannot be handled as a DeleteOptions: {error}'
        raise bad_request(why) from error
    return dict(found)


def view_of(request: ApiRequest, target: Target, query: Mapping[str, str]) -> View:
    """What the Accept header asks for; 406 if nothing of it is ours to give."""
    accept = request.headers.get("accept", "") or "*/*"
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        wanted = dict(piece.split("=", 1) for piece in parameters if "=" in piece)
        shape = wanted.get("as", "")
        if media not in {JSON_TYPE, "*/*", "application/*"}:
            continue
        if shape == "" or wanted.get("g") != "meta.k8s.io" or wanted.get("v") != "v1":
            if shape == "":
                return View(kind=target.kind, api_version=target.api_version)
            continue
        if shape == "Table":
            include = query.get("includeObject", "") or "Metadata"
            if include not in {"None", "Metadata", "Object"}:
                why = (
                    f"includeObject: Invalid value: \"{include[:32]}\": must be 'Metadata', 'Object', 'None', or empty"
                )
                raise bad_request(f"Unable to convert to Table as requested: {why}")
            return View(kind=target.kind, api_version=target.api_version, shape="table", include=include)  # type: ignore[arg-type]
        if (
            shape == "PartialObjectMetadata"
            and request.method == "GET"
            and target.name is None
            and "watch" not in query
        ):
            kind = f"*{target.group.partition('.')[0] or 'core'}.{target.kind.listing}"
            why = f"you requested PartialObjectMetadata, but the requested object is a list ({kind})"
            raise Refusal(406, "NotAcceptable", why)
        if shape.startswith("PartialObjectMetadata"):
            return View(kind=target.kind, api_version=target.api_version, shape="meta")
    raise Refusal(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json",
    )
