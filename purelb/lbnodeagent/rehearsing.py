# SPDX-License-Identifier: Apache-2.0
"""The agent's edges for a dry run: a kernel that is read and never changed, and a wire that stays silent.

What would be done to the kernel is kept beside the real state, so that the agent goes on as if it had been done: an address
it would add is there in the next dump, one it would delete is not, until its lifetime ends. What happens to such an address in
the real kernel is not told to the agent any more. No echo is sent of what was not done, and nothing is heard on the link.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from purelb.lbnodeagent.desired import OnDummy, OnLink, place
from purelb.lbnodeagent.election import Mine, Nobody, Theirs
from purelb.lbnodeagent.host import (
    ALIAS,
    TAG,
    Address,
    AddressAdded,
    AddressGone,
    DeleteAddress,
    Interface,
    KernelEvent,
    KernelState,
    LinkChanged,
    MakeLink,
    Op,
    OpResult,
    RemoveLink,
    Seen,
    SetAddress,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from purelb.kube.clock import Clock
    from purelb.lbnodeagent.host import Kernel
    from purelb.lbnodeagent.plan import Key
    from purelb.lbnodeagent.state import State
    from purelb.net.ranges import IPAddress
    from purelb.process.dryrun import Plan

IMAGINED_FROM: Final = 1_000_000
"""Indices of interfaces that would be made; a kernel counts from 1."""


class ReadOnlyKernel:
    """`host.Kernel` over a real one. `why(ip, adding)`: who asks for an address, and the reason of the change."""

    def __init__(self, real: Kernel, *, plan: Plan, clock: Clock, why: Callable[[IPAddress, bool], str]) -> None:
        self._real = real
        self._plan = plan
        self._clock = clock
        self._why = why
        self._there: dict[Key, Address] = {}
        self._imagined: dict[Key, Address | None] = {}
        self._links: dict[int, Interface] = {}
        self._made: dict[int, Interface] = {}
        self._removed: set[int] = set()

    @property
    def returns_tags(self) -> bool:
        return self._real.returns_tags

    def setting(self, name: str) -> int | None:
        return self._real.setting(name)

    def close(self) -> None:
        self._real.close()

    async def dump(self) -> KernelState:
        """The real state with what would have been done."""
        found = await self._real.dump()
        self._there = {address.key: address for address in found.addresses}
        self._links = {link.index: link for link in found.interfaces}
        now = self._clock.now()
        for key, address in list(self._imagined.items()):
            if address is not None and address.ends_at is not None and now >= address.ends_at:
                self._imagined[key] = None
        addresses = {**self._there, **self._imagined}
        links = {**self._links, **self._made}
        return KernelState(
            interfaces=tuple(link for index, link in links.items() if index not in self._removed),
            addresses=tuple(address for address in addresses.values() if address is not None),
            routes=found.routes,
        )

    async def events(self) -> AsyncIterator[KernelEvent]:
        """What really happens, but for addresses that would be otherwise."""
        async for event in self._real.events():
            match event:
                case AddressAdded(address=address):
                    self._there[address.key] = address
                    known = address.key in self._imagined
                case AddressGone(address=address):
                    self._there.pop(address.key, None)
                    known = address.key in self._imagined
                case LinkChanged(interface=interface):
                    self._links[interface.index] = interface
                    known = interface.index in self._removed
                case _:
                    known = False
            if not known:
                yield event

    async def apply(self, ops: Sequence[Op]) -> Sequence[OpResult]:
        """Answer as a kernel that does it, tell the plan, and do nothing."""
        return [OpResult(op, self._imagine(op)) for op in ops]

    def _imagine(self, op: Op) -> str | None:
        match op:
            case MakeLink(name=name, kind=kind):
                if any(link.name == name for link in (*self._links.values(), *self._made.values())):
                    return "EEXIST"
                index = IMAGINED_FROM + len(self._made)
                self._made[index] = Interface(
                    index=index, name=name, up=True, carrier=True, kind=kind, alias=ALIAS, promotes=True
                )
                self._plan.say(f"link {name}", f"+ link {name} type {kind}")
            case RemoveLink(ifindex=index):
                name = self._name(index)
                self._removed.add(index)
                self._plan.say(f"link {name}", f"- link {name}", undone=index in self._made)
            case DeleteAddress():
                return self._delete(op)
            case SetAddress():
                return self._set(op)
        return None

    def _delete(self, op: DeleteAddress) -> str | None:
        key = (op.ip, op.prefixlen, op.ifindex)
        if self._now_at(key) is None:
            return "EADDRNOTAVAIL"
        self._imagined[key] = None
        self._say("-", op, undone=key not in self._there)
        return None

    def _set(self, op: SetAddress) -> str | None:
        key = (op.ip, op.prefixlen, op.ifindex)
        before = self._now_at(key)
        if op.verb == "add" and before is not None:
            return "EEXIST"
        now = self._clock.now()
        self._imagined[key] = Address(
            ip=op.ip,
            prefixlen=op.prefixlen,
            ifindex=op.ifindex,
            flags=op.flags,
            proto=TAG,
            priority=op.priority,
            ends_at=None if op.valid_s is None else now + op.valid_s,
            preferred_until=None if op.preferred_s is None else now + op.preferred_s,
        )
        if op.verb == "add":
            self._say("+", op, undone=key in self._there)
        elif op.verb == "change":
            self._say("~", op)
        return None

    def _now_at(self, key: Key) -> Address | None:
        return self._imagined[key] if key in self._imagined else self._there.get(key)

    def _say(self, sign: str, op: SetAddress | DeleteAddress, *, undone: bool = False) -> None:
        place_ = f"{op.ip}/{op.prefixlen} dev {self._name(op.ifindex)}"
        self._plan.say(place_, f"{sign} {place_} {self._why(op.ip, sign != '-')}", undone=undone)

    def _name(self, index: int) -> str:
        link = self._links.get(index) or self._made.get(index)
        return link.name if link is not None else str(index)


class SilentWire:
    """`host.Wire` without a socket: nothing is sent, nothing is heard, and no capability is needed."""

    def use(self, interfaces: Mapping[int, bytes]) -> None:
        """Listen nowhere."""

    def send(self, ifindex: int, frame: bytes) -> str | None:  # noqa: ARG002  as the protocol has it
        return None

    async def frames(self) -> AsyncIterator[Seen]:
        """Never anything."""
        await asyncio.get_running_loop().create_future()
        heard: tuple[Seen, ...] = ()
        for seen in heard:
            yield seen

    def close(self) -> None:
        """Nothing is open."""


def why(state: State, ip: IPAddress, *, adding: bool) -> str:
    """Who asks for an address, and why it comes or goes."""
    claim = state.asked.claims.get(ip)
    if claim is None:
        return "no Service asks for it"
    services = ",".join(claim.services)
    return f"{services}: {_reason(state, ip, adding=adding)}"


def _reason(state: State, ip: IPAddress, *, adding: bool) -> str:
    claim, verdict, withhold = state.asked.claims[ip], state.verdicts.get(ip), state.withheld.get(ip)
    if adding:
        return (
            "every node of its group answers for it" if isinstance(place(claim, state.layout), OnDummy) else "elected"
        )
    if withhold is not None:
        return f"{withhold.reason}: {withhold.message}"
    match verdict:
        case Theirs(node=node):
            return f"{node} is elected"
        case Nobody(reason=reason):
            return reason
        case _:
            return ", ".join(state.fitness.causes) or "it belongs elsewhere"


def handed_over(state: State) -> tuple[str, ...]:
    """What this node is elected for and another holds: peers offer it once they see this agent, which they do not."""
    found = []
    for ip, verdict in state.verdicts.items():
        claim, vip = state.asked.claims.get(ip), state.vips.get(ip)
        contested = isinstance(verdict, Mine) and verdict.how == "contested" and verdict.holder is not None
        if claim is None or not contested or (vip is not None and vip.in_kernel):
            continue
        where = place(claim, state.layout)
        if isinstance(where, OnLink) and isinstance(verdict, Mine):
            link = state.present.interfaces[where.ifindex]
            services = ",".join(claim.services)
            found.append(
                f"+ {ip}/{ip.max_prefixlen} dev {link.name} {services}: elected; {verdict.holder} would hand it over"
            )
    return tuple(sorted(found))
