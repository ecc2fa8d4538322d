# SPDX-License-Identifier: Apache-2.0
"""Watches on their way out: whoever has something new is written to once per pass of the loop, without a task being woken.

A watcher that rings is noted; the next pass asks each that was noted for its frames and hands them to its connection, as HTTP
chunks that are made once per frame, however many read it. What several writes brought meanwhile goes out together. A
connection that takes no more is not asked until it does, so a slow reader holds one batch (`watch.BATCH_BYTES`) and its
place in the log. Rejected: a task woken per event; at a thousand readers waking cost as much as the cipher.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web

from purelb.sandbox.apiserver.exchange import Head, Watcher
from purelb.sandbox.apiserver.tls import TlsTransport

_AT_ONCE = 200  # readers written to in one turn: some 3 ms


class Streams:
    """All open streams of one server. `now` is the core's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        self._loop = loop
        self._now = now
        self._open: dict[Watcher, None] = {}
        self._rung: list[_Stream] = []
        self._chunks: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._open)

    def end(self) -> None:
        """Close every watch; its reader sees a clean end."""
        for watcher in list(self._open):
            watcher.close()
            watcher.ring()

    async def serve(self, request: web.BaseRequest, watcher: Watcher) -> web.StreamResponse:
        """Send what a watcher has until it ends or its reader leaves (which cancels this)."""
        transport = request.transport
        if transport is None:  # the reader has left before its answer began
            watcher.close()
            return web.Response(status=500)
        if not isinstance(transport, TlsTransport):
            raise TypeError(f"streams are served over TLS, not {transport!r}")
        self._open[watcher] = None
        response: web.StreamResponse | None = None
        try:
            frames = await self._beginning(watcher)
            if watcher.head is not None:
                response = await _opened(request, watcher.head)
                stream = _Stream(self, watcher, transport, frames)
                try:
                    await stream.over
                finally:
                    transport.on_writable = None
                if not watcher.aborted:
                    await response.write_eof()
                    return response
        except ConnectionError:
            pass  # the reader has left: nothing is owed to it
        finally:
            del self._open[watcher]
            watcher.wake = None
            watcher.close()
        transport.abort()
        return response or web.Response(status=500)

    async def _beginning(self, watcher: Watcher) -> list[bytes]:
        """Wait for the head; the answer that was waited for comes with it."""
        frames: list[bytes] = []
        while not _begun(watcher):
            frames = watcher.frames(self._now())
            if not _begun(watcher):
                rung: asyncio.Future[None] = self._loop.create_future()

                def ring(rung: asyncio.Future[None] = rung) -> None:
                    if not rung.done():
                        rung.set_result(None)

                watcher.wake = ring
                await rung
        return frames

    def note(self, stream: "_Stream") -> None:
        if not self._rung:
            self._loop.call_soon(self._pump)
        self._rung.append(stream)

    def _pump(self) -> None:
        now = self._now()
        several, self._rung = self._rung[:_AT_ONCE], self._rung[_AT_ONCE:]
        if self._rung:
            self._loop.call_soon(self._pump)
        for stream in several:
            stream.pump(now, self._chunks)
        if not self._rung:
            self._chunks.clear()


class _Stream:
    """One watcher and the connection it is written to. `over` is done when the watcher has ended and all of it is written."""

    __slots__ = ("_noted", "_streams", "_transport", "_watcher", "over")

    def __init__(self, streams: Streams, watcher: Watcher, transport: TlsTransport, frames: list[bytes]) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._streams = streams
        self._watcher = watcher
        self._transport = transport
        self._noted = False
        watcher.wake = transport.on_writable = self.ring
        for frame in frames:
            transport.write(_chunk(frame))
        self.ring()

    def ring(self) -> None:
        if not self._noted:
            self._noted = True
            self._streams.note(self)

    def pump(self, now: float, chunks: dict[bytes, bytes]) -> None:
        self._noted = False
        if not self._transport.writable or self.over.done():
            return
        frames = self._watcher.frames(now)
        if frames:
            made = []
            for frame in frames:
                chunk = chunks.get(frame)
                if chunk is None:
                    chunk = chunks[frame] = _chunk(frame)
                made.append(chunk)
            self._transport.write(made[0] if len(made) == 1 else b"".join(made))
        if self._watcher.ended:
            self.over.set_result(None)
        elif frames and self._watcher.more:
            self.ring()


def _begun(watcher: Watcher) -> bool:
    return watcher.head is not None or watcher.ended


def _chunk(frame: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(frame), frame)


async def _opened(request: web.BaseRequest, head: Head) -> web.StreamResponse:
    response = web.StreamResponse(status=head.status, headers=dict(head.headers))
    response.enable_chunked_encoding()
    await response.prepare(request)
    return response
