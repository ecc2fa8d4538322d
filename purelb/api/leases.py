# SPDX-License-Identifier: Apache-2.0
"""Names of the leases and of what they carry. Readers select them by label and tolerate foreign or missing annotations."""

import hashlib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Final

NAME_LABEL: Final = "app.kubernetes.io/name"
COMPONENT_LABEL: Final = "app.kubernetes.io/component"
PRODUCT: Final = "purelb"
ALLOCATOR: Final = "allocator"
LBNODEAGENT: Final = "lbnodeagent"

ALLOCATOR_LEASE: Final = "purelb-allocator"
NODE_LEASE_PREFIX: Final = "purelb-node-"

SUBNETS: Final = "purelb.io/subnets"
INSTANCE: Final = "purelb.io/instance"
DRAINING: Final = "purelb.io/draining"
HEARTBEAT_KEY: Final = "purelb.io/heartbeat-key"
HEARTBEAT_ENDPOINTS: Final = "purelb.io/heartbeat-endpoints"
OFFERS: Final = "purelb.io/offers"
AGENT_API_LABEL: Final = "purelb.io/agent-api"
AGENT_API: Final = "1"
SUBNET_LABEL_PREFIX: Final = "subnet.purelb.io/"


def labels(component: str) -> Mapping[str, str]:
    """The labels of every object we create."""
    return {NAME_LABEL: PRODUCT, COMPONENT_LABEL: component}


def selector(*components: str) -> str:
    """The label selector of what these components create."""
    return f"{COMPONENT_LABEL} in ({','.join(components)}),{NAME_LABEL}={PRODUCT}"


def node_lease(node: str) -> str:
    """Name of the lease of a node's agent."""
    return NODE_LEASE_PREFIX + node


def node_of_lease(name: str) -> str | None:
    """The node a lease is named after; None when it is not an agent's lease."""
    node = name.removeprefix(NODE_LEASE_PREFIX)
    return node if node and node != name else None


def subnet_hash(network: IPv4Network | IPv6Network) -> str:
    """First 10 hexadecimal digits of the SHA-256 of the subnet's network text."""
    return hashlib.sha256(str(network).encode()).hexdigest()[:10]


def subnet_label(network: IPv4Network | IPv6Network) -> str:
    """The label, with an empty value, of a lease that advertises the subnet."""
    return SUBNET_LABEL_PREFIX + subnet_hash(network)
