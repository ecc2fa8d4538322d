# SPDX-License-Identifier: Apache-2.0
"""Which nodes are alive, judged by when *we* last saw their leases change.

A lease is dead only when its duration has passed on our clock since its last observed change, and the API server has answered
us after that moment: during an outage of the API nobody is declared dead, for nobody could have renewed. Timestamps in
leases are other machines' and never read. A hostile lease costs at most 256 subnets.
"""

from typing import Final

from purelb.api import leases as words
from purelb.kube.lease import Observations
from purelb.kube.model import Lease, annotations
from purelb.net.ranges import IPNetwork
from purelb.net.subnets import parse_subnets

_DURATION_DEFAULT: Final = 10
_ASK_AGAIN: Final = 0.1


class Liveness:
    def __init__(self) -> None:
        self._seen: Observations[str] = Observations()
        self._subnets: dict[str, tuple[str, tuple[IPNetwork, ...]]] = {}

    def saw(self, node: str, lease: Lease | None, now: float) -> None:
        """The newest lease of a node, None when there is none."""
        spec = lease.spec if lease is not None else None
        if lease is None or spec is None or not spec.holder_identity:
            self._seen.gone(node)
            self._subnets.pop(node, None)
            return
        self._seen.saw(node, fingerprint=spec, duration=spec.lease_duration_seconds or _DURATION_DEFAULT, now=now)
        text = annotations(lease).get(words.SUBNETS, "")
        known = self._subnets.get(node)
        if known is None or known[0] != text:
            self._subnets[node] = (text, parse_subnets(text))

    def alive(self, now: float, *, answered_at: float) -> dict[str, tuple[IPNetwork, ...]]:
        """The living nodes and the subnets they advertise. `answered_at`: when the API server last answered us."""
        found: dict[str, tuple[IPNetwork, ...]] = {}
        for node in tuple(self._subnets):
            until = self._seen.valid_until(node)
            if until is not None and not (now >= until and answered_at >= until):
                found[node] = self._subnets[node][1]
        return found

    def doubted(self, now: float, *, answered_at: float) -> bool:
        """Whether an expired lease waits for a sign of the API server."""
        return any(
            until is not None and now >= until > answered_at
            for until in map(self._seen.valid_until, tuple(self._subnets))
        )

    def deadline(self, now: float, *, answered_at: float) -> float | None:
        """When to look again: the next expiry, or soon when an expired lease waits for a sign of the API server."""
        expiry = self._seen.next_expiry(now)
        if self.doubted(now, answered_at=answered_at):
            return min(now + _ASK_AGAIN, expiry) if expiry is not None else now + _ASK_AGAIN
        return expiry
