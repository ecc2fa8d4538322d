# SPDX-License-Identifier: Apache-2.0
"""The verbs of the Kubernetes API over a `Transport`.

What it knows: paths, queries, credentials, time limits, and which `KubeError` an answer is. It repeats a request only when
the server refused a credential that can be replaced, or showed a certificate of an authority that was replaced; all other
repeating is the caller's decision, by the table in `retry`.

There is no rate limit and no cap on calls in flight: the server's priority and fairness is the governor, and the structure
of the callers is the bound. A decoded Struct is never sent back, as it dropped what it does not know: writes are patches.

Coroutines raise `KubeError`, `ValueError` or `TypeError` (bad arguments, before any I/O) and `CancelledError`, nothing else.
Cancelling a request closes its connection; a cancelled write may have been committed.
"""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from purelb.kube.clock import breathe
from purelb.kube.decode import Codec, Page, Poison, WatchEvent
from purelb.kube.errors import Expired, TransportError, api_error, status_of
from purelb.kube.lines import LineSplitter
from purelb.kube.metrics import CLIENT_DURATION, CLIENT_REQUESTS, CLIENT_RETRIES, NO_SINK, Sink
from purelb.kube.model import KubeObject
from purelb.kube.transport import AiohttpTransport, ByteStream, Request, Response, Transport
from purelb.kube.wire import (
    Body,
    Declared,
    PatchType,
    accept,
    delete_options,
    encoded,
    query,
    retry_after,
    with_version,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
    from types import TracebackType

    from purelb.kube.access import ClusterAccess, Credential
    from purelb.kube.clock import Clock
    from purelb.kube.errors import ApiError
    from purelb.kube.resources import Access, Resource

__all__ = ["ApiClient", "Body", "PatchType", "WatchStream"]

T = TypeVar("T", bound=KubeObject)

UNARY_TIMEOUT: Final = 10.0
LIST_TIMEOUT: Final = 60.0
WATCH_HEADERS_TIMEOUT: Final = 65.0  # some proxies hold the headers until the first byte of body
WATCH_GRACE: Final = 30.0
ERROR_BODY_MAX_BYTES: Final = 64 * 1024
SLICE: Final = 0.005  # work on the loop before others get a turn


class WatchStream(Generic[T]):
    """Batches of events, one or more for each chunk that arrived. Ends when the server ends it; a line without its end is dropped."""

    def __init__(self, body: ByteStream, codec: Codec[T], *, clock: Clock, deadline: float) -> None:
        self._chunks = body.__aiter__()
        self._codec = codec
        self._clock = clock
        self._deadline = deadline
        self._splitter = LineSplitter()
        self._lines: deque[bytes] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[WatchEvent[T], ...]:
        if self._lines:
            await breathe()
        while not self._lines:
            try:
                async with self._clock.timeout_at(self._deadline):
                    chunk = await self._chunks.__anext__()
            except TimeoutError:
                raise TransportError("timeout", "the watch outlived its own limit") from None
            self._lines.extend(self._splitter.feed(chunk))
        return tuple(self._decoded())

    def _decoded(self) -> Iterable[WatchEvent[T]]:
        until = self._clock.now() + SLICE
        while self._lines:
            yield self._codec.event(self._lines.popleft())
            if self._clock.now() >= until:
                return


class ApiClient:
    """One client per process. Enter it before the first call; it closes only a transport that it made itself."""

    def __init__(
        self,
        access: ClusterAccess,
        *,
        user_agent: str,
        clock: Clock,
        transport: Transport | None = None,
        allow: Collection[Access] | None = None,
        sink: Sink = NO_SINK,
    ) -> None:
        self.access = access
        self.clock = clock
        self.sink = sink
        self._transport = transport
        self._declared = None if allow is None else Declared(allow)
        self._headers = (("Accept-Encoding", "identity"), ("User-Agent", user_agent))
        self._host = access.server.partition("://")[2].partition("/")[0]
        self._codecs: dict[Resource[Any], Codec[Any]] = {}
        self._stack = AsyncExitStack()
        self._listeners: list[Callable[[], None]] = []
        self._unreachable = False

    async def __aenter__(self) -> Self:
        if self._transport is None:
            self._transport = await self._stack.enter_async_context(
                AiohttpTransport(self.access.server, proxy=self.access.proxy, server_name=self.access.tls.server_name)
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def on_reachable(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call `call` at each first success after a failure; the answer ends that."""
        self._listeners.append(call)

        def end() -> None:
            if call in self._listeners:
                self._listeners.remove(call)

        return end

    # Verbs

    async def get(
        self,
        r: Resource[T],
        name: str,
        *,
        namespace: str | None = None,
        rv: str | None = None,
        timeout: float = UNARY_TIMEOUT,
    ) -> T:
        """One object. `rv` as in the API: `"0"` may answer from the server's cache."""
        path = r.path(namespace, name)
        self._check("get", r, namespace=namespace, name=name)
        target = path + query((("resourceVersion", rv),))
        return self._codec(r).one((await self._call("GET", target, accept=accept(r), timeout=timeout)).body)

    async def list_page(
        self,
        r: Resource[T],
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        rv: str | None = None,
        match: str | None = None,
        limit: int = 0,
        continue_: str | None = None,
    ) -> Page[T]:
        """One page of a list; `rv` None or empty reads from the quorum. Objects that do not decode are in `poison`."""
        path = r.path(namespace)
        self._check("list", r, namespace=namespace, name=None, fields=fields)
        target = path + query(
            (
                ("labelSelector", labels),
                ("fieldSelector", fields),
                ("resourceVersion", None if continue_ else rv),
                ("resourceVersionMatch", None if continue_ else match),
                ("limit", str(limit) if limit else None),
                ("continue", continue_),
            )
        )
        answer = await self._call("GET", target, accept=accept(r, as_list=True), timeout=LIST_TIMEOUT, verb="LIST")
        codec = self._codec(r)
        raws, version, more = codec.envelope(answer.body)
        del answer  # the body lives on in `raws` alone
        objects: list[T] = []
        poison: list[Poison] = []
        until = self.clock.now() + SLICE
        for raw in raws:
            match codec.item(raw):
                case Poison() as bad:
                    poison.append(bad)
                case good:
                    objects.append(good)
            if self.clock.now() >= until:
                await breathe()
                until = self.clock.now() + SLICE
        return Page(objects=tuple(objects), poison=tuple(poison), rv=version, continue_=more)

    async def list_pages(
        self,
        r: Resource[T],
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        rv: str | None = None,
        match: str | None = None,
        limit: int = 500,
    ) -> AsyncIterator[Page[T]]:
        """The pages of one list, each with the version of the first.

        When a later page has expired, one more page follows that holds the whole list, read anew: keep what it says about
        an object that an earlier page held too.
        """
        first = page = await self.list_page(
            r, namespace=namespace, labels=labels, fields=fields, rv=rv, match=match, limit=limit
        )
        yield first
        while page.continue_:
            try:
                page = await self.list_page(
                    r, namespace=namespace, labels=labels, fields=fields, limit=limit, continue_=page.continue_
                )
            except Expired:
                yield await self.list_page(r, namespace=namespace, labels=labels, fields=fields, rv=rv, match=match)
                return
            yield Page(objects=page.objects, poison=page.poison, rv=first.rv, continue_=page.continue_)

    @asynccontextmanager
    async def watch(
        self,
        r: Resource[T],
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        rv: str,
        timeout_s: float,
        initial_events: bool = False,
    ) -> AsyncIterator[WatchStream[T]]:
        """Events after `rv`. The server ends the stream after `timeout_s`; if it does not, we do, 30 s later."""
        path = r.path(namespace)
        self._check("watch", r, namespace=namespace, name=None, fields=fields)
        target = path + query(
            (
                ("watch", "true"),
                ("labelSelector", labels),
                ("fieldSelector", fields),
                ("resourceVersion", rv),
                ("allowWatchBookmarks", "true"),
                ("sendInitialEvents", "true" if initial_events else None),
                ("resourceVersionMatch", "NotOlderThan" if initial_events else None),
                ("timeoutSeconds", str(int(timeout_s))),
            )
        )
        async with AsyncExitStack() as stack:
            body = await self._open(stack, target, accept=accept(r))
            deadline = self.clock.now() + timeout_s + WATCH_GRACE
            yield WatchStream(body, self._codec(r), clock=self.clock, deadline=deadline)

    async def create(
        self,
        r: Resource[T],
        body: Body,
        *,
        namespace: str | None = None,
        field_manager: str | None = None,
        dry_run: bool = False,
    ) -> T:
        """POST `body`; the answer is the object as stored."""
        path = r.path(namespace)
        self._check("create", r, namespace=namespace, name=None)
        return await self._write("POST", r, path, encoded(body), "application/json", field_manager, dry_run=dry_run)

    async def patch(
        self,
        r: Resource[T],
        name: str,
        body: Body,
        *,
        kind: PatchType,
        namespace: str | None = None,
        subresource: str | None = None,
        rv: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
        dry_run: bool = False,
        timeout: float = UNARY_TIMEOUT,
    ) -> T:
        """PATCH; with `rv` it is refused with `Conflict` when the object has another version by then."""
        if kind is PatchType.APPLY and not field_manager:
            raise ValueError("server-side apply needs a field_manager")
        path = r.path(namespace, name, subresource)
        self._check("patch", r, namespace=namespace, name=name, subresource=subresource)
        content = encoded(body)
        if rv:
            content = with_version(content, rv, kind)
        return await self._write(
            "PATCH", r, path, content, kind.value, field_manager, force=force, dry_run=dry_run, timeout=timeout
        )

    async def replace(self, r: Resource[T], obj: T, *, field_manager: str | None = None) -> T:
        """PUT, only of a resource whose Struct knows every field; else `TypeError`."""
        if not r.complete:
            raise TypeError(f"a decoded {r.kind} has dropped the fields it does not know: patch it instead")
        meta = obj.metadata
        namespace = meta.namespace or None
        path = r.path(namespace, meta.name)
        self._check("update", r, namespace=namespace, name=meta.name)
        return await self._write("PUT", r, path, encoded(obj), "application/json", field_manager)  # type: ignore[arg-type]

    async def delete(
        self,
        r: Resource[T],
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        rv: str | None = None,
        propagation: str = "Background",
    ) -> None:
        """DELETE, with preconditions where `uid` or `rv` are given."""
        path = r.path(namespace, name)
        self._check("delete", r, namespace=namespace, name=name)
        options = delete_options(uid=uid, rv=rv, propagation=propagation)
        await self._call("DELETE", path, body=options, content_type="application/json")

    async def raw(
        self,
        method: str,
        path: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """Any path, such as `/version`; `path` is taken as it is. A refusal is raised like everywhere else."""
        if not path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"{path!r} is not an absolute path")
        if self._declared is not None:
            self._declared.check_path(method, path)
        extra = tuple(headers)
        return await self._call(method, path + _query(query), body=body, accept="application/json", extra=extra)

    # The one road to the transport

    async def _write(
        self,
        method: str,
        r: Resource[T],
        path: str,
        body: bytes,
        content_type: str,
        field_manager: str | None,
        *,
        force: bool = False,
        dry_run: bool = False,
        timeout: float = UNARY_TIMEOUT,
    ) -> T:
        target = path
        if field_manager or force or dry_run:
            target += query(
                (
                    ("fieldManager", field_manager),
                    ("force", "true" if force else None),
                    ("dryRun", "All" if dry_run else None),
                )
            )
        answer = await self._call(
            method, target, body=body, content_type=content_type, accept=accept(r), timeout=timeout
        )
        return self._codec(r).one(answer.body)

    async def _call(
        self,
        method: str,
        target: str,
        *,
        body: bytes = b"",
        accept: str = "application/json",
        content_type: str = "",
        timeout: float = UNARY_TIMEOUT,
        verb: str = "",
        extra: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        started = self.clock.now()
        headers = (("Accept", accept), *self._headers, *extra)
        if content_type:
            headers = (*headers, ("Content-Type", content_type))
        try:
            async with self.clock.timeout_at(started + timeout):
                answer = await self._authenticated(method, target, headers, body)
        except TimeoutError:
            self._unanswered(method)
            raise TransportError(
                "timeout", f"{method} {target.partition('?')[0]}: no answer in {timeout:g} s"
            ) from None
        self.sink.observe(CLIENT_DURATION, self.clock.now() - started, verb or method, self._host)
        if answer.status >= 300:
            raise self._refusal(method, target, answer.status, answer.headers, answer.body)
        return answer

    async def _authenticated(
        self, method: str, target: str, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> Response:
        transport = self._open_transport()
        credential = self.access.credentials.current(self.clock.now())
        repeated: set[str] = set()
        while True:
            request = Request(
                method=method, target=target, headers=_with(headers, credential), body=body, tls=credential.tls
            )
            try:
                answer = await transport.exchange(request)
            except TransportError as error:
                self._unanswered(method)
                if error.kind != "tls" or "tls" in repeated:
                    raise
                repeated.add("tls")
                fresh = self.access.credentials.retrusted(credential, self.clock.now())
                if fresh.tls is credential.tls:
                    raise
            else:
                self._answered(method, answer.status)
                if answer.status != 401 or "401" in repeated:
                    return answer
                repeated.add("401")
                fresh = await self.access.credentials.renewed(credential, self.clock.now())
                if fresh is credential:
                    return answer
            credential = fresh
            self.sink.count(CLIENT_RETRIES, max(repeated), method, self._host)

    async def _open(self, stack: AsyncExitStack, target: str, *, accept: str) -> ByteStream:
        transport = self._open_transport()
        headers = (("Accept", accept), *self._headers)
        credential = self.access.credentials.current(self.clock.now())
        try:
            async with self.clock.timeout_at(self.clock.now() + WATCH_HEADERS_TIMEOUT):
                for last in (False, True):
                    attempt = await stack.enter_async_context(AsyncExitStack())
                    request = Request(
                        method="GET", target=target, headers=_with(headers, credential), tls=credential.tls
                    )
                    try:
                        body = await attempt.enter_async_context(transport.stream(request))
                    except TransportError as error:
                        self._unanswered("GET")
                        fresh = credential if last or error.kind != "tls" else self._retrusted(credential)
                        if fresh.tls is credential.tls:
                            raise
                        credential = fresh
                        continue
                    self._answered("GET", body.status)
                    if body.status == 200:
                        return body
                    if body.status == 401 and not last:
                        fresh = await self.access.credentials.renewed(credential, self.clock.now())
                        if fresh is not credential:
                            await attempt.aclose()
                            credential = fresh
                            continue
                    text = await _first(body, ERROR_BODY_MAX_BYTES)
                    raise self._refusal("GET", target, body.status, body.headers, text)
        except TimeoutError:
            self._unanswered("GET")
            raise TransportError("timeout", f"no answer to a watch in {WATCH_HEADERS_TIMEOUT:g} s") from None
        raise AssertionError("the last attempt either answered or raised")

    def _retrusted(self, credential: Credential) -> Credential:
        return self.access.credentials.retrusted(credential, self.clock.now())

    def _open_transport(self) -> Transport:
        if self._transport is None:
            raise TransportError("refused", "the client was not entered")
        return self._transport

    def _codec(self, r: Resource[T]) -> Codec[T]:
        codec: Codec[T] | None = self._codecs.get(r)
        if codec is None:
            codec = self._codecs[r] = Codec(r)
        return codec

    def _check(
        self,
        verb: str,
        r: Resource[T],
        *,
        namespace: str | None,
        name: str | None,
        subresource: str | None = None,
        fields: str = "",
    ) -> None:
        if self._declared is not None:
            self._declared.check(verb, r, namespace=namespace, name=name, subresource=subresource, fields=fields)

    def _answered(self, method: str, status: int) -> None:
        self.sink.count(CLIENT_REQUESTS, str(status), method, self._host)
        if status == 429 or status >= 500:
            self._unreachable = True
        elif self._unreachable:
            self._unreachable = False
            for call in tuple(self._listeners):
                call()

    def _unanswered(self, method: str) -> None:
        self.sink.count(CLIENT_REQUESTS, "<error>", method, self._host)
        self._unreachable = True

    def _refusal(
        self, method: str, target: str, code: int, headers: Mapping[str, str], body: bytes
    ) -> ApiError | TransportError:
        path = target.partition("?")[0]
        if code < 400:
            return TransportError("redirect", f"{method} {path}: {code}, and redirects are not followed")
        status = status_of(code, body[:ERROR_BODY_MAX_BYTES])
        seconds = status.details.retry_after_seconds if status.details else None
        return api_error(status, retry_after=retry_after(headers, seconds), method=method, path=path)


_query = query  # `raw` has an argument of that name


def _with(headers: tuple[tuple[str, str], ...], credential: Credential) -> tuple[tuple[str, str], ...]:
    return (*headers, ("Authorization", credential.authorization)) if credential.authorization else headers


async def _first(body: ByteStream, limit: int) -> bytes:
    text = b""
    try:
        async for chunk in body:
            text += chunk
            if len(text) >= limit:
                break
    except TransportError:
        pass  # a cut body: what arrived of it still says more than nothing
    return text[:limit]
