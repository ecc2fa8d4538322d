# SPDX-License-Identifier: Apache-2.0
"""Carrying out: the difference for what was decided, the kernel's answers, and the frames that follow.

Decisions mark addresses; this makes one plan for all that are marked and applies it as a batch, so a thousand verdicts cost
four system calls. What the kernel refused is a value: it is reported, backed off by the VIP's own machine, and the
neighbours have not waited for it. Nothing is planned while the kernel's state is unknown or another instance owns it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from purelb.kube.failures import failure
from purelb.kube.metrics import NO_SINK, Sink
from purelb.lbnodeagent import metrics
from purelb.lbnodeagent.gratuitous import Announcer
from purelb.lbnodeagent.host import DeleteAddress, MakeLink, Op, OpResult, RemoveLink, SetAddress
from purelb.lbnodeagent.plan import plan, undeletable
from purelb.lbnodeagent.vipwords import AddRefused
from purelb.net.frames import announcement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from purelb.kube.clock import Clock
    from purelb.lbnodeagent.gratuitous import Send
    from purelb.lbnodeagent.host import Address, Kernel, Wire
    from purelb.lbnodeagent.state import State
    from purelb.lbnodeagent.vipwords import Action
    from purelb.net.ranges import IPAddress

log = logging.getLogger(__name__)

_LINK_TROUBLE: Final = frozenset({"ENODEV", "ENETDOWN", "EEXIST"})


class Applier:
    """The owner's hands. `read_again`: what the kernel answered does not fit what we believe, so it has to be dumped."""

    def __init__(self, state: State, *, kernel: Kernel, wire: Wire, clock: Clock, sink: Sink = NO_SINK) -> None:
        self.read_again = False
        self.announcer = Announcer(clock.random)
        self._state = state
        self._kernel = kernel
        self._wire = wire
        self._clock = clock
        self._sink = sink
        self._listening: dict[int, bytes] = {}
        self._taking: dict[IPAddress, tuple[str, float]] = {}
        self._spoke: dict[IPAddress, float] = {}

    async def apply(self) -> list[tuple[IPAddress, tuple[Action, ...]]]:
        """Make the kernel equal what is wanted for the marked addresses. Answers what their machines ask for in turn."""
        state = self._state
        if not state.dirty or not state.present.known or state.passive:
            return []
        marked = self._with_neighbours(state.dirty)
        state.dirty = set()
        snapshot_wants = [item for ip in marked if (item := state.wants(ip)) is not None]
        have = [address for ip in marked for address in state.present.at(ip)]
        if not state.synced:  # unknown is not empty: nothing is added or removed yet
            return []
        promotes = {index: link.promotes for index, link in state.present.interfaces.items()}
        ops = plan(snapshot_wants, have, self._clock.now(), promotes=promotes)
        for address in undeletable(have, snapshot_wants, promotes=promotes):
            state.failed[address.ip] = f"{address.ip} carries an address that is not ours and cannot be removed"
        return await self.carry_out(ops)

    async def carry_out(self, ops: Iterable[Op]) -> list[tuple[IPAddress, tuple[Action, ...]]]:
        """Apply and take in the answers."""
        listed = tuple(ops)
        if not listed:
            return []
        started = self._clock.now()
        results = await self._kernel.apply(listed)
        now = self._clock.now()
        self._sink.observe(metrics.APPLY, now - started)
        followed: list[tuple[IPAddress, tuple[Action, ...]]] = []
        for result in results:
            followed += self._take_in(result, now)
        return followed

    def takes_over(self, ip: IPAddress, *, cause: str, since: float) -> None:
        """`ip` was another node's, whose last sign of life or hand-over mark came at `since`: timed until the kernel has it."""
        self._taking[ip] = cause, since

    def listen(self) -> None:
        """Have a socket on each interface that carries a VIP, and on no other."""
        interfaces = self._state.present.interfaces
        wanted = {index: interfaces[index].mac for index in self._state.carriers_of_vips() if index in interfaces}
        if wanted != self._listening:
            self._listening = wanted
            self._wire.use(wanted)

    def spoke_at(self, ip: IPAddress) -> float:
        """When a frame of ours last claimed `ip`."""
        return self._spoke.get(ip, float("-inf"))

    def speak(self) -> None:
        """Send what is due. An address that is not held any more is not announced."""
        now = self._clock.now()
        settings = self._state.settings.gratuitous
        for send in self.announcer.due(now):
            vip = self._state.vips.get(send.ip)
            held = vip is not None and vip.state == "Holding" and vip.on == send.ifindex
            if not held and (settings.verify_before_send or send.kind == "repeat"):
                continue
            if settings.enabled:
                self._say(send)
                self._spoke[send.ip] = now
            if send.kind == "repeat":
                self.announcer.repeat(send.ip, send.ifindex, settings=settings, now=now)

    def _say(self, send: Send) -> None:
        interface = self._state.present.interfaces.get(send.ifindex)
        if interface is None or len(interface.mac) != 6 or interface.loopback:
            return
        link = next((link for link in self._state.layout.links if link.interface.index == send.ifindex), None)
        from_ = link.link_local if link is not None else None
        errors = [
            error
            for frame in announcement(send.ip, mac=interface.mac, link_local=from_)  # type: ignore[arg-type]
            if (error := self._wire.send(send.ifindex, frame)) is not None
        ]
        if send.ip.version == 4:
            self._sink.count(metrics.GARP_ERRORS if errors else metrics.GARP_SENT)
        else:
            self._sink.count(metrics.NA_ERRORS if errors else metrics.NA_SENT)

    def _with_neighbours(self, marked: set[IPAddress]) -> set[IPAddress]:
        """On an interface that does not promote, a primary takes secondaries along: then all of it is planned at once."""
        state = self._state
        touched: set[int] = set()
        for ip in marked:
            found: list[Address] = state.present.at(ip)
            if any(address.prefixlen < 32 and address.ours for address in found if address.ip.version == 4):
                touched.update(address.ifindex for address in found)
            if (item := state.wants(ip)) is not None and item.prefixlen < 32:
                touched.add(item.ifindex)
        more: set[IPAddress] = set()
        for ifindex in touched:
            link = state.present.interfaces.get(ifindex)
            if link is not None and not link.promotes:
                more.update(address.ip for address in state.present.on(ifindex))
        return marked | more

    def _take_in(self, result: OpResult, now: float) -> list[tuple[IPAddress, tuple[Action, ...]]]:
        op, error = result.op, result.error
        if isinstance(op, MakeLink | RemoveLink):
            self.read_again = True
            return []
        if error is None:
            self._state.present.done(op, now)
            if self._state.failed.pop(op.ip, None) is not None:
                self._state.withheld.pop(op.ip, None)
            match op:
                case SetAddress(verb="add"):
                    self._sink.count(metrics.ADDITIONS)
                    if (taken := self._taking.pop(op.ip, None)) is not None:
                        cause, since = taken
                        self._sink.observe(metrics.TAKEOVER, max(0.0, now - since), cause)
                case SetAddress(verb="renew"):
                    self._sink.count(metrics.RENEWALS)
                case DeleteAddress():
                    self._sink.count(metrics.WITHDRAWALS)
                    self._taking.pop(op.ip, None)
                    self._spoke.pop(op.ip, None)
                case _:
                    pass
            return []
        if isinstance(op, DeleteAddress) and error == "EADDRNOTAVAIL":
            self._state.present.forget(op)
            return []
        return self._refused(op, error, now)

    def _refused(
        self, op: SetAddress | DeleteAddress, error: str, now: float
    ) -> list[tuple[IPAddress, tuple[Action, ...]]]:
        self._sink.count(metrics.KERNEL_ERRORS, op.verb, error)
        if isinstance(op, SetAddress) and op.verb == "renew":
            self._sink.count(metrics.RENEWAL_ERRORS)
        link = self._state.present.interfaces.get(op.ifindex)
        name = link.name if link is not None else str(op.ifindex)
        text = f"{op.verb} {op.ip}/{op.prefixlen} on {name}: {error}"
        if error == "EACCES" and op.ip.version == 6:
            text = f"IPv6 is disabled on {name}"
        if self._state.failed.get(op.ip) != text:
            log.info(
                "the kernel refused: %s",
                text,
                extra={"code": "kernelRefused", "ip": str(op.ip), "interface": name, **failure(error, kind="OSError")},
            )
        self._state.failed[op.ip] = text
        if error in _LINK_TROUBLE:
            self.read_again = True
        if isinstance(op, SetAddress) and op.verb == "add" and op.ip in self._state.vips:
            return [(op.ip, self._state.feed(op.ip, AddRefused(error), now))]
        return []
