# SPDX-License-Identifier: Apache-2.0
"""The agent's owner: takes a key, changes the state, carries out what follows. One task, one step at a time.

A step reads what others left for it (stores, inboxes), decides with the pure modules and, when no further decision waits,
applies one difference to the kernel and sends the frames that are due. So one Service is announced in the step that saw it,
and a thousand are announced in batches. What another machine answers comes back as a key: the lease through `leasing`, the
report through `reporting`.

Unknown is not empty. Until every informer was synced, the configuration chosen and the kernel dumped, nothing is added and
nothing withdrawn; addresses found at start are renewed just before they run out.

Every turn first asks whether we were deaf until now (`hearing`), before it believes anything that may have run out.

What looks will replace here: `Heard` feeds unsolicited frames only.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, assert_never

from purelb.kube.clock import breathe
from purelb.kube.owner import Done, Outcome
from purelb.lbnodeagent import keys
from purelb.lbnodeagent.deciding import TURN_S
from purelb.lbnodeagent.endpoints import SERVICE_NAME, Lingering, healthy_nodes
from purelb.lbnodeagent.vipwords import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.lbnodeagent.asking import Asking
    from purelb.lbnodeagent.configuring import Configuring
    from purelb.lbnodeagent.deciding import Deciding
    from purelb.lbnodeagent.hearing import Hearing
    from purelb.lbnodeagent.host import Seen
    from purelb.lbnodeagent.hosting import Hosting
    from purelb.lbnodeagent.inputs import Inputs
    from purelb.lbnodeagent.peering import Peering
    from purelb.lbnodeagent.reporting import Reporting

_FAMILIES: Final = (4, 6)
CROSSED_S: Final = 0.25
"""Frames closer together than this may have passed each other: each was sent before the other was heard."""


class Slices:
    """Nodes with endpoints, as the slices say now; asks for them to be watched when somebody needs them."""

    def __init__(self, inputs: Inputs, *, now: Callable[[], float], watch: Callable[[], None]) -> None:
        self._inputs = inputs
        self._now = now
        self._watch = watch
        self._lingering = Lingering()

    def healthy(self, service: str, family: int) -> frozenset[str] | None:
        """None while it is not known."""
        self._watch()
        slices = self._inputs.slices
        if not slices.synced:
            return None
        found = healthy_nodes(slices.store.by_index(SERVICE_NAME, service), family=family)
        return self._lingering.nodes(service, family, found, self._now())

    def deadline(self, service: str) -> float | None:
        ends = [due for family in _FAMILIES if (due := self._lingering.deadline(service, family)) is not None]
        return min(ends, default=None)

    def forget(self, service: str) -> None:
        self._lingering.forget(service)


class Reconciler:
    """`step` is the owner's; `heard` is where the wire leaves frames."""

    def __init__(
        self,
        core: Deciding,
        *,
        inputs: Inputs,
        slices: Slices,
        configuring: Configuring,
        hosting: Hosting,
        peering: Peering,
        hearing: Hearing,
        asking: Asking,
        reporting: Reporting,
    ) -> None:
        self.heard: deque[Seen] = deque()
        self._breathe_at = float("-inf")
        self._core = core
        self._inputs = inputs
        self._slices = slices
        self._configuring = configuring
        self._hosting = hosting
        self._peering = peering
        self._hearing = hearing
        self._asking = asking
        self._reporting = reporting

    async def step(self, key: keys.Key, now: float) -> Outcome:
        """One turn of the owner."""
        self._hearing.notice(now)
        outcome = await self._turn(key, now)
        await self._hearing.prove(now)
        await self._core.apply_if_idle()
        ended = self._core.clock.now()
        self._hearing.pulse.worked(now, ended)
        if ended >= self._breathe_at:  # keys that are ready follow each other without a turn of the loop in between
            await breathe()
            self._breathe_at = self._core.clock.now() + TURN_S
        return outcome

    async def _turn(self, key: keys.Key, now: float) -> Outcome:
        match key:
            case keys.Svc(name=name) | keys.Endpoints(service=name):
                self._service(name, now)
            case keys.Ip(ip=ip):
                self._core.judge(ip, now)
            case keys.Peer(node=node):
                await self._peering.peer(node, now)
            case keys.Links():
                return await self._hosting.links(now)
            case keys.Config():
                await self._configuring.step(now)
            case keys.Kernel():
                await self._hosting.read_events(now)
            case keys.Heard():
                self._hear(now)
            case keys.OwnLease():
                self._hearing.renewed()
                await self._peering.own(now)
            case keys.Sweep():
                await self._hosting.sweep(now)
            case keys.Speak():
                self._core.speak()
            case keys.Deaf():
                pass  # noticed, and the proof goes on, in every turn
            case keys.Listed(gap=gap):
                await self._hearing.listed(gap, now)
            case keys.Contest():
                self._asking.step(now)
            case keys.Leave():
                await self._leave(now)
            case keys.Report():
                self._reporting.step(now, stale=self._peering.stale)
            case _:
                assert_never(key)
        return Done()

    def _service(self, name: str, now: float) -> None:
        core, state = self._core, self._core.state
        if not state.synced:
            return
        service = self._inputs.services.store.get(name)
        touched = state.asked.take(name, service, groups=state.groups, healthy=self._slices.healthy)
        if service is None:
            self._slices.forget(name)
        elif (due := self._slices.deadline(name)) is not None:
            core.queue.add_after(keys.Endpoints(name), max(0.0, due - now))
        for ip in touched:
            core.judge(ip, now)
        if touched or name in state.asked.unfit:
            core.report_soon()
        if core.needs_dummy(touched):
            core.queue.add(keys.Links())

    def _hear(self, now: float) -> None:
        while self.heard:
            seen = self.heard.popleft()
            vip = self._core.state.vips.get(seen.ip)
            if vip is not None and vip.in_kernel and vip.on == seen.ifindex:
                self._core.feed(seen.ip, Answer(seen.mac, stays=self._stays(seen, now)), now)
                if vip.state == "Adopted":  # it was kept for want of a rival
                    self._core.judge(seen.ip, now)

    def _stays(self, seen: Seen, now: float) -> bool:
        """Two that speak at the same time must not both go: the lower MAC stays."""
        interface = self._core.state.present.interfaces.get(seen.ifindex)
        crossed = now < self._core.applier.spoke_at(seen.ip) + CROSSED_S
        return crossed and interface is not None and interface.mac < seen.mac

    async def _leave(self, now: float) -> None:
        """The node drains by our own wish: hand over what another can hold, add nothing more."""
        state = self._core.state
        state.leaving = True
        self._hosting.restart_sweeps(now)
        state.look_around(now)
        self._peering.intend()
        await self._core.judge_all(now)
        state.dirty.update(address.ip for address in state.present.ours())
        await self._core.apply()
        self._peering.intend()
