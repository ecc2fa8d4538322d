# SPDX-License-Identifier: Apache-2.0
"""The Service: what the server fills in and keeps. Mistakes are found in `service_rules`, addresses and ports given in `allocations`.

Two steps, as in the real server: `complete` sets defaults and carries over what was allocated before, then comes the check.
A cluster has one family or both, and the first is what a Service gets that asks for none.
"""

import ipaddress
from collections.abc import Sequence

from purelb.sandbox.apiserver.answers import (
    Obj,
)

IP_MODE_SINCE = 30  # the minor version from which `ipMode` is kept
FAMILIES = ("IPv4", "IPv6")


def family_of(address: str) -> str | None:
    """None for what is no address; a zone makes it none."""
    try:
        if "%" in address:
            return None
        return "IPv4" if ipaddress.ip_address(address).version == 4 else "IPv6"
    except ValueError:
        return None


def wants_node_ports(spec: Obj) -> bool:
    return spec.get("type") == "NodePort" or (
        spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True) is not False
    )


def may_have_node_ports(spec: Obj) -> bool:
    return spec.get("type") in {"NodePort", "LoadBalancer"}


def external(spec: Obj) -> bool:
    return may_have_node_ports(spec) or (spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def wants_health_port(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def headless(spec: Obj) -> bool:
    return bool((spec.get("clusterIPs") or [spec.get("clusterIP")])[0] == "None")


def selectorless(spec: Obj) -> bool:
    """Headless and without a selector: its endpoints are somebody else's, and may have families that the cluster has not."""
    return headless(spec) and not spec.get("selector")


def complete(service: Obj, old: Obj | None, *, cluster: Sequence[str] = FAMILIES) -> None:
    """Defaults, and what the server allocated before: in place, for a create (`old` None) or an update. `cluster`: its families."""
    spec: Obj = service.setdefault("spec", {})
    before: Obj = old["spec"] if old is not None else {}
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in {None, 0, ""} and "port" in port:
            port["targetPort"] = port["port"]
    if old is not None:
        _carry_over(spec, before)
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if external(spec):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        _complete_addresses(spec, before, cluster)
    for name in ("ports", "externalIPs", "loadBalancerSourceRanges", "selector", "clusterIPs", "ipFamilies"):
        if name in spec and not spec[name]:
            del spec[name]
    status: Obj = service.setdefault("status", {})
    if spec["type"] != "LoadBalancer" and old is not None and before.get("type") == "LoadBalancer":
        status["loadBalancer"] = {}
    for condition in status.get("conditions") or ():
        for field, empty in (("lastTransitionTime", None), ("reason", ""), ("message", "")):
            condition.setdefault(field, empty)
    balancer: Obj = status.setdefault("loadBalancer", {})
    for ingress in balancer.get("ingress") or ():
        if ingress.get("ip"):
            ingress.setdefault("ipMode", "VIP")


def forget_ip_mode(service: Obj) -> None:
    """What a server does that does not know the field yet."""
    for ingress in service["status"]["loadBalancer"].get("ingress") or ():
        ingress.pop("ipMode", None)


def _carry_over(spec: Obj, before: Obj) -> None:
    """Values the client left out keep what was allocated; values of a type that was left are dropped if untouched."""
    if spec["type"] != "ExternalName":
        if not spec.get("clusterIP") and not spec.get("clusterIPs"):
            for name in ("clusterIP", "clusterIPs"):
                if name in before:
                    spec[name] = before[name]
        elif not spec.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
            spec["clusterIP"] = before.get("clusterIP", "")
        elif spec.get("clusterIP") != before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
    elif before.get("type") != "ExternalName":
        if not spec.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if spec.get(name) == before.get(name):
                spec.pop(name, None)
    held = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in before.get("ports") or ()}
    if wants_node_ports(spec):
        taken = {port.get("nodePort") for port in spec.get("ports") or () if port.get("nodePort")}
        by_name = {port.get("name", ""): port.get("nodePort") for port in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            kept = by_name.get(port.get("name", ""))  # by name alone: the number of a port may change
            if not port.get("nodePort") and kept and kept not in taken:
                port["nodePort"] = kept
    if may_have_node_ports(before) and not may_have_node_ports(spec):
        for port in spec.get("ports") or ():
            if port.get("nodePort") == held.get((port.get("protocol"), port.get("port"))):
                port.pop("nodePort", None)
    if wants_health_port(spec) and not spec.get("healthCheckNodePort") and before.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before["healthCheckNodePort"]
    if not wants_health_port(spec) and spec.get("healthCheckNodePort") == before.get("healthCheckNodePort"):
        spec.pop("healthCheckNodePort", None)
    if spec["type"] != "LoadBalancer" and before.get("type") == "LoadBalancer":
        for name in ("loadBalancerClass", "allocateLoadBalancerNodePorts"):
            if spec.get(name) == before.get(name):
                spec.pop(name, None)
    if not external(spec) and spec.get("externalTrafficPolicy") == before.get("externalTrafficPolicy"):
        spec.pop("externalTrafficPolicy", None)


def _complete_addresses(spec: Obj, before: Obj, cluster: Sequence[str]) -> None:
    """ClusterIP and clusterIPs agree; families and policy follow from each other."""
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    addresses: list[str] = spec.get("clusterIPs") or []
    families: list[str] = list(spec.get("ipFamilies") or [])
    policy = spec.get("ipFamilyPolicy")
    if not families:
        families = [family for family in map(family_of, addresses) if family is not None]
    if policy is None:
        policy = "RequireDualStack" if selectorless(spec) else "SingleStack"
    if not families:
        families = [cluster[0]]
    if policy == "SingleStack" and before.get("ipFamilyPolicy") in {"PreferDualStack", "RequireDualStack"}:
        if spec.get("ipFamilies") == before.get("ipFamilies"):
            families = families[:1]
        if addresses == before.get("clusterIPs"):
            spec["clusterIPs"] = addresses = addresses[:1]
    both = len(cluster) == len(FAMILIES) or selectorless(spec)
    if policy in {"PreferDualStack", "RequireDualStack"} and len(families) == 1 and both:
        families.append("IPv6" if families[0] == "IPv4" else "IPv4")
    spec["ipFamilies"], spec["ipFamilyPolicy"] = families, policy
    if addresses and not spec.get("clusterIP"):
        spec["clusterIP"] = addresses[0]
