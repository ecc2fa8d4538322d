# SPDX-License-Identifier: Apache-2.0
"""What the own Node says about whether this node should hold addresses, and when a holder gives one away.

Excluded nodes are candidates for nothing and carry no remote address; draining nodes hand over and, when nobody else can,
keep serving. A sick kubelet still forwards, so NotReady drains only where it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from purelb.api import annotations as notes
from purelb.kube import model

if TYPE_CHECKING:
    from purelb.api.words import DrainOn, Failback
    from purelb.lbnodeagent.claims import Claim
    from purelb.lbnodeagent.election import View

EXCLUDE_LABEL: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
NOT_READY_S: Final = 10.0
STEADY_S: Final = 30.0
"""A better node has to be alive this long without a break before it is given anything back."""
_LIFE_CYCLE_TAINTS: Final = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})
_OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"


class Fitness(Struct, frozen=True, kw_only=True):
    """`causes` are for people, in a fixed order."""

    excluded: bool = False
    draining: bool = False
    serves_remote: bool = True
    causes: tuple[str, ...] = ()


def fitness(node: model.Node, *, drain_on: tuple[DrainOn, ...], not_ready_for: float) -> Fitness:
    """Judge the own Node. `not_ready_for`: seconds of our own clock since its condition Ready was seen to be not True."""
    excluded, draining, off_remote = [], [], []
    if EXCLUDE_LABEL in model.labels(node):
        excluded.append(f"label {EXCLUDE_LABEL}")
    if notes.present(model.annotations(node), notes.DRAIN):
        excluded.append(f"annotation {notes.DRAIN}")
    spec, status = node.spec or model.NodeSpec(), node.status or model.NodeStatus()
    conditions = {condition.type: condition.status for condition in status.conditions or ()}
    if "NetworkUnavailable" in drain_on and conditions.get("NetworkUnavailable") == "True":
        off_remote.append("condition NetworkUnavailable")
    if "Cordon" in drain_on and spec.unschedulable:
        draining.append("cordoned")
    if "NoExecuteTaint" in drain_on:
        draining += [
            f"taint {taint.key}"
            for taint in spec.taints or ()
            if (taint.effect == "NoExecute" and taint.key not in _LIFE_CYCLE_TAINTS) or taint.key == _OUT_OF_SERVICE
        ]
    if "NotReady" in drain_on and not_ready_for >= NOT_READY_S:
        draining.append("not ready")
    return Fitness(
        excluded=bool(excluded),
        draining=bool(excluded or off_remote or draining),
        serves_remote=not (excluded or off_remote),
        causes=(*excluded, *off_remote, *draining),
    )


def give_at(claim: Claim, winner: str, view: View, *, unfit: bool, candidate: bool, failback: Failback) -> float | None:
    """When this node, holding `claim.ip`, gives it to `winner`: an instant of our clock, 0 at once, None never.

    `unfit`: we drain or are excluded. `candidate`: we could still hold it. To a node that drains as well nothing is given
    for our draining alone: it would only come back.
    """
    standing = view.standings.get(winner)
    if standing is None:
        return None
    if not candidate or winner == claim.preferred:
        return 0.0
    if unfit:
        return 0.0 if standing.liveness == "alive" else None
    return standing.alive_since + STEADY_S if failback == "Immediate" else None
