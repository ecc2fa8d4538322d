# SPDX-License-Identifier: Apache-2.0
"""What a fault does to an answer on its way: cuts, silences, other pieces, other bytes.

A `Spoiled` stands between a watcher and its reader and changes frames as they pass. It hands out at most what its reader may
have and keeps the rest, so it needs no timer of its own. A whole answer passes as it is: these faults are of streams.
"""

from collections.abc import Iterator
from typing import assert_never

import msgspec

from purelb.sandbox.apiserver.answers import status
from purelb.sandbox.apiserver.exchange import ApiResponse, Watcher
from purelb.sandbox.apiserver.faults import (
    Chunks,
    CutStream,
    DropEvent,
    Expire,
    Garble,
    NoBookmarks,
    OnTheWay,
    Silence,
)

_BOOKMARK = b'{"type":"BOOKMARK"'
_NOISE = b"\x00#spoilt#"


class Spoiled(Watcher):
    """`inner`, as the fault lets it through."""

    def __init__(self, inner: Watcher, effect: OnTheWay) -> None:
        super().__init__()
        self.head = inner.head
        self._inner = inner
        self._effect = effect
        self._passed = 0
        self._passed_bytes = 0
        self._silent = False
        self._rest = b""
        self._at = 0  # what is before it in the rest has been read
        inner.wake = self.ring

    def frames(self, now: float) -> list[bytes]:
        if self.ended or self._silent:
            return []
        found = self._inner.frames(now)
        self.head = self._inner.head
        out = self._pieces(found) if isinstance(self._effect, Chunks) else list(self._through(found))
        if self._inner.ended and self._at == len(self._rest) and not self._silent:
            self.ended = True
        return out

    def due(self) -> float | None:
        return None if self.ended or self._silent else self._inner.due()

    def close(self) -> None:
        super().close()
        self._inner.close()

    def _through(self, found: list[bytes]) -> Iterator[bytes]:
        """The frames that come through; ends when the stream does."""
        for frame in found:
            yield from self._one(frame)
            if self.ended or self._silent:
                return
        yield from self._limit()

    def _one(self, frame: bytes) -> Iterator[bytes]:
        yield from self._limit()
        if self.ended or self._silent:
            return
        self._passed += 1
        match self._effect:
            case CutStream(after_bytes=int() as most, clean=clean) if self._passed_bytes + len(frame) >= most:
                yield frame[: most - self._passed_bytes]
                self._end(aborted=not clean)
                return
            case Garble(after_frames=place, truncate=truncate) if self._passed == place + 1:
                half = len(frame) // 2
                yield frame[:half] if truncate else frame[:half] + _NOISE + frame[half + len(_NOISE) : -1] + b"\n"
                return
            case NoBookmarks() if frame.startswith(_BOOKMARK):
                return
            case DropEvent(after_events=place):
                if frame.startswith(_BOOKMARK):
                    self._passed -= 1
                elif self._passed == place + 1:
                    return
            case _:
                pass
        self._passed_bytes += len(frame)
        yield frame

    def _limit(self) -> Iterator[bytes]:
        """Whether the stream ends, or falls silent, before its next frame."""
        match self._effect:
            case CutStream(after_bytes=None, after_frames=most, clean=clean) if self._passed >= most:
                self._end(aborted=not clean)
            case Silence(after_frames=most) if self._passed >= most:
                self._silent = True
                self._inner.close()
            case Expire(after_frames=most) if self._passed >= most:
                error = status(410, "Expired", "a fault was ordered for this watch")
                yield b'{"type":"ERROR","object":' + msgspec.json.encode(error) + b"}\n"
                self._end(aborted=False)
            case CutStream() | Silence() | Expire() | Chunks() | Garble() | NoBookmarks() | DropEvent():
                pass
            case _:
                assert_never(self._effect)

    def _pieces(self, found: list[bytes]) -> list[bytes]:
        """One piece at a time, or a reader would put them together again."""
        if not isinstance(self._effect, Chunks):
            raise TypeError(f"{self._effect} has no pieces")
        if found:
            self._rest, self._at = self._rest[self._at :] + b"".join(found), 0
        piece = self._rest[self._at : self._at + self._effect.size_bytes]
        self._at += len(piece)
        return [piece] if piece else []

    def _end(self, *, aborted: bool) -> None:
        self.close()
        self.aborted = aborted


def spoiled(made: ApiResponse | Watcher, effect: OnTheWay) -> ApiResponse | Watcher:
    """The answer, as the fault lets it through."""
    return Spoiled(made, effect) if isinstance(made, Watcher) else made
