# SPDX-License-Identifier: Apache-2.0
"""The status of a ServiceGroup: what became of it, and how full it is. One merge patch of the whole status, only when it differs.

Numbers saturate at what the field can hold. An address in use that the group excludes now is still allocated from it. A refused
group keeps its claims attributed to it as far as they lie in no other, but its sizes are unknown and left out. `externalServices`
of a group with `spec.external` is left as it is: it may name who holds an address at a sidecar. Any other group has none.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from purelb.allocator.groups import Groups, Standing
from purelb.allocator.ledger import Ledger
from purelb.allocator.pools import Usage
from purelb.allocator.ready import ready_as, ready_of
from purelb.allocator.sources.loans import Lender, Loans
from purelb.api import reasons
from purelb.api.groups import Group
from purelb.api.kinds import ServiceGroup, ServiceGroupStatus
from purelb.api.messages import cut
from purelb.net.ranges import Family

_MOST: Final = 2**63 - 1
_BOUND_MAX: Final = 1024
_FAMILIES: Final[tuple[Family, ...]] = (4, 6)
_ENCODER: Final = msgspec.json.Encoder()
_NONE: Final = ServiceGroupStatus()


class GroupStatus(Struct, frozen=True):
    """What the status should be; `fields` are those of the API, without the time of the condition."""

    fields: Mapping[str, object]
    ready: bool
    reason: str
    message: str


def desired(
    standing: Standing, *, groups: Groups, ledger: Ledger, namespaces: tuple[str, ...], loans: Loans | None = None
) -> GroupStatus:
    """The status of one stored group. `namespaces` are the names of those that exist, for the selector."""
    group = groups.accepted.get(standing.name) if standing.ready else None
    four = ledger.pools.usage(standing.name, 4) if group is not None else Usage()
    six = ledger.pools.usage(standing.name, 6) if group is not None else Usage()
    attributed = groups.refused.get(standing.name) == standing.namespace
    kept = (ledger.index.strays(standing.name, 4), ledger.index.strays(standing.name, 6)) if attributed else (0, 0)
    fields: dict[str, object] = {
        "observedGeneration": standing.generation,
        "allocatedIPv4": four.claimed + ledger.index.excluded(group.name, 4) if group is not None else kept[0],
        "allocatedIPv6": six.claimed + ledger.index.excluded(group.name, 6) if group is not None else kept[1],
        "availableIPv4": None if group is None else min(four.free, _MOST),
        "availableIPv6": None if group is None else min(six.free, _MOST),
        "quarantinedIPv4": four.quarantined,
        "quarantinedIPv6": six.quarantined,
    }
    ready, reason, text = standing.ready, standing.reason, standing.text
    lender = loans.lenders.get(group.name) if group is not None and loans is not None else None
    if loans is not None and lender is not None and group is not None:
        fields |= _lent(lender, ledger=ledger, loans=loans)
        if lender.trouble is not None and standing.reason != reasons.DRAINING:
            ready, reason, text = False, lender.trouble.reason, lender.trouble.text
    if group is not None:
        selected = [name for name in namespaces if groups.serves(group, name)] if group.namespace_selector else []
        fields |= {
            "announce": group.announce.capitalize(),
            "ipam": _ipam(group),
            "addresses": list(group.addresses),
            "boundNamespaces": sorted({*group.namespaces, *selected})[:_BOUND_MAX],
        }
    else:
        fields |= {"announce": None, "ipam": None, "addresses": None, "boundNamespaces": None}
    if not _external(groups.stored.get((standing.namespace, standing.name))):
        fields["externalServices"] = None
    return GroupStatus(fields, ready, reason, cut(text))


def _external(stored: ServiceGroup | None) -> bool:
    """Whether a sidecar may hold addresses for the Services that its status names."""
    return stored is None or stored.spec is None or stored.spec.external is not None


def _lent(lender: Lender, *, ledger: Ledger, loans: Loans) -> dict[str, object]:
    """The numbers of a group whose addresses a source gives; what the source does not tell is left out."""
    name, usage = lender.group.name, lender.usage
    kept_back = Counter(a[0] for a, loan in loans.book.items() if loan.group == name and a in ledger.quarantine)
    found: dict[str, object] = {}
    for family in _FAMILIES:
        size, used = usage.size.get(family), usage.in_use.get(family)
        found[f"allocatedIPv{family}"] = ledger.index.strays(name, family)
        found[f"quarantinedIPv{family}"] = kept_back[family]
        found[f"availableIPv{family}"] = (
            None if size is None or used is None else max(0, min(int(size) - int(used), _MOST))
        )
    return found


def _ipam(group: Group) -> str:
    if group.external is not None:
        return group.external.provider
    return "NetBox" if group.netbox is not None else "Cluster"


def differs(stored: ServiceGroup, wanted: GroupStatus) -> bool:
    """Whether the stored status says something else."""
    status = stored.status or _NONE
    now: dict[str, object] = {
        "observedGeneration": status.observed_generation,
        "allocatedIPv4": status.allocated_ipv4,
        "allocatedIPv6": status.allocated_ipv6,
        "availableIPv4": status.available_ipv4,
        "availableIPv6": status.available_ipv6,
        "quarantinedIPv4": status.quarantined_ipv4,
        "quarantinedIPv6": status.quarantined_ipv6,
        "announce": status.announce or None,
        "ipam": status.ipam or None,
        "addresses": list(status.addresses or ()) or None,
        "boundNamespaces": list(status.bound_namespaces or ()) or None,
        "externalServices": list(status.external_services or ()) or None,
    }
    found = ready_of(status.conditions)
    return (
        any((now[name] or None) != (value or None) for name, value in wanted.fields.items())
        or found is None
        or ((found.status == "True"), found.reason, found.message) != (wanted.ready, wanted.reason, wanted.message)
        or found.observed_generation != wanted.fields["observedGeneration"]
    )


def patch(stored: ServiceGroup, wanted: GroupStatus, *, now: str) -> bytes:
    """The merge patch of the status subresource. `now` is the RFC 3339 time, used when `Ready` changes."""
    ready = ready_as(
        ready_of((stored.status or _NONE).conditions),
        ready=wanted.ready,
        reason=wanted.reason,
        message=wanted.message,
        generation=wanted.fields["observedGeneration"],
        now=now,
    )
    return _ENCODER.encode({"status": {**wanted.fields, "conditions": [ready]}})
