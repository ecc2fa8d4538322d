# SPDX-License-Identifier: Apache-2.0
"""The kernel's rules about addresses, as slow and obvious code. The namespace tests hold it to the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from purelb.lbnodeagent.host import (
    DEPRECATED,
    NODAD,
    NOPREFIXROUTE,
    SECONDARY,
    TAG,
    Address,
    DeleteAddress,
    Op,
    OpResult,
    SetAddress,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


class ModelKernel:
    """Addresses by key. `fails` names errnos for the n-th op; `promotes` is promote_secondaries of every interface."""

    def __init__(
        self,
        addresses: Iterable[Address] = (),
        *,
        promotes: bool = False,
        fails: dict[int, str] | None = None,
        tags: bool = True,
    ) -> None:
        self.addresses = {address.key: address for address in addresses}
        self.promotes = promotes
        self.fails = fails or {}
        self.tags = tags
        self.count = 0
        self.lapses: list[tuple[object, ...]] = []

    def apply(self, op: Op, now: float) -> OpResult:
        self.count += 1
        if self.count in self.fails:
            return OpResult(op, self.fails[self.count])
        if isinstance(op, SetAddress):
            return OpResult(op, self._set(op, now))
        assert isinstance(op, DeleteAddress)
        return OpResult(op, self._delete(op))

    def _set(self, op: SetAddress, now: float) -> str | None:
        key = (op.ip, op.prefixlen, op.ifindex)
        found = self.addresses.get(key)
        if found is None and op.ip.version == 6:
            twins = [other for other in self.addresses.values() if other.ip == op.ip and other.ifindex == op.ifindex]
            if twins:
                return "EEXIST"
        if found is not None and op.verb == "add":
            return "EEXIST"
        flags = op.flags & (NODAD | NOPREFIXROUTE)
        if found is not None and op.ip.version == 4:
            flags = found.flags & (NODAD | NOPREFIXROUTE | SECONDARY)  # REPLACE cannot change them
        elif op.ip.version == 4 and self._primary(op) is not None:
            flags |= SECONDARY
        if op.preferred_s == 0:
            flags |= DEPRECATED
        self.addresses[key] = Address(
            ip=op.ip,
            prefixlen=op.prefixlen,
            ifindex=op.ifindex,
            flags=flags,
            proto=TAG if self.tags else None,
            priority=op.priority,
            ends_at=None if op.valid_s is None else now + op.valid_s,
        )
        return None

    def _primary(self, op: SetAddress) -> Address | None:
        shift = 32 - op.prefixlen
        for other in self.addresses.values():
            if (
                other.ip.version == 4
                and other.ifindex == op.ifindex
                and other.prefixlen == op.prefixlen
                and not other.flags & SECONDARY
                and int(other.ip) >> shift == int(op.ip) >> shift
            ):
                return other
        return None

    def _delete(self, op: DeleteAddress) -> str | None:
        key = (op.ip, op.prefixlen, op.ifindex)
        gone = self.addresses.pop(key, None)
        if gone is None:
            return "EADDRNOTAVAIL"
        if gone.ip.version == 4 and not gone.flags & SECONDARY:
            shift = 32 - gone.prefixlen
            carried = [
                other
                for other in self.addresses.values()
                if other.ip.version == 4
                and other.ifindex == gone.ifindex
                and other.prefixlen == gone.prefixlen
                and other.flags & SECONDARY
                and int(other.ip) >> shift == int(gone.ip) >> shift
            ]
            if self.promotes and carried:
                self.addresses[carried[0].key] = replace(carried[0], flags=carried[0].flags & ~SECONDARY)
            elif not self.promotes:
                for other in carried:
                    del self.addresses[other.key]
        return None
