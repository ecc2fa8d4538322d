# SPDX-License-Identifier: Apache-2.0
"""What a stored ServiceGroup means: `parse_group` reads one object and answers the model that all components share, or a refusal.

Rule 1: it never raises, whatever is stored; objects may be older than the rules of admission.
Rule 2: it sees one group. What compares groups (`Duplicate`, `Overlap`) is the allocator's.
Rule 3: an entry's `intervals` are what may be handed out: the pool in written order, ascending inside an item, without what earlier
items of the group cover and without exclusions. What was excluded is kept beside it, so that a refusal can say "excluded".
Rejected: one flat list of intervals per group; attribution, balancing and multi-pool need the entry.
"""

from typing import Final, Literal

from msgspec import Struct

from purelb.api import reasons, rules
from purelb.api.durations import parse_duration
from purelb.api.entries import Entry, Pools, reading_pools, unreachable_on_link
from purelb.api.kinds import (
    AGGREGATION_TEXT,
    EMPTY_SELECTOR,
    ExternalSource,
    NetBoxSource,
    ServiceGroup,
    ServiceGroupSpec,
)
from purelb.api.names import is_label_value, is_qualified
from purelb.api.pieces import Pieces, at_once
from purelb.api.words import Announce, OffSubnet, Source
from purelb.kube import selectors
from purelb.kube.model import LabelSelector
from purelb.net.quoting import quoted
from purelb.net.ranges import BITS, IPAddress, family_of

Scope = Literal["install", "all"]

REUSE_DELAY_MAX: Final = 168 * 3600.0
PRIORITY_MAX: Final = 65535
QUOTA_MAX: Final = 1_000_000
NAMESPACES_MAX: Final = 1024
DEFAULT_GROUP: Final = "default"


class Group(Struct, frozen=True, kw_only=True):
    """A ServiceGroup that can be used. `entries` is empty unless `source` is `cluster`.

    `deleted`: it was, and somebody's finalizer still holds it. Such a group drains.
    """

    name: str
    namespace: str
    uid: str = ""
    created: str = ""
    generation: int = 0
    source: Source
    announce: Announce
    off_subnet: OffSubnet = "Withhold"
    entries: tuple[Entry, ...] = ()
    multi_pool: bool = False
    balance_pools: bool = False
    skip_ipv6_dad: bool = False
    aggregation: int | None = None
    namespaces: tuple[str, ...] = ()
    namespace_selector: LabelSelector | None = None
    enforce_namespaces: bool = False
    namespace_default: bool = False
    service_selector: LabelSelector | None = None
    auto_assign: bool = False
    priority: int | None = None
    drain: bool = False
    deleted: bool = False
    quota_per_namespace: int | None = None
    reuse_delay: float = 0.0
    netbox: NetBoxSource | None = None
    external: ExternalSource | None = None

    @property
    def pool_type(self) -> Announce:
        """The value of the annotation `purelb.io/pool-type`."""
        return self.announce

    @property
    def addresses(self) -> tuple[str, ...]:
        """`status.addresses`: range text as written; the parents of a NetBox group."""
        if self.netbox is not None:
            return self.netbox.parents or ()
        return tuple(entry.pool for entry in self.entries)

    def entry_of(self, address: IPAddress) -> Entry | None:
        """The entry whose pool contains the address, excluded or not; None when none does."""
        for entry in self.entries:
            if entry.holds(address):
                return entry
        return None

    def prefix_length(self, address: IPAddress) -> int:
        """Length of the prefix with which this address stands on the dummy interface."""
        entry = self.entry_of(address)
        if entry is not None:
            return entry.prefix_length
        host = BITS[family_of(address)]
        return host if self.aggregation is None else min(self.aggregation, host)


class Accepted(Struct, frozen=True):
    """The group can be used; `warnings` are sentences for its `Ready` condition, in a fixed order."""

    group: Group
    warnings: tuple[str, ...] = ()


class Refusal(Struct, frozen=True):
    """The group cannot be used: a reason of the table of `Ready`, and what to change."""

    reason: str
    text: str


def parse_group(stored: ServiceGroup, *, install_namespace: str, scope: Scope = "install") -> Accepted | Refusal:
    """Read one stored group. Never raises. Source: spec of the API, 2.8 and 2.10."""
    return at_once(reading_group(stored, install_namespace=install_namespace, scope=scope))


def reading_group(
    stored: ServiceGroup, *, install_namespace: str, scope: Scope = "install"
) -> Pieces[Accepted | Refusal]:
    """The same in pieces, for who must not be held by a group of thousands of items."""
    namespace = stored.metadata.namespace
    if scope == "install" and namespace != install_namespace:
        return Refusal(
            reasons.OUT_OF_SCOPE,
            f"only ServiceGroups in namespace {install_namespace} are read: move it there, or set --config-scope=all",
        )
    spec = stored.spec or ServiceGroupSpec()
    problem = _spec_problem(spec)
    if problem is not None:
        return Refusal(reasons.INVALID_SPEC, problem)
    warnings: list[str] = []
    given = sources_of(stored)
    if given == ["local", "netbox"]:
        warnings.append("local and netbox are both given: local is used")
        given = ["local"]
    if len(given) != 1:
        return Refusal(reasons.INVALID_SPEC, rules.ONE_SOURCE)
    named = stored.metadata.name
    namespaces = tuple(sorted({name.strip() for name in spec.namespaces or ()} - {""}))
    enforce, default = spec.enforce_namespaces, spec.namespace_default
    if enforce and not namespaces:
        enforce = False
        warnings.append("enforceNamespaces is ignored: there is no list of namespaces to enforce")
    if default and not namespaces and spec.namespace_selector is None:
        default = False
        warnings.append("namespaceDefault is ignored: there are neither namespaces nor a namespaceSelector")
    serves = bool(namespaces) or spec.namespace_selector is not None or spec.service_selector is not None
    source = yield from _source(spec, given[0])
    if isinstance(source, str):
        return Refusal(reasons.INVALID_SPEC, source)
    if source.pools is not None:
        if not any(entry.intervals for entry in source.pools.entries):
            return Refusal(
                reasons.NO_ADDRESSES,
                "; ".join(("no address is left after exclusions", *source.pools.useless))
                if source.pools.entries
                else "there is no pool: add v4pool or v6pool",
            )
        warnings += source.pools.warnings
        if source.announce == "local" and source.off_subnet == "Withhold":  # with Dummy, it may stand on no link at all
            warnings += unreachable_on_link(source.pools.entries)
    deleted = bool(stored.metadata.deletion_timestamp)
    group = Group(
        name=named,
        namespace=namespace,
        uid=stored.metadata.uid,
        created=stored.metadata.creation_timestamp or "",
        generation=stored.metadata.generation,
        source=source.source,
        announce=source.announce,
        off_subnet=source.off_subnet,
        entries=source.pools.entries if source.pools is not None else (),
        multi_pool=source.multi_pool,
        balance_pools=source.balance_pools,
        skip_ipv6_dad=source.skip_ipv6_dad,
        aggregation=source.aggregation,
        namespaces=namespaces,
        namespace_selector=spec.namespace_selector,
        enforce_namespaces=enforce,
        namespace_default=default,
        service_selector=spec.service_selector,
        auto_assign=(named == DEFAULT_GROUP or serves) if spec.auto_assign is None else spec.auto_assign,
        priority=spec.priority,
        drain=spec.drain or deleted,
        deleted=deleted,
        quota_per_namespace=spec.quota_per_namespace,
        reuse_delay=parse_duration(spec.reuse_delay) or 0.0,
        netbox=spec.netbox if source.source == "netbox" else None,
        external=spec.external if source.source == "external" else None,
    )
    return Accepted(group, tuple(warnings))


def sources_of(stored: ServiceGroup) -> list[str]:
    """The sources that a stored group gives, `local` before `remote`, `netbox` and `external`. One that can be used has one."""
    spec = stored.spec or ServiceGroupSpec()
    return [name for name in ("local", "remote", "netbox", "external") if getattr(spec, name) is not None]


class _Read(Struct, frozen=True, kw_only=True):
    """The source part of a group."""

    source: Source
    announce: Announce
    off_subnet: OffSubnet = "Withhold"
    pools: Pools | None = None
    multi_pool: bool = False
    balance_pools: bool = False
    skip_ipv6_dad: bool = False
    aggregation: int | None = None


def _source(spec: ServiceGroupSpec, given: str) -> Pieces[_Read | str]:
    """The one source that is given, or what is wrong with it."""
    pools = spec.local if given == "local" else spec.remote
    if given in {"local", "remote"} and pools is not None:
        entries = yield from reading_pools(pools)
        if isinstance(entries, str):
            return entries
        if given == "remote" or spec.local is None:
            return _Read(
                source="cluster",
                announce="remote",
                pools=entries,
                multi_pool=pools.multi_pool,
                balance_pools=pools.balance_pools,
            )
        off_subnet = _off_subnet(spec.local.off_subnet)
        if off_subnet is None:
            return f"offSubnet {quoted(spec.local.off_subnet)} is neither Dummy nor Withhold"
        return _Read(
            source="cluster",
            announce="local",
            off_subnet=off_subnet,
            pools=entries,
            multi_pool=pools.multi_pool,
            balance_pools=pools.balance_pools,
            skip_ipv6_dad=spec.local.skip_ipv6_dad,
        )
    if given == "netbox" and spec.netbox is not None:
        problem = rules.netbox_problem(spec.netbox)
        return problem if problem is not None else _elsewhere(spec.netbox, source="netbox", announce="remote")
    if spec.external is None:
        return rules.ONE_SOURCE
    if not spec.external.provider:
        return "external.provider is required"
    return _elsewhere(spec.external, source="external", announce=None)


def _elsewhere(written: NetBoxSource | ExternalSource, *, source: Source, announce: Announce | None) -> _Read | str:
    """A source outside the cluster; `announce` is its default."""
    wanted = _announce(written.announce) if written.announce else announce
    if wanted is None:
        return f"{source}.announce {quoted(written.announce)} is neither local nor remote"
    off_subnet = _off_subnet(written.off_subnet)
    if off_subnet is None:
        return f"offSubnet {quoted(written.off_subnet)} is neither Dummy nor Withhold"
    aggregation = AGGREGATION_TEXT.fullmatch(written.aggregation)
    if aggregation is None or (aggregation["length"] and int(aggregation["length"]) > BITS[6]):
        return f'aggregation {quoted(written.aggregation)} is neither "default" nor a prefix length'
    length = aggregation["length"]
    return _Read(source=source, announce=wanted, off_subnet=off_subnet, aggregation=int(length) if length else None)


def _announce(text: str) -> Announce | None:
    match text:
        case "local" | "remote":
            return text
        case _:
            return None


def _off_subnet(text: str) -> OffSubnet | None:
    match text:
        case "Dummy" | "Withhold":
            return text
        case "":
            return "Withhold"
        case _:
            return None


def _mistyped(selector: LabelSelector) -> str | None:
    """A key or value that no label can have: it would match nothing, or with NotIn and DoesNotExist everything."""
    wanted = selector.match_expressions or ()
    for key in (*(selector.match_labels or {}), *(each.key for each in wanted)):
        if not is_qualified(key):
            return f"{key} cannot be the key of a label"
    for value in (*(selector.match_labels or {}).values(), *(text for each in wanted for text in each.values or ())):
        if not is_label_value(value):
            return f"{value} cannot be the value of a label"
    return None


def _spec_problem(spec: ServiceGroupSpec) -> str | None:
    """What is wrong outside the sources; numbers are refused, never clamped."""
    if spec.enforce_namespaces and spec.namespace_selector is not None:
        return rules.FENCE_NEEDS_NAMES
    if len(spec.namespaces or ()) > NAMESPACES_MAX:
        return f"namespaces: {len(spec.namespaces or ())} are more than {NAMESPACES_MAX}: use a namespaceSelector"
    for name, selector in (
        ("namespaceSelector", spec.namespace_selector),
        ("serviceSelector", spec.service_selector),
    ):
        if selector is None:
            continue
        if selectors.is_empty(selector):
            return f"{name}: {EMPTY_SELECTOR}"
        problem = selectors.problem(selector) or _mistyped(selector)
        if problem is not None:
            return f"{name}: {quoted(problem)[1:-1]}"
    if spec.priority is not None and not 1 <= spec.priority <= PRIORITY_MAX:
        return f"priority {spec.priority} is not between 1 and {PRIORITY_MAX}"
    if spec.quota_per_namespace is not None and not 1 <= spec.quota_per_namespace <= QUOTA_MAX:
        return f"quotaPerNamespace {spec.quota_per_namespace} is not between 1 and {QUOTA_MAX}"
    if spec.reuse_delay:
        delay = parse_duration(spec.reuse_delay)
        if delay is None or delay > REUSE_DELAY_MAX:
            return f"reuseDelay {quoted(spec.reuse_delay)} is not a duration of at most 168h: write for example 30m"
    return None
