# SPDX-License-Identifier: Apache-2.0
"""What an agent shows of itself to whoever asks for its state. Only reads; every list is bounded by `most`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.lbnodeagent.election import Mine, Nobody, Theirs
from purelb.process.statedoc import Document, cut

if TYPE_CHECKING:
    from purelb.lbnodeagent.election import Verdict
    from purelb.lbnodeagent.host import Address
    from purelb.lbnodeagent.state import State
    from purelb.net.ranges import IPAddress


def shown(state: State, *, now: float, most: int) -> Document:
    """The owner's view, its peers and its kernel."""
    configuration = state.configuration
    return {
        "view": {
            "synced": state.synced,
            "holdsLease": state.holds_lease,
            "passive": state.passive,
            "fenced": state.fenced,
            "leaving": state.leaving,
            "deaf": state.deaf.open,
            "fitness": list(state.fitness.causes),
            "configuration": None
            if configuration is None
            else {"state": configuration.state, "source": configuration.source, "message": configuration.message},
            "unmet": cut(state.unmet, most),
            "claims": len(state.asked.claims),
            "addresses": cut((_address(state, ip) for ip in state.asked.claims.keys() | state.vips.keys()), most),
            "failed": dict(list({str(ip): text for ip, text in state.failed.items()}.items())[:most]),
        },
        "membership": cut(
            (
                {
                    "node": node,
                    "seen": state.membership.seen(node, now),
                    "instance": peer.instance,
                    "networks": list(map(str, peer.networks)),
                    "draining": peer.draining,
                    "offers": len(peer.offers),
                }
                for node, peer in state.membership.peers.items()
            ),
            most,
        ),
        "kernel": {
            "known": state.present.known,
            "returnsTags": state.returns_tags,
            "interfaces": cut(
                (
                    {"name": link.name, "index": link.index, "up": link.up, "carrier": link.carrier, "kind": link.kind}
                    for link in state.present.interfaces.values()
                ),
                most,
            ),
            "subnets": cut(map(str, state.layout.subnets), most),
            "ours": cut((_in_kernel(state, address, now) for address in state.present.ours()), most),
        },
    }


def _address(state: State, ip: IPAddress) -> Document:
    claim, vip = state.asked.claims.get(ip), state.vips.get(ip)
    withhold = state.withheld.get(ip)
    return {
        "ip": str(ip),
        "services": list(claim.services) if claim is not None else [],
        "verdict": _verdict(state.verdicts.get(ip)),
        "machine": vip.state if vip is not None else None,
        "to": vip.to if vip is not None else None,
        "withheld": f"{withhold.reason}: {withhold.message}" if withhold is not None else None,
    }


def _verdict(verdict: Verdict | None) -> str | None:
    match verdict:
        case Mine(how=how, holder=holder):
            return f"ours ({how}{f', held by {holder}' if holder else ''})"
        case Theirs(node=node):
            return f"of {node}"
        case Nobody(reason=reason):
            return reason
        case None:
            return None


def _in_kernel(state: State, address: Address, now: float) -> Document:
    link = state.present.interfaces.get(address.ifindex)
    return {
        "address": f"{address.ip}/{address.prefixlen}",
        "interface": link.name if link is not None else str(address.ifindex),
        "endsIn": None if address.ends_at is None else round(address.ends_at - now, 1),
    }
