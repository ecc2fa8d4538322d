# SPDX-License-Identifier: Apache-2.0
"""One call: what it shows, how long it may take, and which error its answer is.

A request is repeated only when the server refused a credential that can be replaced, or showed a certificate of an authority
that was replaced, and then once; all other repeating is the caller's decision, by the table in `retry`. The limit covers the
whole call, repeats and the renewing of credentials included. A stream is authenticated when it is opened, not later.

Each answer is counted, and the first success after a failure is announced to those who wait for the server.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from purelb.kube.errors import TransportError, api_error, status_of
from purelb.kube.metrics import CLIENT_DURATION, CLIENT_REQUESTS, CLIENT_RETRIES, Sink
from purelb.kube.transport import REFUSAL_MAX_BYTES, ByteStream, Request, Response, Transport
from purelb.kube.wire import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from purelb.kube.access import ClusterAccess, Credential
    from purelb.kube.clock import Clock
    from purelb.kube.errors import ApiError

_log: Final = logging.getLogger(__name__)

UNARY_TIMEOUT: Final = 10.0
WATCH_HEADERS_TIMEOUT: Final = 65.0  # some proxies hold the headers until the first byte of body


class Calls:
    """The one road from the verbs to the transport. `transport` None: nothing can be called yet."""

    def __init__(self, access: ClusterAccess, *, user_agent: str, clock: Clock, sink: Sink) -> None:
        self.access = access
        self.clock = clock
        self.sink = sink
        self.transport: Transport | None = None
        self._headers = (("Accept-Encoding", "identity"), ("User-Agent", user_agent))
        self._host = access.server.partition("://")[2].partition("/")[0]
        self._listeners: list[Callable[[], None]] = []
        self._doubting: list[Callable[[], None]] = []
        self._unreachable = False

    def on_doubt(self, call: Callable[[], None]) -> None:
        """Call `call` whenever the server answers 403, and when it answers 404 to a list or a watch."""
        self._doubting.append(call)

    def on_reachable(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call `call` at each first success after a failure; the answer ends that."""
        self._listeners.append(call)

        def end() -> None:
            if call in self._listeners:
                self._listeners.remove(call)

        return end

    async def call(
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
        in_pieces: bool = False,
        still: Callable[[], bool] | None = None,
    ) -> Response:
        """The answer to one request, its body read. Raises `ApiError` for every status of 300 and above.

        `still` is asked before the request is repeated: where it says no, the refusal of the first is the answer.
        """
        started = self.clock.now()
        headers = (("Accept", accept), *self._headers, *extra)
        if content_type:
            headers = (*headers, ("Content-Type", content_type))
        try:
            async with self.clock.timeout_at(started + timeout):
                answer = await self._authenticated(method, target, headers, body, in_pieces=in_pieces, still=still)
        except TimeoutError:
            self._unanswered(method)
            raise TransportError(
                "timeout", f"{method} {target.partition('?')[0]}: no answer in {timeout:g} s"
            ) from None
        took = self.clock.now() - started
        self.sink.observe(CLIENT_DURATION, took, verb or method, self._host)
        if _log.isEnabledFor(logging.DEBUG):  # neither bodies nor headers nor the query, in which a selector may stand
            path = target.partition("?")[0]
            fields = {"code": "apiCall", "method": method, "path": path, "status": answer.status, "took": took}
            _log.debug("%s %s: %d", method, path, answer.status, extra=fields)
        if answer.status == 404 and verb == "LIST":
            self._doubt()
        if answer.status >= 300:
            raise self._refusal(method, target, answer.status, answer.headers, answer.body)
        return answer

    async def _authenticated(
        self,
        method: str,
        target: str,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        *,
        in_pieces: bool,
        still: Callable[[], bool] | None,
    ) -> Response:
        transport = self._opened()
        credential = self.access.credentials.current(self.clock.now())
        repeated: set[str] = set()
        while True:
            request = Request(
                method=method,
                target=target,
                headers=_with(headers, credential),
                body=body,
                tls=credential.tls,
                in_pieces=in_pieces,
            )
            try:
                answer = await transport.exchange(request)
            except TransportError as error:
                self._unanswered(method)
                if error.kind != "tls" or "tls" in repeated:
                    raise
                repeated.add("tls")
                fresh = self.access.credentials.retrusted(credential, self.clock.now())
                if fresh.tls is credential.tls or (still is not None and not still()):
                    raise
            else:
                self._answered(method, answer.status)
                if answer.status != 401 or "401" in repeated:
                    return answer
                repeated.add("401")
                fresh = await self.access.credentials.renewed(credential, self.clock.now())
                if fresh is credential or (still is not None and not still()):
                    return answer
            credential = fresh
            self.sink.count(CLIENT_RETRIES, max(repeated), method, self._host)

    async def open(self, stack: AsyncExitStack, target: str, *, accept: str) -> ByteStream:
        """An answer that goes on, closed with `stack`."""
        transport = self._opened()
        headers = (("Accept", accept), *self._headers)
        started = self.clock.now()
        credential = self.access.credentials.current(started)
        try:
            async with self.clock.timeout_at(started + WATCH_HEADERS_TIMEOUT):
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
                        self.sink.observe(CLIENT_DURATION, self.clock.now() - started, "WATCH", self._host)
                        return body
                    if body.status == 401 and not last:
                        fresh = await self.access.credentials.renewed(credential, self.clock.now())
                        if fresh is not credential:
                            await attempt.aclose()
                            credential = fresh
                            continue
                    if body.status == 404:
                        self._doubt()
                    text = await _first(body, REFUSAL_MAX_BYTES)
                    raise self._refusal("GET", target, body.status, body.headers, text)
        except TimeoutError:
            self._unanswered("GET")
            raise TransportError("timeout", f"no answer to a watch in {WATCH_HEADERS_TIMEOUT:g} s") from None
        raise AssertionError("the last attempt either answered or raised")

    def _retrusted(self, credential: Credential) -> Credential:
        return self.access.credentials.retrusted(credential, self.clock.now())

    def _opened(self) -> Transport:
        if self.transport is None:
            raise TransportError("refused", "the client was not entered")
        return self.transport

    def _answered(self, method: str, status: int) -> None:
        self.sink.count(CLIENT_REQUESTS, str(status), method, self._host)
        if status == 403:
            self._doubt()
        if status == 429 or status >= 500:
            self._unreachable = True
        elif self._unreachable:
            self._unreachable = False
            for call in tuple(self._listeners):
                call()

    def _doubt(self) -> None:
        for call in self._doubting:
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
        status = status_of(code, body[:REFUSAL_MAX_BYTES])
        seconds = status.details.retry_after_seconds if status.details else None
        return api_error(status, retry_after=retry_after(headers, seconds), method=method, path=path)


def _with(headers: tuple[tuple[str, str], ...], credential: Credential) -> tuple[tuple[str, str], ...]:
    return (*headers, ("Authorization", credential.authorization.reveal())) if credential.authorization else headers


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
