# SPDX-License-Identifier: Apache-2.0
"""Which networks are cut, and what that means for ports and packets. Pure.

A whole network is cut at the node's port of the hub's bridge: the port leaves the bridge, so that the node's link keeps its carrier and nobody is told, or,
with `carrier="down"`, the port goes down and the node sees a pulled cable. What a port cannot say, one direction only or two nodes of one network, is said
by nftables rules in the bridge: they drop frames of any protocol, ARP included.

Two nodes of different subnets meet in the router, whose bridges cannot tell whose packet it passes on: what the sender sends to the receiver's own and its
pods' addresses is dropped on its way into the router, and what has the sender's on its way out. Neither end has any other address that the other asks.

A cut is named by node and what it is cut from: a second one with the same name takes the place of the first.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from purelb.sandbox.rig.topology import Cable, NodePlace, Topology

TABLE: Final = "sandbox_cuts"
# What a node can be cut from as a whole.
NETWORKS: Final = ("lan", "api")

Carrier = Literal["keep", "down"]
Port = Literal["joined", "out", "down"]


class Cut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """`node` does not reach `away`: a network (`lan`, `api`) or another node. `oneway`: what it sends is lost, and it still hears."""

    node: str
    away: str
    oneway: bool = False
    carrier: Carrier = "keep"

    @property
    def needs_nft(self) -> bool:
        return self.oneway or self.away not in NETWORKS

    @property
    def ends(self) -> tuple[str, ...]:
        """The nodes it hurts."""
        return (self.node,) if self.away in NETWORKS else (self.node, self.away)

    def __str__(self) -> str:
        way = "does not reach" if self.oneway else "is cut from"
        return f"{self.node} {way} {self.away}" + (", carrier down" if self.carrier == "down" else "")


def problem(cut: Cut, topology: Topology) -> str | None:
    """Why this cannot be cut, with what can."""
    known = tuple(place.name for place in topology.nodes)
    if cut.node not in known:
        return f"no node {cut.node!r}: there are {', '.join(known)}"
    if cut.away not in NETWORKS and cut.away not in known:
        return f"--from {cut.away}: one of {', '.join((*NETWORKS, *known))}"
    if cut.away == cut.node:
        return f"--from {cut.away}: a node is not cut from itself"
    if cut.away == "api" and topology.shape.single_nic:
        return "--from api: with --single-nic the API is on the LAN; --from lan cuts both"
    if cut.carrier == "down" and cut.away not in NETWORKS:
        return f"--carrier down: {cut.node} and {cut.away} share no cable; --from lan takes the node's"
    if cut.carrier == "down" and cut.oneway:
        return "--carrier down: a pulled cable carries nothing either way; leave out --oneway or --carrier"
    return None


def port(cuts: Iterable[Cut], node: str, network: str) -> Port:
    """How the hub's port of a node's link should stand."""
    for cut in cuts:
        if (cut.node, cut.away, cut.oneway) == (node, network, False):
            return "down" if cut.carrier == "down" else "out"
    return "joined"


def ruleset(cuts: Iterable[Cut], topology: Topology) -> str:
    """One nftables transaction that replaces the rules of all cuts; without any it leaves nothing."""
    sent: list[str] = []
    passed: list[str] = []
    for cut in cuts:
        node = topology.node(cut.node)
        if cut.away not in NETWORKS:
            other = topology.node(cut.away)
            passed += _between(node, other)
            if not cut.oneway:
                passed += _between(other, node)
        elif cut.oneway:
            sent += (f'iifname "{cable.port}" drop' for cable in node.cables if cable.network == cut.away)
    text = f"table bridge {TABLE} {{ }}\ndelete table bridge {TABLE}\n"
    if not sent and not passed:
        return text
    lines = [f"table bridge {TABLE} {{"]
    for hook, rules in (("prerouting", sent), ("forward", passed)):
        lines += [
            f"  chain {hook} {{",
            f"    type filter hook {hook} priority 0;",
            *(f"    {rule}" for rule in rules),
            "  }",
        ]
    return text + "\n".join((*lines, "}", ""))


def _between(sender: NodePlace, receiver: NodePlace) -> Iterator[str]:
    for out, into in product(sender.cables, receiver.cables):
        if out.bridge == into.bridge:
            yield f'iifname "{out.port}" oifname "{into.port}" drop'
        elif out.network == into.network == "lan":
            yield from _routed(sender, out, receiver, into)


def _routed(sender: NodePlace, out: Cable, receiver: NodePlace, into: Cable) -> Iterator[str]:
    for family, version in (("ip", 4), ("ip6", 6)):
        if to := _everywhere(receiver, version):
            yield f'iifname "{out.port}" oifname "router-{out.bridge}" {family} daddr {{ {to} }} drop'
            yield f'iifname "router-{into.bridge}" oifname "{into.port}" {family} saddr {{ {_everywhere(sender, version)} }} drop'


def _everywhere(node: NodePlace, version: int) -> str:
    """The node's addresses on its LANs and its pods' ranges."""
    of_nics = [str(one) for nic in node.nics for one in nic.addresses if one.version == version]
    return ", ".join((*of_nics, *(str(pods) for pods in node.pods if pods.version == version)))
