# SPDX-License-Identifier: Apache-2.0
"""The clusters of the suite `decide`: a group, Services that ask or have, and nodes that answer for their addresses.

What is measured on them is in `deciding`. Each looks like what a server would hold, as the figures are compared with those of
servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from purelb.allocator.ranges import ip_text
from purelb.api.kinds import LBNodeStatus, ServiceGroup
from purelb.kube.model import Lease, Service
from purelb.net.ranges import address
from purelb.sandbox.bench import objects, recorded
from purelb.sandbox.bench.components import INSTALL_NAMESPACE
from purelb.sandbox.bench.rehearsal import Rehearsal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RENEWED_EVERY: Final = 3.0
PER_ENTRY: Final = 125  # as many as the 4,096 characters hold that admission allows
NODES: Final = ("node-1", "node-2", "node-3")
SUBNET: Final = "172.16.0.0/16"


def group(pool: str, subnet: str, **spec: Any) -> ServiceGroup:
    made = objects.pool("default", pool, subnet, install_namespace=INSTALL_NAMESPACE, **spec)
    return msgspec.convert({**made, "metadata": {**made["metadata"], "generation": 1 + len(spec)}}, ServiceGroup)


def services(count: int, *, start: int = 0, family: str = "IPv4") -> Iterator[Service]:
    """Services in 50 namespaces that ask for an address, the older first."""
    template = msgspec.convert(objects.service("template", lb_class=None), Service)
    spec = template.spec
    if spec is None:
        raise RuntimeError("the benchmark's Service has no spec")
    low = int.from_bytes(b"\x0a\x60\x00\x00") if family == "IPv4" else 0xFD00_0096 << 96
    for number in range(start, start + count):
        inside = str(address(4 if family == "IPv4" else 6, low + number + 1))
        metadata = replace(
            template.metadata,
            name=f"web-{number:06d}",
            namespace=f"team-{number % 50:02d}",
            uid=f"6f1c0000-0000-4000-8000-{number:012d}",
            resource_version=str(number + 1),
            creation_timestamp=f"2026-01-{1 + number // 3600 % 28:02d}T{number // 60 % 60:02d}:{number % 60:02d}:00Z",
        )
        yield Service(
            metadata=metadata, spec=replace(spec, cluster_ip=inside, cluster_ips=(inside,), ip_families=(family,))
        )


def begun(existing: Iterable[Service], pool: str, subnet: str) -> Rehearsal:
    rehearsal = Rehearsal(groups=[group(pool, subnet)], services=existing)
    rehearsal.begin()
    return rehearsal


def allocated(count: int) -> tuple[Service, ...]:
    """So many Services with addresses, conditions and annotations, as the allocator wrote them."""
    rehearsal = begun(services(count), SUBNET, SUBNET)
    rehearsal.settle()
    return rehearsal.services()


def _pieces(count: int) -> Iterator[str]:
    """Ranges that do not touch, around the addresses of the holders."""
    return (
        f"172.{16 + (n >> 13)}.{n >> 5 & 255}.{(n & 31) * 8}-172.{16 + (n >> 13)}.{n >> 5 & 255}.{(n & 31) * 8 + 6}"
        for n in range(count)
    )


def entries(count: int) -> ServiceGroup:
    items = list(_pieces(count))
    entries = [
        {"pool": ", ".join(items[at : at + PER_ENTRY]), "subnet": "172.16.0.0/12"} for at in range(0, count, PER_ENTRY)
    ]
    made = msgspec.to_builtins(group(SUBNET, SUBNET))
    made["spec"]["local"] = {"v4pools": entries}
    made["metadata"]["generation"] = count
    return msgspec.convert(made, ServiceGroup)


def in_one_text(count: int) -> ServiceGroup:
    """As many items in one text: far more than admission lets through now, but a text that was stored before it did stays."""
    return group(", ".join(_pieces(count)), "172.16.0.0/12")


def listed(stored: tuple[Service, ...]) -> bytes:
    """The body of a list of them, as large as what a server sends: with the fields that nobody here reads."""
    managed = recorded.service(1)["metadata"]["managedFields"]
    items = []
    for service in stored:
        item = msgspec.to_builtins(service)
        item["metadata"]["managedFields"] = managed
        items.append(item)
    return msgspec.json.encode(
        {"kind": "ServiceList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}
    )


def renew(rehearsal: Rehearsal, nodes: tuple[str, ...]) -> None:
    for node in nodes:
        made = objects.lease(
            node, subnets=SUBNET, renewed=f"at {rehearsal.time:.1f}", install_namespace=INSTALL_NAMESPACE
        )
        rehearsal.put_lease(msgspec.convert(made, Lease))


def report(node: str, addresses: dict[str, str]) -> LBNodeStatus:
    return msgspec.convert(objects.report(node, addresses, install_namespace=INSTALL_NAMESPACE), LBNodeStatus)


def announced(rehearsal: Rehearsal, *nodes: str) -> dict[str, str]:
    """Let the nodes answer for every address, in equal shares; the addresses and their Services."""
    rehearsal.settle()
    renew(rehearsal, NODES)
    rehearsal.run()
    addresses = {
        ip_text(held): str(key) for key, record in rehearsal.state.ledger.records.items() for held in record.addresses
    }
    for number, node in enumerate(nodes):
        share = {ip: service for at, (ip, service) in enumerate(addresses.items()) if at % len(nodes) == number}
        rehearsal.put_report(report(node, share))
    ends = rehearsal.time + 30.0
    while rehearsal.time < ends:
        renew(rehearsal, NODES)
        rehearsal.run(until=rehearsal.time + RENEWED_EVERY)
        rehearsal.settle()
    return addresses
