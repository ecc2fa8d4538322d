# SPDX-License-Identifier: Apache-2.0
"""A way to the API server on which nothing is ever written: the edge of a dry run.

What is read passes. What would be written is told to the plan and answered here: a patch with the object as the server has
it, as a server would that takes nothing over; an Event with itself. Objects that only this process writes (`own`: its lease,
its report) are kept here instead, and what another process wrote under their names is not seen, so that a dry run beside the
real agent of a node counts itself as a candidate. Questions about rights are reads that happen to be sent as POST.

Rejected: the server's own `dryRun=All`; it needs the right to write and is a write in the audit log. Rejected: answering
with the object as it would be; its version would be made up, and the store would drop the next real event for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from purelb.kube.transport import Request, Response, Transport

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractAsyncContextManager

    from purelb.kube.transport import ByteStream
    from purelb.process.dryrun import Plan

_READS: Final = frozenset({"GET", "HEAD"})
_OBJECT: Final = re.compile(
    r"(?P<object>/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]+/))?/(?P<plural>[^/]+)/(?P<name>[^/]+))"
    r"(?:/(?P<sub>[^/]+))?"
)
_QUESTIONS: Final = re.compile(r"/selfsubject[a-z]*reviews\Z")
_TIMES: Final = re.compile(r'"lastTransitionTime":"[^"]*"')
_JSON: Final = (("content-type", "application/json"),)


class ReadOnly:
    """`own`: paths of the objects that this process alone writes."""

    def __init__(self, inner: Transport, *, plan: Plan, own: Collection[str] = ()) -> None:
        self._inner = inner
        self._plan = plan
        self._own = frozenset(own)
        self._kept: dict[str, dict[str, Any]] = {}
        self._version = 0

    async def exchange(self, request: Request) -> Response:
        """Pass what reads; answer what would write."""
        path = request.target.partition("?")[0]
        if request.method in _READS:
            return self._answer_own(path) if path in self._own else await self._inner.exchange(request)
        if request.method == "POST":
            if _QUESTIONS.search(path):
                return await self._inner.exchange(request)
            return self._create(path, request.body)
        if request.method == "PATCH" and (found := _OBJECT.fullmatch(path)):
            return await self._patch(found, request)
        if request.method == "DELETE" and self._kept.pop(path, None) is not None:
            return _answer(200, {"kind": "Status", "status": "Success"})
        return _refusal(405, f"a dry run does not {request.method} {path}")

    def stream(self, request: Request) -> AbstractAsyncContextManager[ByteStream]:
        """A watch: only read."""
        if request.method not in _READS:
            raise ValueError(f"a {request.method} cannot be streamed")
        return self._inner.stream(request)

    def _answer_own(self, path: str) -> Response:
        kept = self._kept.get(path)
        return _answer(200, kept) if kept is not None else _refusal(404, f"{path} is not kept by this dry run")

    def _create(self, path: str, body: bytes) -> Response:
        obj: dict[str, Any] = msgspec.json.decode(body)
        metadata = obj.setdefault("metadata", {})
        metadata.setdefault("name", "made-by-a-dry-run")
        where = f"{path}/{metadata['name']}"
        if where in self._own:
            self._keep(where, obj)
        elif not path.endswith("/events"):
            self._plan.say(where, f"create {where} {body.decode()}")
        return _answer(201, obj)

    async def _patch(self, found: re.Match[str], request: Request) -> Response:
        path = found["object"]
        if path in self._own:
            if path not in self._kept:
                return self._answer_own(path)
            self._keep(path, merged(self._kept[path], msgspec.json.decode(request.body)))
            return self._answer_own(path)
        if found["plural"] == "events":
            return _answer(200, merged({"metadata": {"name": found["name"]}}, msgspec.json.decode(request.body)))
        headers = tuple(pair for pair in request.headers if pair[0].lower() != "content-type")
        now = await self._inner.exchange(replace(request, method="GET", target=path, headers=headers, body=b""))
        if now.status == 200:
            resource = f"{found['plural']}/{found['sub']}" if found["sub"] else found["plural"]
            name = f"{found['namespace']}/{found['name']}" if found["namespace"] else found["name"]
            text = request.body.decode()
            self._plan.say(
                f"{name} {resource}", f"patch {resource} {name} {text}", same=_TIMES.sub("", _versionless(text))
            )
        return now

    def _keep(self, path: str, obj: dict[str, Any]) -> None:
        self._version += 1
        metadata = obj.setdefault("metadata", {})
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", "00000000-0000-0000-0000-000000000000")
        self._kept[path] = obj


def merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396: `target` after a merge patch."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result


def _versionless(text: str) -> str:
    return re.sub(r'"resourceVersion":"[^"]*"', "", text)


def _answer(status: int, obj: Mapping[str, Any]) -> Response:
    return Response(status=status, headers=dict(_JSON), body=msgspec.json.encode(obj))


def _refusal(status: int, message: str) -> Response:
    reason = "NotFound" if status == 404 else "MethodNotAllowed"
    return _answer(
        status,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": status,
            "reason": reason,
            "message": message,
        },
    )
