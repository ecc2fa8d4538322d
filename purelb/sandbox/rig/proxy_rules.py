# SPDX-License-Identifier: Apache-2.0
"""Services and EndpointSlices become the rules of one node's service proxy. Pure.

`frontends` says which address and port is served by which endpoints, the way kube-proxy does; `ruleset` writes that as one nftables transaction that
replaces the table of its family, so no packet ever meets half of it. Ready endpoints serve; if there are none, those that are still serving do. With
`externalTrafficPolicy: Local` only the node's own endpoints serve and the client's address is kept; otherwise traffic is masqueraded, because the answer
must come back through the node that changed its destination.

Not here: node ports, session affinity, source ranges. `unserved` names the Services that ask for one, for the log.
"""

from __future__ import annotations

from collections import defaultdict
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from purelb.kube.model import Endpoint, EndpointSlice, Service, key, labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TABLE: Final = "sandbox_proxy"
SERVICE_NAME: Final = "kubernetes.io/service-name"
MASQUERADE_MARK: Final = "0x4000"  # kube-proxy's


class Backend(msgspec.Struct, frozen=True, gc=False, order=True):
    address: str
    port: int


class Frontend(msgspec.Struct, frozen=True, gc=False, order=True):
    """One address and port that is served. `keep_source`: the client's address reaches the backend."""

    address: str
    protocol: str
    port: int
    backends: tuple[Backend, ...]
    keep_source: bool

    @property
    def version(self) -> Literal[4, 6]:
        return 6 if ":" in self.address else 4


def frontends(services: Iterable[Service], slices: Iterable[EndpointSlice], *, node: str) -> tuple[Frontend, ...]:
    """Everything `node` serves, sorted. A port without a usable endpoint is not served: the kernel refuses the connection."""
    of_service: dict[str, list[EndpointSlice]] = defaultdict(list)
    for piece in slices:
        if owner := labels(piece).get(SERVICE_NAME):
            of_service[f"{piece.metadata.namespace}/{owner}"].append(piece)
    return tuple(sorted(_all(services, of_service, node)))


def _all(services: Iterable[Service], of_service: Mapping[str, list[EndpointSlice]], node: str) -> Iterator[Frontend]:
    for service in services:
        for address, external in _addresses(service):
            local = external and service.spec is not None and service.spec.external_traffic_policy == "Local"
            for port in (service.spec and service.spec.ports) or ():
                backends = _backends(
                    of_service.get(key(service), ()), address=address, port=port.name, only=node if local else None
                )
                if backends:
                    yield Frontend(address, port.protocol.lower(), port.port, backends, local)


def _addresses(service: Service) -> Iterator[tuple[str, bool]]:
    """Each address of the Service, and whether traffic to it comes from outside."""
    spec, status = service.spec, service.status
    if spec is None:
        return
    for address in spec.cluster_ips or ():
        if address not in {"", "None"}:
            yield address, False
    if spec.type == "LoadBalancer" and status is not None and status.load_balancer is not None:
        for ingress in status.load_balancer.ingress or ():
            if ingress.ip and ingress.ip_mode in {None, "", "VIP"}:
                yield ingress.ip, True


def _backends(slices: Iterable[EndpointSlice], *, address: str, port: str, only: str | None) -> tuple[Backend, ...]:
    family = f"IPv{ip_address(address).version}"
    ready: set[Backend] = set()
    serving: set[Backend] = set()
    for piece in slices:
        if piece.address_type != family:
            continue
        numbers = [number.port for number in piece.ports or () if (number.name or "") == port and number.port]
        for endpoint in piece.endpoints or ():
            if only is not None and endpoint.node_name != only:
                continue
            found = {Backend(ip, number) for ip in endpoint.addresses or () for number in numbers}
            is_ready, is_serving = _condition(endpoint)
            ready |= found if is_ready else set()
            serving |= found if is_serving else set()
    return tuple(sorted(ready or serving))


def _condition(endpoint: Endpoint) -> tuple[bool, bool]:
    """(ready, serving): an absent `ready` means true, an absent `serving` means `ready`."""
    conditions = endpoint.conditions
    ready = conditions is None or conditions.ready is not False
    serving = ready if conditions is None or conditions.serving is None else conditions.serving
    return ready, serving


def unserved(services: Iterable[Service]) -> tuple[str, ...]:
    """A sentence for each Service that asks for something this proxy does not do, sorted."""
    return tuple(
        sorted(
            f"{key(service)}: sessionAffinity {service.spec.session_affinity} is not kept by the sandbox's proxy"
            for service in services
            if service.spec is not None and service.spec.session_affinity not in {"", "None"}
        )
    )


def ruleset(served: Iterable[Frontend]) -> str:
    """One transaction for `nft -f -` that makes both families' tables serve exactly `served`."""
    every = tuple(served)
    return "".join(_table(version, [front for front in every if front.version == version]) for version in (4, 6))


def _table(version: Literal[4, 6], served: list[Frontend]) -> str:
    family, address_type = ("ip", "ipv4_addr") if version == 4 else ("ip6", "ipv6_addr")
    elements = ", ".join(
        f"{front.address} . {front.protocol} . {front.port} : goto service{number}"
        for number, front in enumerate(served)
    )
    chains = "".join(_chains(number, front) for number, front in enumerate(served))
    return f"""add table {family} {TABLE}
delete table {family} {TABLE}
table {family} {TABLE} {{
{chains}  map services {{
    type {address_type} . inet_proto . inet_service : verdict
    {f"elements = {{ {elements} }}" if elements else ""}
  }}
  chain dispatch {{ {family} daddr . meta l4proto . th dport vmap @services; }}
  chain prerouting {{ type nat hook prerouting priority dstnat; jump dispatch; }}
  chain output {{ type nat hook output priority -100; jump dispatch; }}
  chain postrouting {{ type nat hook postrouting priority srcnat; meta mark and {MASQUERADE_MARK} == {MASQUERADE_MARK} masquerade; }}
}}
"""


def _chains(number: int, front: Frontend) -> str:
    mark = "" if front.keep_source else f"meta mark set meta mark or {MASQUERADE_MARK}; "
    count = len(front.backends)
    goals = ", ".join(f"{which} : goto service{number}_{which}" for which in range(count))
    ends = "".join(
        f"  chain service{number}_{which} {{ meta l4proto {front.protocol} dnat to {_goal(backend)}; }}\n"
        for which, backend in enumerate(front.backends)
    )
    return f"{ends}  chain service{number} {{ {mark}numgen random mod {count} vmap {{ {goals} }}; }}\n"


def _goal(backend: Backend) -> str:
    return f"[{backend.address}]:{backend.port}" if ":" in backend.address else f"{backend.address}:{backend.port}"
