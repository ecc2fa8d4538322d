# SPDX-License-Identifier: Apache-2.0
"""Who asks for which address: Services in one direction, claims in the other, one function that writes both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.lbnodeagent.claims import Ask, Claim, Healthy, Unfit, asks, claim_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.api.groups import Group
    from purelb.kube.model import Service
    from purelb.net.ranges import IPAddress


class Asked:
    """One per agent, changed by its owner only."""

    def __init__(self) -> None:
        self.claims: dict[IPAddress, Claim] = {}
        self.unfit: dict[str, tuple[Unfit, ...]] = {}
        self._by_service: dict[str, tuple[Ask, ...]] = {}
        self._by_ip: dict[IPAddress, dict[str, Ask]] = {}

    def take(
        self, name: str, service: Service | None, *, groups: Mapping[str, Group], healthy: Healthy
    ) -> frozenset[IPAddress]:
        """What a Service asks for now (None: it is gone); the addresses whose claim changed."""
        found, unfit = asks(service, groups) if service is not None else ((), ())
        if unfit:
            self.unfit[name] = unfit
        else:
            self.unfit.pop(name, None)
        before = self._by_service.get(name, ())
        if before == found and not any(ask.local_policy or ask.affinity for ask in found):
            return frozenset()
        for ask in before:
            several = self._by_ip[ask.ip]
            del several[name]
            if not several:
                del self._by_ip[ask.ip]
        for ask in found:
            self._by_ip.setdefault(ask.ip, {})[name] = ask
        if found:
            self._by_service[name] = found
        else:
            self._by_service.pop(name, None)
        touched = {ask.ip for ask in before} | {ask.ip for ask in found}
        return frozenset(ip for ip in touched if self._claim(ip, healthy))

    def services(self) -> frozenset[str]:
        """Those that ask for something."""
        return frozenset(self._by_service)

    def needs_endpoints(self) -> frozenset[str]:
        """Services whose slices decide something."""
        return frozenset(
            name for name, found in self._by_service.items() if any(ask.local_policy or ask.affinity for ask in found)
        )

    def of(self, name: str) -> tuple[Ask, ...]:
        return self._by_service.get(name, ())

    def _claim(self, ip: IPAddress, healthy: Healthy) -> bool:
        claim = claim_of(ip, self._by_ip.get(ip, {}).values(), healthy)
        if claim == self.claims.get(ip):
            return False
        if claim is None:
            del self.claims[ip]
        else:
            self.claims[ip] = claim
        return True
