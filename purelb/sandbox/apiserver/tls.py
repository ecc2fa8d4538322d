# SPDX-License-Identifier: Apache-2.0
"""TLS of one accepted connection: between a socket's transport and a protocol that knows nothing of it.

asyncio's own TLS keeps a read buffer of 256 KiB per connection, which is all the memory of a thousand watches, and writes
through layers that cost more than the cipher. Here nothing is kept but what OpenSSL keeps, and that only from the first byte:
somebody who connects and says nothing costs a socket. A handshake that is not over in `HANDSHAKE_S` is cut.
Promised: a writer is told when the socket does not take more (`writable`, and the protocol's own `pause_writing`). Not
promised: waiting for the peer's goodbye; renegotiation, which the context must forbid.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Any

HANDSHAKE_S = 10.0
_READ_BYTES = 64 * 1024


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """Both sides in one: a protocol for the socket, a transport for `make`'s protocol, which is made after the handshake."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        *,
        context: ssl.SSLContext,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__()
        self.writable = True
        self.on_writable: Callable[[], None] | None = None
        self._make = make
        self._context = context
        self._loop = loop
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._socket: asyncio.Transport | None = None
        self._protocol: asyncio.Protocol | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._reading = True
        self._closing = False
        self._peer: Any = None

    # --- what the socket says ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"TLS needs a stream, not {transport!r}")
        self._socket = transport
        self._limit = self._loop.call_later(HANDSHAKE_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._protocol is None:
            self._shake_hands()
        if self._protocol is not None:
            self._read()

    def eof_received(self) -> bool | None:
        if self._protocol is not None:
            self._protocol.eof_received()
        return False  # nobody can be answered who has not said goodbye

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self.writable = False
        if self._limit is not None:
            self._limit.cancel()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self.writable = False
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self.writable = not self._closing
        if self._protocol is not None:
            self._protocol.resume_writing()
        if self.on_writable is not None:
            self.on_writable()

    # --- between -----------------------------------------------------------------------------------------------------

    def _shake_hands(self) -> None:
        if self._tls is None:
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError:
            self._flush()  # with the alert that says why
            self._close_socket()
            return
        if self._limit is not None:
            self._limit.cancel()
        self._peer = self._tls.getpeercert()
        self._flush()
        self._protocol = self._make()
        self._protocol.connection_made(self)

    def _read(self) -> None:
        while self._reading and not self._closing and self._protocol is not None and self._tls is not None:
            try:
                data = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:
                self.abort()
                return
            if not data:
                self._protocol.eof_received()
                self.close()
                return
            self._protocol.data_received(data)
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and self._socket is not None:
            self._socket.write(self._outgoing.read())

    def _close_socket(self) -> None:
        self._closing = True
        self.writable = False
        if self._socket is not None:
            self._socket.close()

    # --- what the protocol asks --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._tls is None or self._socket is None:
            return
        try:
            sent = self._tls.write(data)
            while sent < len(data):
                data = memoryview(data)[sent:]
                sent = self._tls.write(data)
        except ssl.SSLError:
            self.abort()
            return
        self._socket.write(self._outgoing.read())

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Say goodbye, send what is left, and do not wait for an answer."""
        if self._closing:
            return
        if self._tls is not None:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # the peer has not said goodbye yet: it is not asked to
            self._flush()
        self._close_socket()

    def abort(self) -> None:
        self._closing = True
        self.writable = False
        if self._socket is not None:
            self._socket.abort()

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        if self._reading and self._socket is not None and not self._closing:
            self._reading = False
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and self._socket is not None and not self._closing:
            self._reading = True
            self._socket.resume_reading()
            self._loop.call_soon(self._read)

    def get_write_buffer_size(self) -> int:
        return self._socket.get_write_buffer_size() if self._socket is not None else 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._socket.get_write_buffer_limits() if self._socket is not None else (0, 0)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._socket is not None:
            self._socket.set_write_buffer_limits(high, low)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol if self._protocol is not None else self

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError(f"{protocol!r} reads no stream")
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        match name:
            case "peercert":
                return self._peer if self._peer is not None else default
            case "sslcontext":
                return self._context
            case "ssl_object":
                return self._tls
            case _:
                return self._socket.get_extra_info(name, default) if self._socket is not None else default
