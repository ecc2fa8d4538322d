# SPDX-License-Identifier: Apache-2.0
"""What the server takes and warns of (`Warning: 299`), for kubectl shows it to the person who typed it.

Only what is new in a write is warned of. Words are those of kube-apiserver 1.34; advice about fields that nothing here reads is
not given.
"""

import ipaddress
from collections.abc import Iterator
from typing import Any

from purelb.sandbox.apiserver.answers import Obj
from purelb.sandbox.apiserver.kinds import Kind


def advice(kind: Kind, obj: Obj, old: Obj | None) -> Iterator[str]:
    """Warnings about an object that is complete and good. `old` is what it replaces."""
    if kind.custom:
        yield from _finalizers(obj, old)
    match kind.key:
        case "services":
            yield from _service(obj, old or {})
        case "endpointslices.discovery.k8s.io" if obj.get("addressType") == "FQDN":
            yield "spec.addressType: FQDN endpoints are deprecated"
        case _:
            pass


def _finalizers(obj: Obj, old: Obj | None) -> Iterator[str]:
    before = ((old or {}).get("metadata") or {}).get("finalizers") or ()
    for finalizer in obj["metadata"].get("finalizers") or ():
        if "/" not in finalizer and finalizer not in before:
            yield (
                f'metadata.finalizers: "{finalizer}": prefer a domain-qualified finalizer name to avoid accidental '
                "conflicts with other finalizer writers"
            )


def _service(obj: Obj, old: Obj) -> Iterator[str]:
    spec, before = obj["spec"], old.get("spec") or {}
    for field in ("clusterIPs", "externalIPs"):
        yield from _addresses(f"spec.{field}", spec.get(field), before.get(field))
    for index, source in enumerate(_changed(spec, before, "loadBalancerSourceRanges")):
        found = ipaddress.ip_interface(source.strip())
        if found.ip != found.network.network_address:
            yield (
                f'spec.loadBalancerSourceRanges[{index}]: CIDR value "{source}" is ambiguous in this context (should be '
                f'"{found.network}" or "{found.ip}/{found.ip.max_prefixlen}"?)'
            )
    entries, were = (
        [entry.get("ip", "") for entry in (each.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()]
        for each in (obj, old)
    )
    yield from _addresses("status.loadBalancer.ingress", entries, were)


def _addresses(field: str, now: Any, before: Any) -> Iterator[str]:
    for index, text in enumerate(now or () if now != before else ()):
        if ":" in text and str(found := ipaddress.ip_address(text)) != text:
            yield (f'{field}[{index}]: IPv6 address "{text}" should be in RFC 5952 canonical format ("{found}")')


def _changed(spec: Obj, before: Obj, field: str) -> list[str]:
    return list(spec.get(field) or ()) if spec.get(field) != before.get(field) else []
