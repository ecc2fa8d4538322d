# SPDX-License-Identifier: Apache-2.0
"""What the kernels' history of one address adds up to: how many nodes had it at once and for how long, and whether nobody had it. Pure.

`invariants` judges such histories against bounds; here they are measured. A node has an address while any of its interfaces does. Whether
a client could reach each of the nodes is not asked: a kernel that is cut off counts, one without power does not, having none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class Change(Struct, frozen=True, gc=False):
    """At `at`, seconds of any clock, `interface` of `node` got the address, or lost it."""

    at: float
    node: str
    interface: str
    gained: bool


class Held(Struct, frozen=True, kw_only=True):
    """`most` nodes at once; the longest stretches, in seconds, with more than one and with none; how often there was none; moves to another node."""

    most: int
    several_s: float
    nobody_s: float
    nobody: int
    moves: int


def held(before: Collection[tuple[str, str]], changes: Iterable[Change], *, since: float, until: float) -> Held:
    """`before`: the nodes with their interfaces that had it at `since`. A stretch that still lasts counts up to `until`."""
    now = set(before)
    counts = [(since, len({node for node, _ in now}))]
    moves = 0
    for change in sorted(changes, key=lambda one: one.at):
        if not since <= change.at <= until:
            continue
        nodes = {node for node, _ in now}
        if change.gained:
            moves += change.node not in nodes
            now.add((change.node, change.interface))
        else:
            now.discard((change.node, change.interface))
        counts.append((change.at, len({node for node, _ in now})))
    none = _stretches(counts, "none", until=until)
    return Held(
        most=max(count for _, count in counts),
        several_s=max(_stretches(counts, "several", until=until), default=0.0),
        nobody_s=max(none, default=0.0),
        nobody=len(none),
        moves=moves,
    )


def _stretches(counts: list[tuple[float, int]], what: Literal["none", "several"], *, until: float) -> list[float]:
    found: list[float] = []
    began: float | None = None
    for at, count in counts:
        if count == 0 if what == "none" else count > 1:
            began = at if began is None else began
        elif began is not None:
            found.append(at - began)
            began = None
    return found if began is None else [*found, until - began]
