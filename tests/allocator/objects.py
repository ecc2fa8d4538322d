# SPDX-License-Identifier: Apache-2.0
"""Services and ServiceGroups in one line each, as the API server would hand them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.allocator.keys import ServiceKey
from purelb.api.kinds import (
    ClusterPools,
    LocalPools,
    NetBoxSource,
    PoolEntryV4,
    PoolEntryV6,
    RemotePools,
    ServiceGroup,
    ServiceGroupSpec,
)
from purelb.kube.model import (
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from purelb.net.ranges import family_of, parse_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.allocator.ranges import Address

INSTALL = "purelb-system"


def ip(text: str) -> Address:
    """The ledger's form of an address."""
    found = parse_address(text)
    assert found is not None, text
    return (family_of(found), int(found))


def key(name: str, namespace: str = "shop") -> ServiceKey:
    return ServiceKey(namespace, name)


def service(
    name: str = "web",
    *,
    namespace: str = "shop",
    uid: str = "",
    created: str = "2026-01-01T00:00:00Z",
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    families: tuple[str, ...] = ("IPv4",),
    policy: str | None = None,
    ports: tuple[tuple[str, int], ...] = (("TCP", 80),),
    ingress: tuple[str, ...] = (),
    rv: str = "1",
    **spec: object,
) -> Service:
    """A LoadBalancer Service; `spec` are further fields of `ServiceSpec`."""
    fields: dict[str, object] = {
        "type": "LoadBalancer",
        "cluster_ip": "10.96.0.9" if families[:1] != ("IPv6",) else "fd00:96::9",
        "ip_families": families,
        "ip_family_policy": policy or ("SingleStack" if len(families) < 2 else "PreferDualStack"),
        "ports": tuple(ServicePort(protocol=protocol, port=port) for protocol, port in ports),
        "external_traffic_policy": "Cluster",
    }
    return Service(
        metadata=ObjectMeta(
            name=name,
            namespace=namespace,
            uid=uid or f"uid-of-{name}",
            resource_version=rv,
            creation_timestamp=created,
            annotations=annotations,
            labels=labels,
        ),
        spec=ServiceSpec(**{**fields, **spec}),  # type: ignore[arg-type]
        status=ServiceStatus(
            load_balancer=LoadBalancerStatus(
                ingress=tuple(LoadBalancerIngress(ip=text, ip_mode="VIP") for text in ingress)
            )
        ),
    )


def v4(pool: str, subnet: str = "192.0.2.0/24", **more: object) -> PoolEntryV4:
    return PoolEntryV4(pool=pool, subnet=subnet, **more)  # type: ignore[arg-type]


def v6(pool: str, subnet: str = "2001:db8::/64", **more: object) -> PoolEntryV6:
    return PoolEntryV6(pool=pool, subnet=subnet, **more)  # type: ignore[arg-type]


def elsewhere(name: str = "lent", *, created: str = "2026-01-01T00:00:00Z", **spec: object) -> ServiceGroup:
    """A ServiceGroup whose addresses another system gives."""
    source = NetBoxSource(url="https://ipam.example", tenant="t", announce="remote")
    meta = ObjectMeta(name=name, namespace=INSTALL, uid=f"uid-of-{name}", creation_timestamp=created, generation=1)
    return ServiceGroup(metadata=meta, spec=ServiceGroupSpec(netbox=source, **spec))  # type: ignore[arg-type]


def group(
    name: str = "default",
    *entries: PoolEntryV4 | PoolEntryV6,
    namespace: str = INSTALL,
    created: str = "2026-01-01T00:00:00Z",
    remote: bool = False,
    pools: Mapping[str, object] | None = None,
    **spec: object,
) -> ServiceGroup:
    """A ServiceGroup; `pools` are further fields of the source, `spec` of the spec."""
    entries = entries or (v4("192.0.2.10-192.0.2.12"),)
    kind: type[ClusterPools] = RemotePools if remote else LocalPools
    source = kind(
        v4pools=tuple(e for e in entries if isinstance(e, PoolEntryV4)),
        v6pools=tuple(e for e in entries if isinstance(e, PoolEntryV6)),
        **(pools or {}),  # type: ignore[arg-type]
    )
    return ServiceGroup(
        metadata=ObjectMeta(
            name=name, namespace=namespace, uid=f"uid-of-{name}", creation_timestamp=created, generation=1
        ),
        spec=ServiceGroupSpec(**{("remote" if remote else "local"): source, **spec}),  # type: ignore[arg-type]
    )
