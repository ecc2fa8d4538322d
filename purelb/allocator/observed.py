# SPDX-License-Identifier: Apache-2.0
"""What the newest known Service says: whether it is ours, and what its status and our annotations hold.

A Service is ours by its class, or without a class when we are the default announcer or it carries our brand, so that switching
the default off takes no address away. Ingress entries are read as addresses; what is not an address of ours to judge (a hostname,
text that is no address) is kept as it stands.

The brand is an annotation, and `kubectl replace` takes it away with a manifest that lacks it. Our condition stands in the status, which
that request cannot change; so it is the brand of whoever is ours, if it names the very addresses of the ingress and nothing else.
"""

from functools import lru_cache
from typing import Final

from msgspec import Struct

from purelb.allocator.claims import Origin
from purelb.allocator.ranges import Address, ip_text
from purelb.api import annotations as words
from purelb.api import reasons
from purelb.kube.model import Condition, LoadBalancerIngress, LoadBalancerStatus, Service, ServiceStatus, annotations
from purelb.net.ranges import parse_bounds

_NO_STATUS: Final = ServiceStatus()
_NO_BALANCER: Final = LoadBalancerStatus()
_KINDS: Final = frozenset({"local", "remote"})
OUR_CONDITIONS: Final = (reasons.ALLOCATED, reasons.ANNOUNCED)


class Ownership(Struct, frozen=True):
    """Which Services are ours (settings of the process)."""

    classes: frozenset[str] = frozenset(words.LB_CLASSES)
    default_announcer: bool = False

    def owns(self, service: Service) -> bool:
        """Whether the Service is ours to serve."""
        spec = service.spec
        if spec is None or spec.type != "LoadBalancer":
            return False
        if spec.load_balancer_class:
            return spec.load_balancer_class in self.classes
        return self.default_announcer or branded(service)

    def given(self, service: Service) -> bool:
        """Whether what is published for the Service was given by us: it carries our brand, or is ours and has lost it."""
        return branded(service) or (self.owns(service) and says_we_gave(service))


def branded(service: Service) -> bool:
    """Whether we gave this Service an address."""
    return annotations(service).get(words.ALLOCATED_BY) == words.BRAND


def says_we_gave(service: Service) -> bool:
    """Whether our condition names exactly what the ingress holds, as one given or kept. A message that was cut before it is no proof."""
    told, there = condition(service, reasons.ALLOCATED), published(service)
    if told is None or not there or no_address(service) is not None:
        return False
    ips = ", ".join(map(ip_text, there))
    if told.status != "True":
        return told.message.endswith(f"; keeps {ips}")
    return told.message.startswith((f"{ips} from ", f"{ips}; "))


def has_class(service: Service) -> bool:
    """Whether the Service names a class."""
    return service.spec is not None and bool(service.spec.load_balancer_class)


def entries_of(service: Service) -> tuple[LoadBalancerIngress, ...]:
    """The ingress entries as they stand."""
    status = service.status or _NO_STATUS
    return (status.load_balancer or _NO_BALANCER).ingress or ()


def listed(service: Service) -> str:
    """What the ingress holds, addresses and hostnames, as a message lists it."""
    texts = [text for entry in entries_of(service) for text in (_canonical(entry.ip), entry.hostname) if text]
    return ", ".join(dict.fromkeys(texts))


def _canonical(text: str) -> str:
    address = _read(text)
    return text if address is None else ip_text(address)


def published(service: Service) -> tuple[Address, ...]:
    """The addresses of the ingress, in their order, each once; what is no address is left out."""
    entries = entries_of(service)
    return _addresses(entries) if entries else ()


def no_address(service: Service) -> str | None:
    """The first entry of the ingress that is a hostname, or nothing that could be read."""
    found = (entry.hostname or (entry.ip if _read(entry.ip) is None else None) for entry in entries_of(service))
    return next((text for text in found if text is not None), None)


def noted_origins(service: Service, addresses: tuple[Address, ...]) -> tuple[Origin, ...]:
    """For each published address the group and the kind that our annotations give it."""
    noted, count = annotations(service), len(addresses)
    groups = words.parse_per_ingress(noted.get(words.ALLOCATED_FROM, ""), ingresses=count) or ("",) * count
    kinds = words.parse_per_ingress(noted.get(words.POOL_TYPE, ""), ingresses=count) or ("",) * count
    known = (kind if kind in _KINDS else "" for kind in kinds)
    skip_dad = words.SKIP_IPV6_DAD in noted
    return tuple(Origin(group, kind, skip_dad) for group, kind in zip(groups, known, strict=True))


def conditions_of(service: Service) -> tuple[Condition, ...]:
    """All conditions, ours and others'."""
    return (service.status or _NO_STATUS).conditions or ()


def condition(service: Service, type_: str) -> Condition | None:
    """The condition of a type."""
    return next((found for found in conditions_of(service) if found.type == type_), None)


def marked(service: Service) -> bool:
    """Whether anything in the Service is ours to clean up: the brand, an annotation or a condition."""
    noted = service.metadata.annotations
    return (noted is not None and any(name in noted for name in words.OURS)) or any(
        found.type in OUR_CONDITIONS for found in conditions_of(service)
    )


def cluster_ips(service: Service) -> tuple[Address, ...]:
    """The Service's own addresses inside the cluster."""
    spec = service.spec
    if spec is None:
        return ()
    texts = spec.cluster_ips or (spec.cluster_ip,)
    return tuple([found for text in texts if (found := _read(text)) is not None])


@lru_cache(maxsize=1024)
def _addresses(entries: tuple[LoadBalancerIngress, ...]) -> tuple[Address, ...]:
    """Remembered for the same reason as `_read`: half a dozen questions of one decision begin with these."""
    return tuple(dict.fromkeys([found for entry in entries if (found := _read(entry.ip)) is not None]))


@lru_cache(maxsize=1024)
def _read(text: str) -> Address | None:
    """An address; None for what is none. Remembered, because one decision looks at the same few texts several times."""
    return parse_bounds(text)


def age(service: Service) -> tuple[str, str, str]:
    """Older Services sort first."""
    meta = service.metadata
    return meta.creation_timestamp or "", meta.namespace, meta.name
