# SPDX-License-Identifier: Apache-2.0
"""From what the ledger says to one merge patch of `services/status`, and to the Events that belong to it.

`Desired` is what the Service should say of us; `difference` compares it with the newest known object field by field, and `patch`
writes only what differs: ingress, our annotations (null removes) and the complete list of conditions, other controllers'
unchanged. The resourceVersion that the writer adds makes replacing the list safe. Equal means that nothing is written.

`lastTransitionTime` is for people: it changes when the status does, and never makes a difference. An absent `ipMode` equals `VIP`, so
a server that drops the field causes no writes.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import Struct

from purelb.allocator.observed import OUR_CONDITIONS, conditions_of, entries_of, published
from purelb.allocator.ranges import Address, ip_text
from purelb.allocator.refusals import Refusal, ip_list
from purelb.allocator.refusals import excluded as exclusion
from purelb.api import annotations as words
from purelb.api import reasons
from purelb.api.messages import cut
from purelb.kube.model import Condition, LoadBalancerIngress, Service, annotations
from purelb.net.ranges import family_of, parse_address

_ENCODER: Final = msgspec.json.Encoder()
_NOBODY: Final[Mapping[Address, str]] = MappingProxyType({})


class Said(Struct, frozen=True, gc=False):
    """One condition of ours, without the time."""

    status: bool
    reason: str
    message: str


class Desired(Struct, frozen=True, gc=False):
    """What a Service should say of us. An annotation that is None should not be there; a condition that is None neither.

    `others`: ingress entries of somebody else that stay (only where we leave).
    """

    addresses: tuple[Address, ...]
    annotations: tuple[tuple[str, str | None], ...]
    allocated: Said | None
    announced: Said | None
    others: tuple[LoadBalancerIngress, ...] = ()


class Difference(Struct, frozen=True, gc=False):
    """What a write has to change."""

    ingress: bool
    annotations: tuple[tuple[str, str | None], ...]
    conditions: bool
    messages_only: bool

    @property
    def nothing(self) -> bool:
        return not (self.ingress or self.annotations or self.conditions)


def nothing_of_ours(service: Service, ours: frozenset[Address]) -> Desired:
    """What a Service that is no longer ours should say: everything but what is ours."""
    kept = tuple(entry for entry in entries_of(service) if _address(entry) not in ours)
    return Desired((), tuple((name, None) for name in words.OURS), None, None, others=kept)


def allocated(
    addresses: tuple[Address, ...],
    groups: Sequence[str | None],
    refusal: Refusal | None,
    *,
    partial: bool,
    missing: str = "",
    excluded_by: Mapping[Address, str] = _NOBODY,
) -> Said:
    """The condition `purelb.io/Allocated`; `groups` has one name per address, None where no group hands it out.

    `excluded_by`: of those the ones that a group contains and excludes, and which group.
    """
    ips = ip_list(addresses)
    names = ", ".join(dict.fromkeys([name for name in groups if name is not None]))
    if refusal is not None and not partial:
        return Said(False, refusal.reason, cut(refusal.text, tail=f"; keeps {ips}" if addresses else ""))
    strays = [address for address, name in zip(addresses, groups, strict=True) if name is None]
    if strays:
        return Said(True, reasons.ADDRESS_KEPT, cut(_kept(ips, strays, excluded_by)))
    if refusal is not None:
        text = _say(
            reasons.ADDRESS_ASSIGNED_PARTIALLY,
            ips=ips,
            groups=names,
            missing=missing,
            reason=refusal.reason,
            text=refusal.text,
        )
        return Said(True, reasons.ADDRESS_ASSIGNED_PARTIALLY, cut(text))
    return Said(True, reasons.ADDRESS_ASSIGNED, cut(_say(reasons.ADDRESS_ASSIGNED, ips=ips, groups=names)))


def _kept(ips: str, strays: Sequence[Address], excluded_by: Mapping[Address, str]) -> str:
    nowhere = [address for address in strays if address not in excluded_by]
    told = "; ".join(exclusion(address, excluded_by[address]).text for address in strays if address in excluded_by)
    which = 0 if not told else 2 if nowhere else 1
    return _say(reasons.ADDRESS_KEPT, which, ips=ips, strays=ip_list(nowhere), excluded=told)


def _say(reason: str, which: int = 0, /, **values: str) -> str:
    return reasons.ALLOCATED_REASONS[reason].templates[which].format(**values)


def difference(service: Service, desired: Desired) -> Difference:
    """What the newest known object lacks."""
    noted = annotations(service)
    changed = tuple([(name, value) for name, value in desired.annotations if noted.get(name) != value])
    there = {found.type: found for found in conditions_of(service) if found.type in OUR_CONDITIONS}
    conditions, messages_only = False, True
    for type_, said in zip(OUR_CONDITIONS, (desired.allocated, desired.announced), strict=True):
        found = there.get(type_)
        if said is None or found is None:
            if said is not None or found is not None:
                conditions, messages_only = True, False
        elif (found.status == "True") != said.status or found.reason != said.reason or found.status == "Unknown":
            conditions, messages_only = True, False
        elif found.message != said.message:
            conditions = True
    ingress = not _same_ingress(service, desired)
    return Difference(ingress, changed, conditions, messages_only and conditions and not ingress and not changed)


def patch(service: Service, desired: Desired, found: Difference, *, now: str) -> bytes:
    """The merge patch. `now` is the RFC 3339 time for conditions whose status changes."""
    status: dict[str, object] = {}
    body: dict[str, object] = {}
    if found.annotations:
        body["metadata"] = {"annotations": dict(found.annotations)}
    if found.ingress:
        entries: list[object] = [{"ip": ip_text(address), "ipMode": "VIP"} for address in desired.addresses]
        entries += (_entry(entry) for entry in desired.others)
        status["loadBalancer"] = {"ingress": entries}
    if found.conditions:
        status["conditions"] = _conditions(service, desired, now)
    if status:
        body["status"] = status
    return _ENCODER.encode(body)


def _same_ingress(service: Service, desired: Desired) -> bool:
    there = entries_of(service)
    if len(there) != len(desired.addresses) + len(desired.others):
        return False
    ours = there[: len(desired.addresses)]
    return (
        all(entry.ip_mode in {None, "", "VIP"} and not entry.hostname for entry in ours)
        and (published(service)[: len(ours)] == desired.addresses)
        and there[len(ours) :] == desired.others
    )


def _conditions(service: Service, desired: Desired, now: str) -> list[object]:
    wanted: dict[str, Said | None] = dict(zip(OUR_CONDITIONS, (desired.allocated, desired.announced), strict=True))
    made: list[object] = []
    for found in conditions_of(service):
        if found.type not in wanted:
            made.append(_as_it_stands(found))
            continue
        said = wanted.pop(found.type)
        if said is not None:
            made.append(_condition(found.type, said, found, now))
    made += (_condition(type_, said, None, now) for type_, said in wanted.items() if said is not None)
    return made


def _condition(type_: str, said: Said, before: Condition | None, now: str) -> Mapping[str, object]:
    status = "True" if said.status else "False"
    since = before.last_transition_time if before is not None and before.status == status else None
    return {
        "type": type_,
        "status": status,
        "reason": said.reason,
        "message": said.message,
        "lastTransitionTime": since or now,
    }


def _as_it_stands(found: Condition) -> Mapping[str, object]:
    made: dict[str, object] = {
        "type": found.type,
        "status": found.status,
        "reason": found.reason,
        "message": found.message,
        "lastTransitionTime": found.last_transition_time,
    }
    if found.observed_generation is not None:
        made["observedGeneration"] = found.observed_generation
    return made


def _entry(entry: LoadBalancerIngress) -> Mapping[str, object]:
    made = {"ip": entry.ip, "hostname": entry.hostname, "ipMode": entry.ip_mode}
    return {name: value for name, value in made.items() if value}


def _address(entry: LoadBalancerIngress) -> Address | None:
    found = parse_address(entry.ip)
    return None if found is None else (family_of(found), int(found))
