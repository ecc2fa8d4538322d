# SPDX-License-Identifier: Apache-2.0
"""The objects a kubelet and the controllers would have written: nodes, pods, endpoint slices. Pure.

They are plain mappings, ready to be sent; each has the fields that kubectl shows and components read, and no more. A pod's readiness is what its /readyz
answered. Every backend listens on one port, so an endpoint's port is that one, whatever the Service calls its target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from purelb.api.kinds import SERVICE_GROUPS
from purelb.sandbox.cluster.programs import ECHO_PORT, INSTALL_NAMESPACE, Program
from purelb.sandbox.rig.proxy_rules import SERVICE_NAME

if TYPE_CHECKING:
    from purelb.kube.model import Service
    from purelb.sandbox.rig.topology import NodePlace, Subnet

Body = Mapping[str, Any]
MANAGED_BY = "sandbox.purelb.io"


class PodState(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the supervisor knows of a program. `reason`: why it is not running or not ready, in a word or a sentence."""

    running: bool
    ready: bool
    restarts: int
    reason: str = ""


def namespace(name: str, *, labels: Mapping[str, str] = {}) -> Body:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **_labelled(labels)}}


def service_account(name: str, *, namespace: str, labels: Mapping[str, str] = {}) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace, **_labelled(labels)},
    }


def _labelled(labels: Mapping[str, str]) -> Body:
    return {"labels": dict(labels)} if labels else {}


def node(place: NodePlace) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": place.name,
            "labels": {"kubernetes.io/hostname": place.name, "kubernetes.io/os": "linux"},
        },
        "spec": {"podCIDR": str(place.pods[0]), "podCIDRs": [str(pods) for pods in place.pods]},
    }


def node_status(place: NodePlace, *, at: str) -> Body:
    return {
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": str(address)} for address in place.addresses),
                {"type": "Hostname", "address": place.name},
            ],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "SandboxReady",
                    "message": "the node's namespace is up",
                    "lastHeartbeatTime": at,
                    "lastTransitionTime": at,
                }
            ],
            "nodeInfo": {"kubeletVersion": "sandbox", "operatingSystem": "linux"},
        }
    }


def service_group(subnets: Iterable[Subnet]) -> Body:
    """The group `default`: a pool of each family in every subnet, in the order of the subnets."""
    pools: dict[str, list[Body]] = {}
    for subnet in subnets:
        for network, pool in zip(subnet.networks, subnet.pools, strict=True):
            pools.setdefault(f"v{network.version}pools", []).append({"pool": pool, "subnet": str(network)})
    return {
        "apiVersion": SERVICE_GROUPS.api_version,
        "kind": SERVICE_GROUPS.kind,
        "metadata": {"name": "default", "namespace": INSTALL_NAMESPACE},
        "spec": {"local": pools},
    }


def pod(program: Program) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": program.pod, "namespace": program.namespace, "labels": dict(program.labels)},
        "spec": {
            "nodeName": program.node,
            "hostNetwork": program.host_network,
            "serviceAccountName": program.account or "default",
            "containers": [{"name": program.image, "image": program.image}],
        },
    }


def pod_status(program: Program, state: PodState, *, host_ip: str, at: str) -> Body:
    ready = "True" if state.ready else "False"
    waiting = {"waiting": {"reason": state.reason or "CrashLoopBackOff"}}
    return {
        "status": {
            "phase": "Running" if state.running else "Pending",
            "hostIP": host_ip,
            "podIP": program.addresses[0],
            "podIPs": [{"ip": address} for address in program.addresses],
            "conditions": [
                {"type": kind, "status": ready, "lastTransitionTime": at, "message": state.reason}
                for kind in ("Ready", "ContainersReady")
            ],
            "containerStatuses": [
                {
                    "name": program.image,
                    "image": program.image,
                    "imageID": "",
                    "ready": state.ready,
                    "restartCount": state.restarts,
                    "state": {"running": {"startedAt": at}} if state.running else waiting,
                }
            ],
        }
    }


def slices(service: Service, backends: Iterable[tuple[Program, bool]]) -> tuple[Body, ...]:
    """One EndpointSlice per family of the Service over the (program, ready) pairs that its selector matches; none without a selector."""
    spec, meta = service.spec, service.metadata
    if spec is None or not spec.selector or spec.type == "ExternalName":
        return ()
    chosen = [(program, ready) for program, ready in backends if _selected(spec.selector, program)]
    chosen = [(program, ready) for program, ready in chosen if program.namespace == meta.namespace]
    families: Sequence[str] = spec.ip_families or ("IPv4",)
    return tuple(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{meta.name}-{family.lower()}",
                "namespace": meta.namespace,
                "labels": {SERVICE_NAME: meta.name, "endpointslice.kubernetes.io/managed-by": MANAGED_BY},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Service", "name": meta.name, "uid": meta.uid, "controller": True}
                ],
            },
            "addressType": family,
            "endpoints": [_endpoint(program, family, ready=ready) for program, ready in chosen if _of(family, program)],
            "ports": [{"name": port.name, "protocol": port.protocol, "port": ECHO_PORT} for port in spec.ports or ()],
        }
        for family in families
    )


def _selected(selector: Mapping[str, str], program: Program) -> bool:
    return all(program.labels.get(name) == value for name, value in selector.items())


def _of(family: str, program: Program) -> list[str]:
    return [address for address in program.addresses if (":" in address) == (family == "IPv6")]


def _endpoint(program: Program, family: str, *, ready: bool) -> Body:
    return {
        "addresses": _of(family, program),
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        "nodeName": program.node,
        "targetRef": {"kind": "Pod", "name": program.pod, "namespace": program.namespace},
    }
