# SPDX-License-Identifier: Apache-2.0
"""What can be asked of the ledger without looking at every claim: counters and bindings that follow from the claims alone.

Only the ledger writes here, in the same step in which it changes a claim, and a recount (`audit.py`) compares. A claim without an
entry counts in the group that excludes its address, and among the strays of the one it came from.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from purelb.allocator.claims import Claim, Holder
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ranges import Address
from purelb.net.ranges import Family

_NONE: Final = frozenset[str]()


class Indices:
    def __init__(self) -> None:
        self._keyed: dict[tuple[str, Family, str], dict[Address, int]] = {}
        self._by_namespace: dict[tuple[str, str, Family], int] = {}
        self._contested: dict[Address, int] = {}
        self._strays: dict[tuple[str, Family], int] = {}
        self._excluded: dict[tuple[str, Family], int] = {}
        self._excluded_moved: set[str] = set()
        self._keys_moved: set[str] = set()

    # Reading

    def bound(self, group: str, family: Family, key: str) -> Address | None:
        """The address a sharing key stands for in a group."""
        addresses = self._keyed.get((group, family, key))
        return next(iter(addresses)) if addresses else None

    def all_bound(self, group: str, family: Family, key: str) -> Iterable[Address]:
        """Every address that holders with a sharing key have in a group; there are several while some of them are contested."""
        return self._keyed.get((group, family, key), ())

    def bindings(self) -> Iterable[tuple[str, Family, str]]:
        """The (group, family, sharing key) that stand for an address."""
        return self._keyed.keys()

    @property
    def contested(self) -> int:
        """How many addresses have holders that may not share."""
        return len(self._contested)

    def disputed(self) -> tuple[Address, ...]:
        """Those addresses."""
        return tuple(self._contested)

    def strays(self, group: str, family: Family) -> int:
        """How many addresses in use came from a group of this name and lie in no pool now."""
        return self._strays.get((group, family), 0)

    def excluded(self, group: str, family: Family) -> int:
        """How many addresses in use stand in the pools of a group that excludes them."""
        return self._excluded.get((group, family), 0)

    def excluded_moved(self) -> frozenset[str]:
        """The groups of which there are more or fewer such addresses since this was last asked."""
        if not self._excluded_moved:
            return _NONE
        found, self._excluded_moved = frozenset(self._excluded_moved), set()
        return found

    def used_by_namespace(self, group: str, namespace: str, family: Family) -> int:
        """Distinct addresses of a group that Services of a namespace use, also those that it excludes now."""
        return self._by_namespace.get((group, namespace, family), 0)

    def places_of_use(self) -> Iterable[tuple[str, str, Family]]:
        """The (group, namespace, family) with such addresses."""
        return self._by_namespace.keys()

    def keys_moved(self) -> frozenset[str]:
        """The sharing keys that got an address to stand for, or lost one, since this was last asked."""
        if not self._keys_moved:
            return _NONE
        found, self._keys_moved = frozenset(self._keys_moved), set()
        return found

    # Written by the ledger

    def entered(self, claim: Claim, address: Address, service: ServiceKey, holder: Holder, *, group: str) -> None:
        """A holder of the claim counts in a group from now on (empty: in none); it is among its holders already."""
        entry = claim.entry
        if group and not _in_its_namespace(claim, service):
            place = (group, service.namespace, address[0])
            self._by_namespace[place] = self._by_namespace.get(place, 0) + 1
        if entry is None:
            return
        if holder.facts.key is not None and holder.state != "leaving":
            bound = self._keyed.setdefault((entry.group, entry.family, holder.facts.key), {})
            if address not in bound:
                self._keys_moved.add(holder.facts.key)
            bound[address] = bound.get(address, 0) + 1

    def left(self, claim: Claim, address: Address, service: ServiceKey, holder: Holder, *, group: str) -> None:
        """A holder of the claim counts in the group no longer; it is still among its holders."""
        entry = claim.entry
        if group and not _in_its_namespace(claim, service):
            place = (group, service.namespace, address[0])
            self._by_namespace[place] -= 1
            if not self._by_namespace[place]:
                del self._by_namespace[place]
        if entry is None:
            return
        if holder.facts.key is not None and holder.state != "leaving":
            place_of_key = (entry.group, entry.family, holder.facts.key)
            bound = self._keyed[place_of_key]
            bound[address] -= 1
            if not bound[address]:
                del bound[address]
                self._keys_moved.add(holder.facts.key)
                if not bound:
                    del self._keyed[place_of_key]

    def all_entered(self, claim: Claim, address: Address, *, group: str) -> None:
        """All holders of the claim count in a group from now on."""
        for service, holder in _one_by_one(claim):
            self.entered(claim, address, service, holder, group=group)

    def all_left(self, claim: Claim, address: Address, *, group: str) -> None:
        """No holder of the claim counts in the group any more."""
        for service, holder in _one_by_one(claim):
            self.left(claim, address, service, holder, group=group)

    def strayed(self, claim: Claim, address: Address, by: int, *, elsewhere: Collection[str]) -> None:
        """The claim is a stray of the group it came from, or (-1) is one no longer."""
        if claim.origin.group and (claim.entry is None or claim.entry.group in elsewhere):
            place = (claim.origin.group, address[0])
            count = self._strays.get(place, 0) + by
            if count:
                self._strays[place] = count
            else:
                self._strays.pop(place, None)

    def exclude(self, group: str, family: Family, by: int) -> None:
        """One more address in use is excluded by a group, or (-1) one less."""
        count = self._excluded.get((group, family), 0) + by
        if count:
            self._excluded[group, family] = count
        else:
            del self._excluded[group, family]
        self._excluded_moved.add(group)

    def contest(self, address: Address, by: int) -> None:
        """One more holder of the address has to go, or (-1) one less."""
        if by:
            count = self._contested.get(address, 0) + by
            if count:
                self._contested[address] = count
            else:
                del self._contested[address]


def _in_its_namespace(claim: Claim, service: ServiceKey) -> bool:
    """Whether another Service of its namespace holds the claim."""
    return any(key.namespace == service.namespace for key in claim.holders if key != service)


def _one_by_one(claim: Claim) -> Iterator[tuple[ServiceKey, Holder]]:
    """The holders of a claim, put into it one after the other, so that a namespace with several of them counts once."""
    holders, claim.holders = claim.holders, {}
    for service, holder in holders.items():
        claim.holders[service] = holder
        yield service, holder
