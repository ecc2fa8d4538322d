# SPDX-License-Identifier: Apache-2.0
"""Reads the report of a peer that is named as holder of what we win: the shell of `contests`.

One question at a time, in a task of its own; the answer waits here until the owner takes it in its turn.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Never

from msgspec import Struct

from purelb.api.kinds import LB_NODE_STATUSES
from purelb.kube.bell import Bell
from purelb.kube.errors import KubeError
from purelb.kube.failures import failure
from purelb.lbnodeagent import keys
from purelb.net.ranges import IPAddress, parse_address

if TYPE_CHECKING:
    from purelb.api.kinds import LBNodeStatus
    from purelb.kube.client import ApiClient
    from purelb.lbnodeagent.deciding import Deciding
    from purelb.lbnodeagent.leasing import Leasing

log = logging.getLogger(__name__)

CALL_S: Final = 2.0


class _Answer(Struct, frozen=True):
    node: str
    asked_at: float
    instance: str = ""
    announced: frozenset[IPAddress] | None = None


def listed(report: LBNodeStatus) -> frozenset[IPAddress] | None:
    """The addresses that a report says are announced; None when it does not say, or does not say all."""
    status = report.status
    if status is None or status.announced is None or status.announced_count > len(status.announced):
        return None
    return frozenset(ip for entry in status.announced if (ip := parse_address(entry.ip)) is not None)


class Asking:
    """`step` is the owner's, `run` the task's."""

    def __init__(self, core: Deciding, client: ApiClient, *, leasing: Leasing, namespace: str) -> None:
        self._core = core
        self._client = client
        self._leasing = leasing
        self._namespace = namespace
        self._answers: deque[_Answer] = deque()
        self._wanted: str | None = None
        self._bell = Bell(core.clock)

    def step(self, now: float) -> None:
        """Take in what was answered, ask what is due, come back for the next."""
        core, state = self._core, self._core.state
        while self._answers:
            self._take(self._answers.popleft(), now)
        fit = state.synced and state.holds_lease and not state.passive and not self._leasing.stale(now)
        if fit and not state.deaf.open and self._wanted is None and (node := state.contests.ask(now)) is not None:
            self._wanted = node
            self._bell.ring()
        if self._wanted is None and (due := state.contests.deadline()) is not None:
            core.queue.add_after(keys.Contest(), max(1.0, due - now))

    async def run(self) -> Never:
        """Ask until cancelled."""
        while True:
            while self._wanted is None:
                await self._bell.wait(None)
            node, asked_at = self._wanted, self._core.clock.now()
            try:
                report = await self._client.get(LB_NODE_STATUSES, node, namespace=self._namespace, timeout=CALL_S)
            except KubeError as error:
                told = failure(error, took=self._core.clock.now() - asked_at)
                fields = {"code": "reportUnknown", "node": node, **told}
                log.info("what %s announces could not be read", node, extra=fields)
                self._answers.append(_Answer(node, asked_at))
            else:
                instance = report.status.instance if report.status is not None else ""
                self._answers.append(_Answer(node, asked_at, instance, listed(report)))
            self._wanted = None
            self._core.queue.add(keys.Contest())

    def _take(self, answer: _Answer, now: float) -> None:
        """A report counts only while its writer lives: its lease is valid and carries the same instance."""
        core, state, node = self._core, self._core.state, answer.node
        peer = state.membership.peers.get(node)
        lives = peer is not None and peer.instance == answer.instance and state.membership.seen(node, now) == "alive"
        announced = answer.announced if lives else None
        for ip in sorted(state.contests.told(node, announced, asked_at=answer.asked_at, now=now), key=str):
            text = "%s is named as the holder of %s and reports that it is not"
            log.info(text, node, ip, extra={"code": "oldName", "ip": str(ip), "node": node})
            core.judge(ip, now)
