# SPDX-License-Identifier: Apache-2.0
"""As much of an API server as writers, electors and recorders need, on virtual time: objects by path, versions, conflicts.

It speaks `Transport`, so the real client runs in front of it. `delays` says how long a request takes before and after its
commit; `trouble` may answer in the server's place, or raise what a broken connection raises, before or after the commit.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import breathe
from purelb.kube.errors import TransportError
from purelb.kube.transport import ByteStream, Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from purelb.kube.clock import Clock

Json = dict[str, Any]


class Call(Struct, frozen=True):
    """A request as the server saw it, `at` the moment it arrived."""

    at: float
    method: str
    path: str
    query: str
    body: Json
    content_type: str = ""


class Reply(Struct, frozen=True):
    """What `trouble` may answer: an HTTP status, or 0 for a connection that breaks, `commit`: after the write was done."""

    code: int
    reason: str = ""
    retry_after: int | None = None
    commit: bool = False


def status(code: int, reason: str, retry_after: int | None = None) -> Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return Response(status=code, headers=headers, body=json.dumps(body).encode())


def merged(into: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    out = dict(into) if isinstance(into, dict) else {}
    for name, value in patch.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = merged(out.get(name), value)
    return out


class SmallServer:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.objects: dict[str, Json] = {}
        self.calls: list[Call] = []
        self.delays: Callable[[Call], tuple[float, float]] = lambda _: (0.0, 0.0)
        self.trouble: Callable[[Call], Reply | None] = lambda _: None
        self.in_flight = 0
        self.most_in_flight = 0
        self._rv = 100

    def client(self, clock: Clock | None = None) -> ApiClient:
        """A client of this server; `clock`: that of its machine, if it differs from ours."""
        access = fixed_access("http://server.test")
        return ApiClient(access, user_agent="test", clock=clock or self.clock, transport=self)

    def put(self, path: str, obj: Json) -> Json:
        """Store `obj` as somebody else would; it gets a new version."""
        self._rv += 1
        meta = {"name": path.rsplit("/", 1)[1], "uid": f"u{self._rv}", **obj.get("metadata", {})}
        self.objects[path] = {**obj, "metadata": {**meta, "resourceVersion": str(self._rv)}}
        return self.objects[path]

    def writes(self) -> list[Call]:
        return [call for call in self.calls if call.method != "GET"]

    async def exchange(self, request: Request) -> Response:
        path, _, query = request.target.partition("?")
        body = json.loads(request.body) if request.body else {}
        kind = dict(request.headers).get("Content-Type", "")
        call = Call(self.clock.now(), request.method, path, query, body, kind)
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            before, after = self.delays(call)
            await self._pass(before)
            trouble = self.trouble(call)
            if trouble is None or trouble.commit:
                answer = self._serve(call)
            await self._pass(after)
            if trouble is None:
                return answer
            if trouble.code == 0:
                raise TransportError("reset", "the connection broke")
            return status(trouble.code, trouble.reason, trouble.retry_after)
        finally:
            self.in_flight -= 1

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:
        raise AssertionError(f"nobody here watches: {request}")
        yield

    async def _pass(self, seconds: float) -> None:
        await breathe()  # no network is so fast that nobody else gets a turn
        await self.clock.until(self.clock.now() + seconds)

    def _serve(self, call: Call) -> Response:
        path = call.path.removesuffix("/status")
        known = self.objects.get(path)
        match call.method:
            case "POST":
                name = call.body["metadata"].get("name") or f"{call.body['metadata']['generateName']}{self._rv}"
                if f"{path}/{name}" in self.objects:
                    return status(409, "AlreadyExists")
                return self._ok(self.put(f"{path}/{name}", call.body), 201)
            case _ if known is None:
                return status(404, "NotFound")
            case "GET":
                return self._ok(known)
            case "DELETE":
                del self.objects[path]
                return self._ok({"kind": "Status", "status": "Success"})
            case "PATCH":
                patch = {**call.body, "metadata": dict(call.body.get("metadata", {}))}
                version = patch["metadata"].pop("resourceVersion", None)
                if version is not None and version != known["metadata"]["resourceVersion"]:
                    return status(409, "Conflict")
                new = merged(known, patch)
                return self._ok(known if new == known else self.put(path, new))
            case _:
                return status(405, "MethodNotAllowed")

    def _ok(self, obj: Json, code: int = 200) -> Response:
        return Response(status=code, headers={}, body=json.dumps(obj).encode())
