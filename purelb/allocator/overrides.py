# SPDX-License-Identifier: Apache-2.0
"""When externalTrafficPolicy Local on a local address is set to Cluster, and when we stop insisting.

One node answers for a local address; under Local it would drop what no Pod of its own can serve. So the policy is set to
Cluster unless its user said `allow-local`. Somebody who sets it back three times within ten minutes means it: for an hour it
stays Local, and the agents announce only from nodes with endpoints, so that traffic still works. Forgets with the process.
"""

from collections import deque

from purelb.allocator.keys import ServiceKey

TRIES = 3
WITHIN = 600.0
REST = 3600.0


class Overrides:
    def __init__(self) -> None:
        self._done: dict[ServiceKey, deque[float]] = {}
        self._rest_until: dict[ServiceKey, float] = {}

    def contested(self, service: ServiceKey, now: float) -> bool:
        """Whether the Service is left alone for now; an override asked for meanwhile would be the one too many."""
        until = self._rest_until.get(service)
        if until is not None:
            if now < until:
                return True
            del self._rest_until[service]
            self._done.pop(service, None)
        done = self._done.get(service, ())
        if sum(1 for at in done if now < at + WITHIN) >= TRIES:
            self._rest_until[service] = now + REST
            return True
        return False

    def rests_until(self, service: ServiceKey, now: float) -> float | None:
        """Until when the Service is left alone; None when it is not."""
        until = self._rest_until.get(service)
        return until if until is not None and now < until else None

    def overridden(self, service: ServiceKey, now: float) -> None:
        """We set Cluster."""
        self._done.setdefault(service, deque(maxlen=TRIES)).append(now)

    def forget(self, service: ServiceKey) -> None:
        """The Service is gone."""
        self._done.pop(service, None)
        self._rest_until.pop(service, None)
