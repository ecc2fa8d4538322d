# SPDX-License-Identifier: Apache-2.0
"""The prober in a sandbox's client, spoken to from outside: start a probe, wait for its first answer, end it and hear what it counted.

The process runs inside and is a visitor: it is asked to end, never killed, because a killed visitor leaves a zombie that the sandbox cannot end without.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from purelb.sandbox.cluster.probe_results import ProbeResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from purelb.sandbox.cluster.reach import Sandbox

LOOK_S: Final = 0.01
SUMMARY_LIMIT_S: Final = 5.0


class NoAnswer(Exception):
    """Nobody answered, as a sentence: the address, or the prober itself."""


class Answer(msgspec.Struct, frozen=True):
    """The first answer to a probe: when it came and the node of the backend that gave it."""

    at: float
    node: str


def result_of(event: Mapping[str, Any], *, address: str, port: int) -> ProbeResult:
    """What the prober counted, from its `tick` or `summary`."""
    return ProbeResult(
        address=address,
        port=port,
        sent=event["sent"],
        lost=event["lost"],
        last_gap_s=event["last_gap_s"],
        longest_gap_s=event["longest_gap_s"],
        node="".join(event["nodes"][-1:]),
    )


class Prober:
    """The prober's process in the client, spoken to over its standard input and output."""

    def __init__(self, process: asyncio.subprocess.Process, sandbox: Sandbox) -> None:
        self._process = process
        self._sandbox = sandbox
        self._targets: dict[str, tuple[str, int]] = {}
        self._first: dict[str, Answer] = {}
        self._now: dict[str, str | None] = {}
        self._summaries: dict[str, dict[str, Any]] = {}

    async def listen(self) -> None:
        if self._process.stdout is None:
            return
        async for line in self._process.stdout:
            event = json.loads(line)
            name = event["probe"]
            if event["event"] == "summary":
                self._summaries[name] = event
                continue
            self._now[name] = event["node"]
            if event["node"] is not None:
                self._first.setdefault(name, Answer(event["at"], event["node"]))

    def start(self, name: str, address: str, port: int) -> None:
        self._targets[name] = address, port
        self._say(probe=name, address=address, port=port)

    def answering(self, name: str) -> Callable[[], bool]:
        return lambda: self._now.get(name) is not None

    async def answer(self, name: str, *, limit_s: float) -> Answer:
        deadline = time.monotonic() + limit_s
        while name not in self._first:
            if time.monotonic() > deadline:
                raise NoAnswer(f"{name}: no HTTP answer in the client after {limit_s:g} s")
            await asyncio.sleep(LOOK_S)
        return self._first[name]

    async def stop(self, name: str) -> dict[str, Any]:
        """End the probe; what it counted, which is told the sandbox, too."""
        self._say(stop=name)
        deadline = time.monotonic() + SUMMARY_LIMIT_S
        while name not in self._summaries:
            if time.monotonic() > deadline:
                raise NoAnswer("the prober does not answer")
            await asyncio.sleep(LOOK_S)
        summary = self._summaries[name]
        address, port = self._targets[name]
        self._sandbox.tell_probe(result_of(summary, address=address, port=port))
        return summary

    def _say(self, **wish: Any) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(wish).encode() + b"\n")


@asynccontextmanager
async def probing(sandbox: Sandbox, *, rate: int) -> AsyncIterator[Prober]:
    with sandbox.entrance("client") as entrance:
        process = await asyncio.create_subprocess_exec(
            *entrance.argv([sys.executable, "-m", "purelb.sandbox.rig.prober", "--rate", str(rate)]),
            pass_fds=entrance.descriptors,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    prober = Prober(process, sandbox)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(prober.listen(), name="demo:prober")
        try:
            yield prober
        finally:
            listening.cancel()
            process.terminate()  # not kill: it is the parent of the prober, which the sandbox cannot end without
            await process.wait()
