# SPDX-License-Identifier: Apache-2.0
"""Who is a member and whether it lives, judged by the changes of its lease that *we* saw, on our own clock.

No timestamp of another machine is read. A lease that stood still for its own duration is a suspect, and a suspect is alive:
dead is only what is *confirmed* expired, that is when a renewal of our own, sent at or after the expiry, came back through
the very informer that would have delivered the peer's. An API server that is slow, frozen or away therefore kills nobody.
A deleted lease is a departure. What a lease says may be garbage: the part is dropped, the member stays with what parses.

What heartbeats will add: detection within a second; here the mode is `lease` and every bound is the lease duration.
Echoes are recognised by the renewTime text that we wrote: equality with our own words, never a comparison of times.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from purelb.api import leases
from purelb.kube.lease import Observations
from purelb.kube.model import Lease, annotations, labels
from purelb.lbnodeagent.election import Standing
from purelb.net.ranges import IPAddress, IPNetwork, parse_address
from purelb.net.subnets import parse_subnets

Seen = Literal["alive", "suspect", "draining", "dead"]

ANNOTATION_MAX_CHARS: Final = 16_384
"""Longer text is not read: 256 subnets need less than half of it."""
OFFERS_MAX: Final = 64
SHORTEST_PREFIX: Final = {4: 8, 6: 16}
"""A member that claims a larger subnet is wrong or hostile: it would be a candidate for the whole Internet."""
_ECHOES_KEPT: Final = 16


class Peer(Struct, frozen=True, kw_only=True):
    """What one lease says."""

    node: str
    instance: str
    networks: tuple[IPNetwork, ...]
    draining: bool
    offers: Mapping[IPAddress, str]
    duration: float
    renew_time: str
    acquire_time: str
    holder: str

    @property
    def process(self) -> str:
        """Another text for each start of the agent: a container that restarts keeps its instance."""
        return f"{self.instance} {self.acquire_time}"


def same_words(one: Peer | None, other: Peer | None) -> bool:
    """Whether two readings of a lease differ in nothing but when it was renewed: then nothing has to be judged again."""
    if one is None or other is None:
        return one is other
    return (one.process, one.networks, one.draining, one.offers, one.duration) == (
        other.process,
        other.networks,
        other.draining,
        other.offers,
        other.duration,
    )


def read_peer(lease: Lease, *, default_duration: float) -> Peer | None:
    """The member behind a lease, None when the lease is no agent's. Never raises."""
    node = leases.node_of_lease(lease.metadata.name)
    if node is None or labels(lease).get(leases.COMPONENT_LABEL) != leases.LBNODEAGENT:
        return None
    notes = annotations(lease)
    spec = lease.spec
    duration = (spec.lease_duration_seconds if spec else None) or default_duration
    return Peer(
        node=node,
        instance=_short(notes.get(leases.INSTANCE, "")),
        networks=read_networks(notes.get(leases.SUBNETS, "")),
        draining=notes.get(leases.DRAINING) == "true",
        offers=read_offers(notes.get(leases.OFFERS, "")),
        duration=float(max(1, min(duration, 3600))),
        renew_time=(spec.renew_time if spec else None) or "",
        acquire_time=(spec.acquire_time if spec else None) or "",
        holder=(spec.holder_identity if spec else None) or "",
    )


def read_networks(text: str) -> tuple[IPNetwork, ...]:
    """The advertised subnets that parse and are no larger than any real subnet."""
    if len(text) > ANNOTATION_MAX_CHARS:
        return ()
    return tuple(network for network in parse_subnets(text) if network.prefixlen >= SHORTEST_PREFIX[network.version])


def read_offers(text: str) -> dict[IPAddress, str]:
    """`ip=node` entries joined by a space: what the holder offers to whom. Entries that do not parse are dropped."""
    if len(text) > ANNOTATION_MAX_CHARS:
        return {}
    offers: dict[IPAddress, str] = {}
    for entry in text.split(" ")[:OFFERS_MAX]:
        ip_text, equals, node = entry.partition("=")
        ip = parse_address(ip_text)
        if ip is not None and equals and node:
            offers[ip] = node
    return offers


def print_offers(offers: Mapping[IPAddress, str]) -> str:
    """The annotation: at most 64 entries, sorted by address; empty when there are none."""
    entries = sorted(offers.items(), key=lambda offer: (offer[0].version, int(offer[0])))[:OFFERS_MAX]
    return " ".join(f"{ip}={node}" for ip, node in entries)


def _short(text: str) -> str:
    return text[:128]


class Membership:
    """The members of our segments except ourselves. Owned by the reconciler."""

    def __init__(self, *, me: str, duration: float) -> None:
        self._me = me
        self._duration = duration
        self._observed: Observations[str] = Observations()
        self._peers: dict[str, Peer] = {}
        self._confirmed: set[str] = set()
        self._alive_since: dict[str, float] = {}
        self._sent: dict[str, float] = {}
        self._echoed_sent_at = float("-inf")
        self._stale = False

    @property
    def peers(self) -> Mapping[str, Peer]:
        return self._peers

    @property
    def echoed_sent_at(self) -> float:
        """When the youngest renewal of ours that came back was sent."""
        return self._echoed_sent_at

    def saw(self, lease: Lease, now: float) -> Peer | None:
        """A lease as the informer delivers it. Our own is the echo of a renewal; anybody else's is a sign of life."""
        peer = read_peer(lease, default_duration=self._duration)
        if peer is None:
            return None
        if peer.node == self._me:
            sent_at = self._sent.get(peer.renew_time)
            if sent_at is not None:
                self._echoed_sent_at = max(self._echoed_sent_at, sent_at)
                self._confirm(now)
            return peer
        self._peers[peer.node] = peer
        fingerprint = (lease.spec, peer.instance)
        if self._observed.saw(peer.node, fingerprint=fingerprint, duration=peer.duration, now=now):
            if peer.node in self._confirmed or peer.node not in self._alive_since:
                self._alive_since[peer.node] = now
            self._confirmed.discard(peer.node)
        if peer.draining:
            self._alive_since[peer.node] = now
        return peer

    def gone(self, node: str) -> None:
        """Its lease was deleted: it left."""
        self._observed.gone(node)
        self._confirmed.discard(node)
        self._peers.pop(node, None)
        self._alive_since.pop(node, None)

    def sending(self, renew_time: str, sent_at: float) -> None:
        """A renewal of ours with this text goes out now."""
        self._sent[renew_time] = sent_at
        while len(self._sent) > _ECHOES_KEPT:
            del self._sent[next(iter(self._sent))]

    def recovered(self, now: float) -> None:
        """Our renewals succeed again after having been stale: every peer gets the chance that we got."""
        self._observed.restart(now)
        self._confirmed.clear()

    def seen(self, node: str, now: float) -> Seen:
        peer = self._peers.get(node)
        if peer is None or node in self._confirmed:
            return "dead"
        if peer.draining:
            return "draining"
        until = self._observed.valid_until(node)
        return "alive" if until is not None and now < until else "suspect"

    def last_sign(self, node: str) -> float | None:
        """When `node` last gave a sign of life, a renewal or a mark of its lease; None when it is unknown or has left."""
        return self._observed.changed_at(node)

    def suspects(self, now: float) -> tuple[str, ...]:
        """Members whose lease stood still for its duration: a renewal of ours decides about them."""
        return tuple(node for node in self._peers if node not in self._confirmed and self._expired(node, now))

    def pass_time(self, now: float) -> None:
        """Confirm what can be confirmed by the echoes seen so far."""
        self._confirm(now)

    def deadline(self, now: float) -> float | None:
        """The earliest expiry still to come."""
        return self._observed.next_expiry(now)

    def standings(self, now: float) -> dict[str, Standing]:
        """Every peer as election sees it; suspects are alive."""
        found = {}
        for node, peer in self._peers.items():
            seen = self.seen(node, now)
            found[node] = Standing(
                node=node,
                liveness="alive" if seen == "suspect" else seen,
                networks=peer.networks,
                alive_since=self._alive_since.get(node, now),
                process=peer.process,
            )
        return found

    def offers_to_me(self) -> dict[IPAddress, str]:
        """Addresses that a member, not dead, offers to this node."""
        found: dict[IPAddress, str] = {}
        for node, peer in sorted(self._peers.items()):
            if node in self._confirmed:
                continue
            for ip, to in peer.offers.items():
                if to == self._me:
                    found.setdefault(ip, node)
        return found

    def _expired(self, node: str, now: float) -> bool:
        until = self._observed.valid_until(node)
        return until is not None and now >= until

    def _confirm(self, now: float) -> None:
        for node in self._peers:
            until = self._observed.valid_until(node)
            if until is not None and now >= until and self._echoed_sent_at >= until:
                self._confirmed.add(node)
