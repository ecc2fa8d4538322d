# SPDX-License-Identifier: Apache-2.0
"""What we believe the kernel has: the last dump, every event since, and what we did ourselves.

Our own operations are taken in when the kernel acknowledged them, so the echo of one changes nothing. A deletion of ours is
remembered until its echo came: an echo must not look like a foreign hand. A dump replaces everything, pending echoes too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from purelb.lbnodeagent.host import TAG, Address, DeleteAddress, Interface, KernelState, Route, SetAddress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from purelb.lbnodeagent.plan import Key
    from purelb.net.ranges import IPAddress


class Present:
    """One per agent, changed by its owner only."""

    def __init__(self) -> None:
        self.known = False
        self.interfaces: dict[int, Interface] = {}
        self.addresses: dict[Key, Address] = {}
        self.routes: tuple[Route, ...] = ()
        self._by_ip: dict[IPAddress, set[Key]] = defaultdict(set)
        self._echoes: Counter[Key] = Counter()

    def load(self, state: KernelState) -> None:
        """A whole dump."""
        self.known = True
        self.interfaces = {interface.index: interface for interface in state.interfaces}
        self.routes = state.routes
        self.addresses = {}
        self._by_ip.clear()
        self._echoes.clear()
        for address in state.addresses:
            self._put(address)

    def at(self, ip: IPAddress) -> list[Address]:
        """Every address with this IP, ours or not."""
        return [self.addresses[key] for key in self._by_ip.get(ip, ())]

    def on(self, ifindex: int) -> list[Address]:
        """Every address of an interface."""
        return [address for address in self.addresses.values() if address.ifindex == ifindex]

    def ours(self) -> Iterable[Address]:
        return [address for address in self.addresses.values() if address.ours]

    def own_state(self) -> KernelState:
        """What layouts are made from: interfaces, routes and the addresses that are not ours."""
        return KernelState(
            interfaces=tuple(self.interfaces.values()),
            addresses=tuple(address for address in self.addresses.values() if not address.ours),
            routes=self.routes,
        )

    def added(self, address: Address) -> bool:
        """An event; whether it told something new. The echo of an add that we have undone since is none."""
        if self._echoes[address.key] > 0:
            return False
        before = self.addresses.get(address.key)
        self._put(address)
        return before is None or _differs(before, address)

    def removed(self, address: Address) -> Address | None:
        """An event; the address as it was known if a foreign hand or its lifetime took it, None for our own echo."""
        if self._echoes[address.key] > 0:
            self._echoes[address.key] -= 1
            return None
        return self._drop(address.key)

    def done(self, op: SetAddress | DeleteAddress, now: float) -> None:
        """An operation of ours that the kernel acknowledged."""
        key = (op.ip, op.prefixlen, op.ifindex)
        if isinstance(op, DeleteAddress):
            if self._drop(key) is not None:
                self._echoes[key] += 1
            return
        before = self.addresses.get(key)
        self._put(
            Address(
                ip=op.ip,
                prefixlen=op.prefixlen,
                ifindex=op.ifindex,
                flags=op.flags | (0x20 if op.preferred_s == 0 else 0) | (before.flags & 1 if before else 0),
                proto=TAG,
                priority=op.priority,
                ends_at=None if op.valid_s is None else now + op.valid_s,
                preferred_until=None if op.preferred_s is None else now + op.preferred_s,
            )
        )

    def forget(self, op: DeleteAddress) -> None:
        """The kernel says that it was gone already."""
        self._drop((op.ip, op.prefixlen, op.ifindex))

    def link(self, interface: Interface, *, gone: bool) -> Interface | None:
        """An event of an interface; what it was before."""
        before = self.interfaces.get(interface.index)
        if gone:
            self.interfaces.pop(interface.index, None)
            for address in self.on(interface.index):  # the kernel told of these deletions, or will: they are foreign
                self._drop(address.key)
        else:
            self.interfaces[interface.index] = interface
        return before

    def _put(self, address: Address) -> None:
        self.addresses[address.key] = address
        self._by_ip[address.ip].add(address.key)

    def _drop(self, key: Key) -> Address | None:
        found = self.addresses.pop(key, None)
        if found is not None:
            keys = self._by_ip[key[0]]
            keys.discard(key)
            if not keys:
                del self._by_ip[key[0]]
        return found


def _differs(before: Address, after: Address) -> bool:
    """Beyond lifetimes that run."""
    if (before.ours, before.flags, before.proto, before.priority) != (
        after.ours,
        after.flags,
        after.proto,
        after.priority,
    ):
        return True
    if before.ends_at is None or after.ends_at is None:
        return before.ends_at is not after.ends_at
    return abs(before.ends_at - after.ends_at) > 2.0
