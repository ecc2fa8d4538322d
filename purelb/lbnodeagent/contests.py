# SPDX-License-Identifier: Apache-2.0
"""Addresses we win and do not take because a Service names a living peer as their holder, and whether that name is old.

The allocator writes the names from the reports of the agents. While it is away a name may outlive what it says, and a peer
that does not hold an address never offers it: it would stay on no node. So after a while the peer's own report is read, and
a report without the address, made by the very agent whose lease lives, makes the name count for nothing.

Unknown is not empty: a report that could not be read, is cut off or was left by an earlier process proves nothing. At most
one question a second, and a minute until the next when the peer does list what is contested, which is the ordinary case of
a node that came back and waits to be offered its addresses. Looks at the link will replace all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection

    from purelb.net.ranges import IPAddress

PATIENCE_S: Final = 3.0
"""A peer that has just been given an address reports it within a second, and offers what it should give at once."""
EVERY_S: Final = 1.0
LISTED_AGAIN_S: Final = 60.0
UNKNOWN_AGAIN_MAX_S: Final = 60.0
DENIED_FOR_S: Final = 10.0
"""So long a denial counts, so that of two old names both can be found out."""


class _Contest(Struct):
    node: str
    ask_at: float
    failures: int = 0


class Contests:
    """One per agent, changed by its owner only. Holds at most one entry for each claim."""

    def __init__(self) -> None:
        self._open: dict[IPAddress, _Contest] = {}
        self._denied: dict[tuple[IPAddress, str], float] = {}
        self._next_at = float("-inf")

    def contested(self, ip: IPAddress, node: str, now: float) -> None:
        """We win `ip`, which `node`, alive, is said to hold."""
        known = self._open.get(ip)
        if known is None or known.node != node:
            self._open[ip] = _Contest(node, now + PATIENCE_S)

    def over(self, ip: IPAddress) -> None:
        self._open.pop(ip, None)

    def denied(self, ip: IPAddress, named: Collection[str], now: float) -> frozenset[str]:
        """Those of the named that said a moment ago that they do not hold it."""
        if not self._denied:
            return frozenset()
        return frozenset(node for node in named if now < self._denied.get((ip, node), float("-inf")) + DENIED_FOR_S)

    def deadline(self, ip: IPAddress | None = None) -> float | None:
        """When the next question is due, about `ip` or about any."""
        if ip is not None:
            found = self._open.get(ip)
            due = None if found is None else found.ask_at
        else:
            due = min((contest.ask_at for contest in self._open.values()), default=None)
        return None if due is None else max(due, self._next_at)

    def ask(self, now: float) -> str | None:
        """Whose report is to be read now; None when nobody's is due."""
        due = self.deadline()
        if due is None or now < due:
            return None
        self._next_at = now + EVERY_S
        return min(self._open.values(), key=lambda contest: contest.ask_at).node

    def told(
        self, node: str, announced: frozenset[IPAddress] | None, *, asked_at: float, now: float
    ) -> frozenset[IPAddress]:
        """What `node` says it announces, None when that is not known; the addresses that it does not hold after all."""
        self._denied = {key: at for key, at in self._denied.items() if now < at + DENIED_FOR_S}
        settled: set[IPAddress] = set()
        for ip, contest in self._open.items():
            if contest.node != node or contest.ask_at > asked_at:
                continue
            if announced is None:
                contest.failures = min(contest.failures + 1, 10)
                contest.ask_at = now + min(UNKNOWN_AGAIN_MAX_S, EVERY_S * 2.0 ** (contest.failures - 1))
            elif ip in announced:
                contest.failures, contest.ask_at = 0, now + LISTED_AGAIN_S
            else:
                self._denied[ip, node] = now
                settled.add(ip)
        for ip in settled:
            del self._open[ip]
        return frozenset(settled)
