# SPDX-License-Identifier: Apache-2.0
"""What admission asks of several fields together: CEL rules per Struct, and the sentences they answer.

The sentences are shared with the parsers, which say the same about objects that were stored before the rules existed. CEL is what
Kubernetes 1.25 has: no messageExpression, no optional types. An absent field and an empty string mean the same, so both are asked for.
"""

from collections.abc import Mapping
from typing import Final

from purelb.api.kinds import AgentConfig, ClusterPools, LocalPools, NetBoxSource, RemotePools, ServiceGroupSpec
from purelb.api.shapes import Rule

ONE_SOURCE: Final = "give exactly one of local, remote, netbox, external"
ENFORCE_NEEDS_LIST: Final = "enforceNamespaces needs a list of namespaces to enforce"
FENCE_NEEDS_NAMES: Final = "a fence needs literal namespaces: whoever may label a namespace could widen a selector"
DEFAULT_NEEDS_NAMESPACES: Final = "namespaceDefault needs namespaces or a namespaceSelector"
POOLS_EXCLUDE: Final = "multiPool and balancePools exclude each other"
POOL_AND_SUBNET: Final = "pool and subnet belong together"
NETBOX_TENANT: Final = "mode reserved needs a tenant"
NETBOX_PARENTS: Final = "parents need mode availableIPs"
NETBOX_FILTER: Final = "mode availableIPs needs one of parents, tenant, vrf, tags"
NETBOX_PLAIN: Final = "an http:// url needs plainHTTP"
V1_LOCALINT: Final = "localint is the v1 name of localInterface: remove it or make both equal"
V1_EXTLBINT: Final = "extlbint is the v1 name of dummyInterface: remove it or make both equal"

LOCAL_INTERFACE_DEFAULT: Final = "default"
DUMMY_INTERFACE_DEFAULT: Final = "kube-lb0"


def _set(name: str) -> str:
    return f"(has(self.{name}) && self.{name} != '')"


def _listed(name: str) -> str:
    return f"(has(self.{name}) && size(self.{name}) > 0)"


def _on(name: str) -> str:
    return f"(has(self.{name}) && self.{name})"


def _v1_name(old: str, new: str, default: str) -> str:
    return f"!{_set(old)} || !{_set(new)} || self.{old} == '{default}' || self.{old} == self.{new}"


_SOURCES: Final = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in ("local", "remote", "netbox", "external"))
_POOLS: Final = Rule(f"!{_on('multiPool')} || !{_on('balancePools')}", POOLS_EXCLUDE)
_RESERVED: Final = "(!has(self.mode) || self.mode == 'reserved')"

RULES: Final[Mapping[type, tuple[Rule, ...]]] = {
    ServiceGroupSpec: (
        Rule(f"{_SOURCES} == 1", ONE_SOURCE),
        Rule(f"!{_on('enforceNamespaces')} || {_listed('namespaces')}", ENFORCE_NEEDS_LIST),
        Rule(f"!{_on('enforceNamespaces')} || !has(self.namespaceSelector)", FENCE_NEEDS_NAMES),
        Rule(
            f"!{_on('namespaceDefault')} || {_listed('namespaces')} || has(self.namespaceSelector)",
            DEFAULT_NEEDS_NAMESPACES,
        ),
    ),
    LocalPools: (_POOLS, Rule(f"{_set('pool')} == {_set('subnet')}", POOL_AND_SUBNET)),
    RemotePools: (_POOLS,),
    NetBoxSource: (
        Rule(f"!{_RESERVED} || {_set('tenant')}", NETBOX_TENANT),
        Rule(f"!{_listed('parents')} || !{_RESERVED}", NETBOX_PARENTS),
        Rule(
            f"{_RESERVED} || {_listed('parents')} || {_set('tenant')} || {_set('vrf')} || {_listed('tags')}",
            NETBOX_FILTER,
        ),
        Rule(f"!self.url.startsWith('http://') || {_on('plainHTTP')}", NETBOX_PLAIN),
    ),
    AgentConfig: (
        Rule(_v1_name("localint", "localInterface", LOCAL_INTERFACE_DEFAULT), V1_LOCALINT),
        Rule(_v1_name("extlbint", "dummyInterface", DUMMY_INTERFACE_DEFAULT), V1_EXTLBINT),
    ),
}


def pools_problem(pools: ClusterPools) -> str | None:
    """What the rules on `local` and `remote` say of a stored object."""
    if pools.multi_pool and pools.balance_pools:
        return POOLS_EXCLUDE
    if isinstance(pools, LocalPools) and bool(pools.pool) != bool(pools.subnet):
        return POOL_AND_SUBNET
    return None


def netbox_problem(netbox: NetBoxSource) -> str | None:
    """What the rules on `netbox` say of a stored object."""
    if not netbox.url:
        return "netbox.url is required"
    reserved = netbox.mode in {"", "reserved"}
    if not reserved and netbox.mode != "availableIPs":
        return "netbox.mode is neither reserved nor availableIPs"
    if reserved and not netbox.tenant:
        return NETBOX_TENANT
    if reserved and netbox.parents:
        return NETBOX_PARENTS
    if not reserved and not (netbox.parents or netbox.tenant or netbox.vrf or netbox.tags):
        return NETBOX_FILTER
    if netbox.url.startswith("http://") and not netbox.plain_http:
        return NETBOX_PLAIN
    return None
