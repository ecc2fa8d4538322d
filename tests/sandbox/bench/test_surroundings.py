# SPDX-License-Identifier: Apache-2.0
"""What makes a moment a bad one for measuring, and what a run says of the machine."""

from pathlib import Path

import pytest

from purelb.sandbox.bench.surroundings import governors, machine, noises


@pytest.mark.parametrize(
    ("load", "governed", "late_ms", "said"),
    [
        (1.0, frozenset[str](), 10.0, ()),
        (1.01, frozenset[str](), 0.1, ("load 1.01 on 2 cores at the start",)),
        (0.0, frozenset({"performance"}), 0.1, ()),
        (0.0, frozenset({"performance", "powersave"}), 0.1, ("frequency governor powersave",)),
        (0.0, frozenset[str](), 10.6, ("timers up to 11 ms late at the start",)),
    ],
    ids=["half the cores", "more than half", "performance", "another governor", "late timers"],
)
def test_noise_is_said_by_its_cause(
    load: float, governed: frozenset[str], late_ms: float, said: tuple[str, ...]
) -> None:
    assert noises(load=load, cores=2, governors=governed, late_ms=late_ms) == said


def test_the_governors_are_those_of_all_cores(tmp_path: Path) -> None:
    assert governors(cpus=tmp_path) == frozenset()
    for core, name in (("cpu0", "performance"), ("cpu11", "powersave")):
        (tmp_path / core / "cpufreq").mkdir(parents=True)
        (tmp_path / core / "cpufreq" / "scaling_governor").write_text(f"{name}\n")
    (tmp_path / "cpufreq").mkdir()
    assert governors(cpus=tmp_path) == {"performance", "powersave"}


def test_a_processor_without_a_name_is_called_by_its_architecture(tmp_path: Path) -> None:
    named, nameless = tmp_path / "named", tmp_path / "nameless"
    named.write_text("processor\t: 0\nmodel name\t: A Processor @ 3.00GHz\n")
    nameless.write_text("processor\t: 0\n")
    assert machine(cpuinfo=named).cpu == "A Processor @ 3.00GHz"
    assert machine(cpuinfo=nameless).cpu == machine(cpuinfo=tmp_path / "missing").cpu != ""
