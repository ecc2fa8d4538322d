# SPDX-License-Identifier: Apache-2.0
"""Everything the agent's owner owns, and the pure steps from it: who wins, what a VIP does, what should be there.

One task changes it. `judge` is the whole decision about one address: claim, place, verdict, machine; it answers the actions
and marks the address for the next difference. Nothing here awaits, logs or knows a socket.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from purelb.api import reasons
from purelb.api.nodeagents import AgentSettings
from purelb.lbnodeagent.asked import Asked
from purelb.lbnodeagent.carrier import Carriers
from purelb.lbnodeagent.contests import Contests
from purelb.lbnodeagent.deaf import Deafness
from purelb.lbnodeagent.desired import (
    OnDummy,
    OnLink,
    Place,
    Renewal,
    Snapshot,
    Withhold,
    place,
    renewal,
    want,
    withheld,
)
from purelb.lbnodeagent.election import (
    Mine,
    Nobody,
    Ranking,
    Standing,
    Theirs,
    Verdict,
    View,
    elect,
    is_candidate,
    view_of,
)
from purelb.lbnodeagent.fitness import Fitness, give_at
from purelb.lbnodeagent.host import ALIAS, DEPRECATED, OURS_TO_SET
from purelb.lbnodeagent.links import Layout, layout
from purelb.lbnodeagent.membership import Membership
from purelb.lbnodeagent.plan import Want
from purelb.lbnodeagent.present import Present
from purelb.lbnodeagent.vip import adopted, step
from purelb.lbnodeagent.vipwords import Action, Judged, PeerBack, TakenOver, Timer, Vip, VipEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.api.groups import Group
    from purelb.kube.model import Node
    from purelb.lbnodeagent.claims import Claim
    from purelb.lbnodeagent.config import Configuration
    from purelb.lbnodeagent.host import Address
    from purelb.net.ranges import IPAddress

_NO_INTERFACE: Final = re.compile(r"(?!)")
OFFERS_OPEN_MAX: Final = 100
"""Single offers at a time; a draining node offers everything at once by its mark."""
LEAVING_LEAST_S: Final = 60
RECENT_S: Final = 300.0
"""What we took longer ago no returning kernel still has, unless lifetimes never end: as long as a failing container waits."""


class State:
    def __init__(self, *, node: str, duration: int, now: float) -> None:
        self.node = node
        self.duration = duration
        self.born_at = now
        self.configuration: Configuration | None = None
        self.own_node: Node | None = None
        self.fitness = Fitness()
        self.groups: Mapping[str, Group] = {}
        self.carriers = Carriers()
        self.present = Present()
        self.layout = Layout()
        self.asked = Asked()
        self.membership = Membership(me=node, duration=duration)
        self.view: View = view_of(node, {}, {})
        self.ranking = Ranking()
        self.vips: dict[IPAddress, Vip] = {}
        self.verdicts: dict[IPAddress, Verdict] = {}
        self.withheld: dict[IPAddress, Withhold] = {}
        self.failed: dict[IPAddress, str] = {}
        self.conflicts: dict[IPAddress, float] = {}
        self.dirty: set[IPAddress] = set()
        self._offers_open = 0
        self._offered: dict[IPAddress, str] = {}
        self._named_before: set[tuple[IPAddress, str]] = set()
        self.returned: set[str] = set()
        """Peers that came back to life, or in a new process, since `speak_up`."""
        self.synced = False
        """Every input was seen once. Before that nothing is withdrawn and nothing new is announced."""
        self.holds_lease = False
        """Our lease was ours at least once. Before that nothing local is announced."""
        self.contests = Contests()
        self.deaf = Deafness()
        """While a gap is open nothing new is announced on a link."""
        self.passive = False
        self.fenced = False
        self.leaving = False
        self.dummy_error: str | None = None
        self.returns_tags = True
        """Whether the kernel reads back IFA_PROTO."""
        self.unmet: tuple[str, ...] = ()
        """What the host should be set to and is not."""
        self.local_ends_at: float | None = None
        self.dummy_ends_at: float | None = None

    @property
    def settings(self) -> AgentSettings:
        return self.configuration.settings if self.configuration is not None else AgentSettings()

    @property
    def announces(self) -> bool:
        return self.configuration is not None and self.configuration.announces

    @property
    def unconfigured(self) -> bool:
        """The configuration that applies cannot be used: what is there stays, on what was in force or as it was found."""
        return self.configuration is not None and self.configuration.state == "invalid"

    @property
    def draining(self) -> bool:
        return self.leaving or self.fitness.draining

    @property
    def serves_remote(self) -> bool:
        return self.announces and self.fitness.serves_remote and not self.fenced and not self.passive

    @property
    def local_renewal(self) -> Renewal:
        return renewal(self.settings.local_addresses, lease_duration=self.duration)

    @property
    def dummy_renewal(self) -> Renewal:
        """A node that leaves keeps its remote addresses for a while, so that a rollout flaps no route."""
        if self.leaving:
            return Renewal(max(2 * self.duration, LEAVING_LEAST_S))
        return renewal(self.settings.dummy_addresses, lease_duration=self.duration)

    def snapshot(self) -> Snapshot:
        """What `desired` reads. It shares the owner's dicts: it is used before the owner's turn ends."""
        return Snapshot(
            node=self.node,
            settings=self.settings,
            layout=self.layout,
            claims=self.asked.claims,
            vips=self.vips,
            serves_remote=self.serves_remote,
            fenced=self.fenced,
            local_ends_at=self.local_ends_at,
            dummy_ends_at=self.dummy_ends_at,
            local_renewal=self.local_renewal,
            dummy_renewal=self.dummy_renewal,
            returns_tags=self.returns_tags,
        )

    def adopt(self, now: float) -> None:
        """What carries our tag on a real interface was ours before this process began."""
        for address in self.present.ours():
            link = self.present.interfaces.get(address.ifindex)
            local = address.priority and address.prefixlen == address.ip.max_prefixlen
            if local and address.ip not in self.vips and (link is None or link.alias != ALIAS):
                self.vips[address.ip] = adopted(address.ip, address.ifindex, now=now)

    def lay_out(self, now: float) -> tuple[Layout, Layout]:
        """Interfaces and subnets of now; the layout before and after."""
        before = self.layout
        for interface in self.present.interfaces.values():
            self.carriers.saw(interface.index, carrier=interface.up and interface.carrier, now=now)
        nothing = not self.announces or self.fitness.excluded
        settings = self.settings
        self.layout = layout(
            self.present.own_state(),
            main=_NO_INTERFACE if nothing else settings.expression,
            extra=() if nothing else settings.interfaces,
            dummy=settings.dummy_interface,
            usable=lambda interface: self.carriers.usable(interface.index, now),
        )
        return before, self.layout

    def look_around(self, now: float) -> bool:
        """Build the view anew; whether anything in it differs."""
        standings = self.membership.standings(now)
        standings[self.node] = Standing(
            node=self.node,
            liveness="draining" if self.draining else "alive",
            networks=self.layout.subnets,
            alive_since=self.born_at,
        )
        found = view_of(self.node, standings, self.membership.offers_to_me())
        if found == self.view:
            return False
        if self.synced:
            self.returned |= _returned(self.view.standings, found.standings) - {self.node}
        self.view = found
        return True

    def speak_up(self, now: float) -> dict[IPAddress, tuple[Action, ...]]:
        """Row 17: tell the peers that are back what we took a while ago; their kernels may still have it."""
        back, self.returned = self.returned, set()
        if not back:
            return {}
        event = PeerBack(now - RECENT_S if self.local_renewal.valid is not None else float("-inf"))
        held = [ip for ip, vip in self.vips.items() if vip.state == "Holding" and self.view.segment(ip) & back]
        return {ip: actions for ip in held if (actions := self.feed(ip, event, now))}

    def segment_size(self) -> int:
        """Members of the largest own segment, ourselves included."""
        own = set(self.layout.subnets)
        return max((len(names) for network, names in self.view.segments if network in own), default=1)

    def judge(self, ip: IPAddress, now: float) -> tuple[Action, ...]:
        """Decide about one address. Marks it for the difference; the actions are the caller's to carry out."""
        self.dirty.add(ip)
        self.withheld.pop(ip, None)
        vip = self.vips.get(ip)
        done: tuple[Action, ...] = ()
        if vip is not None and vip.timer_at is not None and now >= vip.timer_at:
            done = self.feed(ip, Timer(), now)
        claim = self.asked.claims.get(ip)
        where = place(claim, self.layout) if claim is not None else None
        event = self._judged(ip, claim, where, now)
        verdict = event.verdict if event is not None else None
        holder = verdict.holder if isinstance(verdict, Mine) and verdict.how == "contested" else None
        if holder is not None and (vip is None or not vip.in_kernel):
            self.contests.contested(ip, holder, now)
        else:
            self.contests.over(ip)
        if event is not None:
            done += self.feed(ip, event, now)
            vip = self.vips.get(ip)
            if vip is not None and vip.state == "Offering" and claim is not None:
                done += self._taken_over(ip, vip.to or "", claim, now)
        if claim is None:
            self.failed.pop(ip, None)
        elif self.synced and (found := self._withheld(claim, where)) is not None:
            self.withheld[ip] = found
        return done

    def feed(self, ip: IPAddress, event: VipEvent, now: float) -> tuple[Action, ...]:
        """Give an event to a VIP's machine."""
        before = self.vips.get(ip) or Vip(ip=ip)
        vip, actions = step(before, event, now)
        self._offers_open += (vip.state == "Offering") - (before.state == "Offering")
        if vip.state == "Idle" and vip.timer_at is None and ip not in self.asked.claims:
            self.vips.pop(ip, None)
            self.verdicts.pop(ip, None)
            self.ranking.forget(str(ip))
        else:
            self.vips[ip] = vip
        if vip.state != "Offering":
            self._named_before.discard((ip, self._offered.pop(ip, "")))
        if actions:
            self.dirty.add(ip)
        return actions

    def _judged(self, ip: IPAddress, claim: Claim | None, where: Place | None, now: float) -> Judged | None:
        """The verdict as an event; None while it cannot be known, or is none of our business."""
        vip = self.vips.get(ip)
        if not self.synced or self.passive:
            return None
        if claim is not None and self._keeps_what_it_found and (vip is None or vip.ignore_until != float("inf")):
            return None  # not offered, not orphaned; given up only to somebody else who answers
        if claim is None or isinstance(where, OnDummy | Withhold):
            self.verdicts.pop(ip, None)
            return Judged(verdict=None) if vip is not None else None
        if not self.holds_lease or claim.endpoints_unknown:
            return None
        if (self.leaving or self.fenced or self.deaf.open) and (vip is None or not vip.in_kernel):
            return None  # nothing new is added
        denied = self.contests.denied(ip, claim.holders, now)
        named = replace(claim, holders=claim.holders - denied) if denied else claim
        verdict = elect(named, self.view, self.ranking)
        self.verdicts[ip] = verdict
        on = where.ifindex if isinstance(where, OnLink) else None
        due = None
        if isinstance(verdict, Theirs):
            due = give_at(
                claim,
                verdict.node,
                self.view,
                unfit=self.draining,
                candidate=on is not None and is_candidate(claim, self.view, self.node),
                failback=self.settings.failback,
            )
            if due is not None and due <= now and not self.draining and self._offers_open >= OFFERS_OPEN_MAX:
                due = now + 1.0
        return Judged(verdict=verdict, give_at=due, on=on)

    def _taken_over(self, ip: IPAddress, heir: str, claim: Claim, now: float) -> tuple[Action, ...]:
        """Whether the API names the heir by now. A name that stood there before the offer is an old one and says nothing."""
        if heir not in claim.holders:
            self._named_before.discard((ip, heir))
            self._offered[ip] = heir
            return ()
        if self._offered.get(ip) != heir:
            self._offered[ip] = heir
            self._named_before.add((ip, heir))
        return () if (ip, heir) in self._named_before else self.feed(ip, TakenOver(heir), now)

    def _withheld(self, claim: Claim, where: Place | None) -> Withhold | None:
        """Why this node should announce the claim and does not; None when it does, or somebody else's turn it is."""
        ip = claim.ip
        if (found := withheld(claim, where, serves_remote=self.serves_remote, node=self.node)) is not None:
            return found
        if (text := self.failed.get(ip)) is not None:
            return Withhold(reasons.ANNOUNCEMENT_FAILED, text)
        verdict = self.verdicts.get(ip)
        if isinstance(verdict, Nobody) and verdict.reason == "NoLocalEndpoint":
            best = self.ranking.best(str(ip), self.view.segment(ip))
            if best and best[0] == self.node:
                text = "externalTrafficPolicy is Local and no eligible node has a ready endpoint"
                return Withhold(reasons.NO_LOCAL_ENDPOINT, text)
        if self.configuration is not None and self._keeps_what_it_found:
            if any(address.ours for address in self.present.at(ip)):
                return None
            return Withhold(reasons.ANNOUNCEMENT_FAILED, self.configuration.message)
        if self.fenced and isinstance(verdict, Mine):
            return Withhold(reasons.NODE_UNFIT, f"{self.node} is fenced")
        if self.dummy_error is not None and isinstance(where, OnDummy):
            text = f"cannot create {self.settings.dummy_interface}: {self.dummy_error}"
            return Withhold(reasons.ANNOUNCEMENT_FAILED, text)
        return None

    def wants(self, ip: IPAddress) -> Want | None:
        wanted = want(ip, self.snapshot())
        if wanted is None and self._keeps_what_it_found and ip in self.asked.claims and ip not in self.vips:
            return next((self._as_found(address) for address in self.present.at(ip) if address.ours), None)
        return wanted

    @property
    def _keeps_what_it_found(self) -> bool:
        """A fresh process without a configuration it can use: it announces nothing new and lets nothing go."""
        return self.unconfigured and not self.announces and not self.fitness.excluded

    def _as_found(self, address: Address) -> Want:
        return Want(
            ip=address.ip,
            prefixlen=address.prefixlen,
            ifindex=address.ifindex,
            flags=address.flags & OURS_TO_SET,
            valid=self.dummy_renewal.valid,
            preferred=0 if address.flags & DEPRECATED else None,
            ends_at=self.dummy_ends_at,
            priority=address.priority,
        )

    def offers(self) -> dict[IPAddress, str]:
        """What our lease offers to whom."""
        return {ip: vip.to for ip, vip in self.vips.items() if vip.state == "Offering" and vip.to is not None}

    def carriers_of_vips(self) -> frozenset[int]:
        """Interfaces that carry a VIP."""
        return frozenset(vip.on for vip in self.vips.values() if vip.in_kernel and vip.on is not None)

    def kept_alive(self, now: float, *, under_s: float) -> list[Address]:
        """Row 37: tagged addresses that end soon, except those that somebody else answered for."""
        return [
            address
            for address in self.present.ours()
            if address.ends_at is not None
            and now < address.ends_at < now + under_s
            and ((vip := self.vips.get(address.ip)) is None or vip.ignore_until != float("inf"))
        ]

    def mine(self, ip: IPAddress) -> bool:
        return isinstance(self.verdicts.get(ip), Mine)

    def move(self, ip: IPAddress, ifindex: int) -> None:
        """The interface of a held VIP has another index now."""
        self.vips[ip] = replace(self.vips[ip], on=ifindex)


def _returned(before: Mapping[str, Standing], after: Mapping[str, Standing]) -> set[str]:
    """Who is alive now and was not, or not as this process."""
    found = {name for name, standing in after.items() if standing.liveness == "alive"}
    return {
        name
        for name in found
        if (known := before.get(name)) is None or known.liveness != "alive" or known.process != after[name].process
    }
