# SPDX-License-Identifier: Apache-2.0
"""What of a Service an agent keeps in memory: every node holds every Service, so it is little.

Name, our annotations, type, traffic policy, ingress. Agents never write Services, so nothing left out here can be lost.
"""

from __future__ import annotations

from typing import Final

from purelb.api.annotations import PREFIX
from purelb.kube.model import LoadBalancerStatus, ObjectMeta, Service, ServiceSpec, ServiceStatus

_NO_SPEC: Final = ServiceSpec()
_NO_STATUS: Final = ServiceStatus()


def slim(service: Service) -> Service:
    """The Service as far as an agent reads it; of one that is not a LoadBalancer hardly more than the name."""
    meta, spec, status = service.metadata, service.spec or _NO_SPEC, service.status or _NO_STATUS
    kept = ObjectMeta(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        resource_version=meta.resource_version,
        annotations={name: value for name, value in (meta.annotations or {}).items() if name.startswith(PREFIX)}
        or None,
    )
    if spec.type != "LoadBalancer":
        return Service(metadata=kept, spec=_NO_SPEC, status=_NO_STATUS)
    ingress = (status.load_balancer.ingress if status.load_balancer else None) or ()
    return Service(
        metadata=kept,
        spec=ServiceSpec(type=spec.type, external_traffic_policy=spec.external_traffic_policy),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)) if ingress else _NO_STATUS,
    )
