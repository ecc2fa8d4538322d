# SPDX-License-Identifier: Apache-2.0
"""The only way out for writes: an owner submits, the answer comes back as a value.

`submit` never blocks and never fails, and each ticket gets exactly one result, whatever happens to the writer. Conflicts are
not retried here: the owner reads its store again, decides again and submits again. What is retried is what is safe to repeat
and may pass by itself (`retry_delay`): at most 10 attempts within 60 s, not counting the time the server asked us to wait.

With a fence each attempt is sent only while the term lasts, and not waited for longer. The fence is asked at the moment of
sending, so it does not matter for how long the loop was blocked before.

Whoever should send only when nothing more important waits (events) asks `idle_for`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Never

from purelb.kube.bell import Bell
from purelb.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    KubeError,
    NotFound,
    TransportError,
    Unauthorized,
)
from purelb.kube.failures import failure
from purelb.kube.metrics import NO_SINK, WRITER_DEPTH, WRITER_HOLD, WRITER_UNCHANGED, WRITER_WRITES, Sample, Sink
from purelb.kube.order import (
    Cancelled,
    Conflicted,
    Exists,
    Failed,
    Fenced,
    Missing,
    Refused,
    Superseded,
    Target,
    Ticket,
    Write,
    WriteOrder,
    WriteResult,
    Written,
)
from purelb.kube.retry import retry_delay
from purelb.kube.wire import PatchType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from purelb.kube.client import ApiClient
    from purelb.kube.clock import Clock
    from purelb.kube.model import KubeObject

__all__ = [
    "Cancelled",
    "Conflicted",
    "Exists",
    "Failed",
    "Fence",
    "Fenced",
    "Missing",
    "Refused",
    "Superseded",
    "Target",
    "Write",
    "WriteOrder",
    "WriteResult",
    "Writer",
    "Written",
]

_log: Final = logging.getLogger(__name__)

CALL_TIMEOUT: Final = 10.0
ATTEMPTS_MAX: Final = 10
RETRY_FOR: Final = 60.0
HOLD_MAX: Final = 120.0


class Fence:
    """How long a term's writes may be sent. Written by the elector, read at each attempt; once closed it stays closed."""

    def __init__(self, until: float) -> None:
        self._until = until
        self._closed = False

    @property
    def until(self) -> float:
        """The end as known now, of this machine's clock; minus infinity once closed."""
        return float("-inf") if self._closed else self._until

    def valid(self, now: float) -> bool:
        """Whether a write may be sent at `now`."""
        return now < self.until

    def extend(self, until: float) -> None:
        """The lease was renewed. A closed fence stays closed."""
        self._until = max(self._until, until)

    def close(self) -> None:
        """The term is over."""
        self._closed = True


class Writer:
    """Sends writes, `workers` at a time. See the head of this file for what it promises."""

    def __init__(
        self,
        client: ApiClient,
        *,
        clock: Clock,
        fence: Fence | None = None,
        workers: int = 8,
        field_manager: str | None = None,
        sink: Sink = NO_SINK,
    ) -> None:
        if workers < 1:
            raise ValueError(f"a writer with {workers} workers would never send anything")
        self._client = client
        self._clock = clock
        self._fence = fence
        self._worker_count = workers
        self._field_manager = field_manager
        self._sink = sink
        self._order = WriteOrder()
        self._workers: list[asyncio.Task[Never]] = []
        self._closed = False
        self._idle_since = clock.now()
        self._work = Bell(clock)
        self._rest = Bell(clock)

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent and nothing is on its way."""
        return self._order.idle

    @property
    def unanswered(self) -> int:
        """How many writes have no result yet."""
        return self._order.unanswered

    def idle_for(self, seconds: float) -> bool:
        """Whether the writer has been idle for at least that long."""
        return self._order.idle and self._clock.now() >= self._idle_since + seconds

    def submit(self, w: Write) -> int:
        """Take over a write; its ticket's number. After `drain` or the end of `run` its reply is `Cancelled` at once."""
        if self._closed:
            self._reply(w, Cancelled())
            return 0
        number, superseded = self._order.submit(w)
        if superseded is not None:
            self._reply(superseded.write, Superseded())
        self._work.ring()
        return number

    async def run(self) -> Never:
        """Send what is submitted until cancelled; then every write that has no result is `Cancelled`."""
        try:
            async with asyncio.TaskGroup() as group:
                self._workers = [
                    group.create_task(self._serve(), name=f"writer:worker-{number}")
                    for number in range(self._worker_count)
                ]
                while True:
                    await asyncio.get_running_loop().create_future()
        finally:
            self._closed = True
            self._withdraw()

    async def drain(self, timeout: float) -> None:
        """Take no more writes, send those that wait for at most `timeout` seconds; the rest is `Cancelled`."""
        self._closed = True
        deadline = self._clock.now() + timeout
        while not self._order.idle and self._clock.now() < deadline:
            await self._rest.wait(deadline)
        self._withdraw()
        for worker in self._workers:
            worker.cancel()
        while not self._order.idle:
            await self._rest.wait(None)

    def samples(self) -> Iterator[Sample]:
        """The gauges of this writer, as they are now."""
        yield Sample(WRITER_DEPTH, float(self._order.waiting))

    async def _serve(self) -> Never:
        while True:
            ticket = self._order.take(self._clock.now())
            if ticket is None:
                await self._work.wait(self._order.deadline())
                continue
            if self._work.waiting and self._order.deadline() is not None:
                self._work.ring()  # more is ready, or somebody must keep the time of the next repeat
            try:
                result = await self._send(ticket)
            except (
                BaseException
            ):  # we are to end, or a mistake of ours ends the writer: it was sent, and has its result too
                self._answer(ticket, Cancelled())
                raise
            if result is not None:
                self._answer(ticket, result)

    async def _send(self, ticket: Ticket) -> WriteResult | None:
        """One attempt; None if it is to be repeated, for which the order is told when."""
        write, now = ticket.write, self._clock.now()
        until = now + CALL_TIMEOUT
        if self._fence is not None:
            if not self._fence.valid(now):
                return Fenced()
            until = min(until, self._fence.until)
        if ticket.give_up_at is None:
            ticket.give_up_at = now + RETRY_FOR
        ticket.attempts += 1
        try:
            obj = await self._call(write, until - now)
        except TimeoutError:
            return self._failed(ticket, TransportError("timeout", f"no answer in {until - now:.3g} s"))
        except KubeError as error:
            return self._failed(ticket, error)
        except (ValueError, TypeError) as error:
            _log.info(
                "a write cannot be expressed as a request",
                extra={
                    "code": "writeImpossible",
                    "resource": write.target.resource.name,
                    "target": write.target.name,
                    **failure(error, attempt=ticket.attempts),
                },
                exc_info=error,
            )
            return Failed(error, attempts=0)
        rv = obj.metadata.resource_version if obj is not None else ""
        return Written(obj, rv, unchanged=bool(rv) and rv == write.rv)

    async def _call(self, w: Write, timeout: float) -> KubeObject | None:
        client, to = self._client, w.target
        obj: KubeObject
        match w.verb:
            case "patch" | "apply":
                obj = await client.patch(
                    to.resource,
                    to.name,
                    w.body,
                    kind=PatchType.APPLY if w.verb == "apply" else w.patch_type,
                    namespace=to.namespace,
                    subresource=w.subresource,
                    rv=w.rv,
                    field_manager=self._field_manager,
                    force=w.force,
                    timeout=timeout,
                    still=self._may_send,
                )
                return obj
            case "create":
                async with self._clock.timeout_at(self._clock.now() + timeout):
                    obj = await client.create(
                        to.resource,
                        w.body,
                        namespace=to.namespace,
                        field_manager=self._field_manager,
                        still=self._may_send,
                    )
                return obj
            case "delete":
                async with self._clock.timeout_at(self._clock.now() + timeout):
                    await client.delete(
                        to.resource, to.name, namespace=to.namespace, uid=w.uid, rv=w.rv, still=self._may_send
                    )
                return None

    def _may_send(self) -> bool:
        """Asked again where the client would repeat a request: to renew a credential takes seconds."""
        return self._fence is None or self._fence.valid(self._clock.now())

    def _failed(self, ticket: Ticket, error: KubeError) -> WriteResult | None:
        now = self._clock.now()
        match error:
            case Conflict():
                return Conflicted()
            case AlreadyExists():
                return Exists()
            case NotFound():
                return Missing()
            case ApiError(code=429, retry_after=float() | int() as wait) if wait <= HOLD_MAX:
                self._sink.count(WRITER_HOLD, by=min(wait, self._order.hold(now + wait)))
                ticket.give_up_at = (ticket.give_up_at or now) + wait
            case Unauthorized() if not self._may_send():
                return Fenced()
            case ApiError(code=code, status=status) if 400 <= code < 500 and code != 429:
                return Refused(status, ticket.attempts)
            case _:
                pass
        delay = retry_delay(error, ticket.attempts - 1, self._clock.random)
        if (
            delay is None
            or not ticket.write.repeatable
            or ticket.attempts >= ATTEMPTS_MAX
            or now + delay > (ticket.give_up_at or now)
        ):
            return Failed(error, attempts=ticket.attempts)
        self._order.again(ticket, now + delay)
        return None

    def _answer(self, ticket: Ticket, result: WriteResult) -> None:
        self._order.answered(ticket)
        self._reply(ticket.write, result)
        if self._order.idle:
            self._idle_since = self._clock.now()
            self._rest.ring_all()

    def _reply(self, write: Write, result: WriteResult) -> None:
        resource = write.target.resource.name
        self._sink.count(WRITER_WRITES, resource, type(result).__name__.lower())
        if isinstance(result, Written) and result.unchanged:
            self._sink.count(WRITER_UNCHANGED, resource)
        try:
            write.reply(result)
        except Exception as error:  # noqa: BLE001  one owner's callback must not cost the others their results
            fields = {"code": "replyRaised", "resource": resource, "target": write.target.name, **failure(error)}
            _log.info("the receiver of a write's result raised", extra=fields, exc_info=error)

    def _withdraw(self) -> None:
        for ticket in self._order.withdraw():
            self._reply(ticket.write, Cancelled())
