# SPDX-License-Identifier: Apache-2.0
"""What a node's kernel says of its network, what may be asked of it, and the seams to kernel and wire.

Words only, no decisions: the pure modules read these values, `kernel` and `wire` make them. Two rules: a dump the kernel
interrupted is not a `KernelState` (the shell asks again), and lifetimes are instants of our own clock, so that values of
different moments can be compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

from msgspec import Struct

from purelb.net.ranges import IPAddress, IPNetwork

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence


TAG: Final = 80
"""IFA_PROTO of every address that is ours."""
PRIORITY: Final = 0x504C42
"""IFA_RT_PRIORITY of ours: the tag on kernels before 5.18, which do not return IFA_PROTO."""
ALIAS: Final = "purelb"
"""Alias of a link that we made."""

NODAD: Final = 0x02
DADFAILED: Final = 0x08
DEPRECATED: Final = 0x20
TENTATIVE: Final = 0x40
NOPREFIXROUTE: Final = 0x200
TEMPORARY: Final = 0x01
"""On an IPv6 address; on an IPv4 address the same bit says that the address is a secondary."""
SECONDARY: Final = 0x01
OURS_TO_SET: Final = NODAD | NOPREFIXROUTE

SCOPE_GLOBAL: Final = 0

PROTO_KERNEL, PROTO_BOOT, PROTO_STATIC, PROTO_RA, PROTO_DHCP = 2, 3, 4, 9, 16
"""Of routes: who put them there."""


class Interface(Struct, frozen=True, gc=False, kw_only=True):
    """A link. `up` is the administrator's wish, `carrier` the cable's."""

    index: int
    name: str
    up: bool
    carrier: bool
    mac: bytes = b""
    kind: str = ""
    alias: str = ""
    loopback: bool = False
    promotes: bool = False
    """promote_secondaries: the secondaries of a primary that goes stay."""


class Address(Struct, frozen=True, gc=False, kw_only=True):
    """An address in the kernel. `ends_at`: when its lifetime runs out by our clock, None is permanent; likewise preferred."""

    ip: IPAddress
    prefixlen: int
    ifindex: int
    flags: int = 0
    scope: int = SCOPE_GLOBAL
    proto: int | None = None
    priority: int = 0
    ends_at: float | None = None
    preferred_until: float | None = None

    @property
    def key(self) -> tuple[IPAddress, int, int]:
        return self.ip, self.prefixlen, self.ifindex

    @property
    def ours(self) -> bool:
        """By the tag; by the priority where the kernel knows no tag. Everything else is never changed or removed."""
        return self.proto == TAG or (not self.proto and self.priority == PRIORITY)


class Route(Struct, frozen=True, gc=False, kw_only=True):
    """A default or an on-link unicast route of table main. `hops`: interface of each next hop, of a gateway or not."""

    family: Literal[4, 6]
    network: IPNetwork | None
    """None is the default route."""
    hops: tuple[int, ...]
    gateways: tuple[IPAddress, ...] = ()
    metric: int = 0
    protocol: int = PROTO_KERNEL


class KernelState(Struct, frozen=True, kw_only=True):
    """One whole dump."""

    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()


class LinkChanged(Struct, frozen=True, gc=False):
    """`interface` as it is now; `gone` when it was removed."""

    interface: Interface
    gone: bool = False


class AddressAdded(Struct, frozen=True, gc=False):
    """Also every change of an address, and the echo of our own."""

    address: Address


class AddressGone(Struct, frozen=True, gc=False):
    address: Address


class RoutesChanged(Struct, frozen=True, gc=False):
    """Some default or on-link route changed: dump again."""


class Overrun(Struct, frozen=True, gc=False):
    """Events were lost. What was known is not to be trusted until the next dump."""


KernelEvent = LinkChanged | AddressAdded | AddressGone | RoutesChanged | Overrun


class SetAddress(Struct, frozen=True, gc=False, kw_only=True):
    """Put an address there. `add` is exclusive; `renew` and `change` replace what was seen with our tag."""

    verb: Literal["add", "renew", "change"]
    ip: IPAddress
    prefixlen: int
    ifindex: int
    flags: int
    valid_s: int | None
    preferred_s: int | None
    priority: int = 0


class DeleteAddress(Struct, frozen=True, gc=False, kw_only=True):
    ip: IPAddress
    prefixlen: int
    ifindex: int
    verb: Literal["delete"] = "delete"


class MakeLink(Struct, frozen=True, gc=False, kw_only=True):
    """Create an interface for remote VIPs, up, with our alias, without IPv6 address generation, promoting secondaries."""

    name: str
    kind: str
    verb: Literal["make-link"] = "make-link"


class RemoveLink(Struct, frozen=True, gc=False, kw_only=True):
    """Remove an interface that carries our alias."""

    ifindex: int
    verb: Literal["remove-link"] = "remove-link"


Op = SetAddress | DeleteAddress | MakeLink | RemoveLink


class OpResult(Struct, frozen=True, gc=False):
    """`error` is the errno's symbol, None when it was done."""

    op: Op
    error: str | None = None


class Seen(Struct, frozen=True, gc=False):
    """Somebody on the link claimed an address. `solicited`: as an answer to a question."""

    ifindex: int
    ip: IPAddress
    mac: bytes
    solicited: bool


class Kernel(Protocol):
    """Netlink. One owner calls `dump` and `apply`; one task iterates `events`."""

    @property
    def returns_tags(self) -> bool:
        """Whether IFA_PROTO is kept and read back; else only the priority tells what is ours."""
        ...

    async def dump(self) -> KernelState:
        """Links, addresses, default and on-link routes; whole, or `OSError`."""
        ...

    def events(self) -> AsyncIterator[KernelEvent]: ...

    async def apply(self, ops: Sequence[Op]) -> Sequence[OpResult]:
        """One result per op, in order; no op waits for the success of another."""
        ...

    def setting(self, name: str) -> int | None:
        """A number below /proc/sys/net, such as `ipv4/ip_forward`; None when there is none."""
        ...

    def close(self) -> None: ...


class Wire(Protocol):
    """AF_PACKET, one socket per interface in use."""

    def use(self, interfaces: Mapping[int, bytes]) -> None:
        """Listen on exactly these interfaces (index to MAC)."""
        ...

    def send(self, ifindex: int, frame: bytes) -> str | None:
        """The errno's symbol when the frame could not be sent."""
        ...

    def frames(self) -> AsyncIterator[Seen]: ...

    def close(self) -> None: ...
