# SPDX-License-Identifier: Apache-2.0
"""The owner's turns for other agents and for our own lease: who lives, what we say, when we are stale.

A suspect costs one renewal of ours, whose echo decides about it; when no echo comes within a second, the leases are listed
again. Losing the API is no event on the LAN: with `Hold` nothing moves, and when renewals succeed again every peer is given
a full duration before anything is concluded about it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from purelb.kube.failures import failure
from purelb.kube.queue import URGENT
from purelb.lbnodeagent import keys
from purelb.lbnodeagent.membership import same_words
from purelb.lbnodeagent.ownlease import LeaseIntent, duration_of
from purelb.lbnodeagent.vipwords import Fenced, Foreign

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.lbnodeagent.deciding import Deciding
    from purelb.lbnodeagent.inputs import Inputs
    from purelb.lbnodeagent.leasing import Leasing

log = logging.getLogger(__name__)

CONFIRM_EVERY_S: Final = 1.0


class Peering:
    def __init__(
        self, core: Deciding, *, inputs: Inputs, leasing: Leasing, duration: int, lease_key: Callable[[str], str]
    ) -> None:
        self._core = core
        self._inputs = inputs
        self._leasing = leasing
        self._setting = duration
        self._lease_key = lease_key
        self._confirm_at = float("-inf")
        self._asked_at: float | None = None
        self._was_stale = False
        self._said: dict[str, str] = {}

    async def peer(self, node: str, now: float) -> None:
        """A lease as its store has it now."""
        membership = self._core.state.membership
        before = membership.peers.get(node), membership.seen(node, now)
        suspects = membership.suspects(now)
        lease = self._inputs.leases.store.get(self._lease_key(node))
        if lease is not None:
            membership.saw(lease, now)
        elif node != self._core.state.node:
            membership.gone(node)
        if node == self._core.state.node:
            if lease is None and self._leasing.held:
                self._leasing.renew_now()  # somebody deleted it: to our peers we have left
            if suspects:  # our own echo: it decides about them
                await self.look(now)
            return
        after = membership.peers.get(node), membership.seen(node, now)
        if before[1] != after[1] or not same_words(before[0], after[0]):
            await self.look(now)

    async def look(self, now: float) -> None:
        """Let time pass for all members; judge everything when the view differs."""
        core, state = self._core, self._core.state
        state.membership.pass_time(now)
        self._say(now)
        if state.look_around(now) and state.synced:
            self.intend()
            await core.judge_all(now)
            await core.apply()
            core.report_soon()
        if (due := state.membership.deadline(now)) is not None:
            core.queue.add_after(keys.OwnLease(), max(0.0, due - now))
        self._confirm(now)

    async def own(self, now: float) -> None:
        """Our lease was answered for, or an instant that concerns it has come."""
        core, state, leasing = self._core, self._core.state, self._leasing
        if leasing.passive:
            self._become_passive(now)
            return
        if state.passive:
            log.info("the lease is ours again", extra={"code": "leaseOwned"})
            state.passive = False
            state.adopt(now)
            state.dirty.update(state.vips)
            core.queue.add(keys.Links(), priority=URGENT)
        newly = leasing.held and not state.holds_lease
        state.holds_lease = leasing.held
        stale = leasing.stale(now)
        if stale and not self._was_stale:
            self._went_stale(now)
        elif self._was_stale and not stale:
            state.membership.recovered(now)
            log.info("our lease is renewed again", extra={"code": "renewing"})
        fenced_before, self._was_stale = state.fenced, stale
        state.fenced = stale and state.settings.on_api_outage == "Withdraw"
        if (due := leasing.stale_at()) is not None and not stale:
            core.queue.add_after(keys.OwnLease(), max(0.0, due - now) + 0.001)
        if (newly or fenced_before != state.fenced) and state.synced:
            state.look_around(now)
            await core.judge_all(now)
            await core.apply()
            core.report_soon()
        await self.look(now)
        self.intend()

    def intend(self) -> None:
        """What our lease says from now on."""
        state = self._core.state
        if not state.synced or state.own_node is None:
            return
        state.duration = duration_of(self._setting, members=state.segment_size(), current=state.duration)
        self._leasing.say(
            LeaseIntent(
                node=state.node,
                node_uid=state.own_node.metadata.uid,
                instance=self._leasing.instance,
                duration=state.duration,
                networks=state.layout.subnets,
                draining=state.draining,
                offers=state.offers(),
            )
        )

    @property
    def stale(self) -> bool:
        return self._was_stale

    def _went_stale(self, now: float) -> None:
        policy = self._core.state.settings.on_api_outage
        code = "holding" if policy == "Hold" else "fenced"
        log.info(
            "our lease could not be renewed (%s): %s what this node announces",
            self._leasing.trouble or "no answer in time",
            "keeping" if policy == "Hold" else "withdrawing",
            extra={"code": code, **failure(self._leasing.trouble)},
        )
        if policy == "Withdraw":
            for ip, vip in list(self._core.state.vips.items()):
                if vip.in_kernel:
                    self._core.feed(ip, Fenced(), now)
            self._core.state.dirty.update(address.ip for address in self._core.state.present.ours())

    def _become_passive(self, now: float) -> None:
        state = self._core.state
        if state.passive:
            return
        log.info(
            "another agent (%s) renews lease %s: doing nothing",
            self._leasing.other,
            self._lease_key(state.node),
            extra={"code": "foreignInstance", "lease": self._lease_key(state.node)},
        )
        state.passive = True
        if state.holds_lease:  # it was ours and was taken: what is in the kernel is the other's now
            state.holds_lease = False
            for ip in list(state.vips):
                self._core.feed(ip, Foreign(), now)

    def _confirm(self, now: float) -> None:
        """A suspect of one of our segments: renew for the echo, at most once a second; without an echo list again."""
        core, state = self._core, self._core.state
        own = set(state.layout.subnets)
        suspects = [node for node in state.membership.suspects(now) if own & set(state.membership.peers[node].networks)]
        if not suspects or not self._leasing.held or self._leasing.stale(now):
            self._asked_at = None
            return
        if now < self._confirm_at:
            core.queue.add_after(keys.OwnLease(), self._confirm_at - now)  # what woke us took the place of that timer
            return
        if self._asked_at is not None and now - self._asked_at >= CONFIRM_EVERY_S:
            self._inputs.leases.relist("no echo", consistent=True)
        self._asked_at = self._asked_at if self._asked_at is not None else now
        self._confirm_at = now + CONFIRM_EVERY_S
        self._leasing.renew_now()
        core.queue.add_after(keys.OwnLease(), CONFIRM_EVERY_S)

    def _say(self, now: float) -> None:
        membership = self._core.state.membership
        seen = {node: membership.seen(node, now) for node in membership.peers}
        for node, word in seen.items():
            code = {"alive": "peerAlive", "suspect": "peerAlive", "draining": "peerDraining", "dead": "peerDead"}[word]
            if self._said.get(node) != code:
                self._said[node] = code
                log.info("%s: %s", code, node, extra={"code": code, "node": node})
        for node in [node for node in self._said if node not in seen]:
            del self._said[node]
            log.info("peerDead: %s left", node, extra={"code": "peerDead", "node": node})
