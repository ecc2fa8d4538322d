# SPDX-License-Identifier: Apache-2.0
"""What a history of kernels adds up to: how many nodes at once, how long, and whether nobody."""

from __future__ import annotations

import pytest

from purelb.sandbox.bench.holding import Change, Held, held

N1, N2 = ("n1", "eth0"), ("n2", "eth0")


def gained(at: float, node: str, interface: str = "eth0") -> Change:
    return Change(at, node, interface, gained=True)


def lost(at: float, node: str, interface: str = "eth0") -> Change:
    return Change(at, node, interface, gained=False)


@pytest.mark.parametrize(
    ("before", "changes", "wanted"),
    [
        ((N1,), (), Held(most=1, several_s=0.0, nobody_s=0.0, nobody=0, moves=0)),
        ((), (), Held(most=0, several_s=0.0, nobody_s=10.0, nobody=1, moves=0)),
        ((N1,), (gained(2.0, "n2"), lost(2.5, "n1")), Held(most=2, several_s=0.5, nobody_s=0.0, nobody=0, moves=1)),
        ((N1,), (lost(2.0, "n1"), gained(5.0, "n2")), Held(most=1, several_s=0.0, nobody_s=3.0, nobody=1, moves=1)),
        ((N1,), (gained(8.0, "n2"),), Held(most=2, several_s=2.0, nobody_s=0.0, nobody=0, moves=1)),
        (
            (N1,),
            (gained(1.0, "n2"), gained(2.0, "n3"), lost(4.0, "n1"), lost(5.0, "n3")),
            Held(most=3, several_s=4.0, nobody_s=0.0, nobody=0, moves=2),
        ),
        (
            (N1,),
            (lost(1.0, "n1"), gained(2.0, "n1"), lost(5.0, "n1"), gained(5.5, "n2")),
            Held(most=1, several_s=0.0, nobody_s=1.0, nobody=2, moves=2),
        ),
        (
            (N1,),
            (gained(1.0, "n1", "eth1"), lost(3.0, "n1")),
            Held(most=1, several_s=0.0, nobody_s=0.0, nobody=0, moves=0),
        ),
        ((N1,), (lost(11.0, "n1"),), Held(most=1, several_s=0.0, nobody_s=0.0, nobody=0, moves=0)),
        ((N1,), (lost(2.5, "n1"), gained(2.0, "n2")), Held(most=2, several_s=0.5, nobody_s=0.0, nobody=0, moves=1)),
    ],
    ids=[
        "at rest there is one",
        "nobody had it at all",
        "made before it is broken",
        "broken before it is made",
        "what still lasts counts up to the end",
        "three at once are one stretch",
        "gone and back is a move",
        "two interfaces are one node",
        "what comes later does not count",
        "told in another order",
    ],
)
def test_a_history_adds_up(before: tuple[tuple[str, str], ...], changes: tuple[Change, ...], wanted: Held) -> None:
    assert held(before, changes, since=0.0, until=10.0) == wanted
