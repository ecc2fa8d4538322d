# SPDX-License-Identifier: Apache-2.0
"""Which member of a segment answers for a local VIP: a pure function of a claim and a view.

Every agent computes the same order from the same names, so nothing is negotiated: the digest of (node, address) is the
vote. A verdict is not a permission. A node that wins adds the address only when a living holder offered it, or when no
living node is known to hold it; that rule is `vip`'s, and `Mine` carries what it needs to know.

What looks at the link will replace: whether somebody still answers is judged here by `announcing-*` and membership,
that is by what the API says. A holder named there and alive makes a win `contested`; a dead or departed one does not.

`Ranking` keeps an exact prefix of each VIP's order. A lost member costs a lookup, a new name one digest per VIP.
Rejected: a cache of digests by (node, address), which is 75 MB for 5,000 VIPs and 100 nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from purelb.net.ranges import IPAddress, IPNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.lbnodeagent.claims import Claim

Liveness = Literal["alive", "draining", "dead"]
How = Literal["offered", "fresh", "contested"]
RANKS_KEPT = 8
"""Of a VIP's order this many are remembered: that many neighbours may die before it is computed again."""


class Standing(Struct, frozen=True, gc=False):
    """A member as election sees it. `networks` are the subnets it advertises; none makes it a candidate nowhere."""

    node: str
    liveness: Liveness
    networks: tuple[IPNetwork, ...] = ()
    alive_since: float = 0.0
    """Since when, on our own clock, it has been alive without a break."""
    process: str = ""
    """Differs with each start of its agent. Compared for equality only."""


class Mine(Struct, frozen=True, gc=False):
    """This node ranks first. `holder`: who offered it, or the living node that still holds it (contested)."""

    how: How
    holder: str | None = None


class Theirs(Struct, frozen=True, gc=False):
    node: str


class Nobody(Struct, frozen=True, gc=False):
    """No candidate: `NoLocalEndpoint` is reported, `NoCandidate` means that no member has the subnet."""

    reason: Literal["NoLocalEndpoint", "NoCandidate"]


Verdict = Mine | Theirs | Nobody


def digest(node: str, key: str) -> bytes:
    """The vote of `node` for `key` (canonical address text); the lowest wins. The same as in PureLB (Go)."""
    return sha256(f"{node}#{key}".encode()).digest()


def order(nodes: frozenset[str], key: str) -> tuple[str, ...]:
    """All `nodes`, best first."""
    return tuple(sorted(nodes, key=lambda node: digest(node, key)))


class _Known(Struct):
    names: frozenset[str]
    best: list[tuple[bytes, str]]
    complete: bool


class Ranking:
    """An exact prefix of the order of each address asked for, at least one name long. One owner, no other reader."""

    def __init__(self, *, keep: int = RANKS_KEPT) -> None:
        self._keep = keep
        self._known: dict[str, _Known] = {}

    def best(self, key: str, names: frozenset[str]) -> tuple[str, ...]:
        """The best of `names` for `key`, best first: all of them, or the first few when there are more than are kept."""
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._computed(key, names)
        elif known.names != names:
            known = self._known[key] = self._changed(known, key, names)
        return tuple(name for _, name in known.best)

    def forget(self, key: str) -> None:
        self._known.pop(key, None)

    def _computed(self, key: str, names: frozenset[str]) -> _Known:
        ranked = sorted((digest(name, key), name) for name in names)
        return _Known(names=names, best=ranked[: self._keep], complete=len(ranked) <= self._keep)

    def _changed(self, known: _Known, key: str, names: frozenset[str]) -> _Known:
        stayed = [entry for entry in known.best if entry[1] in names]
        if not stayed:
            return self._computed(key, names)
        horizon = stayed[-1]  # beyond it an incomplete prefix knows nothing: a newcomer there may have unknown betters
        added = [(digest(name, key), name) for name in names - known.names]
        ranked = sorted(stayed + [entry for entry in added if known.complete or entry < horizon])
        return _Known(names=names, best=ranked[: self._keep], complete=known.complete and len(ranked) <= self._keep)


class View(Struct, frozen=True):
    """What this node knows of its peers, itself included. `offers`: addresses that a member, not dead, offers to us."""

    me: str
    standings: Mapping[str, Standing]
    offers: Mapping[IPAddress, str]
    segments: tuple[tuple[IPNetwork, frozenset[str]], ...]
    """Each advertised network with the members that advertise it."""

    def segment(self, ip: IPAddress) -> frozenset[str]:
        """Members, dead ones included, with a subnet that contains `ip`."""
        found = [names for network, names in self.segments if network.version == ip.version and ip in network]
        return found[0] if len(found) == 1 else frozenset().union(*found)


def view_of(me: str, standings: Mapping[str, Standing], offers: Mapping[IPAddress, str]) -> View:
    segments: dict[IPNetwork, set[str]] = {}
    for standing in standings.values():
        for network in standing.networks:
            segments.setdefault(network, set()).add(standing.node)
    return View(
        me=me,
        standings=standings,
        offers=offers,
        segments=tuple((network, frozenset(names)) for network, names in segments.items()),
    )


def elect(claim: Claim, view: View, ranking: Ranking | None = None) -> Verdict:
    """Who answers for `claim.ip`. With a `ranking` the answer is the same and the digests are not computed again."""
    ip, me, standings = claim.ip, view.me, view.standings
    segment = view.segment(ip)
    allowed, reason = _allowed(claim, segment, standings)
    if not any(standings[name].liveness != "dead" for name in allowed):
        return Nobody(reason)
    winner = _winner(claim, segment, allowed, standings, ranking)
    if winner != me:
        return Theirs(winner)
    if (offered_by := view.offers.get(ip)) is not None:
        return Mine("offered", offered_by)
    others = claim.holders - {me}
    if not others:
        return Mine("fresh")
    return _contested(sorted(others), allowed, standings)


def is_candidate(claim: Claim, view: View, node: str) -> bool:
    """Whether `node` may answer for the claim at all: its subnet contains the address, and it has the endpoints it needs."""
    return node in _allowed(claim, view.segment(claim.ip), view.standings)[0]


def misses_affinity(claim: Claim, view: View) -> bool:
    """Whether the claim prefers nodes with endpoints and no candidate that lives is one of them."""
    if not claim.affinity:
        return False
    candidates = _allowed(claim, view.segment(claim.ip), view.standings)[0]
    return not any(view.standings[name].liveness != "dead" for name in candidates & claim.affinity)


def _contested(others: list[str], allowed: frozenset[str], standings: Mapping[str, Standing]) -> Mine:
    """A draining holder offers everything by its mark; a dead one, or one that is no candidate, cannot stand in the way."""
    draining = None
    for name in others:
        standing = standings.get(name)
        if standing is None or name not in allowed or standing.liveness == "dead":
            continue
        if standing.liveness == "alive":
            return Mine("contested", name)
        draining = name
    return Mine("offered", draining) if draining is not None else Mine("contested")


def _allowed(
    claim: Claim, segment: frozenset[str], standings: Mapping[str, Standing]
) -> tuple[frozenset[str], Literal["NoLocalEndpoint", "NoCandidate"]]:
    """Members of the segment that may answer: with externalTrafficPolicy Local those with endpoints of every, else any, Service."""
    if claim.healthy_for_all is None or claim.healthy_for_any is None:
        return segment, "NoCandidate"
    living = frozenset(name for name in segment if standings[name].liveness != "dead")
    if not living:
        return segment, "NoCandidate"
    for healthy in (claim.healthy_for_all, claim.healthy_for_any):
        if living & healthy:
            return segment & healthy, "NoLocalEndpoint"
    return frozenset(), "NoLocalEndpoint"


def _winner(
    claim: Claim,
    segment: frozenset[str],
    allowed: frozenset[str],
    standings: Mapping[str, Standing],
    ranking: Ranking | None,
) -> str:
    """Not draining before draining, then tier, then digest. Some name in `allowed` is not dead."""
    tier = _tier(claim)
    key = str(claim.ip)
    if ranking is not None and tier is None:  # without tiers the first that is alive wins: no sort is needed
        for name in ranking.best(key, segment):
            if name in allowed and standings[name].liveness == "alive":
                return name
    living = [name for name in allowed if standings[name].liveness != "dead"]
    return min(
        living,
        key=lambda name: (standings[name].liveness == "draining", tier(name) if tier else 0, digest(name, key)),
    )


def _tier(claim: Claim) -> Callable[[str], int] | None:
    """0 the preferred node, 1 a node of the affinity set, 2 the rest; None when the claim prefers nobody."""
    if claim.preferred is None and claim.affinity is None:
        return None
    preferred, affinity = claim.preferred, claim.affinity or frozenset()
    return lambda name: 0 if name == preferred else 1 if name in affinity else 2
