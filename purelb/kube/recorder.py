# SPDX-License-Identifier: Apache-2.0
"""Tells people what happened, as Events beside their objects. What is written, and when, is decided in `events.py`.

`event` is synchronous, never raises and never blocks; Events are a courtesy, and nothing may depend on them. So they also
wait their turn: while `may_send` answers False (the writer is busy with what matters) only one Event a second goes out. It
is asked again every 50 ms while Events wait, so nobody has to tell the recorder that the writer came to rest. A wiring says
`may_send=lambda: writer.idle_for(0.05)`: pauses between two writes of one burst are not rest.

API errors other than 429 are never retried: the namespace is terminating, or we may not. When `run` is cancelled, what waits
is sent for at most 2 s.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, Never
from zlib import crc32

from purelb.kube.bell import Bell
from purelb.kube.errors import AlreadyExists, ApiError, KubeError, NotFound
from purelb.kube.events import Correlator, Happened, Send, Subject, clip
from purelb.kube.failures import failure
from purelb.kube.metrics import EVENTS_TOTAL, NO_SINK, Sink
from purelb.kube.model import ObjectReference
from purelb.kube.resources import EVENTS
from purelb.kube.retry import retry_delay
from purelb.kube.wire import PatchType, micro_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from purelb.kube.client import ApiClient
    from purelb.kube.clock import Clock

Reference = ObjectReference

__all__ = ["Recorder", "Reference"]

_log: Final = logging.getLogger(__name__)

WORKERS: Final = 2
ATTEMPTS_MAX: Final = 5
LAST_SECONDS: Final = 2.0
SLOWLY: Final = 1.0
ASK_AGAIN: Final = 0.05
_WORD_MAX_BYTES: Final = 128
_NOTE_MAX_BYTES: Final = 1024
_LOG_EVERY: Final = 60.0


def _always() -> bool:
    return True


class Recorder:
    """Writes events.k8s.io/v1 Events as `controller`, from `instance` (both non-empty, as the server demands)."""

    def __init__(
        self,
        client: ApiClient,
        *,
        controller: str,
        instance: str,
        clock: Clock,
        may_send: Callable[[], bool] = _always,
        sink: Sink = NO_SINK,
    ) -> None:
        self._client = client
        self._controller = controller
        self._instance = clip(instance, _WORD_MAX_BYTES)
        self._clock = clock
        self._may_send = may_send
        self._sink = sink
        self._correlator = Correlator()
        # Many instances may tell of one object in the same microsecond, and two Events of one name are one.
        self._counter = itertools.count(crc32(instance.encode()) % 1000)
        self._bell = Bell(clock)
        self._slow_at = float("-inf")  # when the next one may go although the writer is busy
        self._logged_at = float("-inf")

    def event(
        self,
        regarding: Reference,
        *,
        type: str,  # noqa: A002  the field's name in the API
        reason: str,
        action: str,
        note: str,
        related: Reference | None = None,
        distinct: str = "",
        ago: float = 0.0,
        once: str | None = None,
    ) -> None:
        """Say that something happened to `regarding`. A type other than Normal or Warning is a Warning.

        Occurrences of equal type, reason, action and objects are one series, which keeps the note of the first: the server lets
        nobody change it. Those with another `distinct` are another. `ago`: for how many seconds it has waited to be said.

        With `once`, a text, this is not said again of the same object while its Event is there, whichever process wrote it: the
        name of the Event is made of that text, and the server takes no second one.
        """
        subject = Subject(
            type if type in {"Normal", "Warning"} else "Warning",
            clip(reason, _WORD_MAX_BYTES),
            clip(action, _WORD_MAX_BYTES),
            regarding,
            related,
            distinct,
        )
        then = self._clock.wall() - timedelta(seconds=ago)
        stamp = self._stamp() if once is None else _stamp_of(regarding.uid, subject.type, reason, action, once)
        if once is not None and self._correlator.knows(subject):
            return
        happened = Happened(subject, clip(note, _NOTE_MAX_BYTES), stamp, micro_time(then), once is not None)
        fate = self._correlator.receive(happened, self._clock.now())
        if fate in {"spam", "queue_full"}:
            self._sink.count(EVENTS_TOTAL, fate)
        else:
            self._bell.ring()

    @property
    def waiting(self) -> int:
        """Events that wait to be sent; after `run` those that never will be."""
        return self._correlator.waiting

    async def run(self) -> Never:
        """Send Events until cancelled, and what then waits for at most 2 s more."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(WORKERS):
                    group.create_task(self._serve(), name=f"recorder:worker-{number}")
                while True:
                    await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            try:
                async with self._clock.timeout_at(self._clock.now() + LAST_SECONDS), asyncio.TaskGroup() as group:
                    for number in range(WORKERS):
                        group.create_task(self._flush(), name=f"recorder:last-{number}")
            except TimeoutError:
                _log.info("Events were left unsent", extra={"code": "eventsUnsent", "count": self._correlator.waiting})
            raise

    async def _serve(self) -> Never:
        while True:
            now = self._clock.now()
            self._correlator.advance(now)
            if not self._correlator.waiting:
                await self._bell.wait(self._correlator.deadline())
                continue
            if now < self._slow_at and not self._may_send():
                await self._clock.until(min(now + ASK_AGAIN, self._slow_at))
                continue
            self._slow_at = now + SLOWLY
            await self._next()

    async def _flush(self) -> None:
        while self._correlator.waiting:
            await self._next()

    async def _next(self) -> None:
        send = self._correlator.take(self._clock.now())
        if send is None:
            return
        outcome: Literal["stored", "known", "gone", "failed", "unsent"] = "unsent"
        try:
            outcome = await self._send(send)
        finally:
            became = "stored" if outcome == "known" else outcome
            self._correlator.sent(send, now=self._clock.now(), outcome=became, stamp=self._stamp())
        if outcome == "stored":
            self._sink.count(EVENTS_TOTAL, "sent" if send.create else "series")
        elif outcome in {"known", "failed"}:
            self._sink.count(EVENTS_TOTAL, outcome)

    async def _send(self, send: Send) -> Literal["stored", "known", "gone", "failed"]:
        lost = False
        for attempt in itertools.count():
            try:
                await self._call(send)
            except AlreadyExists:
                return "known" if send.once and not lost else "stored"  # by an attempt whose answer was lost
            except NotFound as error:
                if not send.create:
                    return "gone"
                return self._given_up(send, error, attempt + 1)
            except KubeError as error:
                delay = retry_delay(error, attempt, self._clock.random)
                if isinstance(error, ApiError) and error.code != 429:
                    delay = None
                if delay is None or attempt + 1 >= ATTEMPTS_MAX:
                    return self._given_up(send, error, attempt + 1)
                lost = lost or not isinstance(error, ApiError)
                await self._clock.until(self._clock.now() + delay)
            else:
                return "stored"
        raise AssertionError("counting ended")

    async def _call(self, send: Send) -> None:
        if send.create:
            await self._client.create(EVENTS, self._body(send), namespace=send.namespace)
        else:
            body = {"series": {"count": send.count, "lastObservedTime": send.last}}
            await self._client.patch(EVENTS, send.name, body, kind=PatchType.MERGE, namespace=send.namespace)

    def _body(self, send: Send) -> Mapping[str, object]:
        subject = send.subject
        body: dict[str, object] = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": send.name, "namespace": send.namespace},
            "eventTime": send.first,
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "action": subject.action,
            "reason": subject.reason,
            "regarding": subject.regarding,
            "note": send.note,
            "type": subject.type,
        }
        if subject.related is not None:
            body["related"] = subject.related
        if send.count > 1:
            body["series"] = {"count": send.count, "lastObservedTime": send.last}
        return body

    def _given_up(self, send: Send, error: KubeError, attempt: int) -> Literal["failed"]:
        now = self._clock.now()
        if now >= self._logged_at + _LOG_EVERY:
            self._logged_at = now
            fields = {"code": "eventFailed", "reason": send.subject.reason, **failure(error, attempt=attempt)}
            _log.info("an Event could not be written", extra=fields)
        return "failed"

    def _stamp(self) -> int:
        return int(self._clock.wall().timestamp() * 1e6) * 1000 ^ next(self._counter)


def _stamp_of(*words: str) -> int:
    """The same for the same words in every process."""
    return int.from_bytes(blake2b("\0".join(words).encode("utf-8", "replace"), digest_size=8).digest())
