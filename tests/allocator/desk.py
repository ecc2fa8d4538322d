# SPDX-License-Identifier: Apache-2.0
"""The pure half of the allocator at one desk: plan, commit, and confirm whenever the test says so. Checks the ledger after each step."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from purelb.allocator.audit import broken
from purelb.allocator.groups import Groups
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger
from purelb.allocator.planning import Planned, plan
from purelb.allocator.ranges import ip_text
from purelb.allocator.refusals import Refusal
from purelb.allocator.serving import Rules
from purelb.allocator.sources.loans import Loans
from purelb.allocator.wish import Wish, read_wish
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.api.kinds import ServiceGroup
    from purelb.kube.model import Service
    from purelb.net.ranges import IPNetwork


class Desk:
    def __init__(self, *groups: ServiceGroup, rules: Rules | None = None) -> None:
        self.ledger = Ledger()
        self.rules = rules or Rules()
        self.labels: dict[str, Mapping[str, str]] = {}
        self.recorded: dict[ServiceKey, str] = {}
        self.now = 0.0
        self.advertised: tuple[IPNetwork, ...] = ()
        self.loans = Loans()
        self.configure(*groups)

    def configure(self, *groups: ServiceGroup) -> None:
        self.groups = Groups(
            groups, install_namespace=INSTALL, labels_of=lambda ns: self.labels.get(ns, {}), sources={"netbox"}
        )
        self.ledger.configure(
            self.groups.layouts,
            self.groups.atlas,
            reuse_delays=self.groups.reuse_delays,
            elsewhere=self.groups.elsewhere,
        )
        self.loans.configure(self.groups.elsewhere, self.now)
        self.check()

    def plan(self, service: Service) -> Planned | Refusal:
        wish = read_wish(service)
        if isinstance(wish, Refusal):
            return wish
        return plan(
            wish,
            recorded=self.recorded.get(wish.service),
            ledger=self.ledger,
            groups=self.groups,
            rules=self.rules,
            advertised=self.advertised,
            loans=self.loans,
        )

    def live(self, *subnets: str) -> None:
        """The living nodes advertise exactly these."""
        self.advertised = tuple(ip_network(text) for text in subnets)

    def ask(self, service: Service) -> Refusal | None:
        """Plan and commit; answers the refusal or the shortfall, if any. The write is not confirmed yet."""
        answer = self.plan(service)
        if isinstance(answer, Refusal):
            self.check()
            return answer
        self.ledger.commit(answer.plan)
        wish = read_wish(service)
        assert isinstance(wish, Wish)
        if (answer.agreed and answer.plan.shortfall is None) or answer.partial or wish.service not in self.recorded:
            self.recorded[wish.service] = wish.text
        self.check()
        return answer.plan.shortfall

    def get(self, service: Service) -> tuple[str, ...]:
        """Ask and confirm; answers what the Service then holds."""
        self.ask(service)
        self.confirm(service)
        return self.held(service)

    def held(self, service: Service) -> tuple[str, ...]:
        record = self.ledger.records.get(ServiceKey(service.metadata.namespace, service.metadata.name))
        return () if record is None else tuple(ip_text(address) for address in record.addresses)

    def confirm(self, service: Service) -> tuple[str, ...]:
        """The write of what the ledger says was applied; answers what became free of this Service."""
        service_key = ServiceKey(service.metadata.namespace, service.metadata.name)
        record = self.ledger.records.get(service_key)
        published = frozenset(record.addresses if record is not None else ())
        gone = self.ledger.confirm(service_key, published, self.now)
        self.check()
        return tuple(ip_text(address) for address in gone)

    def gone(self, service: Service) -> None:
        service_key = ServiceKey(service.metadata.namespace, service.metadata.name)
        self.ledger.release(service_key, self.now)
        self.recorded.pop(service_key, None)
        self.check()

    def check(self) -> None:
        found = list(broken(self.ledger))
        assert not found, "\n".join(found)
