# SPDX-License-Identifier: Apache-2.0
"""What the probes of the client saw last, by address and port, for `status`. Pure.

Probes run as visitors, each on its own; whoever runs one tells the sandbox what it counted, once a second and at its end, and the last word on a target
takes the place of the one before. So a probe that was killed stands there as it was last heard of, with its age. Bounded: who asks more targets than
`TARGETS_MAX` is shown the latest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

TARGETS_MAX: Final = 64


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`last_gap_s`: the latest time without an answer, 0 if none was lost. `node`: whose backend answered last, empty for nobody."""

    address: str
    port: int
    sent: int
    lost: int
    last_gap_s: float
    longest_gap_s: float
    node: str = ""


class ProbeResults:
    def __init__(self) -> None:
        self._last: dict[tuple[str, int], tuple[ProbeResult, float]] = {}

    def heard(self, result: ProbeResult, *, now: float) -> None:
        """What a probe has counted so far."""
        target = result.address, result.port
        self._last.pop(target, None)  # the latest stands last
        self._last[target] = result, now
        while len(self._last) > TARGETS_MAX:
            del self._last[next(iter(self._last))]

    def shown(self, *, now: float) -> tuple[Mapping[str, Any], ...]:
        """The latest first."""
        return tuple(
            {
                "address": result.address,
                "port": result.port,
                "sent": result.sent,
                "lost": result.lost,
                "lastGapSeconds": result.last_gap_s,
                "longestGapSeconds": result.longest_gap_s,
                "node": result.node,
                "secondsAgo": round(max(0.0, now - at), 1),
            }
            for result, at in reversed(self._last.values())
        )
