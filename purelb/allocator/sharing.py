# SPDX-License-Identifier: Apache-2.0
"""Whether two Services may use one address.

They may when both have the same sharing key, no (protocol, port) in common and, as soon as one of them has an effective
traffic policy Local, the same Pods behind them in one namespace: under Local a node answers only if it has a Pod, and it
cannot answer for one sharer and stay silent for the other.

A thousand may share one address, and when some of them may not, each is asked who is in its way: `Crowd` answers for all the others at once.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Clash = Literal["InUse", "SharingKeyMismatch", "SharingPortClash", "SharingPolicyMismatch"]
Port = tuple[str, int]


class Facts(Struct, frozen=True, gc=False):
    """What decides about sharing. `local`: the effective externalTrafficPolicy is Local."""

    key: str | None
    ports: frozenset[Port]
    namespace: str
    selector: tuple[tuple[str, str], ...]
    local: bool = False


def clash(one: Facts, other: Facts) -> Clash | None:
    """Why the two may not share an address, None when they may. Symmetric; the first reason in the documented order."""
    if one.key is None or other.key is None:
        return "InUse"
    if one.key != other.key:
        return "SharingKeyMismatch"
    if not one.ports.isdisjoint(other.ports):
        return "SharingPortClash"
    if _apart(one, other):
        return "SharingPolicyMismatch"
    return None


def ports_in_common(one: Facts, other: Facts) -> tuple[Port, ...]:
    """The (protocol, port) pairs of both, sorted."""
    return tuple(sorted(one.ports & other.ports))


class Crowd:
    """The facts of many Services on one address. What stands in the way of one is known without a look at each of them.

    Costs the ports of the one who asks and whoever has one of these; that is hardly anybody, for a port has one holder.
    """

    def __init__(self, members: Iterable[Facts] = ()) -> None:
        self._members: list[Facts] = []
        self._by_key: Counter[str | None] = Counter()
        self._by_place: Counter[tuple[object, ...]] = Counter()
        self._local_by_key: Counter[str | None] = Counter()
        self._local_by_place: Counter[tuple[object, ...]] = Counter()
        self._by_port: dict[tuple[str | None, Port], list[int]] = {}
        for facts in members:
            self.add(facts)

    def add(self, facts: Facts) -> None:
        """One more."""
        for port in facts.ports:
            self._by_port.setdefault((facts.key, port), []).append(len(self._members))
        self._members.append(facts)
        self._by_key[facts.key] += 1
        self._by_place[_place(facts)] += 1
        if facts.local:
            self._local_by_key[facts.key] += 1
            self._local_by_place[_place(facts)] += 1

    def clashes(self, facts: Facts, *, member: bool = False) -> frozenset[Clash]:
        """For which reasons some of them may not share with a Service of these facts. `member`: it is one of them itself."""
        others = len(self._members) - member
        if facts.key is None:
            return frozenset(("InUse",) if others else ())
        found: set[Clash] = set()
        if self._by_key[None]:
            found.add("InUse")
        if self._by_key[None] + self._by_key[facts.key] - member < others:
            found.add("SharingKeyMismatch")
        at_port = {which for port in facts.ports for which in self._by_port.get((facts.key, port), ())}
        if len(at_port) > (member and bool(facts.ports)):
            found.add("SharingPortClash")
        if facts.local:
            apart = self._by_key[facts.key] - self._by_place[_place(facts)]
        else:
            apart = self._local_by_key[facts.key] - self._local_by_place[_place(facts)]
        if apart > sum(1 for which in at_port if _apart(facts, self._members[which])):
            found.add("SharingPolicyMismatch")
        return frozenset(found)


def _place(facts: Facts) -> tuple[object, ...]:
    return facts.key, facts.namespace, facts.selector


def _apart(one: Facts, other: Facts) -> bool:
    """Whether the policy of one of them asks for the same Pods, and they are others."""
    return (one.local or other.local) and (one.namespace, one.selector) != (other.namespace, other.selector)
