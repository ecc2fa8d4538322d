# SPDX-License-Identifier: Apache-2.0
"""Our own lease, kept by `kube.keeper`: what it says now, whether it is ours, how old its last renewal is.

The lease is written in another task than the owner's, so its body is made from an intent that the owner replaced by
assignment. Each renewal's text is remembered before it is sent: the echo may come before the answer does.
A lease that carries another instance belongs to another agent of this name; then this one is passive.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Never

from purelb.api import leases
from purelb.kube import model
from purelb.kube.bell import Bell
from purelb.kube.errors import KubeError, NotFound
from purelb.kube.failures import failure
from purelb.kube.keeper import Keeper
from purelb.kube.lease import Heartbeat
from purelb.kube.metrics import NO_SINK, Sink
from purelb.kube.resources import LEASES
from purelb.lbnodeagent import metrics
from purelb.lbnodeagent.ownlease import LeaseIntent, body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from purelb.kube.client import ApiClient
    from purelb.kube.clock import Clock
    from purelb.kube.lease import Timing

log = logging.getLogger(__name__)

CALL_MAX_S = 5.0
RELEASE_S = 2.0


class Leasing:
    """`sending(renew_time, sent_at)` is told of each renewal before it goes out; `answered` after each answer."""

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        node: str,
        instance: str,
        timing: Timing,
        clock: Clock,
        sending: Callable[[str, float], None],
        answered: Callable[[], None],
        sink: Sink = NO_SINK,
    ) -> None:
        self.intent: LeaseIntent | None = None
        self.instance = instance
        self._timing = timing
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._node = node
        self._sending = sending
        self._answered = answered
        self._sink = sink
        self._ready = Bell(clock)
        self._last_ok: float | None = None
        self._existed = False
        self._factor = 1
        self._heartbeat = Heartbeat(
            interval=timing.duration / 3,
            retry=timing.retry,
            timeout=min(CALL_MAX_S, timing.renew_deadline - timing.retry),
            mine=self._is_mine,
            rng=clock.random,
        )
        self._keeper = Keeper(
            client,
            namespace=namespace,
            name=leases.node_lease(node),
            heartbeat=self._heartbeat,
            body=self._body,
            clock=clock,
            on_change=self._on_answer,
        )

    @property
    def last_ok(self) -> float | None:
        """When the last successful renewal was sent; None before the first."""
        return self._heartbeat.last_ok_sent_at

    @property
    def held(self) -> bool:
        return self.last_ok is not None

    @property
    def passive(self) -> bool:
        return self._heartbeat.passive

    @property
    def trouble(self) -> str | None:
        return self._keeper.trouble

    @property
    def other(self) -> str:
        """The instance that holds our lease while we are passive."""
        lease = self._keeper.lease
        return model.annotations(lease).get(leases.INSTANCE, "unknown")[:128] if lease is not None else "unknown"

    def stale_at(self) -> float | None:
        """When the lease is stale unless it is renewed; None before the first renewal."""
        return None if self.last_ok is None else self.last_ok + self._timing.renew_deadline * self._factor

    def stale(self, now: float) -> bool:
        due = self.stale_at()
        return due is not None and now > due

    def say(self, intent: LeaseIntent) -> None:
        """What the lease should say from now on; written at once when it differs."""
        if intent == self.intent:
            return
        first = self.intent is None
        self.intent = intent
        self._factor = max(1, intent.duration // int(self._timing.duration))
        self._heartbeat.interval = intent.duration / 3
        self._heartbeat.retry = self._timing.retry * self._factor
        if first:
            self._ready.ring()
        else:
            self._keeper.poke()

    def renew_now(self) -> None:
        """A renewal is wanted for its echo."""
        if self.intent is not None:
            self._keeper.poke()

    async def run(self) -> Never:
        """Keep the lease, once there is something to say, until cancelled."""
        while self.intent is None:
            await self._ready.wait(None)
        await self._keeper.run()

    async def release(self) -> None:
        """Delete the lease, if it is ours: the node leaves. To be called when `run` has ended. Never raises KubeError."""
        lease = self._keeper.lease
        if lease is None or not self._is_mine(lease):
            return
        try:  # the version is read again: a renewal that was cut off may have been committed
            lease = await self._client.get(
                LEASES, leases.node_lease(self._node), namespace=self._namespace, timeout=1.0
            )
            if self._is_mine(lease):
                meta = lease.metadata
                await self._client.delete(
                    LEASES, meta.name, namespace=self._namespace, uid=meta.uid, rv=meta.resource_version
                )
        except NotFound:
            pass
        except KubeError as error:
            log.info(
                "the lease could not be deleted and will run out",
                extra={"code": "leaseNotDeleted", **failure(error)},
            )

    def _body(self, known: model.Lease | None, wall: str) -> Mapping[str, object]:
        assert self.intent is not None  # noqa: S101 - run waits for it
        self._sending(wall, self._clock.now())
        if known is None and self._existed:
            log.info("the lease was deleted: creating it again", extra={"code": "leaseRecreated"})
        ours_before = self._existed and known is not None and self._is_mine(known)
        acquired = None if ours_before else wall  # so that peers see a new process in it
        return body(self.intent, renew_time=wall, acquire_time=acquired, known=known)

    def _is_mine(self, lease: model.Lease) -> bool:
        return model.annotations(lease).get(leases.INSTANCE) == self.instance

    def _on_answer(self) -> None:
        if self.last_ok != self._last_ok:
            self._last_ok = self.last_ok
            self._existed = True
            self._sink.count(metrics.LEASE_RENEWALS)
        elif self._keeper.trouble is not None:
            self._sink.count(metrics.LEASE_FAILURES)
        self._answered()
