# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange, or one stream of bytes: the only file that knows aiohttp.

`Transport` is a seam with real sides: sockets here, an API server in memory elsewhere. It knows neither credentials nor
kinds nor time limits of calls; those are the client's. What it limits is what only it sees: how long a connection may take to
stand, and how long a peer that has vanished may hold a socket (TCP keepalive and user timeout, so no HTTP/2 ping is needed).

Redirects are not followed, because a token must not travel; cookies are not kept; the environment and .netrc are not read.
The TLS context comes with each request: connections are pooled per context, so a rotated CA takes effect with the next
connection while open streams go on. Cancelling a request closes its connection at once, also where the peer is frozen.

Every exception of the library leaves as a `TransportError`.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import aiohttp
import yarl
from msgspec import Struct

from purelb.kube.errors import TransportError, TransportKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

CONNECT_TIMEOUT: Final = 5.0
KEEPALIVE_TIMEOUT: Final = 60.0
BODY_MAX_BYTES: Final = 256 * 1024 * 1024
REFUSAL_MAX_BYTES: Final = 64 * 1024  # a page that explains a refusal: its beginning does
PIECES_ABOVE_BYTES: Final = 1024 * 1024  # to put less together costs the loop less than a millisecond
_READ_BUFFER_BYTES: Final = 256 * 1024

# A half-open peer is gone after 30 s: 10 s of silence, then four probes 5 s apart; the same for unacknowledged data.
_TCP_OPTIONS: Final = tuple(
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 10),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 30_000),
    )
    if hasattr(socket, name)  # other systems name some of them differently; they are development machines
)

_REFUSED: Final = frozenset(
    {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.EHOSTDOWN}
)


class Request(Struct, frozen=True, kw_only=True):
    """`target`: path and query, percent-encoded, from `/` on; the server's address and prefix are the transport's.

    `tls` None means the transport's default. `body_max_bytes` limits the body of an exchange, not of a stream. `in_pieces`: the
    body of a success may come as it was received, see `Response`.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    tls: ssl.SSLContext | None = None
    body_max_bytes: int = BODY_MAX_BYTES
    in_pieces: bool = False


class Response(Struct, frozen=True, kw_only=True):
    """Header names are lower case. A long body that was asked for `in_pieces` is in `pieces`, and `body` is empty."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    pieces: tuple[bytes, ...] = ()


class ByteStream(Protocol):
    """An answer whose body is still coming. Iterating ends cleanly when the server ends it, else raises `TransportError`."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Transport(Protocol):
    async def exchange(self, request: Request) -> Response:
        """The whole answer, whatever its status. Raises only `TransportError`."""
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[ByteStream]:
        """The answer once its headers are there. Leaving the context closes it. Raises only `TransportError`."""
        ...


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[0], address[1], address[2]
    made = socket.socket(family=family, type=kind, proto=protocol)
    for level, option, value in _TCP_OPTIONS:
        made.setsockopt(level, option, value)
    return made


def _kind(error: BaseException) -> TransportKind:
    match error:
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch() | ssl.SSLError():
            return "tls"
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case TimeoutError():
            return "timeout"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "eof"
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return "refused"
        case OSError(errno=number) if number in _REFUSED:
            return "refused"
        case OSError(errno=errno.ETIMEDOUT):
            return "timeout"
        case aiohttp.ClientConnectorError():
            return "refused"
        case OSError() | aiohttp.ClientConnectionError():
            return "reset"
        case _:
            return "protocol"


def _translated(error: Exception) -> TransportError:
    match error:
        case aiohttp.ClientConnectorCertificateError(host=host, port=port, certificate_error=why):
            text = f"cannot trust {host}:{port}: {why}"
        case aiohttp.ClientConnectorError(host=host, port=port, os_error=why):
            text = f"cannot connect to {host}:{port}: {why.strerror or why}"
        case _:
            text = str(error) or type(error).__name__
    return TransportError(_kind(error), text)


# All that the library raises for what a network or a server did.
LIBRARY_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


class _Answer(aiohttp.ClientResponse):
    """An answer that nobody waits for any more lets go of its connection, whatever the peer does."""

    def close(self) -> None:
        # One that ended has given its connection back. One that did not still carries the body, and can serve nobody
        # else; closed politely, TLS would keep its socket for the 30 s that a frozen peer may need to take leave.
        carries = self.connection.transport if self.connection is not None else None
        super().close()
        if carries is not None:
            carries.abort()


class _Body:
    """The body of an open answer as a `ByteStream`."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        return _lower(self._answer)

    def __aiter__(
        self,
    ) -> Self:  # not a generator: one that is left half way would be closed by a task of the loop's own
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._answer.content.readany()
        except LIBRARY_ERRORS as error:
            raise _translated(error) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk


def _lower(answer: aiohttp.ClientResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


class AiohttpTransport:
    """HTTP/1.1 with keep-alive over one `aiohttp.ClientSession`. To be entered inside the loop that uses it."""

    def __init__(self, server: str, *, proxy: str | None = None, server_name: str | None = None) -> None:
        self._server = server
        self._proxy = proxy
        self._server_name = server_name
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEPALIVE_TIMEOUT, socket_factory=_socket, enable_cleanup_closed=False
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Content-Type", "User-Agent"),
            trust_env=False,
            read_bufsize=_READ_BUFFER_BYTES,
            response_class=_Answer,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def exchange(self, request: Request) -> Response:
        try:
            async with self._send(request) as answer:
                try:
                    return await _whole(answer, request)
                except BaseException:
                    answer.close()  # cancelled, too long or cut: the rest of its body stands on the connection
                    raise
        except LIBRARY_ERRORS as error:
            raise _translated(error) from error

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:
        try:
            answer = await self._send(request)
        except LIBRARY_ERRORS as error:
            raise _translated(error) from error
        try:
            yield _Body(answer)
        finally:
            answer.close()

    def _send(self, request: Request) -> Any:
        if self._session is None:
            raise TransportError("refused", "the transport is not open")
        return self._session.request(
            request.method,
            yarl.URL(self._server + request.target, encoded=True),
            headers=request.headers,
            data=request.body or None,
            allow_redirects=False,
            ssl=request.tls if request.tls is not None else True,
            server_hostname=self._server_name,
            proxy=self._proxy,
        )


async def _whole(answer: aiohttp.ClientResponse, request: Request) -> Response:
    status, headers, length = answer.status, _lower(answer), answer.content_length
    if status >= 300:
        return Response(status=status, headers=headers, body=await _beginning(answer))
    if length is not None and length <= _READ_BUFFER_BYTES and "Content-Encoding" not in answer.headers:
        return Response(status=status, headers=headers, body=await answer.read())
    pieces = await _read_up_to(answer, request.body_max_bytes)
    if request.in_pieces and sum(map(len, pieces)) > PIECES_ABOVE_BYTES:
        return Response(status=status, headers=headers, pieces=tuple(pieces))
    return Response(status=status, headers=headers, body=b"".join(pieces))


async def _beginning(answer: aiohttp.ClientResponse) -> bytes:
    """What a refusal has to say: its first bytes, or those that arrived before it was cut."""
    chunks: list[bytes] = []
    size = 0
    try:
        while size < REFUSAL_MAX_BYTES and (chunk := await answer.content.readany()):
            chunks.append(chunk)
            size += len(chunk)
    except LIBRARY_ERRORS:
        answer.close()  # its status is an answer, whatever became of the body
    if size >= REFUSAL_MAX_BYTES:
        answer.close()  # the rest would stand before the next answer on this connection
    return b"".join(chunks)[:REFUSAL_MAX_BYTES]


async def _read_up_to(answer: aiohttp.ClientResponse, limit: int) -> list[bytes]:
    chunks: list[bytes] = []
    size = 0
    while chunk := await answer.content.readany():
        size += len(chunk)
        if size > limit:
            raise TransportError("too_large", f"the answer is longer than {limit} bytes")
        chunks.append(chunk)
    return chunks
