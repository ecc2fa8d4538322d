# SPDX-License-Identifier: Apache-2.0
"""How many of our Services are in which state, kept by difference so that a step costs nothing. What the gauges show."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from msgspec import Struct

from purelb.allocator import metrics
from purelb.allocator.groups import Groups
from purelb.allocator.keys import ServiceKey
from purelb.allocator.ledger import Ledger
from purelb.allocator.ranges import Address
from purelb.api import reasons
from purelb.api.groups import sources_of
from purelb.kube.metrics import Sample
from purelb.net.ranges import Family

Kind = Literal["allocated", "partial", "pending"]
UNWRITTEN_FOR: Final = 60.0
_FAMILIES: tuple[Family, ...] = (4, 6)


class Standing(Struct, frozen=True, gc=False):
    """Where one Service stands. `since`: when it began to; `unannounced`: the reason, empty when all is announced."""

    state: Kind
    reason: str
    since: float
    unannounced: str = ""


class Tally:
    def __init__(self) -> None:
        self._standings: dict[ServiceKey, Standing] = {}
        self._states: Counter[Kind] = Counter()
        self._unannounced: dict[str, dict[ServiceKey, tuple[Address, ...]]] = {}
        self._pending: dict[str, dict[ServiceKey, float]] = {}
        self._first_seen: dict[ServiceKey, float] = {}
        self._unwritten: dict[ServiceKey, float] = {}
        self._refused: set[ServiceKey] = set()

    def stands(
        self,
        service: ServiceKey,
        state: Kind,
        reason: str,
        now: float,
        *,
        unannounced: str = "",
        concerned: tuple[Address, ...] = (),
    ) -> bool:
        """Where a Service stands now, and which of its addresses are `unannounced`. Answers whether its reason is another than before."""
        known = self._standings.get(service)
        if known is not None and (known.state, known.reason, known.unannounced) == (state, reason, unannounced):
            if unannounced:
                self._unannounced[unannounced][service] = concerned
            return False
        since = known.since if known is not None and (known.state, known.reason) == (state, reason) else now
        self._remove(service, known)
        self._standings[service] = Standing(state, reason, since, unannounced)
        self._states[state] += 1
        if unannounced:
            self._unannounced.setdefault(unannounced, {})[service] = concerned
        if state != "allocated":
            self._pending.setdefault(reason, {})[service] = since
        return known is None or known.reason != reason

    def gone(self, service: ServiceKey) -> None:
        """The Service is gone, or not ours any more."""
        self._remove(service, self._standings.pop(service, None))
        self._first_seen.pop(service, None)
        self.written(service)

    def unwritten(self, service: ServiceKey, since: float) -> None:
        """What the Service should say could not be written, for the first time at `since` or earlier."""
        self._unwritten.setdefault(service, since)

    def refused(self, service: ServiceKey, now: float) -> bool:
        """The API server refuses what the Service should say. Answers whether that is news."""
        self.unwritten(service, now)
        known = service in self._refused
        self._refused.add(service)
        return not known

    def written(self, service: ServiceKey) -> None:
        """The Service says what it should."""
        self._unwritten.pop(service, None)
        self._refused.discard(service)

    def unwritten_since(self, service: ServiceKey, now: float) -> float | None:
        """Since when the Service cannot be written, once that has lasted long enough to be told."""
        since = self._unwritten.get(service)
        return None if since is None or now < since + UNWRITTEN_FOR else since

    def first_seen(self, service: ServiceKey, now: float) -> float:
        """Since when a Service without an address is known."""
        return self._first_seen.get(service, now)

    def seen(self, service: ServiceKey, now: float) -> None:
        """A Service without an address was seen."""
        self._first_seen.setdefault(service, now)

    def served(self, service: ServiceKey, now: float) -> float | None:
        """It has its address; how long that took since it was first seen."""
        first = self._first_seen.pop(service, None)
        return None if first is None else now - first

    def unannounced(self) -> tuple[ServiceKey, ...]:
        """The Services with an address that no node answers for, as far as their conditions say."""
        rows = (found for reason, found in self._unannounced.items() if reason != reasons.ANNOUNCED_TWICE)
        return tuple(service for services in rows for service in services)

    def samples(self, ledger: Ledger, groups: Groups, now: float) -> Iterator[Sample]:
        """All gauges about Services, addresses and pools."""
        for state in ("allocated", "partial", "pending"):
            yield Sample(metrics.SERVICES, self._states[state], (state,))
        for reason, waiting in self._pending.items():
            yield Sample(metrics.PENDING, len(waiting), (reason,))
            yield Sample(metrics.OLDEST_PENDING, now - min(waiting.values()), (reason,))
        concerned = self._concerned(ledger)
        unannounced, conflicting = sum(concerned.values()), concerned.get(reasons.ANNOUNCED_TWICE, 0)
        yield Sample(metrics.ADDRESSES, len(ledger.claims) - unannounced, ("announced",))
        yield Sample(metrics.ADDRESSES, unannounced - conflicting, ("unannounced",))
        yield Sample(metrics.ADDRESSES, conflicting, ("conflicting",))
        for reason, count in concerned.items():
            yield Sample(metrics.UNANNOUNCED, count, (reason,))
        yield Sample(metrics.DOUBLE, ledger.index.contested)
        yield from pool_samples(ledger, groups)

    def _concerned(self, ledger: Ledger) -> dict[str, int]:
        """Reason -> how many addresses in use are not announced for it; one that several Services share counts once."""
        found: dict[str, int] = {}
        shared: set[Address] = set()
        for reason, services in self._unannounced.items():
            count = 0
            for addresses in services.values():
                for address in addresses:
                    claim = ledger.claims.get(address)
                    if claim is None or address in shared:
                        continue
                    if len(claim.holders) > 1:
                        shared.add(address)
                    count += 1
            found[reason] = count
        return found

    def _remove(self, service: ServiceKey, known: Standing | None) -> None:
        if known is None:
            return
        self._states[known.state] -= 1
        if known.unannounced:
            there = self._unannounced[known.unannounced]
            del there[service]
            if not there:
                del self._unannounced[known.unannounced]
        if known.state != "allocated":
            waiting = self._pending[known.reason]
            del waiting[service]
            if not waiting:
                del self._pending[known.reason]


def pool_samples(ledger: Ledger, groups: Groups) -> Iterator[Sample]:
    """The gauges of the groups."""
    read: dict[str, bool] = {}  # of one name in several namespaces at most one is used
    for place, standing in groups.standings.items():
        if standing.reason == reasons.OUT_OF_SCOPE:
            type_ = next(iter(sources_of(groups.stored[place])), "none")
            yield Sample(metrics.OUT_OF_SCOPE, 1, (standing.namespace, standing.name, type_))
        else:
            read[standing.name] = read.get(standing.name, False) or standing.ready
    for name, ready in read.items():
        yield Sample(metrics.GROUP_ACCEPTED, float(ready), (name,))
    for name in groups.elsewhere:  # how many there are is known there
        lent = {family: ledger.index.strays(name, family) for family in _FAMILIES}
        for family, count in lent.items():
            yield Sample(metrics.POOL_ADDRESSES, float(count), (name, f"IPv{family}", "in_use"))
        yield Sample(metrics.POOL_IN_USE, float(sum(lent.values())), (name,))
    for name in groups.accepted.keys() - groups.elsewhere.keys():
        size = used = 0
        for family in _FAMILIES:
            use = ledger.pools.usage(name, family)
            left_out = sum(entry.left_out for entry in groups.accepted[name].entries if entry.family == family)
            if not use.size and not left_out:
                continue
            size, used = size + use.size, used + use.claimed
            states: Mapping[str, int] = {
                "in_use": use.claimed,
                "available": use.free,
                "unavailable": use.quarantined + use.reserved + left_out,
            }
            for state, count in states.items():
                yield Sample(metrics.POOL_ADDRESSES, float(count), (name, f"IPv{family}", state))
        yield Sample(metrics.POOL_SIZE, float(size), (name,))
        yield Sample(metrics.POOL_IN_USE, float(used), (name,))
