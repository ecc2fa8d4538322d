# SPDX-License-Identifier: Apache-2.0
"""What our own lease says: one merge patch with the whole intent, and how long it lasts.

The lease is this node's word to its peers: its subnets, that it drains, what it offers to whom. So each renewal carries all
of it, and a lease that somebody edited or deleted is repaired by the next one. `kube.lease.Heartbeat` decides when to write.

The duration grows with the largest segment, one step for each hundred members, so that renewals per second do not; it goes
back only when the segment falls ten percent below the step, or it would oscillate at the edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from purelb.api import leases
from purelb.lbnodeagent.membership import print_offers
from purelb.net.ranges import IPAddress, IPNetwork
from purelb.net.subnets import print_subnets

if TYPE_CHECKING:
    from purelb.kube.model import Lease

LABELS_MAX: Final = 16
"""Above this many own subnets the lease carries no subnet labels: peers select all agents' leases then."""


class LeaseIntent(Struct, frozen=True, kw_only=True):
    """Everything our lease says but the times."""

    node: str
    node_uid: str
    instance: str
    duration: int
    networks: tuple[IPNetwork, ...] = ()
    draining: bool = False
    offers: Mapping[IPAddress, str] = {}


def body(intent: LeaseIntent, *, renew_time: str, acquire_time: str | None, known: Lease | None) -> dict[str, object]:
    """The merge patch of a renewal, or the object to create. Keys that must go are null; `known` tells which there are."""
    wanted_labels: dict[str, str | None] = {
        **leases.labels(leases.LBNODEAGENT),
        leases.AGENT_API_LABEL: leases.AGENT_API,
        **{leases.subnet_label(network): "" for network in intent.networks},
    }
    notes: dict[str, str | None] = {
        leases.SUBNETS: print_subnets(intent.networks),
        leases.INSTANCE: intent.instance,
    }
    if intent.draining:
        notes[leases.DRAINING] = "true"
    if offers := print_offers(intent.offers):
        notes[leases.OFFERS] = offers
    if known is not None:
        for name in known.metadata.labels or {}:
            if name.startswith(leases.SUBNET_LABEL_PREFIX):
                wanted_labels.setdefault(name, None)
        for name in (leases.DRAINING, leases.OFFERS, leases.HEARTBEAT_KEY, leases.HEARTBEAT_ENDPOINTS):
            if name in (known.metadata.annotations or {}):
                notes.setdefault(name, None)
    metadata: dict[str, object] = {"labels": wanted_labels, "annotations": notes}
    if intent.node_uid:
        owner = {"apiVersion": "v1", "kind": "Node", "name": intent.node, "uid": intent.node_uid}
        metadata["ownerReferences"] = [{**owner, "controller": False, "blockOwnerDeletion": False}]
    spec: dict[str, object] = {
        "holderIdentity": intent.node,
        "leaseDurationSeconds": intent.duration,
        "renewTime": renew_time,
    }
    if acquire_time is not None:
        spec["acquireTime"] = acquire_time
    if known is None:
        metadata["name"] = leases.node_lease(intent.node)
        metadata["labels"] = {name: value for name, value in wanted_labels.items() if value is not None}
        metadata["annotations"] = {name: value for name, value in notes.items() if value is not None}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
    return {"metadata": metadata, "spec": spec}


def duration_of(setting: int, *, members: int, current: int) -> int:
    """Seconds for `members` of the largest own segment, ourselves included; `current` is what the lease says now."""
    wanted = setting * max(1, ceil(members / 100))
    if wanted >= current:
        return wanted
    step_below = 100 * (current // setting - 1)  # most members that the next lower step carries
    return wanted if members <= 0.9 * step_below else current
