# SPDX-License-Identifier: Apache-2.0
"""Writing the LBNodeStatus: when something changed, at most once a second, and the last word before we leave.

The report is level: a write that failed is followed by one of the state of then. An announcement never waits for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from purelb.api import leases
from purelb.api.kinds import LB_NODE_STATUSES
from purelb.api.words import API_VERSION
from purelb.kube.failures import failure
from purelb.kube.metrics import NO_SINK, Sink
from purelb.kube.writer import Failed, Missing, Refused, Target, Write, Written
from purelb.lbnodeagent import keys, metrics
from purelb.lbnodeagent.report import only_remote_differs, report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.kube.clock import Clock
    from purelb.kube.queue import WorkQueue
    from purelb.kube.writer import Writer, WriteResult
    from purelb.lbnodeagent.state import State

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
REMOTE_EVERY_S: Final = 10.0
AGAIN_S, AGAIN_MAX_S = 1.0, 60.0


class Reporting:
    def __init__(
        self,
        state: State,
        *,
        writer: Writer,
        queue: WorkQueue[keys.Key],
        clock: Clock,
        namespace: str,
        instance: str,
        version: str,
        sink: Sink = NO_SINK,
    ) -> None:
        self._state = state
        self._writer = writer
        self._queue = queue
        self._clock = clock
        self._namespace = namespace
        self._instance = instance
        self._version = version
        self._sink = sink
        self._written: Mapping[str, Any] = {}
        self._sent: Mapping[str, Any] | None = None
        self._wrote_at = float("-inf")
        self._exists = True
        self._failures = 0
        self._not_before = float("-inf")

    @property
    def settled(self) -> bool:
        """Nothing is on its way."""
        return self._sent is None

    def step(self, now: float, *, stale: bool, last_word: bool = False) -> None:
        """Write what differs from what was written, if it is time; else come back. `last_word` does not wait."""
        if not self._state.synced or self._state.passive or self._sent is not None:
            return
        wall = self._clock.wall().strftime("%Y-%m-%dT%H:%M:%SZ")
        body = report(
            self._state, instance=self._instance, version=self._version, stale=stale, wall=wall, before=self._written
        )
        if body == self._written:
            return
        every = REMOTE_EVERY_S if only_remote_differs(body, self._written) else EVERY_S
        due = max(self._wrote_at + every, self._not_before)
        if now < due and not last_word:
            self._queue.add_after(keys.Report(), due - now)
            return
        self._wrote_at = now
        self._sent = body
        self._writer.submit(self._write(body))

    def _write(self, body: Mapping[str, Any]) -> Write:
        target = Target(LB_NODE_STATUSES, self._namespace, self._state.node)
        if self._exists:
            return Write(target=target, verb="patch", body=msgspec.json.encode({"status": body}), reply=self._answered)
        node = self._state.own_node
        owners = (
            [
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "name": node.metadata.name,
                    "uid": node.metadata.uid,
                    "controller": False,
                    "blockOwnerDeletion": False,
                }
            ]
            if node is not None
            else []
        )
        metadata = {
            "name": self._state.node,
            "namespace": self._namespace,
            "labels": leases.labels(leases.LBNODEAGENT),
            "ownerReferences": owners,
        }
        whole = {"apiVersion": API_VERSION, "kind": "LBNodeStatus", "metadata": metadata, "status": body}
        return Write(target=target, verb="create", body=msgspec.json.encode(whole), reply=self._answered)

    def _answered(self, result: WriteResult) -> None:
        """In the writer's task: only notes what happened and rings."""
        sent, self._sent = self._sent, None
        match result:
            case Written():
                self._written = sent or {}
                self._exists = True
                self._failures = 0
                self._sink.count(metrics.REPORT_WRITES, "success")
            case Missing():
                self._exists = False
                self._wrote_at = float("-inf")
            case _:
                wait = min(AGAIN_MAX_S, AGAIN_S * 2.0**self._failures)
                if isinstance(result, Refused | Failed):
                    log.info(
                        "the LBNodeStatus was not written: it is tried again, announcements go on",
                        extra={"code": "reportFailed", **self._failure(result, wait)},
                    )
                self._exists = True
                self._sink.count(metrics.REPORT_WRITES, "failure")
                self._failures = min(self._failures + 1, 10)
                self._not_before = self._clock.now() + wait
        self._queue.add(keys.Report())

    def _failure(self, result: Refused | Failed, wait: float) -> dict[str, Any]:
        took = self._clock.now() - self._wrote_at
        if isinstance(result, Failed):
            return failure(result.error, attempt=self._failures + 1, retry_in=wait, took=took)
        kind = result.status.reason or None
        return failure(result.status.message, kind=kind, attempt=self._failures + 1, retry_in=wait, took=took)
