# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.bench.following REQUEST`: a process that follows all Services and EndpointSlices, and nothing else.

It is what the suite `scale` measures: an in-cluster client and two informers, as a component has them. It prints a line of
JSON with its figures when it is connected, when both are synced, when it has settled, and, once a line came on stdin, about
what happened since it had settled; then it ends.

A stretch is what lies between two looks of the loop at its sockets, in CPU time of the thread and by the clock on the wall. The
first is ours; the second is longer whenever another process was given the processor in between.
"""

from __future__ import annotations

import array
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from purelb.allocator import slimming as allocator
from purelb.kube.access import load_access
from purelb.kube.client import ApiClient
from purelb.kube.clock import SystemClock
from purelb.kube.informer import Informer, InformerSet
from purelb.kube.resources import ENDPOINT_SLICES, SERVICES
from purelb.lbnodeagent import slimming as lbnodeagent
from purelb.sandbox.bench.memory import resident
from purelb.sandbox.bench.stretches import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.kube.model import KubeObject, Service

TRANSFORMS: Final[dict[str, Callable[[Service], Service] | None]] = {
    "whole": None,
    "allocator": allocator.slim,
    "lbnodeagent": lbnodeagent.slim,
}
_MIB: Final = 2**20


class Request(Struct, frozen=True, kw_only=True):
    """What to follow and how. `mode` and `consistent` are those of an informer, `form` one of `TRANSFORMS`."""

    account: str
    mode: str
    consistent: bool
    form: str
    settle_s: float


class Figures(Struct, frozen=True, kw_only=True):
    """What was seen since the line before. `at`: when a version (`rv`) was told to a handler, on the machine's monotonic clock."""

    took_s: float
    cpu_s: float
    rss_mib: float
    peak_mib: float
    stretch_ms: float
    wall_ms: float
    objects: int
    rv: list[int] = []
    at: list[float] = []


class Stretches(Turns):
    """As `Turns`, and by the clock on the wall as well (`longest_wall`)."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_wall = 0.0
        self._looked_at: float | None = None

    def select(self, timeout: float | None = None) -> Any:
        if self._looked_at is not None:
            self.longest_wall = max(self.longest_wall, time.perf_counter() - self._looked_at)
        found = super().select(timeout)
        self._looked_at = time.perf_counter()
        return found

    def again(self) -> None:
        """Begin anew."""
        self.longest = self.longest_wall = 0.0


class Noting:
    """A handler that notes which version came when, in as little memory as possible."""

    def __init__(self) -> None:
        self.rv = array.array("Q")
        self.at = array.array("d")

    def added(self, obj: KubeObject, *, initial: bool) -> None:
        pass

    def updated(self, old: KubeObject, new: KubeObject) -> None:  # noqa: ARG002  the handler's signature
        self.rv.append(int(new.metadata.resource_version))
        self.at.append(time.monotonic())

    def deleted(self, obj: KubeObject, *, final: bool) -> None:
        pass


class _Told:
    """Prints figures, each time about what happened since the last time."""

    def __init__(self, turns: Stretches, informers: InformerSet, noted: Noting) -> None:
        self._turns = turns
        self._informers = informers
        self._noted = noted
        self._begin()

    def _begin(self) -> None:
        self._began, self._cpu = time.perf_counter(), time.process_time()
        self._turns.again()

    def tell(self) -> None:
        figures = Figures(
            took_s=time.perf_counter() - self._began,
            cpu_s=time.process_time() - self._cpu,
            rss_mib=resident() / _MIB,
            peak_mib=_most_resident_mib(),
            stretch_ms=self._turns.longest * 1000,
            wall_ms=self._turns.longest_wall * 1000,
            objects=sum(len(informer.store) for informer in self._informers),
            rv=list(self._noted.rv),
            at=list(self._noted.at),
        )
        print(msgspec.json.encode(figures).decode(), flush=True)
        self._begin()


async def follow(request: Request, turns: Stretches) -> None:
    """Do it; returns when a line came on stdin, or its end."""
    access = await load_access(service_account_dir=Path(request.account))
    async with ApiClient(access, user_agent="purelb-bench", clock=SystemClock()) as client:
        how: dict[str, Any] = {"mode": request.mode, "consistent": request.consistent}
        informers, noted = InformerSet(client), Noting()
        informers.add(Informer(client, SERVICES, transform=TRANSFORMS[request.form], **how)).add_handler(noted)
        informers.add(Informer(client, ENDPOINT_SLICES, **how)).add_handler(noted)
        told = _Told(turns, informers, noted)
        told.tell()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(informers.run())
            await informers.wait_synced(120.0)
            told.tell()
            await asyncio.sleep(request.settle_s)
            told.tell()
            await _line()
            told.tell()
            running.cancel()


def _most_resident_mib() -> float:
    """The high-water mark of this program; that of `getrusage` begins with what the process was before it became it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


async def _line() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.readline()
    transport.close()


def main(text: str) -> None:
    request = msgspec.convert(json.loads(text), Request)
    turns = Stretches()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        runner.run(follow(request, turns))


if __name__ == "__main__":
    main(sys.argv[1])
