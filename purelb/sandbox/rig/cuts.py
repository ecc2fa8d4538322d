# SPDX-License-Identifier: Apache-2.0
"""Which networks are cut, and what that means for ports and packets. Pure.

A whole network is cut at the node's port of the hub's bridge: the port leaves the bridge, so that the node's link keeps its carrier and nobody is told, or,
with `carrier="down"`, the port goes down and the node sees a pulled cable. What a port cannot say, one direction only or two nodes of one network, is said
by nftables rules in the bridge: they drop frames of any protocol, ARP included.

A cut is named by node and what it is cut from: a second one with the same name takes the place of the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TABLE: Final = "sandbox_cuts"
# The node's link to each network, and the hub's bridge it ends at.
LINKS: Final[Mapping[str, tuple[str, str]]] = {"lan": ("eth0", "lan1"), "api": ("api0", "mgmt0")}

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
        return self.oneway or self.away not in LINKS

    @property
    def ends(self) -> tuple[str, ...]:
        """The nodes it hurts."""
        return (self.node,) if self.away in LINKS else (self.node, self.away)

    def __str__(self) -> str:
        way = "does not reach" if self.oneway else "is cut from"
        return f"{self.node} {way} {self.away}" + (", carrier down" if self.carrier == "down" else "")


def problem(cut: Cut, nodes: Iterable[str]) -> str | None:
    """Why this cannot be cut, with what can."""
    known = tuple(nodes)
    if cut.node not in known:
        return f"no node {cut.node!r}: there are {', '.join(known)}"
    if cut.away not in LINKS and cut.away not in known:
        return f"--from {cut.away}: one of {', '.join((*LINKS, *known))}"
    if cut.away == cut.node:
        return f"--from {cut.away}: a node is not cut from itself"
    if cut.carrier == "down" and cut.away not in LINKS:
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


def ruleset(cuts: Iterable[Cut]) -> str:
    """One nftables transaction that replaces the rules of all cuts; without any it leaves nothing."""
    sent: list[str] = []
    passed: list[str] = []
    for cut in cuts:
        if cut.away not in LINKS:
            passed += _between(cut.node, cut.away)
            if not cut.oneway:
                passed += _between(cut.away, cut.node)
        elif cut.oneway:
            sent.append(f'iifname "{cut.node}-{LINKS[cut.away][0]}" drop')
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


def _between(sender: str, receiver: str) -> Iterator[str]:
    for link, _ in LINKS.values():
        yield f'iifname "{sender}-{link}" oifname "{receiver}-{link}" drop'
