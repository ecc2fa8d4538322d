# SPDX-License-Identifier: Apache-2.0
"""The ledger under everything that can happen to it: asking, editing, leaving, lost writes, edited groups, restarts.

The model is the world outside: what each Service's published status says. It changes only when a write is applied. The sentences
of the specification are invariants; `audit.broken` checks the ones about the ledger itself after every step.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from purelb.allocator.keys import ServiceKey
from purelb.allocator.learning import learn_all
from purelb.allocator.ledger import Ledger, Source
from purelb.allocator.ranges import Address, ip_text
from purelb.allocator.sharing import clash
from purelb.allocator.wish import Wish, ports_of, read_wish
from tests.allocator.desk import Desk
from tests.allocator.objects import group, ip, service, v4, v6

if TYPE_CHECKING:
    from purelb.allocator.refusals import Refusal
    from purelb.kube.model import Service

POOL = v4("192.0.2.10-192.0.2.13,192.0.2.8")
POOL6 = v6("2001:db8::1-2001:db8::3")
CONFIGURATIONS: tuple[Any, ...] = (
    lambda: [group("default", POOL, POOL6)],
    lambda: [
        group("default", v4("192.0.2.10/32"), priority=1),
        group("far", v4("192.0.2.11-192.0.2.14"), auto_assign=True, priority=2),
    ],
    lambda: [group("default", v4("192.0.2.10-192.0.2.13", exclude=("192.0.2.11",)), POOL6, quota_per_namespace=2)],
    lambda: [group("default", POOL, POOL6, drain=True)],
    lambda: [group("default", POOL, POOL6, reuse_delay="1m")],
    lambda: [group("shops", POOL, namespaces=("shop",), enforce_namespaces=True), group("default", POOL6, remote=True)],
    list,
)

NAMES = st.sampled_from([f"s{n}" for n in range(6)])
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "purelb.io/allow-shared-ip": st.sampled_from(["k1", "k2"]),
        "purelb.io/addresses": st.sampled_from(["192.0.2.10", "192.0.2.12", "192.0.2.8,2001:db8::2", "203.0.113.9"]),
        "purelb.io/service-group": st.sampled_from(["default", "far", "shops"]),
        "purelb.io/re-evaluate": st.just("true"),
    },
)
FAMILIES = st.sampled_from([("IPv4",), ("IPv6",), ("IPv4", "IPv6")])
POLICIES = st.sampled_from(["SingleStack", "PreferDualStack", "RequireDualStack"])
PORTS = st.lists(st.sampled_from([("TCP", 80), ("TCP", 443), ("UDP", 53)]), min_size=1, max_size=2, unique=True)


class AWorldThatKeepsChanging(RuleBasedStateMachine):
    @initialize(configuration=st.sampled_from(CONFIGURATIONS))
    def start(self, configuration: Any) -> None:
        self.desk = Desk(*configuration())
        self.services: dict[ServiceKey, Service] = {}
        self.published: dict[ServiceKey, tuple[Address, ...]] = {}
        self.uids = 0

    def _decide(self, asked: Service) -> Refusal | None:
        key = ServiceKey(asked.metadata.namespace, asked.metadata.name)
        self.services[key] = asked
        before = set(self.published.get(key, ()))
        kept_before = set(self.desk.ledger.records[key].addresses) if key in self.desk.ledger.records else set()
        refusal = self.desk.ask(asked)
        record = self.desk.ledger.records.get(key)
        if record is not None:
            assert before <= {*record.addresses, *record.leaving}, "what is published has to be confirmed gone first"
        wish = read_wish(asked)
        if isinstance(wish, Wish) and refusal is None and record is not None:
            families = {a[0] for a in record.addresses}
            wanted = wish.families[:1] if wish.policy == "SingleStack" else wish.families
            assert families == set(wanted)
            assert set(wish.addresses) <= set(record.addresses) or kept_before
        return refusal

    @rule(
        name=NAMES,
        namespace=st.sampled_from(["shop", "bank"]),
        noted=WISHES,
        families=FAMILIES,
        policy=POLICIES,
        ports=PORTS,
        local=st.booleans(),
    )
    def ask(
        self,
        name: str,
        namespace: str,
        noted: dict[str, str],
        families: tuple[str, ...],
        policy: str,
        ports: list[tuple[str, int]],
        local: bool,
    ) -> None:
        known = self.services.get(ServiceKey(namespace, name))
        if known is None:
            self.uids += 1
        asked = service(
            name,
            namespace=namespace,
            uid=known.metadata.uid if known is not None else f"u{self.uids}",
            created=known.metadata.creation_timestamp or ""
            if known is not None
            else f"2026-01-01T00:00:{self.uids % 60:02}Z",
            annotations=noted,
            families=families,
            policy=policy,
            ports=tuple(ports),
            external_traffic_policy="Local" if local else "Cluster",
        )
        self._decide(asked)
        assert self._decide(asked) == self._decide(asked), "deciding twice without a change decides nothing"

    @precondition(lambda self: self.services)
    @rule(pick=st.integers(0))
    def a_write_is_applied_and_confirmed(self, pick: int) -> None:
        key = sorted(self.services)[pick % len(self.services)]
        record = self.desk.ledger.records.get(key)
        self.published[key] = record.addresses if record is not None else ()
        gone = self.desk.ledger.confirm(key, frozenset(self.published[key]), self.desk.now)
        self.desk.check()
        assert not set(gone) & set(self.published[key])

    @precondition(lambda self: self.services)
    @rule(pick=st.integers(0))
    def a_write_is_applied_but_its_answer_is_lost(self, pick: int) -> None:
        key = sorted(self.services)[pick % len(self.services)]
        record = self.desk.ledger.records.get(key)
        self.published[key] = record.addresses if record is not None else ()

    @precondition(lambda self: self.services)
    @rule(pick=st.integers(0))
    def a_service_is_deleted(self, pick: int) -> None:
        key = sorted(self.services)[pick % len(self.services)]
        uid = self.services.pop(key).metadata.uid
        self.published.pop(key, None)
        self.desk.ledger.release(key, self.desk.now)
        self.desk.recorded.pop(key, None)
        self.desk.check()
        assert all(holder.uid != uid for claim in self.desk.ledger.claims.values() for holder in claim.holders.values())

    @rule(configuration=st.sampled_from(CONFIGURATIONS))
    def the_groups_are_edited(self, configuration: Any) -> None:
        before = {key: record.addresses for key, record in self.desk.ledger.records.items()}
        self.desk.configure(*configuration())
        assert {key: record.addresses for key, record in self.desk.ledger.records.items()} == before

    @rule(address=st.sampled_from(["192.0.2.10", "192.0.2.13", "2001:db8::1"]), there=st.booleans())
    def a_node_comes_or_goes(self, address: str, there: bool) -> None:
        self.desk.ledger.reserve(Source("node", "n1"), [ip(address)] if there else [])
        self.desk.check()

    @rule(seconds=st.sampled_from([10.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.desk.now += seconds
        for address in self.desk.ledger.expire(self.desk.now):
            assert address not in self.desk.ledger.claims
        self.desk.check()

    @rule()
    def the_process_is_killed_and_rebuilds_from_what_is_published(self) -> None:
        fresh = Ledger()
        fresh.configure(self.desk.groups.layouts, self.desk.groups.atlas, reuse_delays=self.desk.groups.reuse_delays)
        known = [
            service_with(self.services[key], self.published[key])
            for key in sorted(self.published)
            if self.published[key]
        ]
        for conflict in learn_all(known, ledger=fresh, groups=self.desk.groups, rules=self.desk.rules):
            assert clash_of_ports(self.services[conflict.service], self.services[conflict.older])
            left = tuple(a for a in self.published[conflict.service] if a != conflict.address)
            self.published[conflict.service] = left  # the write that follows at once
        self.desk.ledger = fresh
        self.desk.check()
        for key, addresses in self.published.items():
            if addresses:
                assert fresh.records[key].addresses == addresses, "no address is lost, and none is changed"

    @invariant()
    def no_published_address_is_free_or_held_by_others_who_may_not_share(self) -> None:
        if not hasattr(self, "desk"):
            return
        for key, addresses in self.published.items():
            for address in addresses:
                claim = self.desk.ledger.claims.get(address)
                assert claim is not None, f"{ip_text(address)} is published for {key} and free"
                assert key in claim.holders, (
                    f"{ip_text(address)} is published for {key} and held by {list(claim.holders)}"
                )

    @invariant()
    def nobody_holds_what_a_group_excludes_or_a_node_has_unless_it_held_it_before(self) -> None:
        if not hasattr(self, "desk"):
            return
        for claim in self.desk.ledger.claims.values():
            staying = [h for h in claim.holders.values() if h.state != "leaving"]
            if not claim.contested:
                assert all(clash(a.facts, b.facts) is None for a, b in combinations(staying, 2))


def clash_of_ports(one: Service, other: Service) -> bool:
    assert one.spec is not None
    assert other.spec is not None
    return not ports_of(one.spec).isdisjoint(ports_of(other.spec))


def service_with(known: Service, addresses: tuple[Address, ...]) -> Service:
    """The object as a restart finds it: same spec, the published ingress, our brand."""
    meta, spec = known.metadata, known.spec
    assert spec is not None
    return service(
        meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        created=meta.creation_timestamp or "",
        annotations={**(meta.annotations or {}), "purelb.io/allocated-by": "PureLB"},
        families=spec.ip_families or (),
        policy=spec.ip_family_policy,
        ports=tuple((port.protocol, port.port) for port in spec.ports or ()),
        ingress=tuple(ip_text(address) for address in addresses),
        external_traffic_policy=spec.external_traffic_policy,
    )


AWorldThatKeepsChanging.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestAWorldThatKeepsChanging = AWorldThatKeepsChanging.TestCase
