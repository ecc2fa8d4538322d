# SPDX-License-Identifier: Apache-2.0
"""The purelb.io kinds with all their fields, and where they live on the API server.

The Structs decode leniently: words are `str` and numbers unbounded, because an object stored before a rule existed must still be
readable by the parsers that refuse it with a reason. What admission enforces stands beside each field as a `Shape`; the CRDs are made
from these Structs, so a field is described once. Rules that concern several fields are in `rules.py`.

Every list is `T | None` and read as `x or ()`. Controllers read and write v2 only.
"""

from typing import Final

from purelb.api.kinds.lb_node_agent import (
    AddressConfig,
    AddressOptions,
    AgentConfig,
    GarpConfig,
    HeartbeatConfig,
    LBNodeAgent,
    LBNodeAgentSpec,
    LBNodeAgentStatus,
)
from purelb.api.kinds.lb_node_status import (
    Announced,
    ConfigReport,
    FailureDetection,
    InterfaceReport,
    LBNodeStatus,
    NodeReport,
    RemoteReport,
    Withheld,
)
from purelb.api.kinds.service_group import (
    AGGREGATION_TEXT,
    EMPTY_SELECTOR,
    ClusterPools,
    ExternalSource,
    LocalPools,
    NetBoxSource,
    PoolEntry,
    PoolEntryV4,
    PoolEntryV6,
    RemotePools,
    ServiceGroup,
    ServiceGroupSpec,
    ServiceGroupStatus,
)
from purelb.api.words import GROUP, VERSION
from purelb.kube.resources import Resource

__all__ = [
    "AGGREGATION_TEXT",
    "EMPTY_SELECTOR",
    "LB_NODE_AGENTS",
    "LB_NODE_STATUSES",
    "SERVICE_GROUPS",
    "AddressConfig",
    "AddressOptions",
    "AgentConfig",
    "Announced",
    "ClusterPools",
    "ConfigReport",
    "ExternalSource",
    "FailureDetection",
    "GarpConfig",
    "HeartbeatConfig",
    "InterfaceReport",
    "LBNodeAgent",
    "LBNodeAgentSpec",
    "LBNodeAgentStatus",
    "LBNodeStatus",
    "LocalPools",
    "NetBoxSource",
    "NodeReport",
    "PoolEntry",
    "PoolEntryV4",
    "PoolEntryV6",
    "RemotePools",
    "RemoteReport",
    "ServiceGroup",
    "ServiceGroupSpec",
    "ServiceGroupStatus",
    "Withheld",
]

SERVICE_GROUPS: Final = Resource(
    group=GROUP, version=VERSION, plural="servicegroups", kind="ServiceGroup", namespaced=True, type=ServiceGroup
)
LB_NODE_AGENTS: Final = Resource(
    group=GROUP, version=VERSION, plural="lbnodeagents", kind="LBNodeAgent", namespaced=True, type=LBNodeAgent
)
LB_NODE_STATUSES: Final = Resource(
    group=GROUP, version=VERSION, plural="lbnodestatuses", kind="LBNodeStatus", namespaced=True, type=LBNodeStatus
)
