# SPDX-License-Identifier: Apache-2.0
"""The body of a long list, cut into its items without ever being in one piece.

Ten thousand Services are twenty megabytes. To put the chunks of such a body together costs the loop 15 ms, on a busy machine 80,
since each page of the new memory is a fault; to find where each item ends, as a reader of JSON does, another 25. But servers
begin all items of a list alike, `{"metadata":{`, or the same with apiVersion and kind in front. So what stands between two items
is known from the first one, and can be looked for in each chunk as it is.

It is a guess, and whoever uses it judges it. No string of JSON can hold what is looked for, since its quotes would be escaped; but
an item may hold a list that looks the same, and then what comes out is no whole JSON. Whoever meets that has the body put
together and read as a whole. Where each piece is whole, and what is left is a list, the pieces are its items.
"""

from __future__ import annotations

from typing import Final

ITEMS: Final = b'"items":['
METADATA: Final = b'"metadata":{'
HEAD_MAX_BYTES: Final = 16 * 1024  # before the items: kind, version, a token
BEGINNING_MAX_BYTES: Final = 512  # of an item, up to its metadata


class ItemSplitter:
    """Chunks in, items out, in order; the last item stays in `rest`, and those before it that were not looked for."""

    def __init__(self) -> None:
        self._head = b""
        self._between = b""
        self._tail: list[bytes] = []
        self._known_bytes = 0  # of the tail, so many hold no end of an item
        self._new_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The items that `chunk` completes; may be none."""
        self._tail.append(chunk)
        self._new_bytes += len(chunk)
        if self._new_bytes < self._known_bytes:
            return []  # what is as long as many chunks is looked through again when there is twice as much of it
        data = b"".join(self._tail)
        items: list[bytes] = []
        if not self._between:
            data = self._begin(data)
        if self._between:
            at = 0
            while (end := data.find(self._between, at)) >= 0:
                items.append(data[at : end + 1])
                at = end + 2
            data = data[at:]
        self._tail, self._known_bytes, self._new_bytes = [data], len(data), 0
        return items

    def rest(self) -> bytes | None:
        """The list as it would be if it had only the items that did not come out; None where there was nothing to go by."""
        return self._head + b"".join(self._tail) if self._between else None

    def _begin(self, data: bytes) -> bytes:
        """What of the beginning belongs to items, if it is seen where they begin and how."""
        found = data.find(ITEMS, 0, HEAD_MAX_BYTES)
        first = found + len(ITEMS)
        named = data.find(METADATA, first, first + BEGINNING_MAX_BYTES) if found >= 0 else -1
        if named < 0:
            return data
        self._head, self._between = data[:first], b"}," + data[first : named + len(METADATA)]
        return data[first:]
