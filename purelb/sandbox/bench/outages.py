# SPDX-License-Identifier: Apache-2.0
"""What the suite `failover` breaks, as data, and what is made of its trials. Pure.

How often: drains, which are over in seconds, twenty times; what waits for a lease to run out, for a cable to be believed again (longer with
each loss), or lasts a time of its own, less often unless somebody asks, or the suite would take three quarters of an hour.

Budgets are the counts that the agent promises: a planned move leaves the address with nobody for no moment, an outage of the API alone
does neither that nor move it. Times are shown and not judged. The number of nodes that have an address at once is not either: after the death
of an agent there are two until the dead one's addresses run out in its kernel, as long as nobody looks at the link first. Nor are
lost probes: a connection that is open while its address moves is reset by the node that it comes to, which never heard of it, and
of a hundred probes a second one is open in every fifth move or so. Where nothing moves there is no such excuse, but a busy machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from purelb.lbnodeagent.election import order
from purelb.sandbox.bench.holding import Held
from purelb.sandbox.bench.results import Budget, Row, row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from purelb.net.ranges import IPAddress
    from purelb.sandbox.bench.results import Unit

SUITE: Final = "failover"
How = Literal["drain", "link", "agent", "freeze", "power-off", "lan", "api"]
OFTEN: Final = 20
# Longer than a lease (10 s), so that who would take an address away has had the time.
LASTS_S: Final = 15.0


class Kind(Struct, frozen=True, kw_only=True):
    """`trials` where nobody says how many. `lasts_s`: mended after so long; None: when another node has the addresses.

    `keeps`: an address may be with nobody for no moment. `stays`: it may not move.
    """

    how: How
    name: str
    trials: int
    lasts_s: float | None = None
    keeps: bool = False
    stays: bool = False


KINDS: Final = (
    Kind(how="drain", name="drain", trials=OFTEN, keeps=True),
    Kind(how="link", name="link down", trials=6),
    Kind(how="agent", name="agent killed", trials=4),
    Kind(how="freeze", name="agent frozen", trials=4),
    Kind(how="power-off", name="power-off", trials=4),
    Kind(how="lan", name=f"LAN partition of {LASTS_S:g} s, carrier stays", trials=3, lasts_s=LASTS_S),
    Kind(how="api", name=f"API outage of {LASTS_S:g} s", trials=3, lasts_s=LASTS_S, keeps=True, stays=True),
)


class Trial(Struct, frozen=True, kw_only=True):
    """What became of one address. `gap_s`: the longest time between probes that were answered in which some were lost."""

    gap_s: float
    lost: int
    held: Held


def alike(addresses: Sequence[tuple[IPAddress, ...]], nodes: frozenset[str]) -> tuple[IPAddress, ...]:
    """One address of each family that the nodes' election treats alike: they are together wherever they go.

    `addresses`: those of a host by family, for each host of the pool. ValueError where no two are alike.
    """
    for first, *_ in addresses:
        wanted = order(nodes, str(first))
        chosen = [
            next((found for found in family if order(nodes, str(found)) == wanted), None)
            for family in zip(*addresses, strict=True)
        ]
        if all(one is not None for one in chosen):
            return tuple(one for one in chosen if one is not None)
    raise ValueError("no address of one family is elected as one of the other")


def rows(kind: Kind, trials: Sequence[Mapping[str, Trial]]) -> list[Row]:
    """The figures of all trials of a kind; each trial by family."""

    def measured(case: str, values: list[float], unit: Unit, *, none: bool = False) -> Row:
        budget = Budget(of="max", at_most=0) if none else None
        return row(suite=SUITE, case=f"{kind.name}{case}", unit=unit, values=values, budget=budget)

    each = [found for trial in trials for found in trial.values()]
    made = [
        measured(f", {family}: longest probe gap", [trial[family].gap_s * 1000 for trial in trials], "ms")
        for family in trials[0]
    ]
    made += [
        measured(": nodes that have an address at once", [float(one.held.most) for one in each], "count"),
        measured(": longest time with more than one", [one.held.several_s for one in each], "s"),
    ]
    if kind.keeps:
        made.append(measured(": probes lost", [float(one.lost) for one in each], "count"))
        made.append(measured(": times without a node", [float(one.held.nobody) for one in each], "count", none=True))
    if kind.stays:
        made.append(measured(": moves of an address", [float(one.held.moves) for one in each], "count", none=True))
    return made
