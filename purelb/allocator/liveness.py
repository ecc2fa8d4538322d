# SPDX-License-Identifier: Apache-2.0
"""Which nodes are alive, judged by when *we* last saw their leases change.

A lease is dead only when its duration has passed on our clock since its last observed change, and the API server has answered
us after that moment, on the watch of leases as well: during an outage of the API nobody is declared dead, for nobody could have renewed,
nor while we only could not hear of it. A hostile lease costs at most 256 subnets.

A lease that we see for the first time may be that of a node long dead. Its own time of renewal is another machine's, so nobody is
judged by it: if by the wall clock it is older than the lease lasts, we are *unsure* until the lease changes, or until it has stood still for
its duration on our own clock, a minute at most, whatever it promises: then it is dead until it changes. From an unsure node nothing is
taken away, and for its sake nothing is given. A clock that is wrong costs a wait of one renewal.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from purelb.api import leases as words
from purelb.kube.lease import Observations
from purelb.kube.model import Lease, LeaseSpec, annotations
from purelb.net.ranges import IPNetwork
from purelb.net.subnets import parse_subnets

_DURATION_DEFAULT: Final = 10
_ASK_AGAIN: Final = 0.1
_ASK_AGAIN_MOST: Final = 2.0
_LATER_BY: Final = 0.1  # of the time that it has lasted

UNSURE_FOR: Final = 60


class Liveness:
    def __init__(self) -> None:
        self._seen: Observations[str] = Observations()
        self._subnets: dict[str, tuple[str, tuple[IPNetwork, ...]]] = {}
        self._unsure: set[str] = set()

    def saw(self, node: str, lease: Lease | None, now: float, *, wall: Callable[[], str]) -> None:
        """The newest lease of a node, None when there is none. `wall`: the time of day, as RFC 3339."""
        spec = lease.spec if lease is not None else None
        if lease is None or spec is None or not spec.holder_identity:
            self._seen.gone(node)
            self._subnets.pop(node, None)
            self._unsure.discard(node)
            return
        duration, first = spec.lease_duration_seconds or _DURATION_DEFAULT, node not in self._subnets
        old = first and _looks_old(spec, duration, wall())
        believed = min(duration, UNSURE_FOR) if old else duration
        news = self._seen.saw(node, fingerprint=spec, duration=believed, now=now)
        if old:
            self._unsure.add(node)
        elif news:
            self._unsure.discard(node)
        text = annotations(lease).get(words.SUBNETS, "")
        known = self._subnets.get(node)
        if known is None or known[0] != text:
            self._subnets[node] = (text, parse_subnets(text))

    def alive(self, now: float, *, answered_at: float) -> dict[str, tuple[IPNetwork, ...]]:
        """The living nodes and the subnets they advertise. `answered_at`: when the API server last answered us."""
        found: dict[str, tuple[IPNetwork, ...]] = {}
        for node in tuple(self._subnets):
            if node not in self._unsure and self._stands(node, now, answered_at):
                found[node] = self._subnets[node][1]
        return found

    def unsure(self, now: float, *, answered_at: float) -> frozenset[str]:
        """The nodes of which nobody knows yet whether they live."""
        return frozenset(node for node in self._unsure if self._stands(node, now, answered_at))

    def doubted(self, now: float, *, answered_at: float) -> bool:
        """Whether an expired lease waits for a sign of the API server."""
        return self._doubted_since(now, answered_at) is not None

    def deadline(self, now: float, *, answered_at: float) -> float | None:
        """When to look again: the next expiry, or soon when an expired lease waits for a sign of the API server, and less soon the longer it does."""
        expiry, since = self._seen.next_expiry(now), self._doubted_since(now, answered_at)
        if since is None:
            return expiry
        again = now + min(max(_ASK_AGAIN, _LATER_BY * (now - since)), _ASK_AGAIN_MOST)
        return min(again, expiry) if expiry is not None else again

    def _doubted_since(self, now: float, answered_at: float) -> float | None:
        """When the last of the leases expired that wait for a sign."""
        ends = (self._seen.valid_until(node) for node in self._subnets)
        return max((until for until in ends if until is not None and now >= until > answered_at), default=None)

    def _stands(self, node: str, now: float, answered_at: float) -> bool:
        """Whether the lease of a node has not run out."""
        until = self._seen.valid_until(node)
        return until is not None and not (now >= until and answered_at >= until)


def _looks_old(spec: LeaseSpec, duration: int, wall: str) -> bool:
    """Whether a lease has run out, if the clocks of its holder and of this machine agree. What is no time says nothing."""
    try:
        renewed, today = datetime.fromisoformat(spec.renew_time or ""), datetime.fromisoformat(wall)
    except ValueError:
        return False
    return renewed.tzinfo is not None and today - renewed >= timedelta(seconds=duration)
