# SPDX-License-Identifier: Apache-2.0
"""What the allocator shows of itself to whoever asks for its state. Only reads; every list is bounded by `most`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.allocator.ranges import ip_text
from purelb.process.statedoc import Document, cut

if TYPE_CHECKING:
    from purelb.allocator.state import State


def shown(state: State, *, now: float, answered_at: float, most: int) -> Document:
    """The view of one term."""
    ledger, groups = state.ledger, state.groups
    pools: dict[str, object] = {}
    for name in list(groups.accepted)[:most]:
        pools[name] = {
            f"IPv{family}": {
                "size": use.size,
                "claimed": use.claimed,
                "free": use.free,
                "quarantined": use.quarantined,
                "reserved": use.reserved,
            }
            for family in (4, 6)
            if (use := ledger.pools.usage(name, family)).size
        }
    return {
        "groups": cut(
            (
                {
                    "group": f"{found.namespace}/{found.name}",
                    "ready": found.ready,
                    "reason": found.reason,
                    "text": found.text,
                }
                for found in groups.standings.values()
            ),
            most,
        ),
        "pools": pools,
        "services": {"held": len(ledger.records), "waiting": len(state.waiting), "contested": ledger.index.contested},
        "ledger": cut(
            (
                {
                    "service": str(key),
                    "addresses": [ip_text(address) for address in record.addresses],
                    "leaving": [ip_text(address) for address in record.leaving],
                }
                for key, record in ledger.records.items()
            ),
            most,
        ),
        "flights": cut(map(str, sorted(state.flights.outstanding, key=str)), most),
        "membership": {
            node: list(map(str, networks))
            for node, networks in list(state.liveness.alive(now, answered_at=answered_at).items())[:most]
        },
        "unsure": cut(sorted(state.liveness.unsure(now, answered_at=answered_at)), most),
        "rebuildTook": state.rebuild_took,
    }
