# SPDX-License-Identifier: Apache-2.0
"""Which node's kernel has which address, now and before. Pure.

The truth about an announcement is the kernel's, not an annotation's. `Holders` takes what the kernels of all nodes say, one address at a time, and keeps
the present holders of every address and a bounded history of changes, from which the longest time with two holders, or with none, can be read.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.net.ranges import IPAddress

# Enough for a demo or a test; a sandbox left running for days forgets its oldest moves.
HISTORY_MAX: Final = 10_000


class Holder(msgspec.Struct, frozen=True, gc=False, order=True):
    node: str
    interface: str


class Move(msgspec.Struct, frozen=True, gc=False):
    """At `at` (CLOCK_MONOTONIC) `holder` got the address, or lost it."""

    at: float
    address: str
    holder: Holder
    gained: bool


class Holders:
    def __init__(self) -> None:
        self._held: dict[IPAddress, set[Holder]] = {}
        self._history: deque[Move] = deque(maxlen=HISTORY_MAX)

    def seen(self, address: IPAddress, holder: Holder, *, present: bool, at: float) -> None:
        """A kernel says that it has the address, or no longer has it. Saying the same again changes nothing."""
        holders = self._held.setdefault(address, set())
        if present == (holder in holders):
            return
        if present:
            holders.add(holder)
        else:
            holders.discard(holder)
            if not holders:
                del self._held[address]
        self._history.append(Move(at, str(address), holder, present))

    def replace(self, node: str, have: frozenset[tuple[IPAddress, str]], *, at: float) -> None:
        """A whole dump of one node's kernel."""
        before = {
            (address, holder) for address, holders in self._held.items() for holder in holders if holder.node == node
        }
        after = {(address, Holder(node, interface)) for address, interface in have}
        for address, holder in before - after:
            self.seen(address, holder, present=False, at=at)
        for address, holder in after - before:
            self.seen(address, holder, present=True, at=at)

    def now(self) -> Mapping[str, tuple[Holder, ...]]:
        """The present holders by address, both sorted."""
        return {str(address): tuple(sorted(holders)) for address, holders in sorted(self._held.items(), key=_order)}

    def history(self, *, since: float = 0.0) -> tuple[Move, ...]:
        return tuple(move for move in self._history if move.at >= since)


def _order(entry: tuple[IPAddress, set[Holder]]) -> tuple[int, int]:
    return entry[0].version, int(entry[0])
