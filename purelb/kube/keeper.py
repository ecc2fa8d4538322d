# SPDX-License-Identifier: Apache-2.0
"""Keeps one lease of our own alive: the shell around `lease.Heartbeat`.

What the lease says is asked for at each write, so it is as new as can be; `poke` says that it changed. A label or annotation
that is None is removed by the merge patch; one that is not named stays as it is. `on_change` is called after each answer, in
this task; it should only put a key on a queue. The answer to a renewal is kept in `lease` and shown to nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Never

from msgspec import Struct

from purelb.kube.bell import Bell
from purelb.kube.elector import exchange, micro_time
from purelb.kube.lease import Absent, Create, Failed, Found, Heartbeat, Poke, Read, Renew, Start, Tick, Wrote
from purelb.kube.model import OwnerReference
from purelb.kube.resources import LEASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from purelb.kube.client import ApiClient
    from purelb.kube.clock import Clock
    from purelb.kube.model import Lease


class Intent(Struct, frozen=True, kw_only=True):
    """What the lease should say beside its times."""

    holder: str
    duration_s: int
    labels: Mapping[str, str | None]
    annotations: Mapping[str, str | None]
    owner: OwnerReference | None = None


class Keeper:
    """Runs a `Heartbeat` against the lease `namespace/name`.

    `lease` is the lease as last read or written, None while unknown or absent; `trouble` says why the latest request
    failed, None if it did not.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        name: str,
        heartbeat: Heartbeat,
        intent: Callable[[], Intent],
        clock: Clock,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.heartbeat = heartbeat
        self.lease: Lease | None = None
        self.trouble: str | None = None
        self._client = client
        self._namespace = namespace
        self._name = name
        self._intent = intent
        self._clock = clock
        self._on_change = on_change
        self._poked = False
        self._bell = Bell(clock)

    def poke(self) -> None:
        """What the lease should say has changed: write it soon, at most twice a second."""
        self._poked = True
        self._bell.ring()

    async def run(self) -> Never:
        """Keep the lease until cancelled. The lease itself is left to run out."""
        heart = self.heartbeat
        heart.receive(Start(), self._clock.now())
        while True:
            for request in heart.actions():
                answer = await exchange(
                    self._client,
                    namespace=self._namespace,
                    name=self._name,
                    request=request,
                    body=self._body(request),
                    clock=self._clock,
                )
                heart.receive(answer, self._clock.now())
                self.trouble = answer.why if isinstance(answer, Failed) else None
                match answer:
                    case Found(lease=lease) | Wrote(lease=lease):
                        self.lease = lease
                    case Absent():
                        self.lease = None
                    case _:
                        pass
                self._on_change()
                break
            else:
                due = heart.deadline()
                if not self._poked:
                    await self._bell.wait(due)
                if self._poked:
                    self._poked = False
                    heart.receive(Poke(), self._clock.now())
                now = self._clock.now()
                heart.receive(Tick(), now if due is None or now < due - 0.001 else max(now, due))

    def _body(self, request: Read | Create | Renew) -> Mapping[str, object]:
        if isinstance(request, Read):
            return {}
        want, now = self._intent(), micro_time(self._clock.wall())
        spec = {"holderIdentity": want.holder, "leaseDurationSeconds": want.duration_s, "renewTime": now}
        metadata: dict[str, object] = {"labels": want.labels, "annotations": want.annotations}
        if want.owner is not None:
            metadata["ownerReferences"] = [want.owner]
        if isinstance(request, Renew):
            return {"metadata": metadata, "spec": spec}
        metadata["labels"] = {key: value for key, value in want.labels.items() if value is not None}
        metadata["annotations"] = {key: value for key, value in want.annotations.items() if value is not None}
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace, **metadata},
            "spec": {**spec, "acquireTime": now},
        }
