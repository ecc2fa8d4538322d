# SPDX-License-Identifier: Apache-2.0
"""What a Service asks for, read from its spec and annotations into one frozen value.

Everything in a Service is foreign text. What cannot be meant is a `Refusal` with reason `InvalidRequest`, naming the place and
the problem; a held address stays. Nothing here knows groups, ledger or time, so the same Service always makes the same wish.
`text` is the canonical form of what its user asked for; it is recorded with the addresses, and an address moves only when it
differs from what was recorded. `multi_pool` None: the group decides.

Not read here: whether the Service is ours at all, and what its status says (`observed.py`).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct

from purelb.allocator.keys import ServiceKey
from purelb.allocator.ranges import Address
from purelb.allocator.refusals import Refusal, invalid_request
from purelb.allocator.sharing import Facts, Port
from purelb.api import annotations as words
from purelb.kube.model import Service, ServicePort, ServiceSpec, annotations, labels
from purelb.net.ranges import Family, IPAddress, family_of

Policy = Literal["SingleStack", "PreferDualStack", "RequireDualStack"]

_NO_SPEC: Final = ServiceSpec()
_USERS: Final = frozenset(words.USERS)
_ANY: Final = words.print_wish(words.AllocatedWish())


class Wish(Struct, frozen=True, gc=False):
    """What one Service asks for. `families` are those wanted, in order, each once, and never empty."""

    service: ServiceKey
    uid: str
    created: str
    families: tuple[Family, ...]
    policy: Policy
    group: str | None
    addresses: tuple[Address, ...]
    sharing_key: str | None
    ports: frozenset[Port]
    selector: tuple[tuple[str, str], ...]
    local_policy: bool
    allow_local: bool
    re_evaluate: bool
    labels: Mapping[str, str]
    text: str
    deprecated: bool = False
    multi_pool: bool | None = None

    @property
    def asked(self) -> int:
        """A fingerprint of all in it that decides what the Service holds, never 0; `text` alone is what is recorded."""
        facts = self.facts(local=self.local_policy)
        return hash((self.text, self.families, self.policy, facts, self.allow_local, self.re_evaluate)) or 1

    def facts(self, *, local: bool) -> Facts:
        """What decides about sharing, under an effective policy."""
        return Facts(self.sharing_key, self.ports, self.service.namespace, self.selector, local)


class _Written(Struct, frozen=True, gc=False):
    """What the annotations of one Service say."""

    group: str | None = None
    key: str | None = None
    multi_pool: bool | None = None
    re_evaluate: bool = False
    addresses: str | None = None
    allow_local: bool = False


_NOTHING: Final = _Written()


def read_wish(service: Service) -> Wish | Refusal:
    """The wish of a LoadBalancer Service. Never raises."""
    meta, spec = service.metadata, service.spec or _NO_SPEC
    families = _families(spec)
    if isinstance(families, Refusal):
        return families
    written = _written(annotations(service))
    if isinstance(written, Refusal):
        return written
    deprecated = written.addresses is None and bool(spec.load_balancer_ip.strip())
    addresses: tuple[IPAddress, ...] | words.Malformed = ()
    if deprecated:
        addresses = words.parse_addresses(spec.load_balancer_ip, where=words.LOAD_BALANCER_IP)
    elif written.addresses is not None:
        addresses = words.parse_addresses(written.addresses)
    if isinstance(addresses, words.Malformed):
        return _refused(addresses)
    group, multi_pool = written.group, written.multi_pool
    plain = group is None and multi_pool is None and not addresses
    return Wish(
        service=ServiceKey(meta.namespace, meta.name),
        uid=meta.uid,
        created=meta.creation_timestamp or "",
        families=families,
        policy=_policy(spec, families),
        group=group,
        addresses=tuple([(family_of(ip), int(ip)) for ip in addresses]),
        sharing_key=written.key,
        ports=ports_of(spec),
        selector=tuple(sorted((spec.selector or {}).items())),
        local_policy=spec.external_traffic_policy == "Local",
        allow_local=written.allow_local,
        re_evaluate=written.re_evaluate,
        labels=labels(service),
        text=_ANY if plain else words.print_wish(words.AllocatedWish(group, addresses, multi_pool)),
        deprecated=deprecated,
        multi_pool=multi_pool,
    )


def _written(noted: Mapping[str, str]) -> _Written | Refusal:
    """What the user's annotations ask for. Most Services have none."""
    if _USERS.isdisjoint(noted):
        return _NOTHING
    group = words.value(noted, words.SERVICE_GROUP)
    if isinstance(group, words.Malformed):
        return _refused(group)
    if group is not None and any(
        char.isspace() for char in group
    ):  # no group has such a name, and no wish could record it
        return invalid_request(words.SERVICE_GROUP, "white space", group)
    key = words.sharing_key(noted)
    if isinstance(key, words.Malformed):
        return _refused(key)
    multi_pool = words.truth(noted, words.MULTI_POOL)
    if isinstance(multi_pool, words.Malformed):
        return _refused(multi_pool)
    re_evaluate = words.truth(noted, words.RE_EVALUATE)
    if isinstance(re_evaluate, words.Malformed):
        return _refused(re_evaluate)
    addresses = words.value(noted, words.ADDRESSES)
    if isinstance(addresses, words.Malformed):
        return _refused(addresses)
    return _Written(group, key, multi_pool, re_evaluate is True, addresses, words.present(noted, words.ALLOW_LOCAL))


def rough_wish(service: Service) -> Wish:
    """What can be said of a Service whose wish cannot be read, so that what it holds is still known by ports and policy."""
    readable = read_wish(service)
    if not isinstance(readable, Refusal):
        return readable
    meta, spec, noted = service.metadata, service.spec or _NO_SPEC, annotations(service)
    families, key = _families(spec), words.sharing_key(noted)
    return Wish(
        service=ServiceKey(meta.namespace, meta.name),
        uid=meta.uid,
        created=meta.creation_timestamp or "",
        families=(4,) if isinstance(families, Refusal) else families,
        policy="SingleStack",
        group=None,
        addresses=(),
        sharing_key=key if isinstance(key, str) else None,
        ports=ports_of(spec),
        selector=tuple(sorted((spec.selector or {}).items())),
        local_policy=spec.external_traffic_policy == "Local",
        allow_local=words.present(noted, words.ALLOW_LOCAL),
        re_evaluate=False,
        labels=labels(service),
        text=_ANY,
    )


def ports_of(spec: ServiceSpec) -> frozenset[Port]:
    """The (protocol, port) pairs of a Service."""
    return _shared(tuple([_port(port) for port in spec.ports or ()]))


@lru_cache(maxsize=1024)
def _shared(ports: tuple[Port, ...]) -> frozenset[Port]:
    """One set for the many Services with the same few ports; a set of one costs 216 bytes."""
    return frozenset(ports)


def _port(port: ServicePort) -> Port:
    return port.protocol or "TCP", port.port


def _refused(malformed: words.Malformed) -> Refusal:
    return invalid_request(malformed.where, malformed.problem, malformed.written)


def _families(spec: ServiceSpec) -> tuple[Family, ...] | Refusal:
    if not spec.cluster_ip or spec.cluster_ip == "None":
        return invalid_request(
            "spec.clusterIP", "a Service without a cluster IP cannot be load-balanced", spec.cluster_ip
        )
    found: list[Family] = []
    for name in spec.ip_families or ():
        if name not in {"IPv4", "IPv6"}:
            return invalid_request("spec.ipFamilies", "neither IPv4 nor IPv6", name)
        family: Family = 4 if name == "IPv4" else 6
        if family not in found:
            found.append(family)
    return tuple(found) or ((6,) if ":" in spec.cluster_ip else (4,))


def _policy(spec: ServiceSpec, families: tuple[Family, ...]) -> Policy:
    match spec.ip_family_policy:
        case "SingleStack":
            return "SingleStack"
        case "PreferDualStack":
            return "PreferDualStack"
        case "RequireDualStack":
            return "RequireDualStack"
        case _:  # a server that does not know the field
            return "SingleStack" if len(families) == 1 else "PreferDualStack"
