# SPDX-License-Identifier: Apache-2.0
"""From what should be on the interfaces to what has to be done: a difference, in an order that never leaves a gap.

Adds, renewals, changes, deletes: a VIP that moves between interfaces or prefixes is present throughout. Facts of the kernel
that the plan respects: IPv4 may hold one address with two prefix lengths, IPv6 may not (delete and add, in one batch); IPv6
REPLACE drops the flags it is not given, IPv4 REPLACE cannot change NOPREFIXROUTE (delete and add); without
promote_secondaries the deletion of a primary takes its secondaries along.

Only addresses with our tag are changed or deleted, and nothing is planned for an address that is there untagged.
A lifetime that has ended by our clock is not renewed: the kernel would create the address anew. Whoever noticed decides.
A renewal is a difference like any other: all wants of one sweep end at one instant, and an address that ends earlier is
renewed. So there is no list of what was renewed when.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from msgspec import Struct

from purelb.lbnodeagent.host import (
    DEPRECATED,
    OURS_TO_SET,
    SECONDARY,
    Address,
    DeleteAddress,
    MakeLink,
    Op,
    RemoveLink,
    SetAddress,
)
from purelb.net.ranges import IPAddress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


Have = Address
Key = tuple[IPAddress, int, int]
SLACK_S = 2.0
"""The kernel counts lifetimes in whole seconds of its own: a difference up to this is none."""


class Want(Struct, frozen=True, gc=False, kw_only=True):
    """An address as it should be. `valid`: seconds a sweep gives it, None permanent; `ends_at`: the end of the sweep in force."""

    ip: IPAddress
    prefixlen: int
    ifindex: int
    flags: int
    valid: int | None = None
    preferred: int | None = None
    ends_at: float | None = None
    priority: int = 0

    @property
    def key(self) -> Key:
        return self.ip, self.prefixlen, self.ifindex


def plan(
    want: Collection[Want], have: Iterable[Have], now: float, *, promotes: Mapping[int, bool] | None = None
) -> tuple[Op, ...]:
    """The operations that make the tagged addresses equal `want`, in the order they must be carried out.

    `have` is every address, ours or not. `promotes`: whether an interface keeps secondaries when their primary goes; one
    that is not named does not. Empty when nothing differs but remaining lifetimes within the sweep.
    """
    present = {address.key: address for address in have}
    wanted = {item.key: item for item in want}
    foreign = {(address.ip, address.ifindex) for address in present.values() if not address.ours}
    stuck = frozenset(_carrying_foreign(present.values(), promotes or {}))
    adds: list[Op] = []
    renewals: list[Op] = []
    changes: list[Op] = []
    replaced: set[Key] = set()
    for item in sorted(wanted.values(), key=_place):
        found = present.get(item.key)
        if (found is None or not found.ours) and (item.ip, item.ifindex) in foreign:
            continue  # an untagged twin: it is not ours to touch, and the kernel holds an address once
        if found is None:
            rivals = _rivals(item, present.values())
            if rivals:  # IPv6 holds an address once per interface, whatever its prefix
                replaced.update(rival.key for rival in rivals)
                changes += [_delete(rival) for rival in rivals]
                changes.append(_set("add", item, now))
            else:
                adds.append(_set("add", item, now))
        elif found.ours and _ended(found, now):
            continue
        elif (found.flags ^ item.flags) & OURS_TO_SET:
            if item.ip.version == 4:
                if found not in stuck:
                    changes += [_delete(found), _set("add", item, now)]
            else:
                changes.append(_set("change", item, now))
        elif not _lasts_alike(item, found):
            renewals.append(_set("renew", item, now))
        elif _preferred_differs(item, found):
            changes.append(_set("change", item, now))
    deletes = [
        _delete(address)
        for address in sorted(present.values(), key=lambda found: (not _is_secondary(found), _place(found)))
        if address.ours and address.key not in wanted and address.key not in replaced and address not in stuck
    ]
    ops = (*adds, *renewals, *changes, *deletes)
    return (*ops, *_taken_along(ops, present, wanted, now, promotes or {}))


def _place(item: Want | Have) -> tuple[int, int, int, int]:
    return item.ifindex, item.ip.version, int(item.ip), item.prefixlen


def _rivals(item: Want, present: Iterable[Have]) -> list[Have]:
    if item.ip.version == 4:
        return []
    return [found for found in present if found.ours and found.ip == item.ip and found.ifindex == item.ifindex]


def _lasts_alike(item: Want, found: Have) -> bool:
    if item.ends_at is None or found.ends_at is None:
        return item.ends_at is None and found.ends_at is None
    return abs(item.ends_at - found.ends_at) <= SLACK_S


def _ended(found: Have, now: float) -> bool:
    return found.ends_at is not None and now >= found.ends_at


def _preferred_differs(item: Want, found: Have) -> bool:
    """Only what matters: deprecated or not. The rest follows the valid lifetime, which is compared already."""
    wanted_deprecated = item.preferred == 0
    return wanted_deprecated != (found.flags & DEPRECATED != 0)


def _delete(address: Have | Want) -> DeleteAddress:
    return DeleteAddress(ip=address.ip, prefixlen=address.prefixlen, ifindex=address.ifindex)


def _set(verb: str, item: Want, now: float) -> SetAddress:
    valid = None if item.ends_at is None else max(1, ceil(item.ends_at - now))
    preferred = valid if item.preferred is None else item.preferred
    if valid is not None and preferred is not None:
        preferred = min(preferred, valid)
    return SetAddress(
        verb=verb,  # type: ignore[arg-type]  # one of the three literals, from the calls above
        ip=item.ip,
        prefixlen=item.prefixlen,
        ifindex=item.ifindex,
        flags=item.flags,
        valid_s=valid,
        preferred_s=preferred,
        priority=item.priority,
    )


def _taken_along(
    ops: Iterable[Op], present: Mapping[Key, Have], wanted: Mapping[Key, Want], now: float, promotes: Mapping[int, bool]
) -> list[Op]:
    """Wanted IPv4 addresses that the kernel would delete together with a primary of ours: back in the same batch."""
    networks: dict[tuple[int, int, int], list[Key]] = {}  # the first of each is the primary
    for address in sorted(present.values(), key=_is_secondary):
        if _may_carry(address.key, promotes):
            networks.setdefault(_network(address.key), []).append(address.key)
    mentioned = set(present)
    for op in ops:
        if isinstance(op, MakeLink | RemoveLink):
            continue
        key = (op.ip, op.prefixlen, op.ifindex)
        mentioned.add(key)
        if not _may_carry(key, promotes):
            continue
        members = networks.setdefault(_network(key), [])
        if isinstance(op, SetAddress):
            if key not in members:
                members.append(key)
        elif members and members[0] == key:
            members.clear()
        elif key in members:
            members.remove(key)
    lost = (item for key, item in wanted.items() if key in mentioned and _may_carry(key, promotes))
    return [_set("add", item, now) for item in sorted(lost, key=_place) if item.key not in networks[_network(item.key)]]


def _carrying_foreign(present: Iterable[Have], promotes: Mapping[int, bool]) -> list[Have]:
    """Ours, but primary of an untagged secondary that the kernel would delete along: not to be deleted."""
    carriers = [address for address in present if _may_carry(address.key, promotes)]
    beset = {_network(address.key) for address in carriers if _is_secondary(address) and not address.ours}
    return [
        address
        for address in carriers
        if address.ours and not _is_secondary(address) and _network(address.key) in beset
    ]


def _may_carry(key: Key, promotes: Mapping[int, bool]) -> bool:
    """A host prefix has no secondaries, IPv6 knows none, and a promoting interface keeps them."""
    return key[1] < 32 and key[0].version == 4 and not promotes.get(key[2], False)


def _network(key: Key) -> tuple[int, int, int]:
    return key[2], key[1], int(key[0]) >> (32 - key[1])


def _is_secondary(address: Have) -> bool:
    return address.ip.version == 4 and address.flags & SECONDARY != 0


def undeletable(have: Iterable[Have], want: Collection[Want], *, promotes: Mapping[int, bool]) -> tuple[Have, ...]:
    """Ours and unwanted, but primary of an untagged secondary: reported, since it cannot go without touching that one."""
    wanted = {item.key for item in want}
    return tuple(address for address in _carrying_foreign(have, promotes) if address.key not in wanted)
