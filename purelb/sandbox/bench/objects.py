# SPDX-License-Identifier: Apache-2.0
"""The objects a benchmark writes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from purelb.api import leases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def namespace(name: str) -> Mapping[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def group(*, install_namespace: str) -> Mapping[str, Any]:
    """A pool of 16,382 IPv4 addresses in the subnet of the benchmark's one node, and one of 65,536 of IPv6."""
    entry = {"pool": "172.30.16.1-172.30.79.254", "subnet": "172.30.0.0/16"}
    entry6 = {"pool": "fd00:30::1:0-fd00:30::1:ffff", "subnet": "fd00:30::/64"}
    return {
        "apiVersion": "purelb.io/v2",
        "kind": "ServiceGroup",
        "metadata": {"name": "default", "namespace": install_namespace},
        "spec": {"local": {"v4pool": entry, "v6pool": entry6}},
    }


def node(name: str, *, addresses: Sequence[str]) -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address} for address in addresses],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Bench", "message": ""}],
        },
    }


def service(name: str, *, lb_class: str | None, classless: bool = False, family: str = "IPv4") -> Mapping[str, Any]:
    """A Service with two ports and a selector, of one family, of our class, of another controller's, or of none."""
    whose = {} if classless else {"loadBalancerClass": lb_class or "purelb.io/purelb"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "bench"}},
        "spec": {
            "type": "LoadBalancer",
            **whose,
            "allocateLoadBalancerNodePorts": False,
            "ipFamilyPolicy": "SingleStack",
            "ipFamilies": [family],
            "selector": {"app": name},
            "ports": [
                {"name": "http", "port": 80, "targetPort": 8080},
                {"name": "https", "port": 443, "targetPort": 8443},
            ],
        },
    }


def endpoints(service: str, *, family: str, address: str, port: int, node: str) -> Mapping[str, Any]:
    """The EndpointSlice of a backend that is no Pod, for the port `http` of a Service, named `SERVICE-bench`."""
    labels = {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "bench.example"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{service}-bench", "labels": labels},
        "addressType": family,
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}, "nodeName": node}],
    }


def status_patch(address: str, *, rv: str, at: str) -> Mapping[str, Any]:
    """What one allocation writes, for the bare client that the allocator is measured against."""
    return {
        "metadata": {
            "resourceVersion": rv,
            "annotations": {
                "purelb.io/allocated-by": "PureLB",
                "purelb.io/allocated-from": "default",
                "purelb.io/pool-type": "local",
                "purelb.io/allocated-wish": "any",
            },
        },
        "status": {
            "loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]},
            "conditions": [
                {
                    "type": kind,
                    "status": status,
                    "reason": reason,
                    "message": f"{address} from default",
                    "lastTransitionTime": at,
                }
                for kind, status, reason in (
                    ("purelb.io/Allocated", "True", "AddressAssigned"),
                    ("purelb.io/Announced", "False", "AwaitingNode"),
                )
            ],
        },
    }


def pool(name: str, pool: str, subnet: str, *, install_namespace: str, **spec: Any) -> Mapping[str, Any]:
    """A ServiceGroup with one entry of the family of `pool`."""
    entry = "v6pool" if ":" in pool else "v4pool"
    return {
        "apiVersion": "purelb.io/v2",
        "kind": "ServiceGroup",
        "metadata": {"name": name, "namespace": install_namespace, "generation": 1},
        "spec": {"local": {entry: {"pool": pool, "subnet": subnet}}, **spec},
    }


def lease(node: str, *, subnets: str, renewed: str, install_namespace: str) -> Mapping[str, Any]:
    """The lease of a node's agent."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": leases.node_lease(node),
            "namespace": install_namespace,
            "labels": dict(leases.labels(leases.LBNODEAGENT)),
            "annotations": {leases.SUBNETS: subnets},
        },
        "spec": {"holderIdentity": node, "leaseDurationSeconds": 10, "renewTime": renewed},
    }


def report(node: str, addresses: Mapping[str, str], *, install_namespace: str) -> Mapping[str, Any]:
    """What a node's agent says: the addresses it answers for, each with its Service."""
    announced = [
        {"ip": ip, "prefixLength": 16, "interface": "eth0", "services": [service]} for ip, service in addresses.items()
    ]
    return {
        "apiVersion": "purelb.io/v2",
        "kind": "LBNodeStatus",
        "metadata": {"name": node, "namespace": install_namespace},
        "status": {"announced": announced},
    }
