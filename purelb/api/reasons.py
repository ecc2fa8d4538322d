# SPDX-License-Identifier: Apache-2.0
"""Every reason we give, as data: what it says, whether it is good news, and what changes it.

The string is used unchanged in conditions, Events, metric labels, logs and `kubectl purelb explain`. Templates are for `str.format`
with arguments that are ours or already `shown`; foreign text is never a template. Which reason applies is decided elsewhere.
`events.py` says which of them become Events.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

ALLOCATED: Final = "purelb.io/Allocated"
ANNOUNCED: Final = "purelb.io/Announced"
READY: Final = "Ready"

ADDRESS_ASSIGNED: Final = "AddressAssigned"
ADDRESS_ASSIGNED_PARTIALLY: Final = "AddressAssignedPartially"
ADDRESS_KEPT: Final = "AddressKept"
INVALID_REQUEST: Final = "InvalidRequest"
UNKNOWN_GROUP: Final = "UnknownGroup"
GROUP_NOT_READY: Final = "GroupNotReady"
NO_MATCHING_GROUP: Final = "NoMatchingGroup"
AMBIGUOUS_GROUP: Final = "AmbiguousGroup"
NAMESPACE_DENIED: Final = "NamespaceDenied"
NOT_IN_ANY_POOL: Final = "NotInAnyPool"
ADDRESS_RESERVED: Final = "AddressReserved"
FAMILY_MISMATCH: Final = "FamilyMismatch"
FAMILY_UNAVAILABLE: Final = "FamilyUnavailable"
IN_USE: Final = "InUse"
SHARING_KEY_MISMATCH: Final = "SharingKeyMismatch"
SHARING_KEY_BOUND: Final = "SharingKeyBound"
SHARING_PORT_CLASH: Final = "SharingPortClash"
SHARING_POLICY_MISMATCH: Final = "SharingPolicyMismatch"
POOL_EXHAUSTED: Final = "PoolExhausted"
QUOTA_EXCEEDED: Final = "QuotaExceeded"
GROUP_DRAINING: Final = "GroupDraining"
NO_ACTIVE_SUBNET: Final = "NoActiveSubnet"
MULTI_POOL_REFUSED: Final = "MultiPoolRefused"
IPAM_PENDING: Final = "IPAMPending"
IPAM_UNAVAILABLE: Final = "IPAMUnavailable"
IPAM_DENIED: Final = "IPAMDenied"
IPAM_MISCONFIGURED: Final = "IPAMMisconfigured"
ADDRESS_CONFLICT: Final = "AddressConflict"

# In metrics and log only: no condition can say that the status write itself was refused.
PUBLISH_REFUSED: Final = "PublishRefused"

ANNOUNCING_LOCAL: Final = "AnnouncingLocal"
ANNOUNCING_NON_LOCAL: Final = "AnnouncingNonLocal"
ANNOUNCED_TWICE: Final = "AnnouncedTwice"
NOT_ALLOCATED: Final = "NotAllocated"
AWAITING_NODE: Final = "AwaitingNode"
NO_LIVE_AGENT: Final = "NoLiveAgent"
NO_NODE_IN_SUBNET: Final = "NoNodeInSubnet"
NO_LOCAL_ENDPOINT: Final = "NoLocalEndpoint"
DUPLICATE_ON_LAN: Final = "DuplicateOnLAN"
ANNOUNCEMENT_FAILED: Final = "AnnouncementFailed"
NODE_UNFIT: Final = "NodeUnfit"

ACCEPTED: Final = "Accepted"
ACCEPTED_WITH_WARNINGS: Final = "AcceptedWithWarnings"
DRAINING: Final = "Draining"
INVALID_SPEC: Final = "InvalidSpec"
NO_ADDRESSES: Final = "NoAddresses"
DUPLICATE: Final = "Duplicate"
OVERLAP: Final = "Overlap"
OUT_OF_SCOPE: Final = "OutOfScope"

APPLIED: Final = "Applied"
NO_NODE_SELECTED: Final = "NoNodeSelected"
INVALID_NODE_SELECTOR: Final = "InvalidNodeSelector"
CONFIG_ERROR: Final = "ConfigError"
CONFIG_IGNORED: Final = "ConfigIgnored"


class Reason(Struct, frozen=True):
    """One row: `status` is that of the condition, `templates` what its message may be, `remedy` what changes it."""

    name: str
    status: bool
    templates: tuple[str, ...] = ()
    remedy: str = ""


def _table(*rows: Reason) -> Mapping[str, Reason]:
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise ValueError("a reason stands twice in one table")
    return table


_IPAM_UNAVAILABLE: Final = Reason(
    IPAM_UNAVAILABLE, False, ("{source}: {error}",), "retried automatically; held addresses are not affected"
)
_IPAM_DENIED: Final = Reason(
    IPAM_DENIED, False, ("{source} refused our credentials: HTTP {code}",), "correct the token or its permissions"
)
_IPAM_MISCONFIGURED: Final = Reason(
    IPAM_MISCONFIGURED, False, ("{source}: {problem}",), "correct spec.netbox of the group"
)

ALLOCATED_REASONS: Final = _table(
    Reason(ADDRESS_ASSIGNED, True, ("{ips} from {groups}",)),
    Reason(
        ADDRESS_ASSIGNED_PARTIALLY,
        True,
        ("{ips} from {groups}; missing {missing}: {reason}: {text}",),
        "what the inner reason says",
    ),
    Reason(
        ADDRESS_KEPT,
        True,
        (
            "{ips}; no ServiceGroup contains {strays} any more",
            "{ips}; {excluded}",
            "{ips}; no ServiceGroup contains {strays} any more; {excluded}",
        ),
        "put the range back or lift the exclusion, or set purelb.io/re-evaluate",
    ),
    Reason(INVALID_REQUEST, False, ('{where}: {problem} in "{text}"',), "correct the Service"),
    Reason(
        UNKNOWN_GROUP,
        False,
        ('ServiceGroup "{name}" does not exist in namespace {ns}',),
        "create the ServiceGroup, or name another",
    ),
    Reason(
        GROUP_NOT_READY, False, ("ServiceGroup {name} is not usable: {reason}: {message}",), "repair the ServiceGroup"
    ),
    Reason(
        NO_MATCHING_GROUP,
        False,
        (
            "no ServiceGroup serves namespace {ns} and none is named default",
            "no ServiceGroup can be chosen for namespace {ns}: {groups}",
            "no ServiceGroup can be chosen for namespace {ns} before its labels are known",
        ),
        "create a ServiceGroup, repair one, or name one",
    ),
    Reason(
        AMBIGUOUS_GROUP,
        False,
        (
            "{names} serve namespace {ns} and none is marked namespaceDefault",
            "{names} serve namespace {ns} and several are marked namespaceDefault",
            "{names} serve namespace {ns} and none is marked namespaceDefault: {used} serves it; mark one of them, or set priority",
            "{names} serve namespace {ns} and several are marked namespaceDefault: {used} serves it; mark only one, or set priority",
        ),
        "mark one of them namespaceDefault, or set priority",
    ),
    Reason(
        NAMESPACE_DENIED,
        False,
        (
            "{group} does not serve namespace {ns}",
            "namespace {ns} may use only {groups}",
            "{group} serves namespaces by their labels, and those of {ns} are not known yet",
        ),
        "ask the operator of the ServiceGroup",
    ),
    Reason(NOT_IN_ANY_POOL, False, ("{ip} is in no ServiceGroup",), "request another address"),
    Reason(
        ADDRESS_RESERVED,
        False,
        (
            "{ip} is excluded by {group}",
            "{ip} is an address of node {node}",
            "{ip} is a gateway of node {node}",
            "{ip} is the cluster IP of {service}",
            "{ip} is published for {service} by another controller",
            "another host on the LAN answers for {ip}",
        ),
        "request another address",
    ),
    Reason(
        FAMILY_MISMATCH,
        False,
        ("{ip} is {family}, the Service wants {families}",),
        "correct spec.ipFamilies or the request",
    ),
    Reason(FAMILY_UNAVAILABLE, False, ("{group} has no {family} addresses",), "add a pool of the family"),
    Reason(
        IN_USE,
        False,
        (
            "{ip} is held by {service} without a sharing key",
            "{ip} is held by {service}, and this Service has no sharing key",
            "{ip} is contested: {service} may not share it with its other holders any more",
            "{ip} is kept for {service} until the reuseDelay of {group} ({delay}) has passed",
        ),
        "free the address, or share it",
    ),
    Reason(
        SHARING_KEY_MISMATCH, False, ("{ip} is held by {service} with another sharing key",), "use the same sharing key"
    ),
    Reason(
        SHARING_KEY_BOUND,
        False,
        ('sharing key "{key}" is bound to {ip}, requested {ip2}',),
        "drop the requested address or the sharing key",
    ),
    Reason(SHARING_PORT_CLASH, False, ("{proto}/{port} on {ip} is taken by {service}",), "change the port"),
    Reason(
        SHARING_POLICY_MISMATCH,
        False,
        (
            "{ip} is shared with {service}, which selects other Pods under externalTrafficPolicy Local",
            "{ip} is shared with {service}, which selects other Pods, and this Service has externalTrafficPolicy Local",
        ),
        "use the same selector, or externalTrafficPolicy Cluster",
    ),
    Reason(
        POOL_EXHAUSTED,
        False,
        (
            "{group}: {used} of {size} {family} addresses in use",
            "{group}: {used} of {size} {family} addresses in use, {quarantined} quarantined",
            "{group}: {used} of {size} {family} addresses in use, {reserved} reserved",
            "{group}: {used} of {size} {family} addresses in use, {quarantined} quarantined, {reserved} reserved",
        ),
        "grow the pool, or free an address",
    ),
    Reason(
        QUOTA_EXCEEDED,
        False,
        (
            "{group}: namespace {ns} holds {n} of {limit} {family} addresses",
            "{group}: namespace {ns} holds {n} of {limit} {family} addresses and would hold {total}",
        ),
        "raise the quota, or free an address",
    ),
    Reason(
        GROUP_DRAINING,
        False,
        ("{group} hands out no new addresses", "{group} hands out no new addresses: it is being deleted"),
        "end the drain, or name another group",
    ),
    Reason(
        NO_ACTIVE_SUBNET,
        False,
        ("{group}: no live node advertises any of {subnets}",),
        "bring up a node agent in one of the subnets",
    ),
    Reason(
        MULTI_POOL_REFUSED,
        False,
        (
            "multi-pool cannot be combined with a sharing key",
            "multi-pool cannot be combined with balancePools",
            "multi-pool cannot be combined with {source}",
        ),
        "drop one of the two",
    ),
    Reason(IPAM_PENDING, False, ("waiting for {source}",)),
    _IPAM_UNAVAILABLE,
    _IPAM_DENIED,
    _IPAM_MISCONFIGURED,
    Reason(
        ADDRESS_CONFLICT,
        False,
        ("{ip} was also published for {service}, which is older",),
        "nothing when the Service was moved; else free one of the two",
    ),
)

ANNOUNCED_REASONS: Final = _table(
    Reason(ANNOUNCING_LOCAL, True, ("{ip} by {node} on {interface}",)),
    Reason(ANNOUNCING_NON_LOCAL, True, ("{ips} on the dummy interface of the nodes",)),
    Reason(
        ANNOUNCED_TWICE, True, ("{ip} by {node1} and {node2}",), "the nodes settle it; look at the link between them"
    ),
    Reason(NOT_ALLOCATED, False, ("no address",), "what condition purelb.io/Allocated says"),
    Reason(AWAITING_NODE, False, ("no node has reported {ip} yet",), "nothing, for some seconds"),
    Reason(NO_LIVE_AGENT, False, ("no node agent is alive",), "start the node agents"),
    Reason(
        NO_NODE_IN_SUBNET,
        False,
        ("no live node advertises a subnet containing {ip}",),
        "bring up a node in the subnet, or use a remote group",
    ),
    Reason(
        NO_LOCAL_ENDPOINT,
        False,
        ("externalTrafficPolicy is Local and no eligible node has a ready endpoint",),
        "a ready Pod on a node of the subnet, or externalTrafficPolicy Cluster",
    ),
    Reason(DUPLICATE_ON_LAN, False, ("another host answers for {ip}: {mac}",), "take the address from the other host"),
    Reason(ANNOUNCEMENT_FAILED, False, ("{node}: {error}",), "repair the node; it is tried again"),
    Reason(
        NODE_UNFIT,
        False,
        (
            "{node} is fenced",
            "{node} is draining",
            "{node} is excluded",
            "{node} has no link",
            "{node} does not own its lease",
            "{node} is gone, its kernel still answers",
        ),
        "repair the node, or end its drain",
    ),
)

# What agents may put into `withheld[]`.
WITHHELD_REASONS: Final = (NO_LOCAL_ENDPOINT, DUPLICATE_ON_LAN, ANNOUNCEMENT_FAILED, NODE_UNFIT)

GROUP_REASONS: Final = _table(
    Reason(ACCEPTED, True, ("accepted",)),
    Reason(ACCEPTED_WITH_WARNINGS, True, ("{warnings}",), "correct what the message lists"),
    Reason(
        DRAINING,
        True,
        ("hands out no new addresses", "hands out no new addresses: it is being deleted"),
        "end the drain, or let it go",
    ),
    Reason(INVALID_SPEC, False, ("{problem}",), "correct the spec"),
    Reason(NO_ADDRESSES, False, ("{problem}",), "add a pool, or exclude less"),
    Reason(
        DUPLICATE, False, ("namespace {ns} has a ServiceGroup of this name",), "rename one of the two ServiceGroups"
    ),
    Reason(OVERLAP, False, ("shares {range} with {group}",), "give each address to one ServiceGroup"),
    Reason(OUT_OF_SCOPE, False, ("{problem}",), "move it to the install namespace, or set --config-scope=all"),
    _IPAM_UNAVAILABLE,
    _IPAM_DENIED,
    _IPAM_MISCONFIGURED,
)

AGENT_REASONS: Final = _table(
    Reason(APPLIED, True, ("used by {n} nodes", "used by {n} nodes; {node}: {text}")),
    Reason(
        NO_NODE_SELECTED,
        False,
        (
            "no node matches the nodeSelector",
            "no node agent is alive on the nodes that match the nodeSelector",
            "there is no node",
            "no node agent is alive",
        ),
        "correct spec.nodeSelector, label a node, or start the node agents",
    ),
    Reason(INVALID_NODE_SELECTOR, False, ("{problem}",), "correct spec.nodeSelector"),
    Reason(CONFIG_ERROR, False, ("{node}: {error}",), "correct spec.local"),
    Reason(
        CONFIG_IGNORED,
        False,
        ("another LBNodeAgent comes first on every node", "there is no spec.local"),
        "remove it, or make its nodeSelector more specific",
    ),
    Reason(OUT_OF_SCOPE, False, ("{problem}",), "move it to the install namespace, or set --config-scope=all"),
)

TABLES: Final[Mapping[str, Mapping[str, Reason]]] = {
    ALLOCATED: ALLOCATED_REASONS,
    ANNOUNCED: ANNOUNCED_REASONS,
    "ServiceGroup Ready": GROUP_REASONS,
    "LBNodeAgent Ready": AGENT_REASONS,
}


def remedy(condition: str, reason: str) -> str:
    """What changes it, for `explain`; empty when nothing needs to change or the reason is not ours."""
    found = TABLES.get(condition, {}).get(reason)
    return "" if found is None else found.remedy
