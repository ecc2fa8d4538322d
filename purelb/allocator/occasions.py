# SPDX-License-Identifier: Apache-2.0
"""Which Events belong to a change of a Service's status, computed from the object before and what is written now.

The state before is in the object itself, so a restart repeats nothing: an Event is due when a reason is entered or the set of
addresses changes, never because somebody looked. They are told once the write is confirmed.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from purelb.allocator.keys import ServiceKey
from purelb.allocator.observed import condition, published
from purelb.allocator.publish import Desired, Said
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import ip_list
from purelb.api import annotations as words
from purelb.api import events as rules
from purelb.api import reasons
from purelb.kube.model import Condition, Service


class Occasion(Struct, frozen=True, gc=False):
    """One Event to write about a Service or a group. `apart` and `lasting` as in the table of Events.

    `once`: what it is about, if nothing but the Event itself shows to a later term that it was told. `refused_by`: the group, if it
    tells of a refusal that no condition shows, and so counts as one when it is told. `silent`: another Event of the same write says
    the same and more; it is counted and logged, and no Event.
    """

    reason: str
    note: str
    type: Literal["Normal", "Warning"]
    action: str
    apart: float = 0.0
    lasting: float = 0.0
    once: str | None = None
    refused_by: str | None = None
    silent: bool = False


def occasion(reason: str, note: str, kind: rules.Kind = "Service") -> Occasion | None:
    """The Event of a reason, None when it never is one."""
    rule = rules.event_rule(kind, reason)
    return None if rule is None else Occasion(rule.reason, note, rule.type, rule.action, rule.apart, rule.lasting)


def of_change(
    service: Service, desired: Desired, *, ours: tuple[Address, ...], adopted: bool = False
) -> Iterator[Occasion]:
    """The Events of one write, in the order in which people should read them.

    `ours` are the addresses we had published for it: the ingress may show less, because the API server clears it with the
    type, or something else, because somebody edited it.
    """
    after = frozenset(desired.addresses)
    said = desired.allocated
    entered: Said | None = None
    if said is not None and said.reason != reasons.ADDRESS_ASSIGNED:
        entered = said if _entered(condition(service, reasons.ALLOCATED), said) else None
    if (new := after.difference(ours, published(service))) and not adopted and said is not None:
        partly = entered is not None and entered.reason == reasons.ADDRESS_ASSIGNED_PARTIALLY
        for told in _told(reasons.ADDRESS_ASSIGNED, _what_came(desired, said, new)):
            yield replace(told, silent=partly)
    kept_by_others = {entry.ip for entry in desired.others}
    if gone := [a for a in ours if a not in after and ip_list([a]) not in kept_by_others]:
        yield from _told(rules.ADDRESS_RELEASED, ip_list(gone))
    if entered is not None:
        yield from _told(entered.reason, entered.message)
    seen = desired.announced
    if seen is not None:
        found = condition(service, reasons.ANNOUNCED)
        if _entered(found, seen) or (seen.status and found is not None and found.message != seen.message):
            yield from _told(seen.reason, seen.message)


def _what_came(desired: Desired, said: Said, new: frozenset[Address]) -> str:
    """The message, unless it says something else: that of a refusal, or of an address that is kept beside the new ones."""
    if said.status and said.reason != reasons.ADDRESS_KEPT:
        return said.message
    if not said.status:
        return ip_list(desired.addresses)
    came = ip_list(address for address in desired.addresses if address in new)
    noted = dict(desired.annotations).get(words.ALLOCATED_FROM) or ""
    sources = words.parse_per_ingress(noted, ingresses=len(desired.addresses))
    if sources is None:
        return came
    of_new = (source for address, source in zip(desired.addresses, sources, strict=True) if address in new)
    return f"{came} from {', '.join(dict.fromkeys(of_new))}"


def _entered(before: Condition | None, now: Said) -> bool:
    return before is None or before.reason != now.reason or (before.status == "True") != now.status


def _told(reason: str, note: str) -> Iterator[Occasion]:
    found = occasion(reason, note)
    if found is not None:
        yield found


class Lasting:
    """States that become Events only if they last: entered when their write was applied, told when still true then."""

    def __init__(self) -> None:
        self._entered: dict[ServiceKey, tuple[Occasion, float]] = {}

    def enter(self, service: ServiceKey, occasion: Occasion, now: float) -> None:
        """The state was entered; whatever was entered before is over."""
        self._entered[service] = (occasion, now)

    def leave(self, service: ServiceKey) -> None:
        """The state is over, or its Service is gone."""
        self._entered.pop(service, None)

    def due(self, service: ServiceKey) -> float | None:
        """When the state has lasted long enough."""
        known = self._entered.get(service)
        return None if known is None else known[1] + known[0].lasting

    def lasted(self, service: ServiceKey, said: Said | None, now: float) -> Occasion | None:
        """The Event of a state that lasted long enough, once. A Service that says something else has left it."""
        known = self._entered.get(service)
        if known is None:
            return None
        occasion, since = known
        if said is None or said.reason != occasion.reason:
            self.leave(service)
            return None
        if now < since + occasion.lasting:
            return None
        self.leave(service)
        return replace(occasion, note=said.message)  # other addresses may stand in it than when it began


class Once:
    """Remembers what was told, so that a value is told once and an hourly Event once an hour. Holds at most `most` rows."""

    def __init__(self, most: int = 4096) -> None:
        self._told: dict[tuple[str, str], tuple[str, float]] = {}
        self._most = most

    def new(
        self,
        about: str,
        reason: str,
        value: str,
        now: float,
        *,
        again_after: float | None = None,
        apart: float = 0.0,
    ) -> bool:
        """Whether this was not told yet: another value, at least `apart` seconds later, or the same after `again_after`."""
        known = self._told.get((about, reason))
        if known is not None:
            if now < known[1] + apart:
                return False
            if known[0] == value and (again_after is None or now < known[1] + again_after):
                return False
        if len(self._told) >= self._most:
            del self._told[next(iter(self._told))]
        self._told[about, reason] = (value, now)
        return True

    def told_at(self, about: str, reason: str) -> float | None:
        """When a value of it was told last."""
        known = self._told.get((about, reason))
        return None if known is None else known[1]


HOUR = 3600.0
