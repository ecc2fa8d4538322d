# SPDX-License-Identifier: Apache-2.0
"""`python -m purelb.sandbox.rig.prober`: ask addresses for an HTTP answer at a fixed rate and say what came back.

A probe is one new socket, one fixed request and the first bytes of the answer. It is written on bare sockets, not on an HTTP client: a client's pools and
timers cost several times the probe, and on two cores that would be noise in what is measured. The limit (0.6 s) is shorter than the second after which TCP
would send its first packet again, or a short outage would look like a slow answer.

Standard input, one JSON object a line: `{"probe": NAME, "address": A, "port": P}` starts, `{"stop": NAME}` ends with a summary; end of input ends the
process. Standard output, one JSON object a line: `change` (another node answers, or lost and found), `summary`, and `tick` once a
second with `--ticks`. Times are CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from purelb.sandbox.rig.probing import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT_S: Final = 0.6
ANSWER_MAX_BYTES: Final = 4096


class Target:
    """One address under probe."""

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.record = Record()
        self.answering: str | None = None
        self.stopped = False
        self.in_flight = 0

    async def probe(self) -> None:
        sent_at = time.monotonic()
        self.in_flight += 1
        try:
            async with asyncio.timeout(LIMIT_S):
                node = _node_of(await self._ask())
        except (OSError, TimeoutError, ValueError):
            self.record.lost(sent_at=sent_at)
            self._changed(None, at=sent_at)
        else:
            self.record.answered(node, sent_at=sent_at)
            self._changed(node, at=time.monotonic())
        finally:
            self.in_flight -= 1

    async def _ask(self) -> bytes:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (self.address, self.port))
            await loop.sock_sendall(sock, b"GET / HTTP/1.0\r\nHost: probe\r\n\r\n")
            answer = b""
            while len(answer) < ANSWER_MAX_BYTES and (chunk := await loop.sock_recv(sock, ANSWER_MAX_BYTES)):
                answer += chunk
            return answer

    def _changed(self, node: str | None, *, at: float) -> None:
        if node == self.answering:
            return
        before, self.answering = self.answering, node
        say({"event": "change", "probe": self.name, "at": at, "before": before, "node": node})


def _node_of(answer: bytes) -> str:
    """The node of the backend that answered; ValueError for anything but a 200 with the echo backend's body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)
    if len(status) < 2 or status[1] != b"200":
        raise ValueError("not a 200")
    return str(json.loads(body)["node"])


def say(event: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class Prober:
    def __init__(self, *, rate: float, ticks: bool) -> None:
        self._interval = 1 / rate
        self._ticks = ticks
        self._targets: dict[str, Target] = {}

    async def run(self, targets: list[Target]) -> None:
        async with asyncio.TaskGroup() as group:
            for target in targets:
                self._begin(group, target)
            if not targets:
                await self._obey(group)
            # end of input: the targets' tasks see `stopped` and end

    async def _obey(self, group: asyncio.TaskGroup) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            wish = json.loads(line)
            if "probe" in wish:
                self._begin(group, Target(wish["probe"], wish["address"], wish["port"]))
            elif (target := self._targets.pop(wish["stop"], None)) is not None:
                target.stopped = True
        for target in self._targets.values():
            target.stopped = True

    def _begin(self, group: asyncio.TaskGroup, target: Target) -> None:
        self._targets[target.name] = target
        group.create_task(self._keep_probing(target), name=f"prober:{target.name}")

    async def _keep_probing(self, target: Target) -> None:
        due = time.monotonic()
        tick_at = due + 1
        async with asyncio.TaskGroup() as group:
            while not target.stopped:
                group.create_task(target.probe())
                due += self._interval
                if self._ticks and due >= tick_at:
                    tick_at += 1
                    self._summarise(target, "tick")
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        self._summarise(target, "summary")

    def _summarise(self, target: Target, event: str) -> None:
        found = target.record.summary()
        say(
            {
                "event": event,
                "probe": target.name,
                "sent": found.sent,
                "lost": found.lost,
                "longest_gap_s": round(found.longest_gap_s, 4),
                "last_gap_s": round(found.last_gap_s, 4),
                "nodes": found.nodes,
            }
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=50.0, help="probes a second and target")
    parser.add_argument("--ticks", action="store_true", help="a line a second")
    parser.add_argument(
        "address", nargs="?", help="probe this address until interrupted, instead of obeying standard input"
    )
    parser.add_argument("port", nargs="?", type=int, default=80)
    arguments = parser.parse_args()
    targets = [Target(arguments.address, arguments.address, arguments.port)] if arguments.address else []
    with suppress(KeyboardInterrupt):  # how a person ends it
        asyncio.run(Prober(rate=arguments.rate, ticks=arguments.ticks).run(targets))


if __name__ == "__main__":
    main()
