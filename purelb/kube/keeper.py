# SPDX-License-Identifier: Apache-2.0
"""Keeps one lease of our own alive: the shell around a `Heartbeat`.

What the lease says is asked for at each write, so it is as new as can be; `poke` says that it changed. `on_change` is called
after each answer, in this task; it should only put a key on a queue. The answer to a renewal is kept in `lease` and shown to
nobody else. What this file adds is the precondition: a renewal is based on the version that was last seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

from purelb.kube.bell import Bell
from purelb.kube.lease import Absent, Answer, Create, Found, Heartbeat, Poke, Read, Renew, Start, Tick, Wrote
from purelb.kube.leasecalls import LeaseCalls
from purelb.kube.wire import micro_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from purelb.kube.client import ApiClient
    from purelb.kube.clock import Clock
    from purelb.kube.model import Lease


class Keeper:
    """Runs a `Heartbeat` against the lease `namespace/name`.

    `body(known, now)` makes the merge patch of a renewal of `known`, or the object to create when there is none; `now` is
    the wall time as a lease says it.

    `lease` is the lease as last read or written, None while unknown or absent.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        name: str,
        heartbeat: Heartbeat,
        body: Callable[[Lease | None, str], Mapping[str, object]],
        clock: Clock,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.heartbeat = heartbeat
        self.lease: Lease | None = None
        self._calls = LeaseCalls(client, namespace=namespace, name=name, clock=clock)
        self._body = body
        self._clock = clock
        self._on_change = on_change
        self._poked = False
        self._bell = Bell(clock)

    @property
    def trouble(self) -> str | None:
        """Why the latest request for the lease failed, None if it did not."""
        return self._calls.trouble

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
                answer = await self._exchange(request)
                heart.receive(answer, self._clock.now())
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

    async def _exchange(self, request: Read | Create | Renew) -> Answer:
        body: Mapping[str, object] = {}
        if not isinstance(request, Read):
            known = self.lease if isinstance(request, Renew) else None
            body = self._body(known, micro_time(self._clock.wall()))
        return await self._calls.ask(request, body)
