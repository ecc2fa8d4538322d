# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a Service that `services` has completed: its spec, and its status. Words and order are the real server's."""

import ipaddress
import re
from collections.abc import Iterator

from purelb.sandbox.apiserver.answers import FieldError, Obj, duplicate, forbidden_field, invalid, required, unsupported
from purelb.sandbox.apiserver.names import LABEL_TEXT, SUBDOMAIN_TEXT, check_labels, is_label, is_subdomain, wrong_keys
from purelb.sandbox.apiserver.services import (
    FAMILIES,
    external,
    family_of,
    headless,
    may_have_node_ports,
    wants_health_port,
)

_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
BAD_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def check(service: Obj, old: Obj | None) -> Iterator[FieldError]:
    """Mistakes in a completed Service."""
    spec = service["spec"]
    before: Obj = old["spec"] if old is not None else {}
    if spec["type"] not in {"ClusterIP", "ExternalName", "LoadBalancer", "NodePort"}:
        yield unsupported("spec.type", spec["type"], ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
    yield from _check_ports(spec)
    yield from check_labels(spec.get("selector"), "spec.selector")
    if spec["sessionAffinity"] not in {"ClientIP", "None"}:
        yield unsupported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds", 1)
    if not 0 < seconds <= 86400:
        yield invalid(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, "must be greater than 0 and less than 86400"
        )
    if spec["type"] == "ExternalName":
        yield from _check_external_name(spec)
    if spec["type"] in {"LoadBalancer", "NodePort"} and headless(spec):
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {spec['type']} services")
    near = spec.get("trafficDistribution")
    if near is not None and near not in _DISTRIBUTIONS:
        yield unsupported("spec.trafficDistribution", near, _DISTRIBUTIONS)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        if family_of(address) is None:
            yield invalid(f"spec.externalIPs[{index}]", address, BAD_IP)
    yield from _check_policies(spec)
    yield from _check_class(spec, before)
    for index, source in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        if spec["type"] != "LoadBalancer":
            yield forbidden_field("spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'")
            break
        try:
            ipaddress.ip_interface(source.strip())
            good = "/" in source
        except ValueError:
            good = False
        if not good:
            yield invalid(
                f"spec.LoadBalancerSourceRanges[{index}]",
                source,
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            )
    if spec["type"] != "ExternalName":
        yield from _check_addresses(spec, before)


def _check_external_name(spec: Obj) -> Iterator[FieldError]:
    name = spec.get("externalName", "").removesuffix(".")
    if not name:
        yield required("spec.externalName")
    elif not is_subdomain(name):
        yield invalid("spec.externalName", spec["externalName"], SUBDOMAIN_TEXT)
    if spec.get("clusterIPs") or spec.get("clusterIP"):
        yield forbidden_field("spec.clusterIPs", "may not be set for ExternalName services")


def _check_ports(spec: Obj) -> Iterator[FieldError]:
    ports = spec.get("ports") or []
    if not ports and not headless(spec) and spec["type"] != "ExternalName":
        yield required("spec.ports")
    names: set[str] = set()
    numbers: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        name = port.get("name", "")
        if len(ports) > 1 and not name:
            yield required(f"{at}.name")
        elif name and not is_label(name):
            yield invalid(f"{at}.name", name, LABEL_TEXT)
        elif name and name in names:
            yield duplicate(f"{at}.name", name)
        names.add(name)
        if not 1 <= port.get("port", 0) <= 65535:
            yield invalid(f"{at}.port", port.get("port", 0), "must be between 1 and 65535, inclusive")
        if port["protocol"] not in {"TCP", "UDP", "SCTP"}:
            yield unsupported(f"{at}.protocol", port["protocol"], ("SCTP", "TCP", "UDP"))
        target = port.get("targetPort", port.get("port", 0))
        if isinstance(target, int) and not 1 <= target <= 65535:
            yield invalid(f"{at}.targetPort", target, "must be between 1 and 65535, inclusive")
        elif isinstance(target, str):
            yield from (invalid(f"{at}.targetPort", target, why) for why in _wrong_port_name(target))
        if port.get("nodePort") and not may_have_node_ports(spec):
            yield forbidden_field(f"{at}.nodePort", f"may not be used when `type` is '{spec['type']}'")
        if port.get("nodePort"):
            if (port["protocol"], port["nodePort"]) in node_ports:
                yield duplicate(f"{at}.nodePort", port["nodePort"])
            node_ports.add((port["protocol"], port["nodePort"]))
        key = (port["protocol"], port.get("port", 0))
        if key in numbers:
            # As Go prints the key that it compares: a port with nothing but these two.
            shown = {
                "Name": "",
                "Protocol": key[0],
                "AppProtocol": None,
                "Port": key[1],
                "TargetPort": 0,
                "NodePort": 0,
            }
            yield duplicate(at, shown)
        numbers.add(key)


def _wrong_port_name(name: str) -> Iterator[str]:
    if len(name) > 15:
        yield "must be no more than 15 characters"
    if not re.fullmatch(r"[-a-z0-9]+", name):
        yield "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not re.search(r"[a-z]", name):
        yield "must contain at least one letter (a-z)"
    if "--" in name:
        yield "must not contain consecutive hyphens"
    if name.startswith("-") or name.endswith("-"):
        yield "must not begin or end with a hyphen"


def _check_policies(spec: Obj) -> Iterator[FieldError]:
    policy = spec.get("externalTrafficPolicy")
    if policy is not None and not external(spec):
        yield invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    elif policy is not None and policy not in {"Cluster", "Local"}:
        yield unsupported("spec.externalTrafficPolicy", policy, ("Cluster", "Local"))
    inside = spec.get("internalTrafficPolicy")
    if inside is not None and inside not in {"Cluster", "Local"}:
        yield unsupported("spec.internalTrafficPolicy", inside, ("Cluster", "Local"))
    if spec.get("healthCheckNodePort") and not wants_health_port(spec):
        yield invalid(
            "spec.healthCheckNodePort",
            spec["healthCheckNodePort"],
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )
    if "allocateLoadBalancerNodePorts" in spec and spec["type"] != "LoadBalancer":
        yield forbidden_field("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'")


def _check_class(spec: Obj, before: Obj) -> Iterator[FieldError]:
    name, was = spec.get("loadBalancerClass"), before.get("loadBalancerClass")
    stays = before.get("type") == spec["type"] == "LoadBalancer"
    if stays and name != was:
        yield invalid("spec.loadBalancerClass", name, "may not change once set")
    if name is not None and spec["type"] != "LoadBalancer":
        yield forbidden_field("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
    elif name is not None:
        yield from (invalid("spec.loadBalancerClass", name, why) for why in wrong_keys(name))


def _check_addresses(spec: Obj, before: Obj) -> Iterator[FieldError]:
    policy, families = spec["ipFamilyPolicy"], spec["ipFamilies"]
    if policy not in _POLICIES:
        yield unsupported("spec.ipFamilyPolicy", policy, _POLICIES)
    for index, family in enumerate(families):
        if family not in FAMILIES:
            yield unsupported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"))
        elif family in families[:index]:
            yield duplicate(f"spec.ipFamilies[{index}]", family)
    if policy == "SingleStack" and len(set(families)) == len(families) == 2:
        yield invalid(
            "spec.ipFamilyPolicy",
            policy,
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        )
    addresses: list[str] = spec.get("clusterIPs") or []
    for index, address in enumerate(addresses):
        if address == "None":
            if len(addresses) > 1:
                yield invalid(f"spec.clusterIPs[{index}]", address, "must be unset when clusterIPs is 'None'")
        elif family_of(address) is None:
            yield invalid(f"spec.clusterIPs[{index}]", address, BAD_IP)
        elif index < len(families) and family_of(address) != families[index]:
            yield invalid(
                f"spec.clusterIPs[{index}]",
                address,
                f"expected an {families[index]} value as indicated by `ipFamilies[{index}]`",
            )
    if spec.get("clusterIP") and addresses and spec["clusterIP"] != addresses[0]:
        yield invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")
    held: list[str] = before.get("clusterIPs") or []
    if held and before.get("type") != "ExternalName":
        for index, address in enumerate(held[: max(1, len(families))]):
            if index >= len(addresses) or addresses[index] != address:
                yield invalid(f"spec.clusterIPs[{index}]", addresses, "may not change once set")
        if headless(spec) and families[:1] != (before.get("ipFamilies") or [])[:1]:
            yield invalid("spec.ipFamilies[0]", families, "may not change once set")


def check_status(service: Obj) -> Iterator[FieldError]:
    """Mistakes in `status.loadBalancer`."""
    entries = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or []
    at = "status.loadBalancer.ingress"
    if entries and service["spec"]["type"] != "LoadBalancer":
        yield forbidden_field(at, "may only be used when `spec.type` is 'LoadBalancer'")
    for index, entry in enumerate(entries):
        address, mode, name = entry.get("ip"), entry.get("ipMode"), entry.get("hostname")
        if address and family_of(address) is None:
            yield invalid(f"{at}[{index}].ip", address, BAD_IP)
        if name and family_of(name) is not None:
            yield invalid(f"{at}[{index}].hostname", name, "must be a DNS name, not an IP address")
        elif name and not is_subdomain(name):
            yield invalid(f"{at}[{index}].hostname", name, SUBDOMAIN_TEXT)
        if mode is not None and not address:
            yield forbidden_field(f"{at}[{index}].ipMode", "may not be specified when `ip` is not set")
        elif mode is not None and mode not in {"VIP", "Proxy"}:
            yield unsupported(f"{at}[{index}].ipMode", mode, ("Proxy", "VIP"))
