# SPDX-License-Identifier: Apache-2.0
"""What one node's kernel has, put together from its messages. Pure.

A kernel names an address by (address, prefix length, index of the link): it may have 192.0.2.1/24 and 192.0.2.1/32 on one interface, and taking one away
leaves the other. And it names a link in its addresses by its index only; what a link is called is remembered from the link's own messages, because by
the time an address goes the link may be gone.

What comes out is coarser, since nobody answers differently for another prefix length: (address, name of the interface), and whether it is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from purelb.net.ranges import IPAddress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Held(msgspec.Struct, frozen=True, gc=False):
    """An address as a kernel tells addresses apart."""

    address: IPAddress
    prefix_bits: int
    link: int


Change = tuple[IPAddress, str, bool]


class Picture:
    """Each method takes what the kernel said and answers what became different: (address, interface, whether it is there now)."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._prefixes: dict[int, dict[IPAddress, set[int]]] = {}

    def address(self, held: Held, *, present: bool) -> Iterator[Change]:
        link = self._prefixes.setdefault(held.link, {})
        prefixes = link.setdefault(held.address, set())
        before = bool(prefixes)
        (prefixes.add if present else prefixes.discard)(held.prefix_bits)
        if not prefixes:
            del link[held.address]
        if before != present and bool(prefixes) == present:
            yield held.address, self._name(held.link), present

    def link(self, index: int, name: str) -> Iterator[Change]:
        """A link is there, new or under a new name."""
        before, self._names[index] = self._name(index), name
        if before == name:
            return
        for address in self._prefixes.get(index, ()):
            yield address, before, False
            yield address, name, True

    def link_gone(self, index: int) -> Iterator[Change]:
        """A link went, and its addresses with it, said or not."""
        for address in self._prefixes.pop(index, ()):
            yield address, self._name(index), False
        self._names.pop(index, None)

    def replace(self, names: Mapping[int, str], held: Iterable[Held]) -> None:
        """A whole dump."""
        self._names = dict(names)
        self._prefixes = {}
        for one in held:
            self._prefixes.setdefault(one.link, {}).setdefault(one.address, set()).add(one.prefix_bits)

    def have(self) -> frozenset[tuple[IPAddress, str]]:
        return frozenset(
            (address, self._name(index)) for index, addresses in self._prefixes.items() for address in addresses
        )

    def _name(self, index: int) -> str:
        return self._names.get(index, f"#{index}")
