# SPDX-License-Identifier: Apache-2.0
"""The owner's core: judge an address, carry out what its machine asks for, apply the difference when nothing else waits.

The other parts of the owner (services, configuration, host, peers, leaving) change an input of the state and then call this.
One line is written when what this node does about an address becomes different, and none when a pass changes nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from purelb.kube.clock import breathe
from purelb.kube.metrics import NO_SINK, Sink
from purelb.kube.queue import URGENT
from purelb.lbnodeagent import keys, metrics
from purelb.lbnodeagent.desired import OnDummy, place
from purelb.lbnodeagent.election import Mine, Theirs, misses_affinity
from purelb.lbnodeagent.vipwords import Action, Add, Burst, Delete, Note, Offer, Sequence, Unoffer, VipEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from purelb.kube.clock import Clock
    from purelb.kube.queue import WorkQueue
    from purelb.lbnodeagent.applying import Applier
    from purelb.lbnodeagent.state import State
    from purelb.net.ranges import IPAddress

log = logging.getLogger(__name__)

TURN_S: Final = 0.005
BATCH: Final = 256
TRY_AGAIN_S: Final = 5.0
REPORT_AFTER_S: Final = 0.005


class Deciding:
    def __init__(
        self,
        state: State,
        *,
        applier: Applier,
        queue: WorkQueue[keys.Key],
        clock: Clock,
        sink: Sink = NO_SINK,
    ) -> None:
        self.state = state
        self.applier = applier
        self.queue = queue
        self.clock = clock
        self.sink = sink
        self._said: dict[IPAddress, str] = {}
        self._misses: set[IPAddress] = set()

    def judge(self, ip: IPAddress, now: float) -> None:
        """Everything about one address: its claim, verdict and machine."""
        before = self.state.verdicts.get(ip)
        self.carry_out(ip, self.state.judge(ip, now), now)
        if (due := self.state.contests.deadline(ip)) is not None:
            self.queue.add_after(keys.Contest(), max(0.0, due - now))
        after = self.state.verdicts.get(ip)
        if after != before:
            if isinstance(after, Mine) and not isinstance(before, Mine):
                self.sink.count(metrics.WINS)
            if isinstance(before, Mine) and not isinstance(after, Mine):
                self.sink.count(metrics.LOSSES)
            if isinstance(before, Theirs) or isinstance(after, Theirs):
                self.sink.count(metrics.WINNER_CHANGES)
        self._tell_affinity(ip)
        self._say(ip)

    def _tell_affinity(self, ip: IPAddress) -> None:
        """Count a preference that cannot be met, once until it can be again."""
        claim = self.state.asked.claims.get(ip)
        if claim is None or not misses_affinity(claim, self.state.view):
            self._misses.discard(ip)
        elif ip not in self._misses:
            self._misses.add(ip)
            for service in claim.services:
                self.sink.count(metrics.AFFINITY_FALLBACK, service)

    def feed(self, ip: IPAddress, event: VipEvent, now: float) -> None:
        """An event for one VIP, and what follows from it."""
        self.carry_out(ip, self.state.feed(ip, event, now), now)
        self._say(ip)

    async def judge_all(self, now: float) -> None:
        """Every claim and every VIP, giving the loop a turn now and then."""
        until = self.clock.now() + TURN_S
        for ip in list(self.state.asked.claims.keys() | self.state.vips.keys()):
            self.judge(ip, now)
            if self.clock.now() >= until:
                await breathe()
                until = self.clock.now() + TURN_S
        for ip, actions in self.state.speak_up(now).items():
            self.carry_out(ip, actions, now)

    async def apply(self) -> None:
        """The difference for all marked addresses, then the frames that are due."""
        for ip, actions in await self.applier.apply():
            self.carry_out(ip, actions, self.clock.now())
        for ip in self.state.failed:
            if ip not in self.state.vips:
                self.queue.add_after(keys.Ip(ip), TRY_AGAIN_S)
        if self.applier.read_again:
            self.queue.add(keys.Links(), priority=URGENT)
        self.applier.listen()
        self.speak()

    async def apply_if_idle(self) -> None:
        """Apply when no further decision waits, or many are marked."""
        if self.state.dirty and (len(self.queue) == 0 or len(self.state.dirty) >= BATCH):
            await self.apply()

    def speak(self) -> None:
        """Send the frames that are due, and come back for the next."""
        self.applier.speak()
        due = self.applier.announcer.deadline()
        if due is not None:
            self.queue.add_after(keys.Speak(), max(0.0, due - self.clock.now()), priority=URGENT)

    def carry_out(self, ip: IPAddress, actions: Iterable[Action], now: float) -> None:
        """What a machine asks for, except the kernel's part: that follows from its state."""
        vip = self.state.vips.get(ip)
        on = vip.on if vip is not None else None
        acted = False
        for action in actions:
            acted = True
            match action:
                case Add(row=row, from_node=node):
                    if row in {"1", "4"}:
                        self._took_over(ip, row, node, now)
                case Delete():
                    self.applier.announcer.drop(ip)
                    self.state.conflicts.pop(ip, None)
                case Burst(delays=delays):
                    if on is not None:
                        self.applier.announcer.burst(ip, on, delays=delays, now=now)
                case Sequence():
                    if on is not None:
                        settings = self.state.settings.gratuitous
                        self.applier.announcer.sequence(ip, on, settings=settings, now=now)
                case Offer(to=node):
                    log.info("offering %s to %s", ip, node, extra={"code": "offer", "ip": str(ip), "node": node})
                    self.queue.add(keys.OwnLease(), priority=URGENT)
                case Unoffer():
                    self.queue.add(keys.OwnLease(), priority=URGENT)
                case Note(code=code):
                    self._note(ip, code, now)
        if acted:
            self.report_soon()
        if vip is not None and vip.timer_at is not None:
            self.queue.add_after(keys.Ip(ip), max(0.0, vip.timer_at - now))

    def report_soon(self) -> None:
        """After this turn's difference was applied: what is said should be what is there."""
        self.queue.add_after(keys.Report(), REPORT_AFTER_S)

    def _took_over(self, ip: IPAddress, row: str, node: str | None, now: float) -> None:
        cause = "lease"
        if row == "1":
            peer = self.state.membership.peers.get(node or "")
            claim = self.state.asked.claims.get(ip)
            if peer is not None and peer.draining:
                cause = "drain"
            else:
                cause = "move" if claim is not None and claim.preferred == self.state.node else "policy"
        self.sink.count(metrics.TAKEOVER_COUNT, cause)
        claim = self.state.asked.claims.get(ip)
        before = {node} if node is not None else claim.holders - {self.state.node} if claim is not None else frozenset()
        signs = [at for name in before if (at := self.state.membership.last_sign(name)) is not None]
        self.applier.takes_over(ip, cause=cause, since=max(signs, default=now))
        log.info(
            "taking over %s (%s)", ip, cause, extra={"code": "takeover", "ip": str(ip), "node": node, "cause": cause}
        )

    def _note(self, ip: IPAddress, code: str, now: float) -> None:
        if code == "offer":
            return  # said with its receiver
        if code == "handoverStalled":
            self.sink.count(metrics.HANDOVER_STALLED)
        if code == "conflict":
            self.state.conflicts[ip] = now
        log.info("%s: %s", code, ip, extra={"code": code, "ip": str(ip)})

    def _say(self, ip: IPAddress) -> None:
        claim = self.state.asked.claims.get(ip)
        verdict = self.state.verdicts.get(ip)
        code = self._word(ip)
        if code and self._said.get(ip) != code:
            node = verdict.node if isinstance(verdict, Theirs) else None
            fields = {"code": code, "ip": str(ip), "node": node, "service": claim.services[0] if claim else None}
            log.info("%s: %s", code, ip, extra=fields)
        if claim is None and code != "announcingLocal":
            self._said.pop(ip, None)
        elif code:
            self._said[ip] = code

    def _word(self, ip: IPAddress) -> str:
        vip = self.state.vips.get(ip)
        claim = self.state.asked.claims.get(ip)
        if vip is not None and vip.in_kernel:
            return "announcingLocal"
        if claim is not None and self.state.wants(ip) is not None:
            return "announcingNonLocal"
        if claim is not None and isinstance(self.state.verdicts.get(ip), Theirs):
            return "lostElection" if self.state.layout.place(ip) is not None else "noLocalInterface"
        return "withdrawAddress" if self._said.get(ip, "").startswith("announcing") else ""

    def needs_dummy(self, ips: Iterable[IPAddress] | None = None) -> bool:
        """Whether one of these claims (all, if none are named) belongs on the dummy interface and there is none."""
        state = self.state
        if state.layout.dummy is not None or not state.serves_remote:
            return False
        asked = state.asked.claims
        claims = asked.values() if ips is None else [asked[ip] for ip in ips if ip in asked]
        return any(isinstance(place(claim, state.layout), OnDummy) for claim in claims)
