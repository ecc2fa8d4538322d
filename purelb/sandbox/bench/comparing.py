# SPDX-License-Identifier: Apache-2.0
"""Whether it became slower: wall-clock figures of a run against those of the committed results. Pure.

A figure is worse when its median is more than a fifth worse than the committed one, measured on the same machine. Once may be
chance, so it counts as a finding only when the run before this one, on that machine and not committed either, says the same.
Counts and ratios are not compared: they have budgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from purelb.sandbox.bench.results import Results, Row

WORSE: Final = 1.2
# With these, more is better.
RATES: Final = frozenset({"1/s"})
NOT_COMPARED: Final = frozenset({"count", "ratio"})


class Worse(Struct, frozen=True, kw_only=True):
    """A case that took `factor` times what it took in the committed results; `twice` when the run before found that too."""

    suite: str
    case: str
    unit: str
    was: float
    now: float
    factor: float
    twice: bool


def compared(committed: Results | None, before: Results | None, now: Results) -> tuple[Worse, ...]:
    """What is worse in `now`; empty without committed results, or where they are another machine's."""
    if committed is None:
        return ()
    earlier = {} if before is None else _worse(committed, before)
    return tuple(
        Worse(
            suite=found.suite,
            case=found.case,
            unit=found.unit,
            was=was,
            now=found.p50,
            factor=round(factor, 2),
            twice=(found.suite, found.case) in earlier,
        )
        for found, was, factor in _worse(committed, now).values()
    )


def _worse(committed: Results, now: Results) -> dict[tuple[str, str], tuple[Row, float, float]]:
    known = {(found.suite, found.case): found for found in committed.rows}
    worse = {}
    for found in now.rows:
        key = (found.suite, found.case)
        base = known.get(key)
        if base is None or found.unit in NOT_COMPARED or not _comparable(committed, now, found.suite):
            continue
        much, little = (base.p50, found.p50) if found.unit in RATES else (found.p50, base.p50)
        if little > 0 and much / little > WORSE:
            worse[key] = (found, base.p50, much / little)
    return worse


def _comparable(committed: Results, now: Results, suite: str) -> bool:
    """Whether both were measured on the same machine."""
    one, other = committed.runs.get(suite), now.runs.get(suite)
    return one is not None and other is not None and one.machine == other.machine


def sentences(found: tuple[Worse, ...], now: Results) -> list[str]:
    """What to tell the person who measured: findings first, then what another run has to confirm."""
    said = []
    for each in sorted(found, key=lambda one: not one.twice):
        noisy = ", in a noisy run" if now.runs[each.suite].noisy else ""
        text = f"{each.suite}: {each.case}: {each.now:g} {each.unit}, {each.factor:g} times as bad as the committed {each.was:g}{noisy}"
        said.append(f"worse twice: {text}" if each.twice else f"worse once, measure again: {text}")
    return said
