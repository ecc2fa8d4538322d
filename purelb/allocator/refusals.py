# SPDX-License-Identifier: Apache-2.0
"""A refusal as a value: the reason, the numbers behind it, and what has to change before it is worth asking again.

The same value becomes the Service's condition, its Event, the metric label and the log field. Which thing each of them waits for
stands beside its words, so that what is told and what helps are read together. Reasons and templates are those of `api`; this file
only fills them in. Text of users is cut and cleaned before it enters a template.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from purelb.allocator.atlas import EntryId
from purelb.allocator.ranges import Address, ip_text
from purelb.allocator.sources.ask import Asked
from purelb.allocator.waits import (
    AddressChanges,
    EntryHasRoom,
    GroupsChange,
    NamespaceSeen,
    PoolHasRoom,
    QuotaHasRoom,
    SubnetActive,
    Wait,
)
from purelb.api import reasons
from purelb.api.durations import print_duration
from purelb.api.messages import shown
from purelb.net.ranges import Family, IPNetwork

# The order in which a group is asked; what is not here is about a sharing key.
_CHECKS: Final = {
    reasons.IPAM_PENDING: -1,  # nothing is known before the answer
    reasons.GROUP_DRAINING: 0,
    reasons.FAMILY_UNAVAILABLE: 1,
    reasons.MULTI_POOL_REFUSED: 2,
    reasons.QUOTA_EXCEEDED: 4,
    reasons.POOL_EXHAUSTED: 5,
    reasons.NO_ACTIVE_SUBNET: 6,
}
_CHECK_OF_KEY: Final = 3
_LISTED_MAX: Final = 8


class Considered(Struct, frozen=True, gc=False):
    """One group that was tried: why not, and the numbers."""

    group: str
    reason: str
    numbers: str


class OnChange(Struct, frozen=True, gc=False):
    """Asking again makes sense when one of `waits` happens, or the Service itself changes."""


class At(Struct, frozen=True, gc=False):
    """Asking again makes sense at a moment of our clock."""

    deadline: float


Again = OnChange | At


class Refusal(Struct, frozen=True, gc=False):
    """Why not. `text` is the message of the condition, without what the Service keeps. `ask`: a source may know better."""

    reason: str
    text: str
    waits: tuple[Wait, ...] = ()
    considered: tuple[Considered, ...] = ()
    again: Again = OnChange()
    asked: str = ""
    ask: Asked | None = None

    @property
    def group(self) -> str:
        """The accepted group that refused first, empty when it was none in particular."""
        return self.considered[0].group if self.considered else self.asked


def in_group(refusal: Refusal, group: str) -> Refusal:
    """The same refusal, and which accepted group was asked."""
    return replace(refusal, asked=group)


def for_address(refusal: Refusal, address: Address, group: str) -> Refusal:
    """The same refusal of a group, for who has not named it but an address in it."""
    return replace(refusal, text=f"{ip_text(address)} is in {group}: {refusal.text}")


def besides(refusal: Refusal, untried: Sequence[str]) -> Refusal:
    """The same refusal, and which groups serve the namespace too and are no spill-over for those that were tried."""
    return replace(refusal, text=f"{refusal.text}; not tried for want of a priority: {', '.join(_some(untried))}")


def with_waits(refusal: Refusal, waits: tuple[Wait, ...]) -> Refusal:
    """The same refusal, waiting for more."""
    return replace(refusal, waits=tuple(dict.fromkeys(waits)))


def ip_list(addresses: Iterable[Address]) -> str:
    """Addresses as a message lists them."""
    return ", ".join(ip_text(address) for address in addresses)


def family_text(family: Family) -> str:
    """IPv4 or IPv6."""
    return f"IPv{family}"


def every_family(refused: Sequence[Refusal], *, one_will_do: bool) -> Refusal:
    """One group refused these families or entries: the reason whose check comes first, all texts, and what would help any of them.

    `one_will_do`: a family that the group lacks says nothing when it has the other one.
    """

    def rank(refusal: Refusal) -> int:
        lacking = refusal.reason == reasons.FAMILY_UNAVAILABLE
        return len(_CHECKS) + 1 if one_will_do and lacking else _CHECKS.get(refusal.reason, _CHECK_OF_KEY)

    first, *others = sorted(refused, key=rank)
    told = [first.text, *(_without_name(o, first.group or o.group) for o in others if rank(o) <= len(_CHECKS))]
    waits = tuple(wait for refusal in refused for wait in refusal.waits)
    return with_waits(replace(first, text="; ".join(dict.fromkeys(told))), waits)


def _without_name(refusal: Refusal, group: str) -> str:
    """The text without the name of the group, where that stands already."""
    return refusal.text.removeprefix(f"{group}: ")


def every_group(tried: Sequence[tuple[str, Refusal]]) -> Refusal:
    """Several groups refused: the reason of the first, and all of them in the message."""
    if len(tried) == 1:
        return tried[0][1]
    considered = tuple(
        Considered(name, refusal.reason, refusal.text.removeprefix(f"{name}: ").removeprefix(f"{name} "))
        for name, refusal in tried
    )
    waits = tuple(dict.fromkeys(wait for _, refusal in tried for wait in refusal.waits))
    listed = "; ".join(f"{c.group}: {c.reason} ({c.numbers})" for c in considered)
    return Refusal(tried[0][1].reason, listed, waits, considered)


def invalid_request(place: str, problem: str, text: str) -> Refusal:
    """An annotation or field of the Service cannot be read."""
    return Refusal(
        reasons.INVALID_REQUEST, _say(reasons.INVALID_REQUEST, where=place, problem=problem, text=shown(text))
    )


def unknown_group(name: str, namespace: str) -> Refusal:
    text = _say(reasons.UNKNOWN_GROUP, name=shown(name), ns=namespace)
    return Refusal(reasons.UNKNOWN_GROUP, text, (GroupsChange(reasons.UNKNOWN_GROUP),))


def group_not_ready(name: str, reason: str, message: str) -> Refusal:
    text = _say(reasons.GROUP_NOT_READY, name=name, reason=reason, message=message)
    return Refusal(reasons.GROUP_NOT_READY, text, (GroupsChange(reasons.GROUP_NOT_READY),))


def no_matching_group(namespace: str, why_not: Sequence[str] = ()) -> Refusal:
    """`why_not`: what keeps groups from being chosen that might have been meant."""
    text = _say(reasons.NO_MATCHING_GROUP, 1 if why_not else 0, ns=namespace, groups="; ".join(_some(why_not)))
    return Refusal(reasons.NO_MATCHING_GROUP, text, (GroupsChange(reasons.NO_MATCHING_GROUP),))


def namespace_unseen(namespace: str) -> Refusal:
    """Some group selects namespaces by their labels, and those of this one are not known."""
    text = _say(reasons.NO_MATCHING_GROUP, 2, ns=namespace)
    return Refusal(reasons.NO_MATCHING_GROUP, text, (NamespaceSeen(namespace), GroupsChange(reasons.NO_MATCHING_GROUP)))


def is_about_namespace(refusal: Refusal) -> bool:
    """Whether the Service was only quicker than the news of its namespace."""
    return any(isinstance(wait, NamespaceSeen) for wait in refusal.waits)


def ambiguous_group(names: Iterable[str], namespace: str, *, marked: bool, used: str = "") -> Refusal:
    """`used`: the group that serves the namespace instead, if any; then the text is a warning."""
    which = int(marked) + (2 if used else 0)
    text = _say(reasons.AMBIGUOUS_GROUP, which, names=", ".join(names), ns=namespace, used=used)
    return Refusal(reasons.AMBIGUOUS_GROUP, text, (GroupsChange(reasons.AMBIGUOUS_GROUP),))


def does_not_serve(group: str, namespace: str) -> Refusal:
    text = _say(reasons.NAMESPACE_DENIED, group=group, ns=namespace)
    return Refusal(reasons.NAMESPACE_DENIED, text, (GroupsChange(reasons.NAMESPACE_DENIED),))


def may_use_only(namespace: str, groups: Iterable[str]) -> Refusal:
    text = _say(reasons.NAMESPACE_DENIED, 1, groups=", ".join(groups), ns=namespace)
    return Refusal(reasons.NAMESPACE_DENIED, text, (GroupsChange(reasons.NAMESPACE_DENIED),))


def labels_unseen(group: str, namespace: str) -> Refusal:
    """The group selects namespaces by their labels, and those of this one are not known."""
    text = _say(reasons.NAMESPACE_DENIED, 2, group=group, ns=namespace)
    return Refusal(reasons.NAMESPACE_DENIED, text, (NamespaceSeen(namespace), GroupsChange(reasons.NAMESPACE_DENIED)))


def not_in_any_pool(address: Address) -> Refusal:
    text = _say(reasons.NOT_IN_ANY_POOL, ip=ip_text(address))
    return Refusal(reasons.NOT_IN_ANY_POOL, text, (GroupsChange(reasons.NOT_IN_ANY_POOL),))


def excluded(address: Address, group: str) -> Refusal:
    text = _say(reasons.ADDRESS_RESERVED, ip=ip_text(address), group=group)
    return Refusal(reasons.ADDRESS_RESERVED, text, (GroupsChange(reasons.ADDRESS_RESERVED),))


def reserved(address: Address, kind: str, name: str) -> Refusal:
    """`kind` is that of the ledger's sources."""
    which = {"node": 1, "interface": 1, "gateway": 2, "cluster IP": 3, "published": 4, "LAN": 5}[kind]
    text = _say(reasons.ADDRESS_RESERVED, which, ip=ip_text(address), node=name, service=name)
    waits = (AddressChanges(address), GroupsChange(reasons.ADDRESS_RESERVED))
    return Refusal(reasons.ADDRESS_RESERVED, text, waits)


def quarantined(address: Address, service: object, until: float, *, group: str, delay: float) -> Refusal:
    """The address is kept for its former Service, by the `reuseDelay` that a group had or has."""
    text = _say(reasons.IN_USE, 3, ip=ip_text(address), service=service, group=group, delay=print_duration(delay))
    return Refusal(reasons.IN_USE, text, (AddressChanges(address),), again=At(until))


def family_mismatch(address: Address, wanted: Iterable[Family]) -> Refusal:
    families = ", ".join(map(family_text, wanted))
    text = _say(reasons.FAMILY_MISMATCH, ip=ip_text(address), family=family_text(address[0]), families=families)
    return Refusal(reasons.FAMILY_MISMATCH, text, (GroupsChange(reasons.FAMILY_MISMATCH),))


def family_unavailable(group: str, family: Family) -> Refusal:
    text = _say(reasons.FAMILY_UNAVAILABLE, group=group, family=family_text(family))
    return Refusal(reasons.FAMILY_UNAVAILABLE, text, (GroupsChange(reasons.FAMILY_UNAVAILABLE),))


def group_draining(group: str, *, deleted: bool = False) -> Refusal:
    text = _say(reasons.GROUP_DRAINING, int(deleted), group=group)
    return Refusal(reasons.GROUP_DRAINING, text, (GroupsChange(reasons.GROUP_DRAINING),))


def sharing(
    reason: str,
    address: Address,
    service: object,
    *,
    ports: Sequence[tuple[str, int]] = (),
    has_key: bool = False,
    local: bool = True,
) -> Refusal:
    """Another holder does not share; `reason` is that of `sharing.clash`, `ports` what both want.

    `has_key`: the holder has a sharing key, so where one is missing it is the asking Service's; `local`: likewise of the policy.
    """
    proto, port = ports[0] if ports else ("", 0)
    own = {reasons.IN_USE: has_key, reasons.SHARING_POLICY_MISMATCH: not local}
    which = int(own.get(reason, False))
    text = _say(reason, which, ip=ip_text(address), service=service, proto=proto, port=port)
    return Refusal(reason, text, (AddressChanges(address),))


def contested(address: Address, service: object) -> Refusal:
    """The asking Service could share with each of the holders, but one of them may not stay, and until then nobody joins."""
    text = _say(reasons.IN_USE, 2, ip=ip_text(address), service=service)
    return Refusal(reasons.IN_USE, text, (AddressChanges(address),))


def key_bound(key: str, bound: Address, asked: Address) -> Refusal:
    text = _say(reasons.SHARING_KEY_BOUND, key=shown(key), ip=ip_text(bound), ip2=ip_text(asked))
    return Refusal(reasons.SHARING_KEY_BOUND, text, (AddressChanges(bound),))


def pool_exhausted(group: str, family: Family, *, used: int, size: int, quarantined: int, reserved: int) -> Refusal:
    which = (1 if quarantined else 0) + (2 if reserved else 0)
    text = _say(
        reasons.POOL_EXHAUSTED,
        which,
        group=group,
        family=family_text(family),
        used=used,
        size=size,
        quarantined=quarantined,
        reserved=reserved,
    )
    return Refusal(reasons.POOL_EXHAUSTED, text, (PoolHasRoom(group, family),))


def entry_exhausted(
    entry: EntryId, subnet: IPNetwork, *, used: int, size: int, quarantined: int, reserved: int
) -> Refusal:
    """Nothing is free in one entry of a group from which a Service takes one address per entry. The numbers are the entry's."""
    name = f"{entry.group}: {subnet}"
    refusal = pool_exhausted(name, entry.family, used=used, size=size, quarantined=quarantined, reserved=reserved)
    return with_waits(refusal, (EntryHasRoom(entry),))


def no_active_subnet(group: str, subnets: Sequence[IPNetwork]) -> Refusal:
    text = _say(reasons.NO_ACTIVE_SUBNET, group=group, subnets=", ".join(dict.fromkeys(map(str, subnets))))
    waits: tuple[Wait, ...] = (*map(SubnetActive, subnets), GroupsChange(reasons.NO_ACTIVE_SUBNET))
    return Refusal(reasons.NO_ACTIVE_SUBNET, text, waits)


def is_about_nodes(refusal: Refusal) -> bool:
    """Whether it says that no live node advertises some subnet, be it beside other reasons."""
    return any(isinstance(wait, SubnetActive) for wait in refusal.waits)


def is_open(refusal: Refusal | None, *, unsure: bool) -> bool:
    """Whether a refusal may turn out to be none: a source is still asked, or nobody knows the namespace, or whether the nodes live."""
    if refusal is None:
        return False
    return refusal.ask is not None or is_about_namespace(refusal) or (unsure and is_about_nodes(refusal))


def multi_pool_refused(which: int, *, source: str = "") -> Refusal:
    """`which`: 0 a sharing key, 1 balancePools, 2 a source that has no entries."""
    text = _say(reasons.MULTI_POOL_REFUSED, which, source=source)
    return Refusal(reasons.MULTI_POOL_REFUSED, text, (GroupsChange(reasons.MULTI_POOL_REFUSED),))


def quota_exceeded(
    group: str, namespace: str, held: int, limit: int, family: Family, *, total: int | None = None
) -> Refusal:
    """`total`: how many the namespace would hold with all that is requested, where that is what is too many."""
    text = _say(
        reasons.QUOTA_EXCEEDED,
        0 if total is None else 1,
        group=group,
        ns=namespace,
        n=held,
        limit=limit,
        family=family_text(family),
        total=total,
    )
    waits = (QuotaHasRoom(group, namespace, family), GroupsChange(reasons.QUOTA_EXCEEDED))
    return Refusal(reasons.QUOTA_EXCEEDED, text, waits)


def ipam_pending(source: str, asked: Asked) -> Refusal:
    text = _say(reasons.IPAM_PENDING, source=source)
    return Refusal(reasons.IPAM_PENDING, text, (GroupsChange(reasons.IPAM_PENDING),), ask=asked)


def ipam_unavailable(source: str, error: str) -> Refusal:
    text = _say(reasons.IPAM_UNAVAILABLE, source=source, error=error)
    return Refusal(reasons.IPAM_UNAVAILABLE, text, (GroupsChange(reasons.IPAM_UNAVAILABLE),))


def ipam_misconfigured(source: str, problem: str) -> Refusal:
    text = _say(reasons.IPAM_MISCONFIGURED, source=source, problem=problem)
    return Refusal(reasons.IPAM_MISCONFIGURED, text, (GroupsChange(reasons.IPAM_MISCONFIGURED),))


def address_conflict(address: Address, older: object) -> Refusal:
    text = _say(reasons.ADDRESS_CONFLICT, ip=ip_text(address), service=older)
    return Refusal(reasons.ADDRESS_CONFLICT, text, (AddressChanges(address),))


def _some(names: Sequence[str]) -> list[str]:
    """The first few, and how many more."""
    more = len(names) - _LISTED_MAX
    return [*names[:_LISTED_MAX], *([f"and {more} more"] if more > 0 else [])]


def _say(reason: str, which: int = 0, /, **values: object) -> str:
    return reasons.ALLOCATED_REASONS[reason].templates[which].format(**values)
