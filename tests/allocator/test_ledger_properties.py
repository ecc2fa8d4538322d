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

from purelb.allocator.attribution import home_of
from purelb.allocator.claims import Source
from purelb.allocator.keys import ServiceKey
from purelb.allocator.learning import learn_all
from purelb.allocator.ledger import Ledger
from purelb.allocator.planning import Planned
from purelb.allocator.ranges import Address, ip_text
from purelb.allocator.refusals import Refusal
from purelb.allocator.sharing import clash
from purelb.allocator.sources.answers import Taken, check
from purelb.allocator.sources.loans import Loan, Loans
from purelb.allocator.sources.source import Held
from purelb.allocator.wish import Wish, ports_of, read_wish
from purelb.api import reasons
from tests.allocator.desk import Desk
from tests.allocator.ipam import lie
from tests.allocator.objects import elsewhere, group, ip, service, v4, v6

if TYPE_CHECKING:
    from purelb.allocator.sources.ask import Asked
    from purelb.kube.model import Service

POOL = v4("192.0.2.10-192.0.2.13,192.0.2.8")
POOL6 = v6("2001:db8::1-2001:db8::3")
RACKS = (POOL, v4("198.51.100.1-198.51.100.2", "198.51.100.0/24"), v4("203.0.113.1/32", "203.0.113.0/24"))
SUBNETS = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/64")
LENT = ("10.0.0.1", "10.0.0.2", "2001:db8:5::1", "192.0.2.10", "224.0.0.1", "nonsense")
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
SEVERAL: tuple[Any, ...] = (
    lambda: [group("default", *RACKS, POOL6, pools={"multi_pool": True})],
    lambda: [group("default", *RACKS[:1], pools={"multi_pool": True}, reuse_delay="1m", quota_per_namespace=3)],
    lambda: [group("far", *RACKS, remote=True, pools={"multi_pool": True}, auto_assign=True), group("default", POOL6)],
    lambda: [group("default", *RACKS, POOL6)],
)
BORROWED: tuple[Any, ...] = (
    lambda: [elsewhere("default")],
    lambda: [group("default", *RACKS, priority=2), elsewhere("lent", auto_assign=True, priority=1)],
    lambda: [elsewhere("default", reuse_delay="1m", quota_per_namespace=1), elsewhere("lent")],
    lambda: [elsewhere("default", drain=True), group("lent", POOL)],
)
THEMES = (CONFIGURATIONS, SEVERAL, BORROWED, (*SEVERAL, *BORROWED))

NAMES = st.sampled_from([f"s{n}" for n in range(6)])
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "purelb.io/allow-shared-ip": st.sampled_from(["k1", "k2"]),
        "purelb.io/addresses": st.sampled_from(["192.0.2.10", "192.0.2.12", "192.0.2.8,2001:db8::2", "203.0.113.9"]),
        "purelb.io/service-group": st.sampled_from(["default", "far", "shops", "lent"]),
        "purelb.io/multi-pool": st.sampled_from(["true", "false"]),
        "purelb.io/re-evaluate": st.just("true"),
    },
)
FAMILIES = st.sampled_from([("IPv4",), ("IPv6",), ("IPv4", "IPv6")])
POLICIES = st.sampled_from(["SingleStack", "PreferDualStack", "RequireDualStack"])
PORTS = st.lists(st.sampled_from([("TCP", 80), ("TCP", 443), ("UDP", 53)]), min_size=1, max_size=2, unique=True)


class AWorldThatKeepsChanging(RuleBasedStateMachine):
    @initialize(theme=st.sampled_from(THEMES))
    def start(self, theme: Any) -> None:
        self.theme = theme
        self.desk = Desk(*theme[0]())
        self.services: dict[ServiceKey, Service] = {}
        self.published: dict[ServiceKey, tuple[Address, ...]] = {}
        self.uids = 0
        self.pending: dict[ServiceKey, Asked] = {}
        self.desk.live(*SUBNETS[:2])
        self.sources_say_what_they_hold_and_take_back_what_returns(answered=True)

    def _decide(self, asked: Service) -> Refusal | None:
        key = ServiceKey(asked.metadata.namespace, asked.metadata.name)
        self.services[key] = asked
        before = set(self.published.get(key, ()))
        kept_before = set(self.desk.ledger.records[key].addresses) if key in self.desk.ledger.records else set()
        refusal = self.desk.ask(asked)
        self._lend(key, refusal)
        record = self.desk.ledger.records.get(key)
        if record is not None:
            assert before <= {*record.addresses, *record.leaving}, "what is published has to be confirmed gone first"
            self._nobody_is_given_what_is_excluded_or_reserved({*record.addresses} - kept_before - before)
        if refusal is not None:
            told = reasons.ALLOCATED_REASONS[refusal.reason]
            assert not told.status
            assert refusal.waits or refusal.ask is not None or refusal.reason == reasons.INVALID_REQUEST, (
                "nothing would ever have it asked again"
            )
        wish = read_wish(asked)
        if isinstance(wish, Wish) and refusal is None and record is not None:
            families = {a[0] for a in record.addresses}
            wanted = wish.families[:1] if wish.policy == "SingleStack" else wish.families
            assert families == set(wanted)
            assert set(wish.addresses) <= set(record.addresses) or kept_before
        return refusal

    def _nobody_is_given_what_is_excluded_or_reserved(self, given: set[Address]) -> None:
        for address in given:
            place = self.desk.ledger.pools.where(address)
            assert place is None or not place.excluded, f"{ip_text(address)} is excluded"
            assert address not in self.desk.ledger.reserved, f"{ip_text(address)} is reserved"
            kept_back = self.desk.ledger.quarantine.kept_for(address)
            assert kept_back is None, f"{ip_text(address)} is in use, and still kept back"

    def _lend(self, key: ServiceKey, refusal: Refusal | None) -> None:
        """What the steps of the owner do with an ask, and with what was granted and is not used."""
        self.pending.pop(key, None)
        if refusal is not None and refusal.ask is not None:
            self.pending[key] = refusal.ask
            return
        loans, claims = self.desk.loans, self.desk.ledger.claims
        for address, loan in loans.decided(key):
            if address not in claims or key not in claims[address].holders:
                loans.give_back(loan, address, self.desk.now)

    def _freed(self) -> None:
        """What nobody holds any more goes back."""
        loans, ledger = self.desk.loans, self.desk.ledger
        for address, loan in list(loans.book.items()):
            granted = address in loans.granted(loan.held.service)
            if address not in ledger.claims and address not in ledger.quarantine and not granted:
                loans.give_back(loan, address, self.desk.now)

    @precondition(lambda self: self.pending)
    @rule(pick=st.integers(0), ips=st.lists(st.sampled_from(LENT), max_size=3), refuses=st.booleans())
    def a_source_answers_late(self, pick: int, ips: list[str], refuses: bool) -> None:
        self._answer(sorted(self.pending)[pick % len(self.pending)], ips, refuses=refuses)

    def _answer(self, key: ServiceKey, ips: list[str], *, refuses: bool) -> None:
        asked, loans, ledger = self.pending.pop(key), self.desk.loans, self.desk.ledger
        if refuses:
            loans.refuse(asked.group, asked.ask, Refusal("PoolExhausted", "nothing is free"), self.desk.now)
            return

        def taken(address: Address) -> Taken | None:
            others = (
                [other for other in ledger.claims[address].holders if other != key] if address in ledger.claims else []
            )
            known = loans.taken(key, asked.ask.uid, address) or ("is held" if others else None)
            if known is not None:
                return Taken(known, ours=False)
            unfit = ledger.pools.where(address) is not None or address in ledger.reserved
            return Taken("is not to be had", ours=True) if unfit else None

        checked = check(asked.ask, lie(*ips), parents=(), taken=taken)
        for address, grant in checked.good:
            loans.grant(key, address, Loan(asked.group, Held(key, asked.ask.uid, grant.ip)))
        if key in self.services:
            self._decide(self.services[key])

    @rule(subnets=st.sets(st.sampled_from(SUBNETS)))
    def other_nodes_are_alive(self, subnets: set[str]) -> None:
        self.desk.live(*subnets)

    @rule(answered=st.booleans())
    def sources_say_what_they_hold_and_take_back_what_returns(self, answered: bool) -> None:
        self._freed()
        for lender in self.desk.loans.lenders.values():
            lender.refusal = None if answered else lender.refusal
        for back in list(self.desk.loans.returning.values()):
            if back.due <= self.desk.now:
                self.desk.loans.returned(back)

    @rule(
        name=NAMES,
        namespace=st.sampled_from(["shop", "bank"]),
        noted=WISHES,
        families=FAMILIES,
        policy=POLICIES,
        ports=PORTS,
        local=st.booleans(),
        gives=st.sampled_from(["right", "right", "lies", "later"]),
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
        gives: str,
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
        key = ServiceKey(namespace, name)
        if (pending := self.pending.get(key)) is not None and gives != "later":
            right = {4: f"10.0.0.{self.uids}", 6: f"2001:db8:5::{self.uids:x}"}
            told = [right[family] for family in pending.ask.families] or [ip_text(a) for a in pending.ask.addresses]
            self._answer(key, told if gives == "right" else [*LENT], refuses=False)
        assert self._decide(asked) == self._decide(asked), "deciding twice without a change decides nothing"

    @invariant()
    def who_takes_one_of_each_entry_lacks_none_that_could_be_given(self) -> None:
        if not hasattr(self, "desk"):
            return
        for asked in self.services.values():
            planned = self.desk.plan(asked)
            if isinstance(planned, Planned) and planned.several and planned.plan.shortfall is None:
                group = self.desk.groups.accepted[planned.several]
                wish = read_wish(asked)
                assert isinstance(wish, Wish)
                held = {self.desk.ledger.pools.entry_of(address) for address in planned.plan.addresses}
                pinned = {address[0] for address in wish.addresses}
                for family in {*wish.families[: 1 if wish.policy == "SingleStack" else 2]} - pinned:
                    assert set(self.desk.ledger.pools.entries_of(group.name, family)) <= held

    @invariant()
    def what_was_lent_is_in_use_or_on_its_way_back(self) -> None:
        if not hasattr(self, "desk"):
            return
        loans, ledger = self.desk.loans, self.desk.ledger
        for address, claim in ledger.claims.items():
            if claim.entry is not None and claim.entry.group in self.desk.groups.elsewhere:
                assert address in loans.book, f"{ip_text(address)} is used and nobody lent it"
        for address, loan in loans.book.items():
            used = address in ledger.claims or address in ledger.quarantine or loans.is_returning(address)
            assert (
                used
                or address in loans.granted(loan.held.service)
                or loan.group not in loans.lenders
                or self.idle(address)
            )

    def idle(self, address: Address) -> bool:
        """Whether an address goes back with the next step."""
        before = self.desk.loans.is_returning(address)
        self._freed()
        return not before and (self.desk.loans.is_returning(address) or address not in self.desk.loans.book)

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
        self._lend(key, None)
        self.desk.loans.forget(key)
        self.desk.check()
        assert all(holder.uid != uid for claim in self.desk.ledger.claims.values() for holder in claim.holders.values())

    @rule(pick=st.integers(0, 11), answered=st.booleans())
    def the_groups_are_edited(self, pick: int, answered: bool) -> None:
        before = {key: record.addresses for key, record in self.desk.ledger.records.items()}
        self.desk.configure(*self.theme[pick % len(self.theme)]())
        assert {key: record.addresses for key, record in self.desk.ledger.records.items()} == before
        self.sources_say_what_they_hold_and_take_back_what_returns(answered=answered)

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

    def _noted(self, key: ServiceKey) -> dict[str, str]:
        """What the annotations say of the groups of what is published."""
        names = [home_of(a, ledger=self.desk.ledger, groups=self.desk.groups).name or "?" for a in self.published[key]]
        return {"purelb.io/allocated-from": ", ".join(names)}

    @rule()
    def the_process_is_killed_and_rebuilds_from_what_is_published(self) -> None:
        fresh = Ledger()
        fresh.configure(
            self.desk.groups.layouts,
            self.desk.groups.atlas,
            reuse_delays=self.desk.groups.reuse_delays,
            elsewhere=self.desk.groups.elsewhere,
        )
        known = [
            service_with(self.services[key], self.published[key], self._noted(key))
            for key in sorted(self.published)
            if self.published[key]
        ]
        for conflict in learn_all(known, ledger=fresh, groups=self.desk.groups, rules=self.desk.rules):
            assert clash_of_ports(self.services[conflict.service], self.services[conflict.older])
            left = tuple(a for a in self.published[conflict.service] if a != conflict.address)
            self.published[conflict.service] = left  # the write that follows at once
        self.desk.ledger = fresh
        self.pending.clear()
        self.desk.loans = Loans()
        self.desk.loans.configure(self.desk.groups.elsewhere, self.desk.now)
        for address, claim in fresh.claims.items():
            if claim.entry is not None and claim.entry.group in self.desk.groups.elsewhere:
                other, holder = next(iter(claim.holders.items()))
                self.desk.loans.book[address] = Loan(claim.entry.group, Held(other, holder.uid, ip_text(address)))
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
    def the_holders_of_an_address_may_share_it_unless_it_is_contested(self) -> None:
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


def service_with(known: Service, addresses: tuple[Address, ...], noted: dict[str, str]) -> Service:
    """The object as a restart finds it: same spec, the published ingress, our brand."""
    meta, spec = known.metadata, known.spec
    assert spec is not None
    return service(
        meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        created=meta.creation_timestamp or "",
        annotations={**(meta.annotations or {}), **noted, "purelb.io/allocated-by": "PureLB"},
        families=spec.ip_families or (),
        policy=spec.ip_family_policy,
        ports=tuple((port.protocol, port.port) for port in spec.ports or ()),
        ingress=tuple(ip_text(address) for address in addresses),
        external_traffic_policy=spec.external_traffic_policy,
    )


AWorldThatKeepsChanging.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestAWorldThatKeepsChanging = AWorldThatKeepsChanging.TestCase
