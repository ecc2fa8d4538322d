# SPDX-License-Identifier: Apache-2.0
"""The annotations on Services and Nodes: their names, and pure readers and printers of their values.

Rule 1: readers never raise. What users wrote and cannot be meant is `Malformed`, which names the annotation, the problem and the text;
what only our own components write and somebody edited reads as absent, so that it is put back.
Rule 2: values and list elements are trimmed; empty after trimming is absent, except where presence alone is the meaning.
Rule 3: printing is canonical: equal values give equal text, and reading it back gives an equal value.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv6Address
from typing import Final

from msgspec import Struct

from purelb.net.quoting import quoted
from purelb.net.ranges import Family, IPAddress, family_of, parse_address

PREFIX: Final = "purelb.io/"

# Set by users.
SERVICE_GROUP: Final = "purelb.io/service-group"
ADDRESSES: Final = "purelb.io/addresses"
ALLOW_SHARED_IP: Final = "purelb.io/allow-shared-ip"
ALLOW_LOCAL: Final = "purelb.io/allow-local"
MULTI_POOL: Final = "purelb.io/multi-pool"
RE_EVALUATE: Final = "purelb.io/re-evaluate"
NODE_AFFINITY: Final = "purelb.io/node-affinity"
PREFERRED_NODE: Final = "purelb.io/preferred-node"
DRAIN: Final = "purelb.io/drain"  # on a Node

# Set by the allocator.
ALLOCATED_BY: Final = "purelb.io/allocated-by"
ALLOCATED_FROM: Final = "purelb.io/allocated-from"
POOL_TYPE: Final = "purelb.io/pool-type"
SKIP_IPV6_DAD: Final = "purelb.io/skip-ipv6-dad"
ANNOUNCING_IPV4: Final = "purelb.io/announcing-IPv4"
ANNOUNCING_IPV6: Final = "purelb.io/announcing-IPv6"
ALLOCATED_WISH: Final = "purelb.io/allocated-wish"

USERS: Final = (
    SERVICE_GROUP,
    ADDRESSES,
    ALLOW_SHARED_IP,
    ALLOW_LOCAL,
    MULTI_POOL,
    RE_EVALUATE,
    NODE_AFFINITY,
    PREFERRED_NODE,
)
OURS: Final = (
    ALLOCATED_BY,
    ALLOCATED_FROM,
    POOL_TYPE,
    SKIP_IPV6_DAD,
    ANNOUNCING_IPV4,
    ANNOUNCING_IPV6,
    ALLOCATED_WISH,
)

BRAND: Final = "PureLB"
SERVICE_ENDPOINTS: Final = "service-endpoints"
LB_CLASSES: Final = ("purelb.io/purelb", "purelb.io/purelbv2")
LOAD_BALANCER_IP: Final = "spec.loadBalancerIP"

VALUE_MAX: Final = 4096
ADDRESSES_MAX: Final = 64
SHARING_KEY_MAX: Final = 253
ANNOUNCING_MAX: Final = 32

_SEPARATOR: Final = ", "
_ZEROS: Final = re.compile(r"(?<![0-9])0+(?=[0-9])", re.ASCII)
_BETWEEN: Final = re.compile(r"[\s;|]+")
_TRUTH: Final = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), False
)


class Malformed(Struct, frozen=True):
    """What a user wrote and cannot be meant: the message of `InvalidRequest`."""

    where: str
    problem: str
    written: str

    @property
    def text(self) -> str:
        """`{annotation or field}: {problem} in "{text}"`, foreign text cut and cleaned."""
        return f"{self.where}: {self.problem} in {quoted(self.written)}"


class Announcing(Struct, frozen=True, gc=False):
    """One entry of `purelb.io/announcing-*`: this node answers for this address on this interface."""

    node: str
    interface: str
    ip: IPAddress


class AllocatedWish(Struct, frozen=True):
    """What the user asked for when the held addresses were agreed; nothing set is `any`."""

    group: str | None = None
    addresses: tuple[IPAddress, ...] = ()
    multi_pool: bool | None = None


def value(annotations: Mapping[str, str], name: str) -> str | Malformed | None:
    """The trimmed value; None when absent or empty; malformed when it is longer than 4096 characters."""
    written = annotations.get(name)
    if written is None:
        return None
    if len(written) > VALUE_MAX:
        return Malformed(name, f"more than {VALUE_MAX} characters", written)
    return written.strip() or None


def present(annotations: Mapping[str, str], name: str) -> bool:
    """For `allow-local` and `drain`: being there is the meaning, whatever the value; only `false` counts as absent."""
    written = annotations.get(name)
    return written is not None and written.strip() != "false"


def truth(annotations: Mapping[str, str], name: str) -> bool | Malformed | None:
    """For `multi-pool` and `re-evaluate`: the words of Go's `strconv.ParseBool`, trimmed; None when absent or empty.

    Any other word is malformed. Taken for absent, a typing error on a live Service would give its addresses back.
    """
    written = value(annotations, name)
    if not isinstance(written, str):
        return written
    return Malformed(name, "neither true nor false", written) if written not in _TRUTH else _TRUTH[written]


def parse_addresses(text: str, *, where: str = ADDRESSES) -> tuple[IPAddress, ...] | Malformed:
    """1 to 64 addresses without zone and prefix, in written order, each once; IPv4-mapped IPv6 is taken as IPv4.

    `where` names the annotation or field in the message (`LOAD_BALANCER_IP` uses the same grammar).
    """
    if len(text) > VALUE_MAX:
        return Malformed(where, f"more than {VALUE_MAX} characters", text)
    pieces = [piece.strip() for piece in text.split(",")]
    pieces = [piece for piece in pieces if piece]
    if not pieces:
        return Malformed(where, "no address", text)
    if len(pieces) > ADDRESSES_MAX:
        return Malformed(where, f"{len(pieces)} addresses, at most {ADDRESSES_MAX},", text)
    found: list[IPAddress] = []
    for piece in pieces:
        address = _wanted(piece)
        if address is None:
            return Malformed(where, _why_not(piece), piece)
        found.append(address)
    return tuple(dict.fromkeys(found))


def print_addresses(addresses: Iterable[IPAddress]) -> str:
    """Canonical text, in the given order, joined by a comma."""
    return ",".join(str(address) for address in addresses)


def sharing_key(annotations: Mapping[str, str]) -> str | Malformed | None:
    """The key of `allow-shared-ip`: 1 to 253 characters without white space."""
    found = value(annotations, ALLOW_SHARED_IP)
    if not isinstance(found, str):
        return found
    if len(found) > SHARING_KEY_MAX:
        return Malformed(ALLOW_SHARED_IP, f"more than {SHARING_KEY_MAX} characters", found)
    if any(char.isspace() for char in found):
        return Malformed(ALLOW_SHARED_IP, "white space", found)
    return found


def announcing_name(family: Family) -> str:
    """The annotation that names who announces addresses of this family."""
    return ANNOUNCING_IPV4 if family == 4 else ANNOUNCING_IPV6


def parse_announcing(text: str) -> tuple[Announcing, ...]:
    """Entries in written order: node before the first comma, ip after the last. What does not parse is dropped."""
    found: list[Announcing] = []
    for entry in text.split():
        node, _, rest = entry.partition(",")
        interface, comma, ip = rest.rpartition(",")
        address = parse_address(ip)
        if node and comma and interface and address is not None:
            found.append(Announcing(node, interface, address))
    return tuple(found)


def print_announcing(entries: Iterable[Announcing]) -> str:
    """Sorted by ip (numeric), node, interface; each once; at most 32. Empty when there are none."""
    ordered = sorted(set(entries), key=lambda entry: (family_of(entry.ip), int(entry.ip), entry.node, entry.interface))
    return " ".join(f"{entry.node},{entry.interface},{entry.ip}" for entry in ordered[:ANNOUNCING_MAX])


def print_per_ingress(values: Sequence[str]) -> str:
    """`allocated-from` and `pool-type`: one value when all are equal, else one for each ingress entry, in their order."""
    return values[0] if len(set(values)) == 1 else _SEPARATOR.join(values)


def parse_per_ingress(text: str, *, ingresses: int) -> tuple[str, ...] | None:
    """One value for each of `ingresses` entries; None when the text says neither one nor that many."""
    values = tuple(piece.strip() for piece in text.split(","))
    if not all(values) or ingresses < 1:
        return None
    if len(values) == 1:
        return values * ingresses
    return values if len(values) == ingresses else None


_WISH: Final = re.compile(
    r"(?:group=(?P<group>\S+))?(?:(?:^| )addresses=(?P<addresses>[^\s]+))?(?:(?:^| )multi-pool=(?P<multi>true|false))?"
)


def parse_wish(text: str) -> AllocatedWish | None:
    """A recorded wish in canonical form; None for anything else, which counts as not recorded."""
    if text == "any":
        return AllocatedWish()
    found = _WISH.fullmatch(text) if 0 < len(text) <= 2 * VALUE_MAX else None
    if found is None:
        return None
    addresses: tuple[IPAddress, ...] = ()
    if found["addresses"] is not None:
        read = parse_addresses(found["addresses"], where=ALLOCATED_WISH)
        if isinstance(read, Malformed):
            return None
        addresses = read
    wish = AllocatedWish(found["group"], addresses, None if found["multi"] is None else found["multi"] == "true")
    return wish if print_wish(wish) == text else None


def print_wish(wish: AllocatedWish) -> str:
    """`any`, or the terms group, addresses, multi-pool in this order, joined by one space."""
    terms: list[str] = []
    if wish.group is not None:
        terms.append(f"group={wish.group}")
    if wish.addresses:
        terms.append(f"addresses={print_addresses(wish.addresses)}")
    if wish.multi_pool is not None:
        terms.append(f"multi-pool={'true' if wish.multi_pool else 'false'}")
    return " ".join(terms) or "any"


def _wanted(text: str) -> IPAddress | None:
    found = parse_address(text)
    if found is not None or ":" not in text:
        return found
    try:
        mapped = IPv6Address(text)
    except ValueError:
        return None
    return None if mapped.scope_id is not None else mapped.ipv4_mapped


def _why_not(text: str) -> str:
    if "%" in text:
        return "an address with a zone"
    if "/" in text:
        return "a prefix where an address belongs"
    if all(parse_address(piece.strip()) is not None for piece in text.split("-")):
        return "a range where an address belongs"
    if "." in text and parse_address(_ZEROS.sub("", text)) is not None:
        return "a leading zero"  # which some read as octal
    if all(parse_address(piece) is not None for piece in _BETWEEN.split(text)):
        return "no comma between addresses"
    return "no address"
