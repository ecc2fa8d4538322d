# SPDX-License-Identifier: Apache-2.0
"""A system outside the cluster that owns addresses, on the test's clock: right by default, slow, lying, hanging or dying on cue.

Its records outlive the allocator, as a real one's do. `mood` is what the next calls of a verb do, used up one by one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Literal

from purelb.allocator import refusals as because
from purelb.allocator.ranges import ip_text
from purelb.allocator.refusals import Refusal
from purelb.allocator.sources.source import Adopted, Grant, Granted, Held, Usage
from purelb.net.ranges import family_of, parse_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from purelb.allocator.keys import ServiceKey
    from purelb.allocator.sources.ask import Ask
    from purelb.api.groups import Group
    from purelb.net.ranges import Family
    from tests.virtual_clock import VirtualClock

Mood = Literal["hang", "raise", "cancelled", "away", "full"] | Granted | Refusal | object
NAME = "netbox at http://ipam.example"
V4 = tuple(f"203.0.113.{n}" for n in range(1, 5))
V6 = tuple(f"2001:db8:5::{n}" for n in range(1, 5))


class Ipam:
    def __init__(self, clock: VirtualClock, *, addresses: Sequence[str] = (*V4, *V6)) -> None:
        self.clock = clock
        self.addresses = tuple(addresses)
        self.records: dict[str, tuple[str, ServiceKey]] = {}  # address -> for which uid
        self.delay = 0.0
        self.mood: dict[str, deque[Mood]] = {verb: deque() for verb in ("allocate", "release", "adopt", "usage")}
        self.always: dict[str, Mood] = {}
        self.calls: list[tuple[str, Any]] = []
        self.busy = 0
        self.busiest = 0
        self.busy_for: Counter[ServiceKey] = Counter()
        self.busiest_for_one = 0

    def __call__(self, group: Group) -> Ipam:
        return self

    def asked(self, verb: str) -> int:
        return sum(1 for made, _ in self.calls if made == verb)

    def holds(self, uid: str) -> tuple[str, ...]:
        return tuple(ip for ip, (whose, _) in self.records.items() if whose == uid)

    async def allocate(self, ask: Ask) -> Granted | Refusal:
        answer = await self._enter("allocate", ask)
        if answer is not None:
            return answer  # type: ignore[no-any-return]
        if ask.addresses:
            wanted = [ip_text(address) for address in ask.addresses]
            if any(ip in self.records and self.records[ip][0] != ask.uid for ip in wanted):
                return Refusal("InUse", f"{wanted[0]} is held by somebody without a sharing key")
            if any(ip not in self.addresses for ip in wanted):
                return Refusal("NotInAnyPool", f"{wanted[0]} is in no ServiceGroup")
        else:
            found = [self._next(ask, family) for family in ask.families]
            wanted = [ip for ip in found if ip is not None]
            if not wanted:
                return Refusal("PoolExhausted", f"{NAME}: nothing is free")
        for ip in wanted:
            self.records[ip] = (ask.uid, ask.service)
        return Granted(tuple(Grant(ip, f"record of {ip}") for ip in wanted))

    async def release(self, held: Held) -> Refusal | None:
        answer = await self._enter("release", held)
        if answer is not None:
            return answer  # type: ignore[no-any-return]
        if self.records.get(held.ip, ("",))[0] == held.uid:
            del self.records[held.ip]
        return None

    async def adopt(self, claims: Sequence[Held]) -> Adopted | Refusal:
        answer = await self._enter("adopt", tuple(claims))
        if answer is not None:
            return answer  # type: ignore[no-any-return]
        for held in claims:
            self.records.setdefault(held.ip, (held.uid, held.service))
        known = {held.ip for held in claims}
        confirmed = tuple(Held(h.service, h.uid, h.ip, f"record of {h.ip}") for h in claims)
        left = tuple(Held(key, uid, ip) for ip, (uid, key) in self.records.items() if ip not in known)
        return Adopted(confirmed=confirmed, left_over=left)

    async def usage(self) -> Usage | Refusal:
        answer = await self._enter("usage", None)
        if answer is not None:
            return answer  # type: ignore[no-any-return]
        return Usage({4: self._used(4), 6: self._used(6)}, {4: len(V4), 6: len(V6)})

    async def _enter(self, verb: str, about: Any) -> Any:
        self.calls.append((verb, about))
        mood = self.mood[verb].popleft() if self.mood[verb] else self.always.get(verb)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        service = getattr(about, "service", None)
        if service is not None:
            self.busy_for[service] += 1
            self.busiest_for_one = max(self.busiest_for_one, self.busy_for[service])
        try:
            if self.delay:
                await self.clock.until(self.clock.now() + self.delay)
            match mood:
                case "hang":
                    await self.clock.until(self.clock.now() + 1e6)
                case "raise":
                    raise ZeroDivisionError("a mistake of the source")
                case "cancelled":
                    raise asyncio.CancelledError
                case "away":
                    return because.ipam_unavailable(NAME, "connection refused")
                case "full":
                    return Refusal("PoolExhausted", f"{NAME}: nothing is free")
                case _:
                    pass
        finally:
            self.busy -= 1
            if service is not None:
                self.busy_for[service] -= 1
        return mood

    def _next(self, ask: Ask, family: Family) -> str | None:
        of_family = [ip for ip in self.addresses if family_of(found(ip)) == family]
        mine = [ip for ip in self.holds(ask.uid) if ip in of_family and ip not in ask.avoid]
        free = [ip for ip in of_family if ip not in self.records and ip not in ask.avoid]
        return next(iter((*mine, *free)), None)

    def _used(self, family: Family) -> int:
        return sum(1 for ip in self.records if family_of(found(ip)) == family)


def found(ip: str) -> Any:
    return parse_address(ip)


def lie(*ips: str) -> Granted:
    """An answer that names these, whatever was asked."""
    return Granted(tuple(Grant(ip, f"record of {ip}") for ip in ips))


def netbox(name: str = "far", **spec: Any) -> dict[str, Any]:
    """The body of a ServiceGroup whose addresses the system gives."""
    section = {"url": "http://ipam.example", "plainHTTP": True, "tenant": "t", "announce": "remote"}
    given = {key: spec.pop(key) for key in ("parents", "mode", "announce", "url") if key in spec}
    return {"metadata": {"name": name}, "spec": {"netbox": {**section, **given}, **spec}}
