# SPDX-License-Identifier: Apache-2.0
"""When an interface may advertise its subnets: not during a real loss of carrier, and not again before it is steady.

A loss shorter than 500 ms is a blink and changes nothing. After a real one the carrier must stay for 3 s, doubling to 60 s
with each loss within ten minutes, or a flapping cable would move its addresses back and forth. An interface seen for the
first time is believed as it is.
"""

from __future__ import annotations

from msgspec import Struct

BLINK_S = 0.5
STEADY_S = 3.0
STEADY_MAX_S = 60.0
MEMORY_S = 600.0


class _Link(Struct):
    carrier: bool
    usable: bool
    since: float
    losses: tuple[float, ...] = ()


class Carriers:
    """One per agent. `saw` tells it, `usable` asks it, `deadline` says when an answer changes by itself."""

    def __init__(self) -> None:
        self._links: dict[int, _Link] = {}

    def saw(self, ifindex: int, *, carrier: bool, now: float) -> None:
        """The carrier (and administrative state) of an interface at this moment; repeated words change nothing."""
        link = self._links.get(ifindex)
        if link is None:
            self._links[ifindex] = _Link(carrier=carrier, usable=carrier, since=now)
            return
        self._pass_time(link, now)
        if link.carrier != carrier:
            link.carrier, link.since = carrier, now

    def gone(self, ifindex: int) -> None:
        self._links.pop(ifindex, None)

    def usable(self, ifindex: int, now: float) -> bool:
        link = self._links.get(ifindex)
        if link is None:
            return False
        self._pass_time(link, now)
        return link.usable

    def deadline(self) -> float | None:
        """When the earliest pending change of `usable` is due; None when nothing is pending."""
        return min(
            (link.since + self._wait(link) for link in self._links.values() if link.carrier != link.usable),
            default=None,
        )

    def _pass_time(self, link: _Link, now: float) -> None:
        if link.carrier == link.usable or now < (due := link.since + self._wait(link)):
            return
        link.usable = link.carrier
        if not link.usable:
            link.losses = (*(lost for lost in link.losses if lost > due - MEMORY_S), due)

    @staticmethod
    def _wait(link: _Link) -> float:
        if not link.carrier:
            return BLINK_S
        recent = sum(1 for lost in link.losses if lost > link.since - MEMORY_S)
        return min(STEADY_MAX_S, STEADY_S * 2.0 ** max(0, recent - 1))
