# SPDX-License-Identifier: Apache-2.0
"""How often one address was put back: five times a minute at once, after that once per five seconds and by name.

Somebody who removes an address every second would otherwise make two programs burn a core against each other.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from purelb.net.ranges import IPAddress

AT_ONCE: Final = 5
WITHIN_S: Final = 60.0
EVERY_S: Final = 5.0


class Repairs:
    """One per agent; an address is forgotten after a minute of peace."""

    def __init__(self) -> None:
        self._recent: dict[IPAddress, deque[float]] = {}

    def due(self, ip: IPAddress, now: float) -> float:
        """When a repair asked for now may be made: `now`, or later when it is a fight."""
        recent = self._recent.setdefault(ip, deque(maxlen=AT_ONCE + 1))
        while recent and recent[0] <= now - WITHIN_S:
            recent.popleft()
        at = now if len(recent) <= AT_ONCE - 1 else max(now, recent[-1] + EVERY_S)
        recent.append(at)
        return at

    def fought_over(self, ip: IPAddress, now: float) -> bool:
        return len([at for at in self._recent.get(ip, ()) if at > now - WITHIN_S]) > AT_ONCE

    def forget_old(self, now: float) -> None:
        for ip in [ip for ip, recent in self._recent.items() if not recent or recent[-1] <= now - WITHIN_S]:
            del self._recent[ip]
