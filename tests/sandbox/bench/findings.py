# SPDX-License-Identifier: Apache-2.0
"""Runs and rows that nobody measured, for tests of what is made of them."""

from purelb.sandbox.bench.results import Budget, Machine, Ratio, Results, Row, Run, Unit, merged, row

HERE = Machine(cpu="A processor", cores=2, kernel="6.1.0", memory_mib=4096)
ORDER = ("runtime", "api", "allocate")


def run(*, when: str = "2026-01-01T00:00:00+00:00", machine: Machine = HERE, noisy: tuple[str, ...] = ()) -> Run:
    return Run(
        when=when,
        revision="abc1234",
        dirty=False,
        machine=machine,
        versions={"python": "3.11.7"},
        load=0.1,
        noisy=noisy,
    )


def timed(suite: str, case: str, value: float, *, unit: Unit = "ms") -> Row:
    return row(suite=suite, case=case, unit=unit, values=[value])


def against(suite: str, case: str, ratio: float, *, at_most: float) -> Row:
    return row(
        suite=suite,
        case=case,
        unit="us",
        values=[1.0],
        ratio=Ratio(to="the bare one", value=ratio),
        budget=Budget(of="ratio", at_most=at_most),
    )


def results(*rows: Row, ran: Run | None = None, over: Results | None = None) -> Results:
    return merged(over, ran or run(), rows, order=ORDER)
