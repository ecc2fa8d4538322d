# SPDX-License-Identifier: Apache-2.0
"""The owner's turns for its own host: kernel events, dumps, interfaces, carriers, the dummy interface, renewals.

What a foreign hand removes is put back, what it changes is corrected; a fight is slowed down and named. Every minute a full
dump is compared with what we believe. All lifetimes of a class end together, because one sweep renews them all; an address
whose end passed while we were not looking is not renewed but judged again, since the kernel would create it anew.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from purelb.kube.failures import failure
from purelb.kube.owner import Done, Outcome, Retry
from purelb.kube.queue import URGENT
from purelb.lbnodeagent import keys, metrics
from purelb.lbnodeagent.host import (
    ALIAS,
    Address,
    AddressAdded,
    AddressGone,
    KernelEvent,
    LinkChanged,
    MakeLink,
    Overrun,
    RemoveLink,
    RoutesChanged,
    SetAddress,
)
from purelb.lbnodeagent.prerequisites import unmet
from purelb.lbnodeagent.repairs import Repairs
from purelb.lbnodeagent.vipwords import CarrierBack, CarrierLost, KernelLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.lbnodeagent.deciding import Deciding
    from purelb.lbnodeagent.host import Interface, Kernel
    from purelb.net.ranges import IPAddress

log = logging.getLogger(__name__)

DUMP_EVERY_S: Final = 60.0
SETTLE_S: Final = 0.05
"""A change of routes or own addresses comes in several events: they are read together."""
UNSYNCED_UNDER_S: Final = 5.0
LINK_AGAIN_S, LINK_AGAIN_MAX_S = 1.0, 60.0
ENDED_S: Final = 1.0
"""An address that goes within this of its end ended by itself."""
TOO_LATE_S: Final = 0.25
"""A renewal that is sent so close to the end may arrive after it."""


class Hosting:
    """`subnets_changed` is called when what we advertise differs, `lifetime_ended` when what we hold was not renewed in time."""

    def __init__(
        self,
        core: Deciding,
        *,
        kernel: Kernel,
        subnets_changed: Callable[[], None],
        lifetime_ended: Callable[[float], None],
    ) -> None:
        self.events: deque[KernelEvent] = deque()
        self.trouble: str | None = "the kernel was not read yet"
        core.state.returns_tags = kernel.returns_tags
        self._core = core
        self._kernel = kernel
        self._subnets_changed = subnets_changed
        self._lifetime_ended = lifetime_ended
        self._repairs = Repairs()
        self._dump_at = float("-inf")
        self._link_failures = 0
        self._link_again_at = float("-inf")

    # Events and dumps

    async def read_events(self, now: float) -> None:
        """Take in what waits, then repair and correct."""
        state = self._core.state
        relaid = False
        lost: list[Address] = []
        while self.events:
            match self.events.popleft():
                case AddressAdded(address=address):
                    if state.present.added(address):
                        relaid |= not address.ours
                        state.dirty.add(address.ip)
                case AddressGone(address=address):
                    gone = state.present.removed(address)
                    if gone is not None and gone.ours:
                        lost.append(gone)
                    elif gone is not None:
                        relaid = True
                        state.dirty.add(address.ip)
                case LinkChanged(interface=interface, gone=gone_link):
                    before = state.present.link(interface, gone=gone_link)
                    relaid |= before != interface or gone_link
                    if (before is None or before.name != interface.name) and state.unconfigured:
                        self._core.queue.add(keys.Config())  # it may be the interface that was missing
                    self._link_changed(before, interface, now, gone=gone_link)
                case RoutesChanged():
                    self._dump_at = float("-inf")
                    self._core.queue.add_after(keys.Links(), SETTLE_S)
                case Overrun():
                    self._core.sink.count(metrics.OVERRUNS)
                    self._dump_at = float("-inf")
                    self._core.queue.add(keys.Links(), priority=URGENT)
        for address in lost:
            self._lost(address, now)
        if relaid:
            await self.lay_out(now)
        else:
            await self._core.apply()

    async def links(self, now: float) -> Outcome:
        """Dump when it is time, and lay out anew."""
        if now >= self._dump_at or self._core.applier.read_again:
            self._core.applier.read_again = False
            try:
                await self._dump(now)
            except OSError as error:
                self.trouble = f"the kernel cannot be read: {error.strerror or error}"
                return Retry(self.trouble)
            self.trouble = None
        await self.lay_out(now)
        self._core.queue.add_after(keys.Links(), max(0.0, self._dump_at - self._core.clock.now()))
        return Done()

    async def _dump(self, now: float) -> None:
        state = self._core.state
        first = not state.present.known
        before = {address.key: address for address in state.present.ours()}
        found = await self._kernel.dump()
        state.present.load(found)
        self._dump_at = now + DUMP_EVERY_S
        if first:
            self._core.queue.add(keys.Config())  # it waited for this
            state.adopt(now)
            for ip in state.vips:
                log.info("found %s", ip, extra={"code": "adopted", "ip": str(ip)})
            return
        after = {address.key for address in state.present.ours()}
        for key in before.keys() - after:
            self._lost(before[key], now)
        state.dirty.update(key[0] for key in after)  # all of it is compared with what should be
        self._repairs.forget_old(now)

    def _lost(self, address: Address, now: float) -> None:
        """An address of ours went away, and not by our hand."""
        state, ip = self._core.state, address.ip
        expired = address.ends_at is not None and now >= address.ends_at - ENDED_S
        vip = state.vips.get(ip)
        if vip is not None and vip.in_kernel and vip.on != address.ifindex:
            state.dirty.add(ip)
            return
        held = vip is not None and vip.in_kernel
        if vip is not None and vip.renewed and expired:
            self._lifetime_ended(now)
        expired = expired or (held and state.deaf.open)
        wanted = state.wants(ip) is not None
        if wanted and not expired:
            self._core.sink.count(metrics.KERNEL_REPAIRS, "address_removed")
            due = self._repairs.due(ip, now)
            if due > now:
                self._fight(ip, address, due - now)
                return
        if held:
            self._core.feed(ip, KernelLost(expired=expired), now)
            if expired:
                self._core.judge(ip, now)
        state.dirty.add(ip)

    def _fight(self, ip: IPAddress, address: Address, delay: float) -> None:
        link = self._core.state.present.interfaces.get(address.ifindex)
        name = link.name if link is not None else str(address.ifindex)
        fields = {"code": "addressFight", "ip": str(ip), "interface": name}
        log.info("somebody keeps removing %s from %s: putting it back more slowly", ip, name, extra=fields)
        self._core.queue.add_after(keys.Ip(ip), delay)

    def _link_changed(self, before: Interface | None, after: Interface, now: float, *, gone: bool) -> None:
        state = self._core.state
        if gone:
            state.carriers.gone(after.index)
            return
        blinked = before is not None and not (before.up and before.carrier) and after.up and after.carrier
        other_mac = before is not None and before.mac != after.mac
        state.carriers.saw(after.index, carrier=after.up and after.carrier, now=now)
        if (blinked or other_mac) and state.carriers.usable(after.index, now):
            for ip, vip in list(state.vips.items()):
                if vip.on == after.index:
                    self._core.feed(ip, CarrierBack(), now)

    # Interfaces and subnets

    async def lay_out(self, now: float, *, everything: bool = False) -> None:
        """Interfaces and subnets of now; judge everything when they, or the view, differ."""
        core, state = self._core, self._core.state
        before, after = state.lay_out(now)
        if (due := state.carriers.deadline()) is not None:
            core.queue.add_after(keys.Links(), max(0.0, due - now))
        self._drop_from_dead_links(now)
        if not state.synced:
            return
        self._check_host()
        if before.subnets != after.subnets:
            subnets = ", ".join(map(str, after.subnets))
            log.info("subnets: %s", subnets or "none", extra={"code": "subnetsChanged", "subnets": subnets})
        changed = state.look_around(now) or before != after or everything
        self._subnets_changed()
        if changed:
            await core.judge_all(now)
            core.report_soon()
        await self._ensure_dummy(now)
        await core.apply()

    def _check_host(self) -> None:
        state = self._core.state
        found = unmet(
            state.layout,
            state.present.interfaces.values(),
            state.asked.claims.values(),
            setting=self._kernel.setting,
        )
        for text in found:
            if text not in state.unmet:
                log.info("%s", text, extra={"code": "hostSetting"})
        if found != state.unmet:
            self._core.report_soon()
        state.unmet = found

    def _drop_from_dead_links(self, now: float) -> None:
        """Row 21: an interface without carrier for half a second answers for nothing."""
        state = self._core.state
        for ip, vip in list(state.vips.items()):
            if vip.in_kernel and vip.on is not None and vip.on in state.present.interfaces:
                link = state.present.interfaces[vip.on]
                if not (link.up and link.carrier) and not state.carriers.usable(vip.on, now) and state.synced:
                    self._core.feed(ip, CarrierLost(), now)

    def mark_all(self) -> None:
        """Everything of ours in the kernel is compared with what should be, also what nobody asks for any more."""
        state = self._core.state
        for address in state.present.ours():
            state.dirty.add(address.ip)
            if address.ip not in state.vips and address.ip not in state.asked.claims:
                log.info("orphanRemoved: %s", address.ip, extra={"code": "orphanRemoved", "ip": str(address.ip)})

    async def _ensure_dummy(self, now: float) -> None:
        core, state = self._core, self._core.state
        if not core.needs_dummy() or state.passive:
            return
        if now < self._link_again_at:
            core.queue.add_after(keys.Links(), self._link_again_at - now)
            return
        settings = state.settings
        (result,) = await self._kernel.apply([MakeLink(name=settings.dummy_interface, kind=settings.dummy_kind)])
        if result.error is None or result.error == "EEXIST":
            self._link_failures, state.dummy_error = 0, None
            log.info(
                "created %s",
                settings.dummy_interface,
                extra={"code": "linkCreated", "interface": settings.dummy_interface},
            )
            await self._dump(now)
            state.lay_out(now)
            await core.judge_all(now)
            return
        wait = min(LINK_AGAIN_MAX_S, LINK_AGAIN_S * 2.0**self._link_failures)
        if state.dummy_error != result.error:
            told = failure(result.error, kind="OSError", attempt=self._link_failures + 1, retry_in=wait)
            fields = {"code": "linkRefused", "interface": settings.dummy_interface, **told}
            log.info("cannot create %s: %s", settings.dummy_interface, result.error, extra=fields)
        state.dummy_error = result.error
        self._link_failures = min(self._link_failures + 1, 10)
        self._link_again_at = now + wait
        core.queue.add_after(keys.Links(), wait)
        await core.judge_all(now)

    async def drop_dummy(self, name: str) -> None:
        """The dummy interface was renamed in the configuration: the old one goes, if we made it and nothing is left on it."""
        state = self._core.state
        if name != state.settings.dummy_interface:
            await self.remove_link(name)

    async def remove_link(self, name: str) -> None:
        """Remove a link of this name that carries our alias and no address."""
        state = self._core.state
        for link in list(state.present.interfaces.values()):
            if link.name == name and link.alias == ALIAS and not state.present.on(link.index):
                await self._core.applier.carry_out((RemoveLink(ifindex=link.index),))

    # Lifetimes

    def restart_sweeps(self, now: float) -> None:
        """Lifetimes are counted from now; the next sweeps follow."""
        self._core.state.local_ends_at = None
        self._core.state.dummy_ends_at = None
        self._set_ends(now)

    def _set_ends(self, now: float) -> None:
        """Each class that is due gets a new end; the next turn is at the earlier of the two."""
        state = self._core.state
        nexts: list[float] = []
        for attribute, renewal in (("local_ends_at", state.local_renewal), ("dummy_ends_at", state.dummy_renewal)):
            if renewal.valid is None:
                setattr(state, attribute, None)
                continue
            ends_at: float | None = getattr(state, attribute)
            due = now if ends_at is None else ends_at - renewal.valid + renewal.every
            if now >= due - 0.01:
                setattr(state, attribute, now + renewal.valid)
                due = now + renewal.every
            nexts.append(due)
        if nexts:
            self._core.queue.add_after(keys.Sweep(), max(0.0, min(nexts) - now), priority=URGENT)

    def sweep_missed(self, now: float) -> bool:
        """Whether an end that a sweep should have moved has come. Cheap: asked in every turn."""
        state = self._core.state
        return any(ends_at is not None and now >= ends_at for ends_at in (state.local_ends_at, state.dummy_ends_at))

    def ended(self, now: float) -> list[Address]:
        """What is ours and whose lifetime has ended by our clock, whether or not the kernel told us."""
        return [
            address
            for address in self._core.state.present.ours()
            if address.ends_at is not None and now >= address.ends_at - TOO_LATE_S
        ]

    def let_go(self, ended: list[Address], now: float) -> None:
        """They are lost: a renewal would create them anew."""
        for address in ended:
            self._core.state.present.removed(address)
            self._lost(address, now)
        if ended:  # not all may be gone yet
            self._dump_at = float("-inf")
            self._core.queue.add_after(keys.Links(), ENDED_S)

    async def sweep(self, now: float) -> None:
        """Renew, if we are fit to; before everything is known, or while our lease is not ours yet, only what would run out."""
        core, state = self._core, self._core.state
        if not state.present.known or (state.passive and not state.vips):
            core.queue.add_after(keys.Sweep(), 1.0)
            return
        if not state.synced or state.passive:
            await core.applier.carry_out(_renewals(state.kept_alive(now, under_s=UNSYNCED_UNDER_S), state.duration))
            core.queue.add_after(keys.Sweep(), 1.0)
            return
        self.let_go(self.ended(now), now)
        self._set_ends(now)
        if not state.fenced:
            state.dirty.update(address.ip for address in state.present.ours() if address.ends_at is not None)
        await core.apply()


def _renewals(addresses: list[Address], duration: int) -> list[SetAddress]:
    return [
        SetAddress(
            verb="renew",
            ip=address.ip,
            prefixlen=address.prefixlen,
            ifindex=address.ifindex,
            flags=address.flags,
            valid_s=2 * duration,
            preferred_s=0 if address.flags & 0x20 else 2 * duration,
            priority=address.priority,
        )
        for address in addresses
    ]
