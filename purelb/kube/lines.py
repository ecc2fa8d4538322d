# SPDX-License-Identifier: Apache-2.0
"""A stream of bytes, cut at any place, as whole lines.

A watch is one JSON object a line. Lines end with LF or CRLF, blank ones are skipped, and a last line without its end is
unfinished: it is never handed out, because half an object may still be valid JSON to a lenient reader.

The pieces of an unfinished line are kept apart and joined once, so a line that arrives in ten thousand chunks costs no
more than its length. A line longer than the limit is a protocol error: nobody is made to hold it.
"""

from __future__ import annotations

from typing import Final

from purelb.kube.errors import TransportError

LINE_MAX_BYTES: Final = 16 * 1024 * 1024


class LineSplitter:
    """Chunks in, whole lines out, in order. Not usable after it raised."""

    def __init__(self, *, line_max_bytes: int = LINE_MAX_BYTES) -> None:
        self._line_max_bytes = line_max_bytes
        self._tail: list[bytes] = []
        self._tail_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their ends; may be empty.

        Raises `TransportError` of kind `protocol` when a line is longer than the limit.
        """
        head, *rest = chunk.split(b"\n")
        if not rest:
            self._keep(head)
            return []
        if self._tail:
            self._keep(head)
            head = b"".join(self._tail)
            self._tail.clear()
            self._tail_bytes = 0
        last = rest.pop()
        lines = [line for raw in (head, *rest) if (line := raw.rstrip(b"\r"))]
        self._keep(last)
        return lines

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._tail_bytes += len(piece)
        if self._tail_bytes > self._line_max_bytes:
            raise TransportError("protocol", f"a line of the stream is longer than {self._line_max_bytes} bytes")
        self._tail.append(piece)
