# SPDX-License-Identifier: Apache-2.0
"""What the demo applies, and reading what the API made of it. Pure.

The objects are the ones a person would write: a Service of one family, one of both, and two that share an address. `published` turns Services as decoded into what the invariants judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from purelb.kube.model import Service
from purelb.kube.model import annotations as annotations_of
from purelb.sandbox.cluster.programs import DEMO_NAMESPACE, ECHO_LABELS, ECHO_PORT
from purelb.sandbox.invariants import ALLOW_SHARED, Published

Body = Mapping[str, Any]


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """A Service of the tour: what it shows, how many addresses it should get, and where it listens."""

    name: str
    shows: str
    body: Body
    addresses: int
    port: int = 80


def stops() -> tuple[Stop, ...]:
    shared = {ALLOW_SHARED: "tour"}
    dual = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    return (
        Stop(name="web", shows="IPv4", body=_service("web"), addresses=1),
        Stop(name="dual", shows="IPv4 and IPv6", body=_service("dual", spec=dual), addresses=2),
        Stop(name="shop", shows="port 80, sharing", body=_service("shop", notes=shared), addresses=1),
        Stop(
            name="admin", shows="port 81, shared", body=_service("admin", port=81, notes=shared), addresses=1, port=81
        ),
    )


def _service(name: str, *, port: int = 80, spec: Body = {}, notes: Mapping[str, str] = {}) -> Body:  # noqa: B006  never changed
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": DEMO_NAMESPACE, "annotations": dict(notes)},
        "spec": {
            "type": "LoadBalancer",
            "selector": dict(ECHO_LABELS),
            "ports": [{"name": "http", "port": port, "targetPort": ECHO_PORT}],
            **spec,
        },
    }


NO_ADDRESS: Final = "no condition says why"


def addresses(service: Service) -> tuple[str, ...]:
    status = service.status
    if status is None or status.load_balancer is None:
        return ()
    return tuple(entry.ip for entry in status.load_balancer.ingress or () if entry.ip)


def refusal(service: Service | None) -> str:
    """What the conditions say about a Service without an address."""
    if service is None:
        return "it does not exist"
    conditions = (service.status and service.status.conditions) or ()
    return "; ".join(f"{one.reason}: {one.message}" for one in conditions if one.status != "True") or NO_ADDRESS


def published(services: Iterable[Service]) -> tuple[Published, ...]:
    """Every Service of type LoadBalancer, as the invariants judge it."""
    return tuple(
        Published(
            name=service.metadata.name,
            namespace=service.metadata.namespace,
            addresses=addresses(service),
            sharing_key=annotations_of(service).get(ALLOW_SHARED, ""),
            ports=frozenset((port.protocol, port.port) for port in service.spec.ports or ()),
            selector=service.spec.selector or {},
            local_policy=service.spec.external_traffic_policy == "Local",
        )
        for service in services
        if service.spec is not None and service.spec.type == "LoadBalancer"
    )
