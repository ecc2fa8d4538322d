# SPDX-License-Identifier: Apache-2.0
"""The API server as a function: a request and the time in, an answer or a watch out.

No I/O, no loop, no clock: `now` comes with each call and starts at 0 at `epoch`, randomness is `rng`. `handle` never blocks
and never raises for a bad request. What waits (watches, reads of a coming revision, delays) is a `Watcher`; `due` says when
the next of them wants `tick`. This file routes and negotiates; reading is in `reads`, writing in `writes`.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import assert_never
from urllib.parse import urlencode

import msgspec

from purelb.sandbox.apiserver import discovery, faults
from purelb.sandbox.apiserver.about import about
from purelb.sandbox.apiserver.allocations import RANGES
from purelb.sandbox.apiserver.answers import Obj, PlainNotFound, Refusal, method_not_allowed, too_large_revision
from purelb.sandbox.apiserver.bodies import Body, decode
from purelb.sandbox.apiserver.exchange import (
    PLAIN,
    ApiRequest,
    ApiResponse,
    Later,
    Lost,
    Watcher,
    answer,
    encoded,
    flag,
    refused,
)
from purelb.sandbox.apiserver.identity import ANONYMOUS, Tokens, User, authenticate
from purelb.sandbox.apiserver.mvcc import History
from purelb.sandbox.apiserver.negotiation import (
    body_of,
    delete_options_of,
    judges_fields,
    patch_media_of,
    query_of,
    refused_to_nobody,
    verb_of,
    view_of,
)
from purelb.sandbox.apiserver.pages import start_token
from purelb.sandbox.apiserver.paths import Target, resolve
from purelb.sandbox.apiserver.reads import Reads, WatchList, revision
from purelb.sandbox.apiserver.removal import Done
from purelb.sandbox.apiserver.services import FAMILIES
from purelb.sandbox.apiserver.spoiling import spoiled
from purelb.sandbox.apiserver.state import State
from purelb.sandbox.apiserver.subresources import bind, grant_token
from purelb.sandbox.apiserver.views import View
from purelb.sandbox.apiserver.watch import BOOKMARK_EVERY
from purelb.sandbox.apiserver.writes import Writes

__all__ = ["ApiCore", "ApiRequest", "ApiResponse", "History", "Watcher"]

BODY_MAX_BYTES = 3 * 1024 * 1024
_OPEN = frozenset({"/version", "/version/", "/healthz", "/readyz", "/livez"})
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class ApiCore:
    """One server. `tokens` and `faults` are for whoever runs it; everything else goes through `handle`."""

    def __init__(
        self,
        *,
        version: str = discovery.SERVER_VERSION,
        history: History = History(),  # noqa: B008 - frozen
        rng: Callable[[], float],
        epoch: datetime,
        watch_cache: bool = True,
        watch_list: WatchList = "on",
        bookmark_every: float = BOOKMARK_EVERY,
        families: Sequence[str] = FAMILIES,
    ) -> None:
        self._version = version
        minor = int(version.partition(".")[2])
        self._state = State(history=history, rng=rng, epoch=epoch, minor=minor, families=families)
        self._reads = Reads(self._state, watch_cache=watch_cache, watch_list=watch_list, bookmark_every=bookmark_every)
        self._writes = Writes(self._state)
        self._timers: list[tuple[float, int, Watcher]] = []
        self._order = 0
        self.faults = faults.Faults()
        for name in _NAMESPACES:
            self._start("/api/v1/namespaces", {"metadata": {"name": name}})
        port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}
        labels = {"component": "apiserver", "provider": "kubernetes"}
        first = str(RANGES[families[0]][1])
        self._start(
            "/api/v1/namespaces/default/services",
            {"metadata": {"name": "kubernetes", "labels": labels}, "spec": {"clusterIP": first, "ports": [port]}},
        )

    def _start(self, path: str, obj: Obj) -> None:
        self._writes.create(resolve(path, self._state.kinds), Body(obj), {}, 0.0)

    @property
    def tokens(self) -> Tokens:
        return self._state.tokens

    @property
    def revision(self) -> int:
        return self._state.store.revision

    def compact(self, rv: int | None = None) -> None:
        """Forget the past up to a revision, or all of it: older watches and continue tokens answer 410."""
        self._state.store.compact(self.revision if rv is None else rv)

    # --- time --------------------------------------------------------------------------------------------------------

    def due(self, now: float) -> float | None:  # noqa: ARG002 - the signature of every core here
        """When `tick` should be called next, if nothing else happens."""
        while self._timers and (self._timers[0][2].ended or self._timers[0][2].due() is None):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def tick(self, now: float) -> None:
        """Wake every watcher whose time has come."""
        while self._timers and self._timers[0][0] <= now:
            _, _, watcher = heapq.heappop(self._timers)
            if not watcher.ended:
                watcher.ring()
                later = watcher.due()
                if later is not None:
                    # Not read yet: it is asked again a second later, in case its reader is slow.
                    self._remind(watcher, later if later > now else now + 1.0)

    def _remind(self, watcher: Watcher, at: float) -> None:
        self._order += 1
        heapq.heappush(self._timers, (at, self._order, watcher))

    # --- requests ----------------------------------------------------------------------------------------------------

    def handle(self, request: ApiRequest, now: float) -> ApiResponse | Watcher:
        try:
            made = self._authenticated(request, now)
        except Refusal as refusal:
            return refused(refusal)
        except PlainNotFound:
            return ApiResponse(status=404, headers=PLAIN, body=b"404 page not found\n")
        if isinstance(made, Watcher) and (due := made.due()) is not None:
            self._remind(made, due)
        return made

    def _authenticated(self, request: ApiRequest, now: float) -> ApiResponse | Watcher:
        user = authenticate(request.headers.get("authorization", ""), request.user, self._state.tokens, now)
        if user == ANONYMOUS and request.path not in _OPEN:
            raise refused_to_nobody(request, self._target(request))
        if len(request.body) > BODY_MAX_BYTES:
            raise Refusal(413, "RequestEntityTooLarge", f"Request entity too large: limit is {BODY_MAX_BYTES}")
        target = self._target(request)
        effect = self._fault(request, target, user)
        match effect:
            case None:
                return self._routed(request, target, now)
            case faults.Answer():
                return _faulty(effect)
            case faults.Reset():
                return Lost()
            case faults.Hang():
                return Later(lambda _: None, again_at=None)
            case faults.LoseAnswer():
                made = self._routed(request, target, now)
                if isinstance(made, Watcher):
                    made.close()  # nobody will ever read it
                return Lost()
            case faults.Delay(seconds=seconds):
                return self._delayed(request, now + seconds)
            case faults.Refuse():
                return Lost(refused=True)
            case faults.Compact():
                self.compact()
                return self._routed(request, target, now)
            case faults.Older(revisions=back):
                return self._routed(self._aged(request, target, back), target, now)
            case (
                faults.CutStream()
                | faults.Silence()
                | faults.Chunks()
                | faults.Garble()
                | faults.Expire()
                | faults.NoBookmarks()
                | faults.DropEvent()
            ):
                return spoiled(self._routed(request, target, now), effect)
            case _:
                assert_never(effect)

    def _target(self, request: ApiRequest) -> Target | None:
        """The resource a path is about; None for discovery and the like."""
        try:
            return resolve(request.path, self._state.kinds)
        except PlainNotFound:
            return None

    def _fault(self, request: ApiRequest, target: Target | None, user: User) -> faults.Effect | None:
        name, resource = "", request.path
        if target is not None:
            name = target.name or ""
            resource = target.kind.key + (f"/{target.subresource}" if target.subresource else "")
        return self.faults.fires(subject=user.name, verb=verb_of(request, target), resource=resource, name=name)

    def _aged(self, request: ApiRequest, target: Target | None, back: int) -> ApiRequest:
        """A list that may be served from the cache, asked for as of so many revisions ago; others as they are."""
        query = dict(query_of(request))
        asked = query.pop("resourceVersion", "")
        if (
            target is None
            or target.name
            or request.method != "GET"
            or "watch" in query
            or "continue" in query
            or not asked
        ):
            return request
        then = max(self.revision - back, self._state.store.floor_of(self._state.store[target.kind.key]))
        if revision(asked) > then:
            raise too_large_revision(revision(asked), then)
        query["continue"] = start_token(then, target.kind.key)
        return msgspec.structs.replace(request, target=f"{request.path}?{urlencode(query)}")

    def _delayed(self, request: ApiRequest, at: float) -> Watcher:
        def attempt(then: float) -> ApiResponse | None:
            if then < at:
                return None
            made = self._answered(request, then)
            if isinstance(made, Watcher):
                made.close()
                return refused(Refusal(503, "ServiceUnavailable", "a delayed request cannot become a stream"))
            return made

        return Later(attempt, again_at=at)

    def _answered(self, request: ApiRequest, now: float) -> ApiResponse | Watcher:
        try:
            return self._routed(request, self._target(request), now)
        except Refusal as refusal:
            return refused(refusal)
        except PlainNotFound:
            return ApiResponse(status=404, headers=PLAIN, body=b"404 page not found\n")

    def _routed(self, request: ApiRequest, target: Target | None, now: float) -> ApiResponse | Watcher:
        if target is None:
            return about(request, self._state.kinds, self._state.customs, minor=self._version)
        query = query_of(request)
        if target.subresource == "token":
            return grant_token(self._state, request, target, now)
        if target.subresource == "binding":
            return bind(self._writes, request, target, query, now)
        view = view_of(request, target, query)
        match request.method, target.name:
            case "GET", None:
                if flag(query, "watch"):
                    return self._reads.watch(target, query, view, now)
                return self._reads.many(target, query, view, now)
            case "GET", _:  # a watch of one object is a watch of its collection with a field selector, never this path
                return self._reads.get(target, query, view, now)
            case "POST", None:
                if target.kind.namespaced and target.namespace is None:
                    raise method_not_allowed()
                return self._shown(self._writes.create(target, body_of(request, query), query, now), view, now)
            case "PUT", str():
                return self._shown(self._writes.update(target, body_of(request, query), query, now), view, now)
            case "PATCH", str():
                media = patch_media_of(request, target.kind)
                body = decode(request.body, media, find_duplicates=judges_fields(query), accepted=(media,))
                return self._shown(self._writes.patch(target, media, body, query, now), view, now)
            case "DELETE", str() if not target.subresource:
                return self._deleted(
                    self._writes.delete(target, delete_options_of(request), query, now), target, view, now
                )
            case "DELETE", None:
                return self._delete_all(target, delete_options_of(request), query, view, now)
            case _:
                raise method_not_allowed()

    def _shown(self, done: Done, view: View, now: float) -> ApiResponse:
        headers = {"warning": ", ".join(f'299 - "{_ascii(text)}"' for text in done.warnings)} if done.warnings else {}
        if view.shape == "table":
            table = self._state.views.table(
                [done.version], view, {"resourceVersion": str(done.version.rv)}, self._state.wall(now)
            )
            return answer(done.code, table, headers=headers)
        return encoded(done.code, self._state.views.body(done.version, view), headers=headers)

    def _deleted(self, done: Done, target: Target, view: View, now: float) -> ApiResponse:
        if not done.gone:
            return self._shown(done, view, now)
        details: Obj = {"name": target.name} | ({"group": target.group} if target.group else {})
        details |= {"kind": target.kind.plural, "uid": done.version.uid}
        return answer(
            200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    def _delete_all(
        self, target: Target, options: Obj, query: Mapping[str, str], view: View, now: float
    ) -> ApiResponse:
        if target.kind.namespaced and target.namespace is None:
            raise method_not_allowed()
        found = self._reads.selected(target, query)
        for version in found:
            one = Target(
                kind=target.kind,
                group=target.group,
                version=target.version,
                namespace=target.namespace,
                name=version.key[1],
            )
            self._writes.delete(one, options, query, now)
        metadata = {"resourceVersion": str(self.revision)}
        return encoded(200, self._state.views.list_body(found, view, metadata, self._state.wall(now)))


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace('"', '\\"').replace("\n", " ")[:256]


def _faulty(effect: faults.Answer) -> ApiResponse:
    reasons = {
        401: "Unauthorized",
        429: "TooManyRequests",
        500: "InternalError",
        503: "ServiceUnavailable",
        504: "Timeout",
        410: "Expired",
        409: "Conflict",
        403: "Forbidden",
        404: "NotFound",
    }
    headers = {} if effect.retry_after is None else {"Retry-After": str(effect.retry_after)}
    details = {} if effect.retry_after is None else {"retryAfterSeconds": effect.retry_after}
    reason = effect.reason or reasons.get(effect.code, "Unknown")
    if effect.text is not None:
        return ApiResponse(status=effect.code, headers={**PLAIN, **headers}, body=effect.text.encode())
    return refused(
        Refusal(effect.code, reason, "a fault was ordered for this request", details=details, headers=headers)
    )
