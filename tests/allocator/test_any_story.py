# SPDX-License-Identifier: Apache-2.0
"""Stories that nobody would think of, played in the theatre: every edit a user or an operator can make, in any order, with every
end a write can have, and an allocator that dies at any step.

After each step the ledger keeps I1 to I9; no write takes an address from a Service whose user did not ask, or puts two on one that
may not share. Once all is healed there is rest; a fresh allocator finds nothing to do; and when everything is deleted nothing is left.
One seed is one story. To play some again: `python -m tests.allocator.test_any_story FIRST LAST`.
"""

from __future__ import annotations

import sys
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from purelb.allocator.observed import OUR_CONDITIONS, conditions_of, published
from purelb.allocator.ranges import ip_text
from purelb.allocator.sharing import clash
from purelb.allocator.wish import Wish, read_wish, rough_wish
from purelb.api import annotations as words
from purelb.api import leases
from purelb.api.kinds import Announced, InterfaceReport, LBNodeStatus, NodeReport, Withheld
from purelb.kube.model import (
    LabelSelector,
    Lease,
    LeaseSpec,
    Namespace,
    Node,
    NodeAddress,
    NodeStatus,
    ObjectMeta,
    ServicePort,
)
from tests.allocator.objects import INSTALL, group, ip, service, v4, v6
from tests.allocator.sentences import name
from tests.allocator.theatre import Broken, Outcome, Theatre

if TYPE_CHECKING:
    from purelb.allocator.ranges import Address
    from purelb.api.kinds import ServiceGroup
    from purelb.kube.model import Service

OUR_CLASS = "purelb.io/purelb"
REST = 4000.0  # longer than anything that is waited for: an hour of rest after three overrides

ROOM = dict.fromkeys(("PoolExhausted", "QuotaExceeded", "NoActiveSubnet"), "no room")

ADDRESSES = ("192.0.2.10", "192.0.2.12", "192.0.2.20", "192.0.2.8,2001:db8::2", "2001:db8::3", "203.0.113.9")
SHAPES: tuple[dict[str, Any], ...] = (
    {"ip_families": ("IPv4",), "ip_family_policy": "SingleStack"},
    {"ip_families": ("IPv6",), "ip_family_policy": "SingleStack"},
    {"ip_families": ("IPv4", "IPv6"), "ip_family_policy": "PreferDualStack"},
    {"ip_families": ("IPv4", "IPv6"), "ip_family_policy": "RequireDualStack"},
    {"ip_families": ("IPv6", "IPv4"), "ip_family_policy": "PreferDualStack"},
    {"ip_families": ("IPv4",), "ip_family_policy": "PreferDualStack"},
    {"external_traffic_policy": "Local"},
    {"external_traffic_policy": "Cluster"},
    {"selector": {"app": "one"}},
    {"ports": (ServicePort(protocol="TCP", port=80),)},
    {"ports": (ServicePort(protocol="TCP", port=81),)},
    {"ports": (ServicePort(protocol="TCP", port=80), ServicePort(protocol="UDP", port=80))},
)
NOTES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    ("purelb.io/allow-shared-ip", ("k1", "k1", "k2", None, None)),
    ("purelb.io/addresses", (*ADDRESSES, None, None, None, None, None, "nonsense")),
    ("purelb.io/service-group", ("default", "far", "racks", "nowhere", None, None, None)),
    ("purelb.io/multi-pool", ("true", "false", None, None)),
    ("purelb.io/re-evaluate", ("true", None, None)),
    ("purelb.io/allow-local", ("", None, None)),
)
POOLS = ("192.0.2.10/32", "192.0.2.10-192.0.2.12", "192.0.2.12,192.0.2.10-192.0.2.11,192.0.2.8", "192.0.2.8-192.0.2.13")


class Story:
    def __init__(self, seed: int) -> None:
        self.world = Theatre(seed)
        self.rng = self.world.rng
        self.created = 0
        for name_ in ("shop", "bank"):
            self.world.put("namespaces", Namespace(metadata=ObjectMeta(name=name_, labels={"team": name_})))
        for made in (self.default(), self.far(), self.racks()):
            self.world.put("groups", made)
        self.world.begin()

    # What there is

    def where(self) -> str:
        return f"{self.rng.choice(('shop', 'shop', 'bank'))}/{self.rng.choice('abcde')}"

    def maybe(self, **fields: Any) -> dict[str, Any]:
        """Each field, or not."""
        return {field: value for field, value in fields.items() if self.rng.random() < 0.3}

    def spec(self) -> dict[str, Any]:
        rng = self.rng
        return self.maybe(
            drain=rng.random() < 0.5,
            quota_per_namespace=rng.choice((1, 2)),
            reuse_delay=rng.choice(("30s", "1m", "5m")),
            priority=rng.choice((1, 2)),
            auto_assign=rng.random() < 0.7,
        )

    def default(self) -> ServiceGroup:
        rng = self.rng
        entries: list[Any] = [v4(rng.choice(POOLS), **self.maybe(exclude=("192.0.2.10-192.0.2.11",)))]
        if rng.random() < 0.6:
            entries.append(v6("2001:db8::1-2001:db8::3"))
        return group(
            "default", *entries, remote=rng.random() < 0.3, pools=self.maybe(balance_pools=True), **self.spec()
        )

    def far(self) -> ServiceGroup:
        rng = self.rng
        gold = LabelSelector(match_labels={"team": "shop"})
        more = self.maybe(namespaces=("shop",)) or self.maybe(namespace_selector=gold)
        if "namespaces" in more:
            more |= self.maybe(enforce_namespaces=True)
        text = rng.choice(("192.0.2.20-192.0.2.21", "192.0.2.20/32", "192.0.2.12-192.0.2.21"))
        entries: list[Any] = [v4(text), v6("2001:db8::20/127")]
        created = rng.choice(("2026-01-02T00:00:00Z", "2025-01-01T00:00:00Z"))
        return group("far", *entries, created=created, **more, **self.spec())

    def racks(self) -> ServiceGroup:
        entries = [v4(f"198.51.{n}.1-198.51.{n}.2", f"198.51.{n}.0/24") for n in range(self.rng.randint(1, 3))]
        pools = {"multi_pool": self.rng.random() < 0.6}
        return group("racks", *entries, remote=self.rng.random() < 0.6, pools=pools, **self.spec())

    def more(self) -> ServiceGroup:
        """One that comes later."""
        return group(
            "more", v4("192.0.2.30/31"), created="2026-02-01T00:00:00Z", **{"auto_assign": True, **self.spec()}
        )

    # What happens

    def notes(self, before: dict[str, str] | None = None, *, share: float = 0.3) -> dict[str, str]:
        noted: dict[str, str | None] = {**(before or {})}
        for key, values in NOTES:
            if self.rng.random() < share:
                noted[key] = self.rng.choice(values)
        return {key: value for key, value in noted.items() if value is not None}

    def create(self) -> None:
        where, rng = self.where(), self.rng
        if where in self.world.there["services"]:
            return
        self.created += 1
        shape: dict[str, Any] = {"external_traffic_policy": "Cluster", **rng.choice(SHAPES[:5])}
        if rng.random() < 0.2:
            shape["external_traffic_policy"] = "Local"
        made = service(
            where.partition("/")[2],
            namespace=where.partition("/")[0],
            uid=f"u{self.created}",
            created=f"2026-01-01T00:{self.created // 60:02}:{self.created % 60:02}Z",
            annotations=self.notes(),
            ports=(("TCP", rng.choice((80, 80, 81))),),
            load_balancer_class=rng.choice((OUR_CLASS,) * 6 + ("example.com/other",)),
        )
        assert made.spec is not None
        cluster_ip = f"10.96.0.{self.created % 250 + 1}"
        spec = replace(made.spec, cluster_ip=cluster_ip, cluster_ips=(cluster_ip,), **shape)
        made = replace(made, spec=spec, status=replace(made.status, load_balancer=None) if made.status else None)
        if rng.random() < 0.15:
            self.world.held_back.add(where)
        self.world.touched[made.metadata.uid] = self.world.time
        self.world.put("services", made)

    def edit_notes(self) -> None:
        def change(found: Service) -> Service:
            noted = self.notes(dict(found.metadata.annotations or {}))
            return replace(found, metadata=replace(found.metadata, annotations=noted))

        self.world.edit(self.where(), change)

    def edit_key(self) -> None:
        def change(found: Service) -> Service:
            noted = dict(found.metadata.annotations or {})
            noted["purelb.io/allow-shared-ip"] = self.rng.choice(("k1", "k2", ""))
            return replace(found, metadata=replace(found.metadata, annotations=noted))

        self.world.edit(self.where(), change)

    def edit_spec(self) -> None:
        def change(found: Service) -> Service:
            shape = self.rng.choice(SHAPES)
            assert found.spec is not None
            if found.spec.type != "LoadBalancer" and "external_traffic_policy" in shape:
                return found
            return replace(found, spec=replace(found.spec, **shape))

        self.world.edit(self.where(), change)

    def change_type(self) -> None:
        def change(found: Service) -> Service:
            spec = found.spec
            assert spec is not None
            if spec.type == "LoadBalancer":
                assert found.status is not None
                spec = replace(spec, type="ClusterIP", load_balancer_class=None, external_traffic_policy="")
                return replace(found, spec=spec, status=replace(found.status, load_balancer=None))
            wanted = self.rng.choice((OUR_CLASS, OUR_CLASS, "example.com/other"))
            spec = replace(spec, type="LoadBalancer", load_balancer_class=wanted, external_traffic_policy="Cluster")
            return replace(found, spec=spec)

        where = self.where()
        self.world.edit(where, change)
        if self.rng.random() < 0.3:  # another class at once
            self.world.edit(where, change)

    def delete(self) -> None:
        self.world.delete(self.where())

    def let_go(self) -> None:
        for where in sorted(self.world.held_back):
            if self.rng.random() < 0.5:
                self.world.let_go(where)

    def edit_group(self) -> None:
        made = self.rng.choice((self.default, self.default, self.far, self.racks, self.more))()
        if self.rng.random() < 0.15:
            self.world.remove("groups", name(made))  # type: ignore[arg-type]
            return
        known = self.world.there["groups"].get(name(made))  # type: ignore[arg-type]
        if known is not None and self.rng.random() < 0.1:  # deleted, and held by somebody until it is made again
            meta = replace(known.metadata, deletion_timestamp="2030-01-01T00:00:00Z")
            self.world.put("groups", replace(known, metadata=meta))
            return
        if known is not None:
            meta = replace(made.metadata, generation=known.metadata.generation + 1)
            made = replace(made, metadata=meta, status=known.status)
        self.world.put("groups", made)

    def relabel(self) -> None:
        which = self.rng.choice(("shop", "bank"))
        labels = {"team": self.rng.choice(("shop", "bank"))}
        self.world.put("namespaces", Namespace(metadata=ObjectMeta(name=which, labels=labels)))

    def node(self) -> None:
        rng, which = self.rng, self.rng.choice(("n1", "n2"))
        match rng.choice(("node", "report", "report", "lease", "lease", "gone")):
            case "node":
                address = NodeAddress(type="InternalIP", address=rng.choice(("192.0.2.11", "192.0.2.200")))
                made = Node(metadata=ObjectMeta(name=which), status=NodeStatus(addresses=(address,)))
                self.world.put("nodes", made)
            case "report":
                held = [a for a in self.world.state.ledger.claims if rng.random() < 0.5]
                texts = [ip_text(a) for a in held]
                split = rng.randint(0, len(texts))
                report = NodeReport(
                    interfaces=(InterfaceReport(name="eth0", addresses=self.rng.choice(((), ("192.0.2.12/24",)))),),
                    announced=tuple(Announced(ip=text, interface="eth0") for text in texts[:split]),
                    withheld=tuple(Withheld(ip=text, reason="DuplicateOnLAN") for text in texts[split:]),
                )
                self.world.put(
                    "reports", LBNodeStatus(metadata=ObjectMeta(name=which, namespace=INSTALL), status=report)
                )
            case "lease":
                noted = {leases.SUBNETS: rng.choice(("192.0.2.0/24", "198.51.0.0/24,198.51.1.0/24", ""))}
                meta = ObjectMeta(name=leases.node_lease(which), namespace=INSTALL, annotations=noted)
                spec = LeaseSpec(
                    holder_identity=which,
                    lease_duration_seconds=10,
                    renew_time=f"2030-01-01T00:00:00.{self.world.rv:06}Z",
                )
                self.world.put("leases", Lease(metadata=meta, spec=spec))
            case _:
                self.world.remove(rng.choice(("nodes",)), which)
                self.world.remove("reports", f"{INSTALL}/{which}")
                self.world.remove("leases", f"{INSTALL}/{leases.node_lease(which)}")

    def by_hand(self) -> None:
        rng = self.rng
        if rng.random() < 0.5:
            addresses = rng.choice(((), ("192.0.2.10",), ("192.0.2.12",), ("8.8.8.8",), ("2001:db8::2",)))
            self.world.write_by_hand(self.where(), *(ip(text) for text in addresses))
            return

        def change(found: Service) -> Service:
            noted = {
                k: v for k, v in (found.metadata.annotations or {}).items() if rng.random() < 0.7 or k not in words.OURS
            }
            return replace(found, metadata=replace(found.metadata, annotations=noted))

        self.world.edit(self.where(), change)

    def kill(self) -> None:
        self.world.kill(warm=self.rng.random() < 0.5)

    def late(self) -> None:
        """What a dead allocator had sent is applied."""
        if self.world.late:
            self.world.apply_late(self.rng.randrange(len(self.world.late)))

    # The machine

    def user(self) -> None:
        weights = {
            self.create: 8,
            self.edit_notes: 5,
            self.edit_key: 2,
            self.edit_spec: 4,
            self.change_type: 2,
            self.delete: 2,
            self.let_go: 1,
            self.edit_group: 3,
            self.relabel: 1,
            self.node: 3,
            self.by_hand: 1,
        }
        self.rng.choices([*weights], [*weights.values()])[0]()

    def go_on(self) -> None:
        """One thing of the machine happens: an event arrives, a step is made, a write is answered, time passes, a process dies."""
        world, rng = self.world, self.rng
        match rng.choices(("step", "deliver", "answer", "read", "time", "kill", "late"), (12, 8, 6, 2, 2, 0.25, 1))[0]:
            case "step" if world.ready:
                keys = [*world.ready]
                world.step(keys[0] if rng.random() < 0.6 else rng.choice(keys))
            case "deliver":
                world.deliver(rng.choice(("services", "services", *world.there)), rng.choice((1, 1, 3, 100)))
            case "answer" if world.writes:
                outcomes: tuple[Outcome, ...] = (
                    "ok",
                    "conflict",
                    "lost",
                    "lost and refused",
                    "unsent",
                    "refused",
                    "missing",
                )
                world.answer(rng.choice(world.writes), rng.choices(outcomes, (10, 1, 1, 1, 1, 1, 1))[0])
            case "read" if world.reads:
                world.read_again(world.reads[0])
            case "time":
                world.pass_time(rng.choice((1 / 64, 0.25, 1.0, 5.0, 30.0)))
            case "kill":
                self.kill()
            case "late":
                self.late()
            case _:
                pass

    def play(self, scenes: int) -> None:
        for _ in range(scenes):
            self.user()
            for _ in range(self.rng.randint(0, 14)):
                self.go_on()

    def end(self) -> None:
        world = self.world
        world.heal(seconds=REST)
        before = self.said()
        for found in world.there["services"].values():
            self.says_what_is(found)
        ambiguous = self.a_key_stands_for_two_addresses()
        world.begin()
        world.writes.clear()
        world.heal(seconds=90.0)
        after = self.said()
        if after != before and not ambiguous:
            changed = {where: (before[where], after[where]) for where in before if before[where] != after[where]}
            raise Broken(f"a fresh allocator found something to do: {changed}")
        world.held_back.clear()
        for where in list(world.there["services"]):
            world.remove("services", where)
        world.heal(seconds=900.0)
        ledger = world.state.ledger
        if ledger.claims or ledger.records or ledger.reserved or len(world.state.waiting) or list(ledger.quarantine):
            raise Broken(f"something is left: {ledger.claims} {ledger.reserved} {len(world.state.waiting)}")

    def said(self) -> dict[str, tuple[object, ...]]:
        """What each Service shows and says, but for the numbers in it and what is short: they are those of when it was asked.

        Of two on one address that may not share it, a restart cannot know which one changed; of all that is wrong with a request
        the first thing found is told, and it is not looked at again when another comes before it.
        """
        services = self.world.there["services"]
        disputed = {a for one, other in combinations(services.values(), 2) for a in _disputed(one, other)}
        said: dict[str, tuple[object, ...]] = {}
        for where, found in services.items():
            wish, there = read_wish(found), published(found)
            pinned = isinstance(wish, Wish) and bool(wish.addresses)
            disputes = not disputed.isdisjoint(there)
            told = (
                (c.type, c.status, ROOM.get(c.reason, c.reason) if not pinned else "") for c in conditions_of(found)
            )
            said[where] = (there, *(("disputed",) if disputes else told))
        return said

    def a_key_stands_for_two_addresses(self) -> bool:
        """Then who comes next joins the one that it stood for first, and that is another one after a restart (ADR 10)."""
        found: dict[tuple[str, int, str], Address] = {}
        for address, claim in self.world.state.ledger.claims.items():
            for holder in claim.holders.values():
                if claim.entry is not None and holder.facts.key is not None:
                    place = (claim.entry.group, address[0], holder.facts.key)
                    if found.setdefault(place, address) != address:
                        return True
        return False

    def says_what_is(self, found: Service) -> None:
        """At rest a Service of ours says what it holds and whether that is what it asks for; one that is not ours says nothing."""
        ours = self.world.state.config.ownership.owns(found)
        mine = [c for c in conditions_of(found) if c.type in OUR_CONDITIONS]
        if not ours:
            if mine or any(key in words.OURS for key in found.metadata.annotations or {}):
                raise Broken(f"{name(found)} is not ours and says {mine}")
            return
        if found.metadata.deletion_timestamp:
            return
        allocated = next((c for c in mine if c.type == "purelb.io/Allocated"), None)
        if allocated is None:
            raise Broken(f"{name(found)} is told nothing")
        wish, there = read_wish(found), published(found)
        if allocated.status == "True" and (
            not there
            or (isinstance(wish, Wish) and not set(wish.addresses) <= set(there))
            or (found.metadata.annotations or {}).get("purelb.io/allocated-by") != "PureLB"
        ):
            raise Broken(f"{name(found)} is told {allocated.reason}, and has {there}")


def _disputed(one: Service, other: Service) -> set[Address]:
    """The addresses of two Services that may not share them."""
    facts = (rough_wish(each).facts(local=False) for each in (one, other))
    both = set(published(one)) & set(published(other))
    return both if both and clash(*facts) is not None else set()


def told(seed: int, *, scenes: int = 40) -> None:
    """One story, from its seed."""
    story = Story(seed)
    try:
        story.play(scenes)
        story.end()
    except BaseException as error:
        error.add_note(f"the story of seed {seed}: python -m tests.allocator.test_any_story {seed}")
        raise


@pytest.mark.parametrize("shard", range(8))
def test_whatever_happens_in_whatever_order_the_promises_are_kept(shard: int) -> None:
    for seed in range(shard, 160, 8):
        told(seed)


def main() -> None:
    """Play the stories from FIRST to LAST, and go on after one that is broken."""
    first, last = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(sys.argv[1])
    for seed in range(first, last + 1):
        try:
            told(seed)
        except Exception as error:
            print(seed, type(error).__name__, str(error)[:300])
            if first == last:
                raise


if __name__ == "__main__":
    main()
