# SPDX-License-Identifier: Apache-2.0
"""What a refused Service waits for, as values: each names one thing that may happen, and whoever makes it happen wakes who waits for it.

A refusal names its waits, the line of `waiting` keeps them, and the steps that free, reserve, configure or hear something say which
of them came true. So one release wakes one waiter and not a thousand.
"""

from msgspec import Struct

from purelb.allocator.atlas import EntryId
from purelb.allocator.ranges import Address
from purelb.net.ranges import Family, IPNetwork


class PoolHasRoom(Struct, frozen=True, gc=False):
    """An address of a family becomes free in a group."""

    group: str
    family: Family


class EntryHasRoom(Struct, frozen=True, gc=False):
    """An address becomes free in one entry of a group."""

    entry: EntryId

    @property
    def group(self) -> str:
        return self.entry.group


class SubnetActive(Struct, frozen=True, gc=False):
    """A live node advertises a subnet, or one that contains it."""

    subnet: IPNetwork


class QuotaHasRoom(Struct, frozen=True, gc=False):
    """A namespace gives back an address of a group."""

    group: str
    namespace: str
    family: Family


class AddressChanges(Struct, frozen=True, gc=False):
    """The holders of one address change, or it becomes free."""

    address: Address


class KeyMoves(Struct, frozen=True, gc=False):
    """A sharing key gets an address to stand for, or loses one."""

    key: str


class NamespaceSeen(Struct, frozen=True, gc=False):
    """The Namespace of a Service is seen, which nobody has told us of yet."""

    name: str


class GroupsChange(Struct, frozen=True, gc=False):
    """Some group changes, or the labels of the Service's namespace."""

    reason: str


Wait = (
    PoolHasRoom | EntryHasRoom | QuotaHasRoom | SubnetActive | AddressChanges | KeyMoves | NamespaceSeen | GroupsChange
)
