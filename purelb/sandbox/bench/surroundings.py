# SPDX-License-Identifier: Apache-2.0
"""Where and when a benchmark runs: machine, versions, revision, and what makes it noisy before anything was started.

Noisy: a load average of more than half the cores, a frequency governor other than `performance` where the kernel has governors,
or timers of this process that come more than 10 ms late, since what watches interfaces and answers can then be no better.
"""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from purelb.sandbox.bench.results import Machine, Run

LIBRARIES: Final = ("msgspec", "aiohttp", "orjson", "kubernetes_asyncio")
LATE_MAX_MS: Final = 10.0
NAPS: Final = 60
NAP_S: Final = 0.005
# What measuring itself changes does not make a checkout another one.
MADE: Final = ("bench/results.json", "docs/benchmarks.md")


def began() -> Run:
    """A run that begins now, in the directory of the checkout."""
    found = machine()
    load = round(os.getloadavg()[0], 2)
    revision, dirty = checkout()
    return Run(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=revision,
        dirty=dirty,
        machine=found,
        versions=versions(),
        load=load,
        noisy=noises(load=load, cores=found.cores, governors=governors(), late_ms=asyncio.run(lateness_ms())),
    )


def noises(*, load: float, cores: int, governors: frozenset[str], late_ms: float) -> tuple[str, ...]:
    """What is wrong with this moment, a sentence each; empty on a quiet machine."""
    said = []
    if load > cores / 2:
        said.append(f"load {load:g} on {cores} cores at the start")
    if others := sorted(governors - {"performance"}):
        said.append(f"frequency governor {', '.join(others)}")
    if late_ms > LATE_MAX_MS:
        said.append(f"timers up to {late_ms:.0f} ms late at the start")
    return tuple(said)


def machine(*, cpuinfo: Path = Path("/proc/cpuinfo")) -> Machine:
    """The machine as it is now."""
    return Machine(
        cpu=_model(cpuinfo),
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
    )


def _model(cpuinfo: Path) -> str:
    """The model as the kernel names it; the architecture where it has no name (not every architecture has that line)."""
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def governors(*, cpus: Path = Path("/sys/devices/system/cpu")) -> frozenset[str]:
    """The frequency governors in force; empty where there are none, as in most virtual machines."""
    return frozenset(path.read_text().strip() for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor"))


async def lateness_ms() -> float:
    """How late the latest of some timers was."""
    latest = 0.0
    for _ in range(NAPS):
        due = time.perf_counter() + NAP_S
        await asyncio.sleep(NAP_S)
        latest = max(latest, time.perf_counter() - due)
    return latest * 1000


def versions() -> dict[str, str]:
    """Python and the libraries that are measured or measured against; one that is not installed is absent."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def checkout() -> tuple[str, bool]:
    """The commit, and whether files differ from it."""
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True)
    others = [f":(exclude){path}" for path in MADE]
    differs = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ".", *others], check=False, capture_output=True)
    return asked.stdout.strip() or "unknown", differs.returncode != 0
