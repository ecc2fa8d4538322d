# SPDX-License-Identifier: Apache-2.0
"""ServiceGroup: where addresses come from and how they are announced. What it means is read in `purelb.api.groups`."""

import re
from typing import Annotated, Final

from msgspec import Struct, field

from purelb.api.shapes import PerVersion, Rule, duration, number, part, several, switch, text, word
from purelb.kube.model import Condition, LabelSelector, ObjectMeta

LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SLUG: Final = r"^[-A-Za-z0-9_]{1,100}$"
AGGREGATION: Final = r"^(|default|/?([89]|[1-9][0-9]|1[01][0-9]|12[0-8]))$"
AGGREGATION_TEXT: Final = re.compile(r"(?:|default|/?(?P<length>[89]|[1-9][0-9]|1[01][0-9]|12[0-8]))", re.ASCII)
_V4_TEXT: Final = r"^[0-9./,\-\s]+$"
_V6_TEXT: Final = r"^[0-9A-Fa-f./,\-\s]*:[0-9A-Fa-f:./,\-\s]*$"
_ANY_TEXT: Final = r"^[0-9A-Fa-f:./,\-\s]+$"
_V4_CIDR: Final = r"^\s*[0-9.]+/[0-9]{1,2}\s*$"
_V6_CIDR: Final = r"^\s*[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*/[0-9]{1,3}\s*$"

EMPTY_SELECTOR: Final = "an empty selector matches everything; leave it out"
_SOME_REQUIREMENT: Final = Rule(
    "(has(self.matchLabels) && size(self.matchLabels) > 0)"
    " || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
    EMPTY_SELECTOR,
)

_POOL_TEXT: Final = (
    "Addresses that may be handed out: single addresses, CIDRs and ranges A-B, separated by commas. "
    "Those that can serve nobody (loopback, link-local, multicast and reserved ones) are left out."
)
_SUBNET_TEXT: Final = "The subnet that the addresses lie in."
_AGGREGATION_TEXT: Final = (
    'Prefix length on the dummy interface, such as "/24" or "24"; "default" is that of the subnet.'
)
_EXCLUDE_TEXT: Final = "Range text of addresses that are never handed out; what lies outside the pool has no effect."
_FIRST_LAST_TEXT: Final = (
    "Leave out the first and last address of networks and every address ending in .0 or .255 (IPv4), "
    "or the first address of the subnet (IPv6)."
)
_OFF_SUBNET_TEXT: Final = "What a node does that has no interface in the address's subnet: put the address on its dummy interface, or nowhere."
_OFF_SUBNET: Final = word(_OFF_SUBNET_TEXT, of=("Dummy", "Withhold"), default=PerVersion("Dummy", "Withhold"))
_HOST_AGGREGATION: Final = text(
    'Prefix length on the dummy interface; "default" is a host route.',
    most=8,
    pattern=AGGREGATION,
    default="default",
)


class PoolEntry(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """What entries of both families have; the parser sees only this."""

    pool: str = ""
    subnet: str = ""
    aggregation: str = ""
    exclude: tuple[str, ...] | None = ()
    exclude_first_last: bool = False


class PoolEntryV4(PoolEntry, frozen=True, gc=False, kw_only=True, rename="camel"):
    pool: Annotated[str, text(_POOL_TEXT, most=4096, least=1, pattern=_V4_TEXT, required=True)] = ""
    subnet: Annotated[str, text(_SUBNET_TEXT, most=64, pattern=_V4_CIDR, required=True)] = ""
    aggregation: Annotated[str, text(_AGGREGATION_TEXT, most=8, pattern=AGGREGATION, default="default")] = ""
    exclude: Annotated[
        tuple[Annotated[str, text(most=4096, least=1, pattern=_V4_TEXT, required=True)], ...] | None,
        several(_EXCLUDE_TEXT, most=256),
    ] = ()
    exclude_first_last: Annotated[bool, switch(_FIRST_LAST_TEXT, default=False)] = False


class PoolEntryV6(PoolEntry, frozen=True, gc=False, kw_only=True, rename="camel"):
    pool: Annotated[str, text(_POOL_TEXT, most=4096, least=1, pattern=_V6_TEXT, required=True)] = ""
    subnet: Annotated[str, text(_SUBNET_TEXT, most=64, pattern=_V6_CIDR, required=True)] = ""
    aggregation: Annotated[str, text(_AGGREGATION_TEXT, most=8, pattern=AGGREGATION, default="default")] = ""
    exclude: Annotated[
        tuple[Annotated[str, text(most=4096, least=1, pattern=_V6_TEXT, required=True)], ...] | None,
        several(_EXCLUDE_TEXT, most=256),
    ] = ()
    exclude_first_last: Annotated[bool, switch(_FIRST_LAST_TEXT, default=False)] = False


class ClusterPools(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """What `local` and `remote` have in common."""

    v4pool: Annotated[PoolEntryV4 | None, part("One IPv4 entry; it comes after those of v4pools.")] = None
    v6pool: Annotated[PoolEntryV6 | None, part("One IPv6 entry; it comes after those of v6pools.")] = None
    v4pools: Annotated[tuple[PoolEntryV4, ...] | None, several("IPv4 entries, used in this order.", most=256)] = ()
    v6pools: Annotated[tuple[PoolEntryV6, ...] | None, several("IPv6 entries, used in this order.", most=256)] = ()
    multi_pool: Annotated[
        bool, switch("Give a Service one address of each entry instead of one of each family.", default=False)
    ] = False
    balance_pools: Annotated[
        bool,
        switch("Take the entry with the fewest addresses in use instead of the first with a free one.", default=False),
    ] = False


class LocalPools(ClusterPools, frozen=True, gc=False, kw_only=True, rename="camel"):
    """`spec.local`: each address is answered for by one node that has an interface in its subnet."""

    skip_ipv6_dad: Annotated[
        bool, switch("Add IPv6 addresses without looking for a duplicate on the link first.", default=False)
    ] = field(name="skipIPv6DAD", default=False)
    off_subnet: Annotated[str, _OFF_SUBNET] = ""
    pool: Annotated[
        str,
        text(
            "Early form of one entry; its family is that of the text. Prefer v4pool or v6pool.",
            most=4096,
            pattern=_ANY_TEXT,
        ),
    ] = ""
    subnet: Annotated[str, text("Subnet of the early form.", most=64, pattern=_ANY_TEXT)] = ""
    aggregation: Annotated[str, text("Prefix length of the early form.", most=8, pattern=AGGREGATION)] = ""


class RemotePools(ClusterPools, frozen=True, gc=False, kw_only=True, rename="camel"):
    """`spec.remote`: each address is on the dummy interface of all nodes, and routers lead to it."""


class NetBoxSource(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """`spec.netbox`: addresses come from a NetBox."""

    url: Annotated[str, text("Base URL of the NetBox.", most=512, pattern=r"^https?://[^\s?#@]+$", required=True)] = ""
    mode: Annotated[
        str,
        word(
            "Take records that an operator reserved, or let NetBox pick from prefixes and IP ranges.",
            of=("reserved", "availableIPs"),
            default="reserved",
        ),
    ] = ""
    tenant: Annotated[str, text("Slug of the tenant whose records are used.", most=100, pattern=SLUG)] = ""
    vrf: Annotated[str, text("Name of the VRF; it must match exactly one.", most=100)] = ""
    tags: Annotated[
        tuple[Annotated[str, text(most=100, pattern=SLUG, required=True)], ...] | None,
        several("Slugs of tags that a record must all have, and that created records get.", most=16),
    ] = ()
    parents: Annotated[
        tuple[Annotated[str, text(most=96, least=1, pattern=_ANY_TEXT, required=True)], ...] | None,
        several("NetBox prefixes (CIDR) and IP ranges (A-B) to take addresses from, in this order.", most=64),
    ] = ()
    aggregation: Annotated[str, _HOST_AGGREGATION] = ""
    announce: Annotated[
        str,
        word(
            "Announce as the source of this name does.", of=("local", "remote"), default=PerVersion("local", "remote")
        ),
    ] = ""
    off_subnet: Annotated[str, _OFF_SUBNET] = ""
    owner_field: Annotated[
        str,
        text(
            "Custom text field of NetBox for our ownership marker; the description when not set.",
            most=50,
            pattern=r"^[A-Za-z0-9_]{1,50}$",
        ),
    ] = ""
    token_key: Annotated[
        str,
        text(
            "File name of the token below the token directory.",
            most=63,
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
            default="user-token",
        ),
    ] = ""
    ca_bundle: Annotated[str, text("Trust anchors as PEM text; the system's when not set.", most=65536)] = ""
    insecure_skip_tls_verify: Annotated[bool, switch("Do not verify the certificate of the NetBox.", default=False)] = (
        field(name="insecureSkipTLSVerify", default=False)
    )
    plain_http: Annotated[
        bool, switch("Allow a URL that begins with http://.", default=PerVersion(v1=True, v2=False))
    ] = field(name="plainHTTP", default=False)
    timeout: Annotated[str, duration("Time for one request.", least="1s", most="60s", default="10s")] = ""
    orphans: Annotated[
        str,
        word(
            "What to do with records that carry our mark and that nobody uses any more.",
            of=("Off", "DryRun", "Release"),
            default="DryRun",
        ),
    ] = ""


class ExternalSource(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """`spec.external`: addresses come from a sidecar of yours."""

    provider: Annotated[
        str,
        text(
            "Name of the provider, used as a label.",
            most=63,
            least=1,
            pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
            required=True,
        ),
    ] = ""
    socket: Annotated[
        str,
        text(
            "Absolute path of the sidecar's Unix socket.",
            most=107,
            pattern=r"^/.+$",
            default="/var/run/purelb/ipam.sock",
        ),
    ] = ""
    announce: Annotated[
        str, word("Announce as the source of this name does.", of=("local", "remote"), required=True)
    ] = ""
    aggregation: Annotated[str, _HOST_AGGREGATION] = ""
    off_subnet: Annotated[str, word(_OFF_SUBNET_TEXT, of=("Dummy", "Withhold"), default="Withhold")] = ""


class ServiceGroupSpec(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    local: Annotated[LocalPools | None, part("One node answers for each address.")] = None
    remote: Annotated[RemotePools | None, part("All nodes have each address on their dummy interface.")] = None
    netbox: Annotated[NetBoxSource | None, part("A NetBox says which addresses there are.")] = None
    external: Annotated[ExternalSource | None, part("A sidecar says which addresses there are.")] = None
    namespaces: Annotated[
        tuple[Annotated[str, text(most=63, pattern=LABEL, required=True)], ...] | None,
        several("The group serves these namespaces.", most=1024),
    ] = ()
    namespace_selector: Annotated[
        LabelSelector | None,
        part("The group also serves the namespaces whose labels match.", rules=(_SOME_REQUIREMENT,)),
    ] = None
    enforce_namespaces: Annotated[
        bool,
        switch("Only these namespaces may use the group, and they only groups that serve them.", default=False),
    ] = False
    namespace_default: Annotated[
        bool,
        switch("Among several groups that serve a namespace, this one serves Services that name none.", default=False),
    ] = False
    service_selector: Annotated[
        LabelSelector | None,
        part("Chosen automatically only for Services whose labels match.", rules=(_SOME_REQUIREMENT,)),
    ] = None
    auto_assign: Annotated[
        bool | None,
        switch(
            "May be chosen for a Service that names no group. Not set: when the group is named default or serves namespaces or has a selector."
        ),
    ] = None
    priority: Annotated[
        int | None, number("Lower is tried first; not set comes last.", least=1, most=65535, bits=32)
    ] = None
    drain: Annotated[bool, switch("Hand out no new address; held ones stay.", default=False)] = False
    quota_per_namespace: Annotated[
        int | None,
        number("Most addresses of each family that one namespace may hold.", least=1, most=1_000_000, bits=32),
    ] = None
    reuse_delay: Annotated[
        str,
        duration(
            "For this long a released address is given only to a Service of the same namespace and name, unless the allocator "
            "changes its leader or is restarted meanwhile: that ends the delay.",
            most="168h",
            default="0s",
        ),
    ] = ""


class ServiceGroupStatus(Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    observed_generation: Annotated[int | None, number("Generation that this status describes.")] = None
    conditions: Annotated[tuple[Condition, ...] | None, several("Type Ready.", most=16, list_key="type")] = ()
    announce: Annotated[str, text("Local or Remote.", most=16)] = ""
    ipam: Annotated[str, text("Cluster, NetBox or the provider.", most=63)] = ""
    addresses: Annotated[
        tuple[Annotated[str, text(most=4096)], ...] | None, several("Range text as written, or parents.", most=1024)
    ] = ()
    bound_namespaces: Annotated[
        tuple[Annotated[str, text(most=63)], ...] | None, several("Namespaces served now, sorted.", most=1024)
    ] = ()
    allocated_ipv4: Annotated[int, number("Distinct IPv4 addresses held, also those that are excluded by now.")] = (
        field(name="allocatedIPv4", default=0)
    )
    allocated_ipv6: Annotated[int, number("Distinct IPv6 addresses held, also those that are excluded by now.")] = (
        field(name="allocatedIPv6", default=0)
    )
    available_ipv4: Annotated[int | None, number("Free IPv4 addresses; absent when unknown.")] = field(
        name="availableIPv4", default=None
    )
    available_ipv6: Annotated[int | None, number("Free IPv6 addresses; absent when unknown.")] = field(
        name="availableIPv6", default=None
    )
    quarantined_ipv4: Annotated[int, number("IPv4 addresses waiting for reuseDelay.")] = field(
        name="quarantinedIPv4", default=0
    )
    quarantined_ipv6: Annotated[int, number("IPv6 addresses waiting for reuseDelay.")] = field(
        name="quarantinedIPv6", default=0
    )
    external_services: Annotated[
        tuple[Annotated[str, text(most=317)], ...] | None,
        several(
            "External groups only: Services that may hold an address at the sidecar, as namespace/name.", most=5000
        ),
    ] = ()


class ServiceGroup(Struct, frozen=True, gc=False, kw_only=True, rename="camel", tag_field="kind", tag="ServiceGroup"):
    """Where addresses come from and how they are announced."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[ServiceGroupSpec | None, part(required=True)] = None
    status: ServiceGroupStatus | None = None
