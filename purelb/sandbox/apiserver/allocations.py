# SPDX-License-Identifier: Apache-2.0
"""Cluster addresses and node ports: which are held, and which are given out next.

An index of the stored Services, changed only by commits (`committed`), never by asking (`give`): so a dry run or a refusal
leaves no trace, and the index can be rebuilt by feeding it every Service. Choice is at random, as in the real server.
"""

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from purelb.sandbox.apiserver.answers import FieldError, Obj, invalid
from purelb.sandbox.apiserver.services import (
    FAMILIES,
    family_of,
    headless,
    may_have_node_ports,
    selectorless,
    wants_health_port,
    wants_node_ports,
)

RANGES = {"IPv4": ipaddress.ip_network("10.96.0.0/16"), "IPv6": ipaddress.ip_network("fd00:10:96::/112")}
NODE_PORTS = range(30000, 32768)


class Allocations:
    """Which clusterIPs and node ports are held: an index of the stored Services, rebuilt by feeding it every commit."""

    def __init__(self, rng: Callable[[], float], *, families: Sequence[str] = FAMILIES) -> None:
        self._rng = rng
        self._families = families
        self._addresses: dict[str, str] = {}  # address -> uid of its Service
        self._ports: dict[int, str] = {}

    def committed(self, old: Obj | None, new: Obj | None) -> None:
        for service, held in ((old, False), (new, True)):
            if service is None:
                continue
            uid = service["metadata"]["uid"]
            spec = service["spec"]
            for address in spec.get("clusterIPs") or ():
                self._set(self._addresses, address, uid, held=held)
            for number in _node_ports(spec):
                self._set(self._ports, number, uid, held=held)

    @staticmethod
    def _set(index: dict[Any, str], key: Any, uid: str, *, held: bool) -> None:
        if held:
            index[key] = uid
        elif index.get(key) == uid:
            del index[key]

    def give(self, service: Obj) -> Iterator[FieldError]:
        """Fill in what is missing and check what was asked for; mistakes come back, nothing is remembered."""
        spec, uid = service["spec"], service["metadata"]["uid"]
        if spec["type"] != "ExternalName" and not selectorless(spec):
            if lacking := list(self._not_configured(spec)):
                yield from lacking
                return
            if not headless(spec):
                yield from self._give_addresses(spec, uid)
        if may_have_node_ports(spec):
            yield from self._give_ports(spec, uid)

    def _not_configured(self, spec: Obj) -> Iterator[FieldError]:
        """What it asks for of a family that the cluster has not."""
        if spec["ipFamilyPolicy"] == "RequireDualStack" and len(self._families) < len(FAMILIES):
            why = "this cluster is not configured for dual-stack services"
            yield invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], why)
        addresses = spec.get("clusterIPs") or ()
        for index, family in enumerate(spec["ipFamilies"]):
            if family in self._families:
                continue
            if index < len(addresses) and family_of(addresses[index]) == family:
                yield invalid(f"spec.clusterIPs[{index}]", addresses, f"{family} is not configured on this cluster")
            else:
                yield invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")

    def _give_addresses(self, spec: Obj, uid: str) -> Iterator[FieldError]:
        addresses: list[str] = list(spec.get("clusterIPs") or [])
        for address in addresses:
            network = RANGES[family_of(address) or "IPv4"]
            if ipaddress.ip_address(address) not in network:
                why = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {network}"
                yield invalid("spec.clusterIPs", addresses, f"failed to allocate IP {address}: {why}")
            elif self._addresses.get(address, uid) != uid:
                yield invalid(
                    "spec.clusterIPs", addresses, f"failed to allocate IP {address}: provided IP is already allocated"
                )
        for family in spec["ipFamilies"][len(addresses) :]:
            found = self._free_address(RANGES[family])
            if found is None:
                yield invalid(
                    "spec.clusterIPs", addresses, f"failed to allocate a serviceIP: range {RANGES[family]} is full"
                )
                return
            addresses.append(found)
        spec["clusterIP"], spec["clusterIPs"] = addresses[0], addresses

    def _free_address(self, network: Any) -> str | None:
        # As the real allocator: at random, from above the band that is left for people who choose by hand.
        reserved, size = 256, network.num_addresses - 1
        for _ in range(16):
            candidate = str(network[reserved + int(self._rng() * (size - reserved))])
            if candidate not in self._addresses:
                return candidate
        return next((text for at in range(1, size) if (text := str(network[at])) not in self._addresses), None)

    def _give_ports(self, spec: Obj, uid: str) -> Iterator[FieldError]:
        mine: set[int] = set()
        for index, port in enumerate(spec.get("ports") or ()):
            wanted = port.get("nodePort")
            if not wanted:
                continue
            if wanted not in NODE_PORTS:
                yield invalid(
                    f"spec.ports[{index}].nodePort",
                    wanted,
                    "provided port is not in the valid range. The range of valid ports is 30000-32767",
                )
            elif self._ports.get(wanted, uid) != uid:
                yield invalid(f"spec.ports[{index}].nodePort", wanted, "provided port is already allocated")
            mine.add(wanted)
        if wants_node_ports(spec):
            by_number: dict[int, int] = {}
            for port in spec.get("ports") or ():
                # One number, several protocols: they share the node port.
                if not port.get("nodePort"):
                    port["nodePort"] = by_number.get(port["port"]) or self._free_port(mine)
                by_number.setdefault(port["port"], port["nodePort"])
        if wants_health_port(spec) and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = self._free_port(mine)
        if any(number is None for number in _node_ports(spec)):
            yield invalid("spec.ports", None, "failed to allocate a nodePort: range is full")

    def _free_port(self, mine: set[int]) -> int | None:
        for _ in range(16):
            candidate = NODE_PORTS[int(self._rng() * len(NODE_PORTS))]
            if candidate not in self._ports and candidate not in mine:
                mine.add(candidate)
                return candidate
        found = next((number for number in NODE_PORTS if number not in self._ports and number not in mine), None)
        if found is not None:
            mine.add(found)
        return found


def _node_ports(spec: Obj) -> Iterator[Any]:
    yield from (port["nodePort"] for port in spec.get("ports") or () if "nodePort" in port)
    if "healthCheckNodePort" in spec:
        yield spec["healthCheckNodePort"]
