# SPDX-License-Identifier: Apache-2.0
"""Which Events are written, and when. Pure; `recorder.py` sends them.

An Event that says the same again (type, reason, action, regarding, related; the note does not count, unless whoever tells says
by `distinct` that it differs) is one of a series:
the first is written, the second makes it a series, later ones are counted here and written after 6 minutes of silence or
every 30 minutes. A series that fell silent is forgotten; what happens then is a new Event.

Everything has a bound: 4096 series and buckets (the least recently used is forgotten, with what was not written of it),
1000 waiting writes, and for each object 25 new Events at once, then one in 300 s. What is beyond is dropped and counted.
"""

from __future__ import annotations

import heapq
import re
from collections import OrderedDict
from typing import Final, Literal

from msgspec import Struct

from purelb.kube.model import ObjectReference

SERIES_MAX: Final = 4096
WAITING_MAX: Final = 1000
SILENCE: Final = 360.0
REFRESH: Final = 1800.0
BURST: Final = 25.0
REFILL: Final = 1 / 300

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_NAME_MAX: Final = 253

Fate = Literal["new", "series", "spam", "queue_full"]


class Subject(Struct, frozen=True):
    """What makes two occurrences the same. `distinct`: anything more that their teller counts."""

    type: str
    reason: str
    action: str
    regarding: ObjectReference
    related: ObjectReference | None
    distinct: str = ""


class Happened(Struct, frozen=True):
    """`stamp` makes the name of the Event, and differs unless that is to be written `once`; `wall` is the time as people read it."""

    subject: Subject
    note: str
    stamp: int
    wall: str
    once: bool = False


class Send(Struct, frozen=True):
    """Write this now. `create`: as a new Event, else as a patch of its series; `count` 1 means no series yet."""

    subject: Subject
    create: bool
    namespace: str
    name: str
    note: str
    first: str
    last: str
    count: int
    once: bool = False


class _Series(Struct):
    number: int
    name: str
    note: str
    first: str
    last: str
    last_at: float
    count: int = 1
    written: int = 0
    written_at: float = 0.0
    exists: bool = False
    busy: bool = False  # waits or is on its way
    once: bool = False


class _Bucket(Struct):
    tokens: float
    at: float


def clip(text: str, max_bytes: int) -> str:
    """`text`, cut to so many bytes of UTF-8 at the boundary of a character."""
    return text.encode()[:max_bytes].decode(errors="ignore") if len(text) * 4 > max_bytes else text


def event_name(regarding: str, stamp: int) -> str:
    """The name of an Event about an object called `regarding`."""
    name = f"{regarding[: _NAME_MAX - 17]}.{stamp & 0xFFFF_FFFF_FFFF_FFFF:016x}"
    return name if _SUBDOMAIN.match(name) else f"event.{stamp:032x}"


def namespace_of(regarding: ObjectReference) -> str:
    """Where an Event about `regarding` lives."""
    return regarding.namespace or "default"


class Correlator:
    """Pure. Occurrences go in by `receive`, writes come out by `take`, their ends go in by `sent`."""

    def __init__(self) -> None:
        self._series: OrderedDict[Subject, _Series] = OrderedDict()  # least recently used first
        self._buckets: OrderedDict[ObjectReference, _Bucket] = OrderedDict()
        self._waiting: OrderedDict[Subject, None] = OrderedDict()
        self._heap: list[tuple[float, int]] = []  # one live entry for each series, by its number
        self._numbered: dict[int, Subject] = {}  # so that the heap keeps nothing of a series that was forgotten
        self._number = 0

    @property
    def waiting(self) -> int:
        """Writes that wait to be taken."""
        return len(self._waiting)

    def knows(self, subject: Subject) -> bool:
        """Whether it happened before, and is not forgotten yet."""
        return subject in self._series

    def receive(self, seen: Happened, now: float) -> Fate:
        """Count one occurrence; what becomes of it."""
        self.advance(now)
        subject, known = seen.subject, self._series.get(seen.subject)
        if known is not None:
            self._series.move_to_end(subject)
            known.count += 1
            known.last, known.last_at = seen.wall, now
            if known.exists and known.written == 1 and not known.busy:
                self._enqueue(subject, known)
            return "series"
        if len(self._waiting) >= WAITING_MAX:
            return "queue_full"
        if not self._token(subject.regarding, now):
            return "spam"
        self._number += 1
        name = event_name(subject.regarding.name, seen.stamp)
        series = _Series(self._number, name, seen.note, seen.wall, seen.wall, last_at=now, once=seen.once)
        self._series[subject] = series
        self._numbered[series.number] = subject
        if len(self._series) > SERIES_MAX:
            oldest = next(iter(self._series))
            self._forget(oldest)
            self._waiting.pop(oldest, None)
        self._push(now + SILENCE, series)
        self._enqueue(subject, series)
        return "new"

    def take(self, now: float) -> Send | None:
        """The next write, None if none waits. `sent` must follow."""
        self.advance(now)
        if not self._waiting:
            return None
        subject, _ = self._waiting.popitem(last=False)
        series = self._series[subject]
        return Send(
            subject,
            create=not series.exists,
            namespace=namespace_of(subject.regarding),
            name=series.name,
            note=series.note,
            first=series.first,
            last=series.last,
            count=series.count,
            once=series.once,
        )

    def sent(
        self, send: Send, *, now: float, outcome: Literal["stored", "gone", "failed", "unsent"], stamp: int
    ) -> None:
        """What became of a write. `gone`: the Event of a series does not exist any more, so it is created again."""
        series = self._series.get(send.subject)
        if series is None or series.name != send.name:
            return  # forgotten meanwhile
        series.busy = False
        match outcome:
            case "gone":
                series.exists = False
                series.name = event_name(send.subject.regarding.name, stamp)
                self._enqueue(send.subject, series)
            case "unsent":
                self._enqueue(send.subject, series)
            case "stored" | "failed":
                series.exists = series.exists or outcome == "stored"
                series.written, series.written_at = send.count, now
                if series.exists and send.count == 1 and series.count > 1:
                    self._enqueue(send.subject, series)
                elif now >= series.last_at + SILENCE:
                    self._forget(send.subject)

    def advance(self, now: float) -> None:
        """Have what became due wait to be written, and forget what fell silent."""
        while self._heap and self._heap[0][0] <= now:
            _, number = heapq.heappop(self._heap)
            subject = self._numbered.get(number)
            if subject is None:
                continue
            series = self._series[subject]
            silent_at, refresh_at = series.last_at + SILENCE, series.written_at + REFRESH
            unwritten = series.count > series.written
            if now >= silent_at and not unwritten and not series.busy:
                self._forget(subject)
                continue
            if unwritten and not series.busy and now >= min(silent_at, refresh_at):
                self._enqueue(subject, series)
            coming = [at for at in (silent_at, refresh_at) if at > now]
            self._push(min(coming, default=now + SILENCE), series)

    def deadline(self) -> float | None:
        """When `take` may have something new, after it answered None."""
        return self._heap[0][0] if self._heap else None

    def _token(self, regarding: ObjectReference, now: float) -> bool:
        bucket = self._buckets.get(regarding)
        if bucket is None:
            bucket = self._buckets[regarding] = _Bucket(BURST, now)
            if len(self._buckets) > SERIES_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(regarding)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.at) * REFILL)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _enqueue(self, subject: Subject, series: _Series) -> None:
        series.busy = True
        self._waiting[subject] = None

    def _forget(self, subject: Subject) -> None:
        del self._numbered[self._series.pop(subject).number]

    def _push(self, at: float, series: _Series) -> None:
        heapq.heappush(self._heap, (at, series.number))
        if len(self._heap) > 2 * SERIES_MAX:  # most belong to series that were forgotten
            self._heap = [entry for entry in self._heap if entry[1] in self._numbered]
            heapq.heapify(self._heap)
