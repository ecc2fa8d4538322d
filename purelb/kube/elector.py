# SPDX-License-Identifier: Apache-2.0
"""Leadership of a component, one term at a time.

`Elector.lead(body)` waits until the lease is ours, runs `body(term)` while it stays ours, and ends in one of three ways:
the body ended (the lease is given back, its exception raised), leadership was lost (`LeadershipLost`, after the body was
cancelled and had 5 s to end), or `lead` was cancelled (like the first). A next term is another call, with nothing kept.

The fence is closed the moment the term is lost, before the body is told. A body that does not end is `Fatal`: what it may
still write is fenced, but a process with such a task cannot be trusted with a next term. It is the one task that this
package may leave behind, since waiting for it would keep the process from ending.

The first look at the lease comes after a random part of a retry period, so that not all who start together look at once. It is
counted from when the elector was made: whoever fills its caches first has waited by then.

Cancelled while acquiring, the lease may have become ours without our knowing; then it runs out by itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from purelb.kube.failures import failure
from purelb.kube.lease import (
    Answer,
    Create,
    Election,
    Extended,
    Input,
    Lost,
    Poke,
    Read,
    Release,
    Released,
    Renew,
    Request,
    Start,
    Stop,
    Take,
    Tick,
    Timing,
    Why,
    Won,
    Wrote,
)
from purelb.kube.leasecalls import LeaseCalls
from purelb.kube.metrics import LEADER, Sample
from purelb.kube.owner import Fatal
from purelb.kube.resources import LEASES
from purelb.kube.wire import micro_time
from purelb.kube.writer import Fence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from purelb.kube.client import ApiClient
    from purelb.kube.clock import Clock

__all__ = ["Elector", "Fence", "LeadershipLost", "Term", "Timing"]

_log: Final = logging.getLogger(__name__)
_EMPTY: Final[Mapping[str, str]] = MappingProxyType({})

BODY_GRACE: Final = 5.0
WRITES_KNOWN: Final = 64  # half a minute of them where somebody asks for as many as he may


class Term(Struct, frozen=True):
    """One uninterrupted leadership. `number` is the lease's count of transitions: it grows, unless somebody deletes it."""

    number: int
    fence: Fence


class LeadershipLost(Exception):
    """Another took the lease, somebody deleted it, or it could not be renewed in time."""

    def __init__(self, why: Why) -> None:
        super().__init__(f"leadership was lost: {why}")
        self.why = why


class Elector:
    """Competes for one Lease under `identity`, which must differ from process start to process start. To be made as early as can be.

    `leader` is who held the lease when last seen, None if nobody did; `fence` is that of the latest term; `renewed_at` is
    when the latest write that kept it was sent.
    `release_within`: how long a clean stop may try to give the lease back, by default the renew deadline; then it is left to run out.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        timing: Timing = Timing(15, 10, 2),  # noqa: B008  frozen
        labels: Mapping[str, str] = _EMPTY,
        release_within: float | None = None,
    ) -> None:
        self.leader: str | None = None
        self.fence = Fence(float("-inf"))
        self.renewed_at = float("-inf")
        self._sent_at: dict[str, float] = {}  # by the version that a write of ours made, the latest of them
        self._calls = LeaseCalls(client, namespace=namespace, name=name, clock=clock)
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._timing = timing
        self._labels = dict(labels)
        self._release_within = release_within
        self._leading = False
        self._poked: asyncio.Future[None] | None = None
        self._starts_at = clock.now()  # of the first term; a later one starts when it is asked for
        self._election()  # refuse an empty identity here, not at the first term

    @property
    def identity(self) -> str:
        """Under which name we compete."""
        return self._identity

    @property
    def trouble(self) -> str | None:
        """Why the latest request for the lease failed, None if it did not."""
        return self._calls.trouble

    @property
    def leading(self) -> bool:
        """Whether a term's body runs."""
        return self._leading

    @property
    def healthy(self) -> bool:
        """False while we lead behind a fence that has passed."""
        return not (self._leading and self._clock.now() > self.fence.until)

    def renew_soon(self) -> None:
        """Renew before it is due, at most four times a retry period: the answer shows that the API server can be written to *now*.

        Without a term, behind a failed renewal and beside one on its way it does nothing.
        """
        if self._poked is not None and not self._poked.done():
            self._poked.set_result(None)

    def sent_at(self, rv: str) -> float | None:
        """When the write of ours was sent that made this version of the lease; None if it is none of the latest."""
        return self._sent_at.get(rv)

    def samples(self) -> Iterator[Sample]:
        """The gauges of this elector, as they are now."""
        yield Sample(LEADER, float(self._leading), (self._name,))

    async def lead(self, body: Callable[[Term], Awaitable[None]]) -> None:
        """Wait for leadership and run `body` for one term. Raises LeadershipLost, Fatal and what the body raises."""
        election = self._election()
        won = await self._acquire(election, since=self._starts_at)
        self._starts_at = math.inf
        term = Term(won.number, Fence(won.until))
        self.fence, self._leading, self.renewed_at = term.fence, True, election.renewed_at
        _log.info("leadership acquired", extra={"code": "leading", "lease": self._name, "term": term.number})
        lost: Why | None = None
        try:
            async with AsyncExitStack() as stack:
                group = await stack.enter_async_context(asyncio.TaskGroup())
                working = group.create_task(_outcome(body, term), name=f"elector:term-{term.number}")
                try:
                    lost = await self._hold(election, group, term, working)
                finally:  # cancelled, lost, or the body ended
                    if lost is not None:
                        term.fence.close()
                        _log.info("leadership lost", extra={"code": "notLeading", "lease": self._name, "why": lost})
                    ending = group.create_task(self._finish(election, term, working, lost), name="elector:end")
                    if not await _patiently(ending):
                        term.fence.close()
                        stack.pop_all()
                        raise Fatal(
                            f"the work of term {term.number} went on for {BODY_GRACE:g} s after it was cancelled"
                        )
        finally:  # also when whoever cancelled us lost patience and cancelled once more
            term.fence.close()
            self._leading = False
        error = None if working.cancelled() else working.result()
        if error is not None:
            raise error
        if lost is not None:
            raise LeadershipLost(lost)

    async def _acquire(self, election: Election, *, since: float) -> Won:
        election.receive(Start(), min(since, self._clock.now()))
        self.leader = election.holder
        while True:
            for action in election.actions():
                if isinstance(action, Won):
                    return action
                if isinstance(action, Request):
                    self._tell(election, await self._exchange(action))
                    break
            else:
                await self._sleep(election)

    async def _hold(
        self, election: Election, group: asyncio.TaskGroup, term: Term, working: asyncio.Task[Exception | None]
    ) -> Why | None:
        """Renew until the term is lost, which is the answer, or its work ended."""
        asking: asyncio.Task[Answer] | None = None
        try:
            while True:
                for action in election.actions():
                    match action:
                        case Extended(until=until):
                            term.fence.extend(until)
                            self.renewed_at = election.renewed_at
                        case Lost(why=why):
                            return why
                        case Read() | Create() | Take() | Renew() | Release():
                            asking = group.create_task(self._exchange(action), name="elector:request")
                        case Won() | Released():
                            raise AssertionError(f"an election that is leading answered {action}")
                self._poked = asyncio.get_running_loop().create_future()
                pending: set[asyncio.Future[Any]] = {working, self._poked} if asking is None else {working, asking}
                due, seen = election.deadline(), None
                try:
                    async with self._clock.timeout_at(due):
                        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                except TimeoutError:
                    seen = Tick()
                if working.done():
                    return None
                if asking is not None and asking.done():
                    self._tell(election, asking.result())
                    asking = None
                elif seen is not None:
                    self._tell(election, seen, at_least=due or 0.0)
                elif self._poked.done():
                    self._tell(election, Poke())
        finally:
            self._poked = None
            if asking is not None:
                asking.cancel()

    async def _finish(
        self, election: Election, term: Term, working: asyncio.Task[Exception | None], lost: Why | None
    ) -> bool:
        """End the work of a term, then give back a lease that still is ours; False if the work does not end."""
        if not await self._ended(working):
            return False
        term.fence.close()
        self._leading = False
        if lost is None:
            await self._give_back(election)
        return True

    async def _ended(self, working: asyncio.Task[Exception | None]) -> bool:
        """Cancel the work of a term and wait for its end; whether it came in time."""
        working.cancel()
        try:
            async with self._clock.timeout_at(self._clock.now() + BODY_GRACE):
                await asyncio.wait({working})
        except TimeoutError:
            return False
        return True

    async def _give_back(self, election: Election) -> None:
        self._tell(election, Stop())
        while True:
            for action in election.actions():
                if isinstance(action, Released):
                    return
                if isinstance(action, Request):
                    self._tell(election, await self._exchange(action))
                    break
            else:
                await self._sleep(election)

    async def _sleep(self, election: Election) -> None:
        due = election.deadline()
        if due is None:
            raise AssertionError("an election that asks for nothing must name a time")
        await self._clock.until(due)
        self._tell(election, Tick(), at_least=due)

    def _tell(self, election: Election, seen: Input, *, at_least: float = 0.0) -> None:
        election.receive(seen, max(self._clock.now(), at_least))
        self.leader = election.holder

    async def _exchange(self, request: Request) -> Answer:
        asked_at, troubled = self._clock.now(), self.trouble
        answer = await self._calls.ask(request, self._body(request))
        if isinstance(answer, Wrote):
            self._sent_at[answer.lease.metadata.resource_version] = asked_at
            if len(self._sent_at) > WRITES_KNOWN:
                del self._sent_at[next(iter(self._sent_at))]
        if self.trouble is not None and self.trouble != troubled:
            told = failure(self.trouble, kind=type(request).__name__, took=self._clock.now() - asked_at)
            _log.info("a request for the lease failed", extra={"code": "leaseFailed", "lease": self._name, **told})
        return answer

    def _body(self, request: Request) -> Mapping[str, object]:
        now, duration = micro_time(self._clock.wall()), int(self._timing.duration)
        ours = {"holderIdentity": self._identity, "leaseDurationSeconds": duration, "renewTime": now}
        match request:
            case Read():
                return {}
            case Create():
                return {
                    "apiVersion": LEASES.api_version,
                    "kind": LEASES.kind,
                    "metadata": {"name": self._name, "namespace": self._namespace, "labels": self._labels},
                    "spec": {**ours, "acquireTime": now, "leaseTransitions": 0},
                }
            case Take(transitions=transitions):
                spec = {**ours, "acquireTime": now, "leaseTransitions": transitions}
                return {"metadata": {"labels": self._labels}, "spec": spec}
            case Renew():  # with the labels: whoever watches by them is to see it, also after somebody took them off
                return {"metadata": {"labels": self._labels}, "spec": ours}
            case Release():
                spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": now, "renewTime": now}
                return {"spec": spec}

    def _election(self) -> Election:
        return Election(
            identity=self._identity,
            timing=self._timing,
            rng=self._clock.random,
            release_within=self._release_within,
        )


async def _patiently(ending: asyncio.Task[bool]) -> bool:
    """Wait for the end of a term, which has deadlines of its own: a first cancellation waits for it too, a second does not."""
    try:
        return await asyncio.shield(ending)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling() > 1:
            raise
        await asyncio.wait({ending})
        if ending.cancelled() or ending.exception() is not None or ending.result():
            raise
        return False


async def _outcome(body: Callable[[Term], Awaitable[None]], term: Term) -> Exception | None:
    """The exception with which `body` ended, as a value: a term's end is the elector's to tell, not its task group's."""
    try:
        await body(term)
    except Exception as error:  # noqa: BLE001  raised again by `lead`, once the lease is given back
        return error
    return None
