# SPDX-License-Identifier: Apache-2.0
"""The verbs of the Kubernetes API over a `Transport`.

What it knows: what each verb sends and what comes back as an object. How a call is carried out is in `calls`.

There is no rate limit and no cap on calls in flight: the server's priority and fairness is the governor, and the structure
of the callers is the bound. A decoded Struct is never sent back, as it dropped what it does not know: writes are patches.

Coroutines raise `KubeError`, `ValueError` or `TypeError` (bad arguments, before any I/O) and `CancelledError`, nothing else.
Cancelling a request closes its connection; a cancelled write may have been committed.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from purelb.kube.calls import UNARY_TIMEOUT, Calls
from purelb.kube.decode import Codec, Known, Page, Paging
from purelb.kube.errors import DecodeError, Expired, TransportError
from purelb.kube.listing import Listing
from purelb.kube.metrics import NO_SINK, Sink
from purelb.kube.model import KubeObject
from purelb.kube.stream import WatchStream
from purelb.kube.transport import AiohttpTransport, Response, Transport
from purelb.kube.version import ServerVersion
from purelb.kube.wire import Body, Declared, PatchType, accept, delete_options, encoded, query, with_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable
    from types import TracebackType

    from purelb.kube.access import ClusterAccess
    from purelb.kube.clock import Clock
    from purelb.kube.resources import Access, Resource
    from purelb.kube.sharing import Sharing

__all__ = ["ApiClient", "Body", "PatchType", "WatchStream"]

T = TypeVar("T", bound=KubeObject)

LIST_TIMEOUT: Final = 60.0
WATCH_GRACE: Final = 30.0


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
        self._calls = Calls(access, user_agent=user_agent, clock=clock, sink=sink)
        self._calls.transport = transport
        self._declared = None if allow is None else Declared(allow, sink=sink)
        self._codecs: dict[Resource[Any], Codec[Any]] = {}
        self._version = ServerVersion(self._ask_version, clock=clock)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._calls.transport is None:
            self._calls.transport = await self._stack.enter_async_context(
                AiohttpTransport(self.access.server, proxy=self.access.proxy, server_name=self.access.tls.server_name)
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def on_doubt(self, call: Callable[[], None]) -> None:
        """Call `call` whenever the server answers 403, or 404 to a list or a watch: a right or a kind may have been taken away."""
        self._calls.on_doubt(call)

    def on_reachable(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call `call` at each first success after a failure; the answer ends that."""
        return self._calls.on_reachable(call)

    async def can_stream(self) -> bool:
        """Whether the server is known to send the initial state of a watch, or worth a try. Asked once per client."""
        return await self._version.streams()

    async def _ask_version(self) -> bytes:
        return (await self._calls.call("GET", "/version")).body

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
        return self._codec(r).one((await self._calls.call("GET", target, accept=accept(r), timeout=timeout)).body)

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
        transform: Callable[[T], T] | None = None,
        known: Known[T] | None = None,
    ) -> Page[T]:
        """One page of a list; `rv` None or empty reads from the quorum. Objects are as `transform` makes them.

        Those that do not decode, or make it raise, are in `poison`. What `known` answers in the version listed is not read anew.
        """
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
        listing = Listing(self._codec(r), clock=self.clock, transform=transform, known=known)
        return await listing.page(  # which alone holds the answer, and lets go of it early
            await self._calls.call(
                "GET", target, accept=accept(r, as_list=True), timeout=LIST_TIMEOUT, verb="LIST", in_pieces=True
            )
        )

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
        pages = Paging()
        while page.continue_:
            if wrong := pages.complaint(page):
                raise DecodeError(f"{r.name}: {wrong}")
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
        transform: Callable[[T], T] | None = None,
        known: Known[T] | None = None,
    ) -> AsyncIterator[WatchStream[T]]:
        """Events after `rv`, their objects as `transform` makes them; one that makes it raise is `Spoiled`.

        What is ADDED and `known` in that version already is not read anew.
        The server ends the stream after `timeout_s`; if it does not, we do, 30 s later.
        """
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
            body = await self._calls.open(stack, target, accept=accept(r))
            deadline = self.clock.now() + timeout_s + WATCH_GRACE
            stream = WatchStream(body, self._codec(r), clock=self.clock, transform=transform, known=known)
            theirs: TimeoutError | None = None
            try:
                async with self.clock.timeout_at(
                    deadline
                ):  # one timer for the stream: one for each chunk would cost as much as its event
                    try:
                        yield stream
                    except TimeoutError as error:  # of whoever reads the stream; ours comes as a cancellation
                        theirs = error
                        raise
            except TimeoutError as error:
                if error is theirs:
                    raise
                raise TransportError("timeout", "the watch outlived its own limit") from None

    async def create(
        self,
        r: Resource[T],
        body: Body,
        *,
        namespace: str | None = None,
        field_manager: str | None = None,
        dry_run: bool = False,
        still: Callable[[], bool] | None = None,
    ) -> T:
        """POST `body`; the answer is the object as stored. `still`: see `patch`."""
        path = r.path(namespace)
        self._check("create", r, namespace=namespace, name=None)
        content = encoded(body)
        return await self._write(
            "POST", r, path, content, "application/json", field_manager, dry_run=dry_run, still=still
        )

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
        still: Callable[[], bool] | None = None,
    ) -> T:
        """PATCH; with `rv` it is refused with `Conflict` when the object has another version by then.

        `still` is asked before a request whose credential was refused is sent once more with a new one.
        """
        if kind is PatchType.APPLY and not field_manager:
            raise ValueError("server-side apply needs a field_manager")
        path = r.path(namespace, name, subresource)
        self._check("patch", r, namespace=namespace, name=name, subresource=subresource)
        content = encoded(body)
        if rv:
            content = with_version(content, rv, kind)
        return await self._write(
            "PATCH",
            r,
            path,
            content,
            kind.value,
            field_manager,
            force=force,
            dry_run=dry_run,
            timeout=timeout,
            still=still,
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
        still: Callable[[], bool] | None = None,
    ) -> None:
        """DELETE, with preconditions where `uid` or `rv` are given. `still`: see `patch`."""
        path = r.path(namespace, name)
        self._check("delete", r, namespace=namespace, name=name)
        options = delete_options(uid=uid, rv=rv, propagation=propagation)
        await self._calls.call("DELETE", path, body=options, content_type="application/json", still=still)

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
        return await self._calls.call(method, path + _query(query), body=body, accept="application/json", extra=extra)

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
        still: Callable[[], bool] | None = None,
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
        answer = await self._calls.call(
            method, target, body=body, content_type=content_type, accept=accept(r), timeout=timeout, still=still
        )
        return self._codec(r).one(answer.body)

    def sharing(self, r: Resource[T]) -> Sharing:
        """What is kept once of the objects of a resource; for whoever stores them."""
        return self._codec(r).sharing

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


_query = query  # `raw` has an argument of that name
