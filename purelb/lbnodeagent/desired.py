# SPDX-License-Identifier: Apache-2.0
"""What should be on the interfaces, as a function of one snapshot.

`place` says where a claim belongs on this node; for a real interface the VIP's state decides whether it is there now, the
dummy interface carries what belongs to it on every fit node. `desired` is the whole, `want` its part for one address; they
are the same function, so an incremental pass cannot differ from a full one.

The other half of every address is its reason: each claim is announced here, left to others, or withheld with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from purelb.api import reasons
from purelb.api.nodeagents import AgentSettings, Lifetimes
from purelb.lbnodeagent.claims import Claim
from purelb.lbnodeagent.host import NODAD, NOPREFIXROUTE, PRIORITY
from purelb.lbnodeagent.links import Layout
from purelb.lbnodeagent.plan import Want
from purelb.lbnodeagent.vipwords import Vip
from purelb.net.ranges import BITS, IPAddress, family_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_EVERY_S: Final = 30.0
"""Lifetimes that were given are renewed at half, but not more often than this."""


class OnLink(Struct, frozen=True):
    """One node of the subnet answers for it, on this interface if it is this one."""

    ifindex: int


class OnDummy(Struct, frozen=True):
    prefixlen: int


class Elsewhere(Struct, frozen=True):
    """No interface here has its subnet: left to nodes that do. Not reported."""


class Withhold(Struct, frozen=True):
    """This node should announce it and does not: reported."""

    reason: str
    message: str


Place = OnLink | OnDummy | Elsewhere | Withhold


class Renewal(Struct, frozen=True):
    """How long a sweep lasts and when the next one is due; `valid` None is permanent."""

    valid: int | None
    every: float = float("inf")


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything that decides what this node announces."""

    node: str
    settings: AgentSettings
    layout: Layout
    claims: Mapping[IPAddress, Claim]
    vips: Mapping[IPAddress, Vip]
    serves_remote: bool
    """False for a node that is excluded, drained, without network, deselected or fenced."""
    fenced: bool = False
    local_ends_at: float | None = None
    dummy_ends_at: float | None = None
    local_renewal: Renewal = Renewal(None)
    dummy_renewal: Renewal = Renewal(None)
    returns_tags: bool = True
    """Whether the kernel reads back IFA_PROTO; else addresses of the dummy interface carry the priority as well."""


def renewal(lifetimes: Lifetimes, *, lease_duration: int) -> Renewal:
    """Tied to the lease: two durations, renewed after 0.8, so peers judge us dead before our VIPs run out."""
    if lifetimes.valid_s is None:
        return Renewal(2 * lease_duration, 0.8 * lease_duration)
    if lifetimes.valid_s == 0:
        return Renewal(None)
    return Renewal(lifetimes.valid_s, max(LEAST_EVERY_S, lifetimes.valid_s / 2))


def place(claim: Claim, layout: Layout) -> Place:
    """Where the claim belongs on this node."""
    if (name := layout.own_interface(claim.ip)) is not None:
        return Withhold(reasons.ANNOUNCEMENT_FAILED, f"{claim.ip} is an address of this node on {name}")
    if claim.announce == "remote":
        return OnDummy(claim.prefixlen)
    if (link := layout.place(claim.ip)) is not None:
        return OnLink(link.interface.index)
    return OnDummy(claim.prefixlen) if claim.off_subnet_dummy else Elsewhere()


def want(ip: IPAddress, snap: Snapshot) -> Want | None:
    """What should be there for one address; None for nothing."""
    vip = snap.vips.get(ip)
    if vip is not None and vip.in_kernel and vip.on is not None:
        return None if snap.fenced else _local(ip, vip.on, snap)
    claim = snap.claims.get(ip)
    if claim is None or not snap.serves_remote or snap.layout.dummy is None:
        return None
    where = place(claim, snap.layout)
    if not isinstance(where, OnDummy) or not _served_here(claim, snap.node):
        return None
    return _remote(ip, where.prefixlen, snap.layout.dummy.index, snap)


def desired(snap: Snapshot) -> frozenset[Want]:
    """Everything that should be there."""
    return frozenset(_wants(snap))


def withheld(claim: Claim, where: Place | None, *, serves_remote: bool, node: str) -> Withhold | None:
    """Why a claim cannot be placed, or is not on the dummy interface here; None when it is, or need not be."""
    if isinstance(where, Withhold):
        return where
    if claim.endpoints_unknown:
        return Withhold(reasons.ANNOUNCEMENT_FAILED, "endpoints are not known yet")
    if isinstance(where, OnDummy) and serves_remote and not _served_here(claim, node):
        return Withhold(reasons.NO_LOCAL_ENDPOINT, "externalTrafficPolicy is Local and this node has no ready endpoint")
    return None


def _wants(snap: Snapshot) -> Iterator[Want]:
    for ip in snap.claims.keys() | snap.vips.keys():
        if (found := want(ip, snap)) is not None:
            yield found


def _served_here(claim: Claim, node: str) -> bool:
    return not claim.endpoints_unknown and (claim.healthy_for_any is None or node in claim.healthy_for_any)


def _local(ip: IPAddress, ifindex: int, snap: Snapshot) -> Want:
    """A host prefix: it is never a secondary of the node's address and never the primary that address hangs on."""
    options = snap.settings.local_addresses
    version6 = ip.version == 6
    return Want(
        ip=ip,
        prefixlen=BITS[family_of(ip)],
        ifindex=ifindex,
        flags=(NOPREFIXROUTE if options.no_prefix_route else 0) | (NODAD if version6 else 0),
        valid=snap.local_renewal.valid,
        preferred=0 if version6 else options.preferred_s,
        ends_at=snap.local_ends_at,
        priority=PRIORITY,
    )


def _remote(ip: IPAddress, prefixlen: int, ifindex: int, snap: Snapshot) -> Want:
    options = snap.settings.dummy_addresses
    return Want(
        ip=ip,
        prefixlen=prefixlen,
        ifindex=ifindex,
        flags=(NOPREFIXROUTE if options.no_prefix_route else 0) | (NODAD if ip.version == 6 else 0),
        valid=snap.dummy_renewal.valid,
        preferred=options.preferred_s,
        ends_at=snap.dummy_ends_at,
        priority=0 if snap.returns_tags else PRIORITY,
    )
