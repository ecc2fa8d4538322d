# SPDX-License-Identifier: Apache-2.0
"""Which Events we write: reason, type, the kind they are about, action, and what makes a second one worth writing.

An Event is emitted when the state it reports is entered or changes, never because a reconcile ran. `once_per` names what its writer
remembers; `lasting` is how many seconds the state must have lasted, `apart` how far apart two of one Service are.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from purelb.api import reasons

ALLOCATOR: Final = "purelb-allocator"
LBNODEAGENT: Final = "purelb-lbnodeagent"

ADDRESS_RELEASED: Final = "AddressReleased"
CONFIGURATION_WARNING: Final = "ConfigurationWarning"
DEPRECATION_WARNING: Final = "DeprecationWarning"
STATUS_RESTORED: Final = "StatusRestored"
LOCAL_OVERRIDE: Final = "LocalOverride"
LOCAL_OVERRIDE_CONTESTED: Final = "LocalOverrideContested"
FOREIGN_INGRESS: Final = "ForeignIngress"
OWNERSHIP_LOST: Final = "OwnershipLost"
ORPHANS_FOUND: Final = "OrphansFound"
ORPHAN_GC_STOPPED: Final = "OrphanGCStopped"
ORPHAN_RELEASED: Final = "OrphanReleased"

Kind = Literal["Service", "ServiceGroup", "LBNodeAgent"]
Action = Literal["Allocate", "Release", "Announce", "Configure"]
OncePer = Literal["addresses", "reason", "value", "hour", "reason and generation", "record", "node and reason"]


class EventRule(Struct, frozen=True, kw_only=True):
    """One row of the table of Events."""

    reason: str
    type: Literal["Normal", "Warning"]
    kind: Kind
    action: Action
    once_per: OncePer
    lasting: float = 0.0
    apart: float = 0.0


def _service(
    reason: str,
    action: Action,
    once_per: OncePer,
    *,
    normal: bool = False,
    lasting: float = 0.0,
    apart: float = 0.0,
) -> EventRule:
    return EventRule(
        reason=reason,
        type="Normal" if normal else "Warning",
        kind="Service",
        action=action,
        once_per=once_per,
        lasting=lasting,
        apart=apart,
    )


def _group(reason: str, action: Action, once_per: OncePer, *, normal: bool = False) -> EventRule:
    return EventRule(
        reason=reason, type="Normal" if normal else "Warning", kind="ServiceGroup", action=action, once_per=once_per
    )


_QUIET: Final = frozenset({reasons.IPAM_PENDING, reasons.NOT_ALLOCATED, reasons.AWAITING_NODE})

_ROWS: Final = (
    _service(reasons.ADDRESS_ASSIGNED, "Allocate", "addresses", normal=True),
    _service(ADDRESS_RELEASED, "Release", "addresses", normal=True),
    _service(reasons.ADDRESS_ASSIGNED_PARTIALLY, "Allocate", "reason"),
    _service(reasons.ADDRESS_KEPT, "Allocate", "reason"),
    *(
        _service(row.name, "Allocate", "reason")
        for row in reasons.ALLOCATED_REASONS.values()
        if not row.status and row.name not in _QUIET
    ),
    _service(reasons.ANNOUNCING_LOCAL, "Announce", "value", normal=True, apart=10.0),
    _service(reasons.ANNOUNCING_NON_LOCAL, "Announce", "value", normal=True, apart=10.0),
    _service(reasons.ANNOUNCED_TWICE, "Announce", "reason", lasting=15.0),
    *(
        _service(row.name, "Announce", "reason", lasting=15.0)
        for row in reasons.ANNOUNCED_REASONS.values()
        if not row.status and row.name not in _QUIET
    ),
    _service(CONFIGURATION_WARNING, "Allocate", "value"),
    _service(DEPRECATION_WARNING, "Allocate", "value", normal=True),
    _service(STATUS_RESTORED, "Allocate", "hour"),
    _service(LOCAL_OVERRIDE, "Announce", "value", normal=True),
    _service(LOCAL_OVERRIDE_CONTESTED, "Announce", "hour"),
    _service(FOREIGN_INGRESS, "Allocate", "value"),
    *(
        _group(row.name, "Configure", "reason and generation", normal=row.status)
        for row in reasons.GROUP_REASONS.values()
    ),
    _group(OWNERSHIP_LOST, "Release", "hour"),
    _group(ORPHANS_FOUND, "Release", "hour"),
    _group(ORPHAN_GC_STOPPED, "Release", "hour"),
    _group(ORPHAN_RELEASED, "Release", "record", normal=True),
    *(
        EventRule(reason=reason, type="Warning", kind="LBNodeAgent", action="Configure", once_per="node and reason")
        for reason in (reasons.INVALID_NODE_SELECTOR, reasons.CONFIG_IGNORED, reasons.CONFIG_ERROR)
    ),
)

EVENTS: Final[Mapping[tuple[Kind, str], EventRule]] = {(row.kind, row.reason): row for row in _ROWS}


def event_rule(kind: Kind, reason: str) -> EventRule | None:
    """The row of a reason on a kind; None when it is never an Event there."""
    return EVENTS.get((kind, reason))
