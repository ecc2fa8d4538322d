# SPDX-License-Identifier: Apache-2.0
"""A cluster as PureLB (Go) leaves it: groups, agents and 200 Services with their brand, annotations and addresses.

The shapes are those that its two generations write (v1: one early-form pool per group, `announcing-*` without an ip, everything in
namespace purelb; v2: entry lists, `remote`, `pool-type`, namespace purelb-system). CRDs are reduced to names, versions and an open schema,
which is all that matters for taking over: what is stored, and under which version.
"""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Object = dict[str, Any]
Generation = Literal["v1", "v2"]

GROUP = "purelb.io"
BRAND = "purelb.io/allocated-by"
OLD_NAMESPACE: Mapping[Generation, str] = {"v1": "purelb", "v2": "purelb-system"}
SERVICES = 200


ALLOCATED = "purelb.io/Allocated"
ANNOUNCED = "purelb.io/Announced"

# What differs from AddressAssigned, and what is noted as asked for: by the first part of a Service's name.
_REASONS = {"half": "AddressAssignedPartially", "stray": "AddressKept"}
_WISHES = {"plain": "any", "misnamed": "group=far", "unknown": "group=was-deleted", "far": "group=far"}
_TOLD_BY_NODES = {"purelb.io/announcing-IPv4", "purelb.io/announcing-IPv6"}
_ADDED = {"purelb.io/allocated-wish", "purelb.io/pool-type"}


def moved(before: Mapping[str, Object], after: Mapping[str, Object]) -> Iterator[str]:
    """What a takeover changed and should not have, or did not say and should have. Services by name, as the server has them."""
    if before.keys() != after.keys():
        yield f"other Services: {before.keys() ^ after.keys()}"
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        kind, _, number = name.rpartition("-")
        if not number.isdecimal():
            if new != old:
                yield f"{name}: belongs to somebody else, and was touched"
            continue
        if new["spec"] != old["spec"]:
            yield f"{name}: its spec is another"
        if json.dumps(new["status"]["loadBalancer"]) != json.dumps(old["status"]["loadBalancer"]):
            yield f"{name}: {old['status']['loadBalancer']} became {new['status']['loadBalancer']}"
        noted, had = new["metadata"]["annotations"], old["metadata"]["annotations"]
        if lost := {key for key in had if had[key] != noted.get(key)} - _TOLD_BY_NODES:
            yield f"{name}: lost {sorted(lost)}"
        if more := noted.keys() - had.keys() - _ADDED:
            yield f"{name}: has got {sorted(more)}"
        if kind in _WISHES and noted.get("purelb.io/allocated-wish") != _WISHES[kind]:
            yield f"{name}: {noted.get('purelb.io/allocated-wish')} is noted as its wish"
        said = {entry["type"]: (entry["status"], entry["reason"]) for entry in new["status"].get("conditions", ())}
        if said.keys() != {ALLOCATED, ANNOUNCED} or said[ALLOCATED] != ("True", _REASONS.get(kind, "AddressAssigned")):
            yield f"{name}: says {said}"


class Left(NamedTuple):
    """What is stored when PureLB (Go) has gone. Services carry their status, which has to be written separately."""

    crds: list[Object]
    groups: list[Object]
    agents: list[Object]
    services: list[Object]
    strangers: list[Object]


def left_by(generation: Generation, *, shop: str = "shop") -> Left:
    """The whole of it; `shop` is the namespace of the Services."""
    namespace = OLD_NAMESPACE[generation]
    services = list(_services(generation, shop))
    assert len(services) == SERVICES
    assert len({service["metadata"]["name"] for service in services}) == SERVICES
    return Left(
        [_crd(kind, generation) for kind in ("ServiceGroup", "LBNodeAgent")],
        [_object("ServiceGroup", generation, namespace, name, spec) for name, spec in _groups(generation)],
        [_object("LBNodeAgent", generation, namespace, "default", _agent(generation))],
        services,
        _strangers(shop),
    )


def _crd(kind: str, generation: Generation) -> Object:
    plural = f"{kind.lower()}s"
    open_schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version: Object = {
        "name": generation,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": open_schema},
        "subresources": {"status": {}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "shortNames": []},
            "versions": [version],
        },
    }


def _object(kind: str, generation: Generation, namespace: str, name: str, spec: Object) -> Object:
    return {
        "apiVersion": f"{GROUP}/{generation}",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _groups(generation: Generation) -> Iterator[tuple[str, Object]]:
    dual = {
        "v4pool": {"pool": "192.0.2.128-192.0.2.191", "subnet": "192.0.2.0/24", "aggregation": "default"},
        "v6pool": {"pool": "2001:db8::100/120", "subnet": "2001:db8::/64", "aggregation": "default"},
    }
    scheme = "http" if generation == "v1" else "https"
    netbox = {"url": f"{scheme}://netbox.example.org", "tenant": "ipam-purelb", "aggregation": "default"}
    if generation == "v1":
        # The host bits of a subnet were never looked at.
        yield "default", {"local": {"subnet": "198.51.100.100/24", "pool": "198.51.100.0/24", "aggregation": "default"}}
        yield "far", {"local": {"subnet": "203.0.113.0/24", "pool": "203.0.113.0-203.0.113.99", "aggregation": "/32"}}
        yield "six", {"local": {"subnet": "2001:db8:6::/64", "pool": "2001:db8:6::1/112", "aggregation": "/128"}}
    else:
        entry = {"pool": "198.51.100.0/24", "subnet": "198.51.100.0/24", "aggregation": "default"}
        far = {"pool": "203.0.113.0-203.0.113.99", "subnet": "203.0.113.0/24", "aggregation": "/32"}
        six = {"pool": "2001:db8:6::1/112", "subnet": "2001:db8:6::/64", "aggregation": "/128"}
        yield "default", {"local": {"v4pools": [entry]}}
        yield "far", {"remote": {"v4pool": far}}
        yield "six", {"local": {"v6pools": [six]}}
        several = [{"pool": f"192.0.{n}.0/28", "subnet": f"192.0.{n}.0/24", "aggregation": "default"} for n in (16, 17)]
        yield "several", {"local": {"v4pools": several, "multiPool": True}}
    yield "dual", {"local": dual}
    yield "ipam", {"netbox": netbox}


def _agent(generation: Generation) -> Object:
    if generation == "v1":
        return {"local": {"localint": "default", "extlbint": "kube-lb0"}}
    return {"local": {"localInterface": "default", "dummyInterface": "kube-lb0"}}


class _Maker:
    """Services one after the other, as the Go allocator and its agents leave them."""

    def __init__(self, generation: Generation, namespace: str) -> None:
        self._generation = generation
        self._namespace = namespace
        self._numbers = count()

    def make(
        self,
        kind: str,
        *ips: str,
        group: str = "default",
        wants: Mapping[str, str] | None = None,
        port: int = 80,
        classless: bool = False,
        **spec: Any,
    ) -> Object:
        noted = {BRAND: "PureLB", "purelb.io/allocated-from": group, **(wants or {})}
        if self._generation == "v2":
            noted["purelb.io/pool-type"] = "remote" if group == "far" else "local"
        for family, mine in (("IPv4", [ip for ip in ips if "." in ip]), ("IPv6", [ip for ip in ips if ":" in ip])):
            if mine and group != "far":
                entries = ["n1,eth0"] if self._generation == "v1" else [f"n1,eth0,{ip}" for ip in mine]
                noted[f"purelb.io/announcing-{family}"] = " ".join(entries)
        own = {} if classless else {"loadBalancerClass": "purelb.io/purelb"}
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": f"{kind}-{next(self._numbers)}",
                "namespace": self._namespace,
                "annotations": noted,
                "labels": {"app": kind},
            },
            "spec": {
                "type": "LoadBalancer",
                "allocateLoadBalancerNodePorts": False,
                "ports": [{"name": "http", "port": port}],
                **own,
                **spec,
            },
            "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}},
        }


def _services(generation: Generation, namespace: str) -> Iterator[Object]:
    make = _Maker(generation, namespace).make
    four = (f"198.51.100.{n}" for n in count(1))
    for _ in range(80 if generation == "v1" else 76):
        yield make("plain", next(four))
    for n in range(0 if generation == "v1" else 4):  # one address of each entry
        named = {"purelb.io/service-group": "several"}
        yield make("several", f"192.0.16.{n}", f"192.0.17.{n}", group="several", wants=named)
    for _ in range(30):
        yield make("classless", next(four), classless=True)
    for _ in range(15):
        yield make("named", next(four), wants={"purelb.io/service-group": "default"})
    for _ in range(10):  # edited later, which PureLB (Go) does not look at
        yield make("misnamed", next(four), wants={"purelb.io/service-group": "far"})
    for _ in range(5):
        yield make("unknown", next(four), wants={"purelb.io/service-group": "was-deleted"})
    for n in range(10):
        ip, key = next(four), {"purelb.io/allow-shared-ip": f"key-{n}"}
        yield make("shared", ip, wants=key, port=80)
        yield make("shared", ip, wants=key, port=443)
    for n in range(10):
        policy = "RequireDualStack" if n % 2 else "PreferDualStack"
        yield make(
            "dual",
            f"192.0.2.{128 + n}",
            f"2001:db8::{0x100 + n:x}",
            group="dual",
            wants={"purelb.io/service-group": "dual"},
            ipFamilyPolicy=policy,
            ipFamilies=["IPv4", "IPv6"],
        )
    for _ in range(5):  # of a group that has one family
        yield make("half", next(four), ipFamilyPolicy="PreferDualStack", ipFamilies=["IPv4", "IPv6"])
    for n in range(5):
        yield make(
            "six",
            f"2001:db8:6::{n + 1:x}",
            group="six",
            wants={"purelb.io/service-group": "six"},
            ipFamilyPolicy="SingleStack",
            ipFamilies=["IPv6"],
        )
    for n in range(5):
        ip = f"198.51.100.{240 + n}"
        asked: Object = {"loadBalancerIP": ip} if generation == "v1" else {}
        yield make("asked", ip, wants={} if asked else {"purelb.io/addresses": ip}, **asked)
    for n in range(5):
        local = {"purelb.io/allow-local": ""}
        yield make("near", next(four), wants=local, externalTrafficPolicy="Local", selector={"app": f"near-{n}"})
    for n in range(5):  # the range was taken out of its group
        yield make("stray", f"203.0.113.{200 + n}")
    for n in range(5):
        yield make("far", f"203.0.113.{n}", group="far", wants={"purelb.io/service-group": "far"})


def _strangers(namespace: str) -> list[Object]:
    """Services of somebody else, one with an address in the middle of a pool."""
    made = []
    for name, ip in (("other", "198.51.100.250"), ("elsewhere", "192.0.2.7")):
        made.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/other", "ports": [{"port": 80}]},
                "status": {"loadBalancer": {"ingress": [{"ip": ip}]}},
            }
        )
    return made
