# SPDX-License-Identifier: Apache-2.0
"""One JSON object per line on stdout, and no line twice.

`info` is for what became different, `debug` for the passes in between; records of libraries above INFO become `info`. Each
line has a stable `code`, a sentence in `msg` and the subjects as fields. A failure (a record with `error`) that repeats
with the same code, subject and reason is written once and then at most every 10 minutes, with the number of lines left out
in `repeated`. A bucket of 50 lines/s is the last resort; what it drops is counted and reported once a minute.

Text from outside is only ever a value of the JSON, cut to 512 characters; it is never part of `code` or a format string.
URLs lose their user information and query, wherever they stand. A line has at most 8 KiB, the state that a signal asks for
64 KiB.
The encoder is msgspec through python-json-logger. `Admission` is pure: it takes `now`.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Never, TextIO

from pythonjsonlogger.msgspec import MsgspecFormatter

from purelb.process.metrics import LINES_SUPPRESSED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from purelb.kube.clock import Clock
    from purelb.kube.metrics import Sink

REPEAT_AFTER: Final = 600.0
REMEMBERED_MAX: Final = 4096
LINES_PER_SECOND: Final = 50.0
BURST_LINES: Final = 1000.0
SUMMARY_EVERY: Final = 60.0
VALUE_MAX_CHARS: Final = 512
LINE_MAX_BYTES: Final = 8192
DUMP_MAX_BYTES: Final = 64 * 1024
DUMP: Final = "stateDump"
ITEMS_MAX: Final = 64
DUMP_ITEMS_MAX: Final = 512

_URL: Final = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s/?#\"']*@)?(?P<rest>[^\s?#\"']*)(?:\?[^\s\"']*)?", re.IGNORECASE
)
_SUBJECTS: Final = ("service", "group", "node", "interface", "ip", "lease", "resource", "key", "check", "reason")
_NO_FIELDS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "ago"}


class Admission:
    """Which lines are written. Remembers at most `REMEMBERED_MAX` failures; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._seen: dict[tuple[object, ...], tuple[float, int]] = {}
        self._tokens = BURST_LINES
        self._at: float | None = None
        self.dropped = 0

    def admit(self, identity: tuple[object, ...] | None, now: float) -> int | None:
        """None: leave the line out. Else the number of equal lines that were left out since the last one.

        `identity` is None for a line that is no failure: it repeats only when something changed, so it always counts.
        """
        repeated = 0
        if identity is not None:
            written_at, left_out = self._seen.pop(identity, (None, 0))
            if written_at is not None and now - written_at < REPEAT_AFTER:
                self._seen[identity] = (written_at, left_out + 1)
                return None
            repeated = left_out
            self._seen[identity] = (now, 0)
            if len(self._seen) > REMEMBERED_MAX:
                del self._seen[next(iter(self._seen))]
        if self._at is not None:
            self._tokens = min(BURST_LINES, self._tokens + (now - self._at) * LINES_PER_SECOND)
        self._at = now
        if self._tokens < 1.0:
            self.dropped += 1
            return None
        self._tokens -= 1.0
        return repeated


class LineHandler(logging.Handler):
    """Writes records as lines; the only handler of a process."""

    def __init__(
        self, *, component: str, form: Literal["json", "text"], clock: Clock, sink: Sink, stream: TextIO | None = None
    ) -> None:
        super().__init__()
        self._component = component
        self._form = form
        self._clock = clock
        self._sink = sink
        self._stream = stream if stream is not None else sys.stdout
        self._admission = Admission()
        self._encode = MsgspecFormatter().jsonify_log_record

    def emit(self, record: logging.LogRecord) -> None:
        try:
            now = self._clock.now()
            fields = {name: value for name, value in record.__dict__.items() if name not in _NO_FIELDS}
            repeated = self._admission.admit(_identity(record, fields), now)
            if repeated is None:
                self._sink.count(LINES_SUPPRESSED)
            else:
                self._write(self._line(record, fields, repeated))
        except Exception:  # noqa: BLE001  logging must not end the process; logging's own handler of last resort says so
            self.handleError(record)

    async def sum_up(self) -> Never:
        """Until cancelled, say each minute how many lines the bucket dropped, if any."""
        while True:
            await self._clock.until(self._clock.now() + SUMMARY_EVERY)
            dropped, self._admission.dropped = self._admission.dropped, 0
            if dropped:
                said = {"levelno": logging.INFO, "msg": "%d lines were left out", "args": (dropped,)}
                fields = {"code": "linesSuppressed", "dropped": dropped}
                self._write(self._line(logging.makeLogRecord(said), fields, 0))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    def _line(self, record: logging.LogRecord, fields: Mapping[str, Any], repeated: int) -> str:
        level = "debug" if record.levelno < logging.INFO else "info"
        line: dict[str, Any] = {
            "ts": happened(record, datetime.now(UTC)),
            "level": level,
            "component": self._component,
            "code": fields.get("code", "library"),
            "msg": _cut(record.getMessage()),
        }
        if line["code"] == "library":
            line["logger"] = record.name
        dump = line["code"] == DUMP
        items, most = (DUMP_ITEMS_MAX, DUMP_MAX_BYTES) if dump else (ITEMS_MAX, LINE_MAX_BYTES)
        line |= {name: _plain(value, items) for name, value in fields.items() if name != "code" and value is not None}
        if repeated:
            line["repeated"] = repeated
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line.setdefault("error", _cut(str(error)))
            line.setdefault("errorType", type(error).__name__)
            line["trace"] = [_cut(part) for part in logging.Formatter().formatException(record.exc_info).splitlines()]
        if self._form == "text":
            return _as_text(line)
        text = self._encode(line)
        if _size(text) <= most:
            return text
        line["truncated"] = True
        # Fewer items of each before whole values are cut; of a dump, every task is kept longest.
        for fewer in (items // 8, items // 64):
            rest = {name: value for name, value in fields.items() if name in line and name not in {"code", "tasks"}}
            line |= {name: _plain(value, fewer) for name, value in rest.items()}
            if _size(text := self._encode(line)) <= most:
                return text
        if "trace" in line:
            line["trace"] = line["trace"][-10:]
        for limit in (VALUE_MAX_CHARS, VALUE_MAX_CHARS // 8, 0):
            for name in sorted(line, key=lambda name: -len(str(line[name]))):
                if _size(text := self._encode(line)) <= most:
                    return text
                if name not in {"ts", "level", "component", "code", "truncated"}:
                    line[name] = str(line[name])[:limit]
        return self._encode(line)


def configure(
    *,
    component: str,
    level: Literal["info", "debug"],
    form: Literal["json", "text"],
    clock: Clock,
    sink: Sink,
    stream: TextIO | None = None,
) -> LineHandler:
    """Make the root logger write lines of `component`; what libraries warn about becomes lines as well."""
    handler = LineHandler(component=component, form=form, clock=clock, sink=sink, stream=stream)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    set_level(level)
    logging.captureWarnings(True)
    return handler


def set_level(level: Literal["info", "debug"]) -> None:
    """Set the level of our own lines; libraries stay at warnings, which are about the world."""
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("purelb").setLevel(logging.DEBUG if level == "debug" else logging.INFO)


def _identity(record: logging.LogRecord, fields: Mapping[str, Any]) -> tuple[object, ...] | None:
    if "error" not in fields and not record.exc_info and record.levelno <= logging.INFO:
        return None
    return (fields.get("code", record.name), *(str(fields.get(name, "")) for name in _SUBJECTS))


def happened(record: logging.LogRecord, now: datetime) -> str:
    """When what a record tells of happened, RFC 3339: its field `ago` says for how many seconds it has waited to be told."""
    then = now - timedelta(seconds=getattr(record, "ago", 0.0))
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _plain(value: Any, items: int = ITEMS_MAX) -> Any:
    match value:
        case bool() | int() | float():
            return value
        case str():
            return _cut(value)
        case list() | tuple() | set() | frozenset():
            return [_plain(item, items) for item in list(value)[:items]]
        case dict():
            return {str(name): _plain(item, items) for name, item in list(value.items())[:items]}
        case _:
            return _cut(str(value))


def _cut(text: str) -> str:
    text = bare_urls(text)
    return text if len(text) <= VALUE_MAX_CHARS else text[: VALUE_MAX_CHARS - 1] + "…"


def bare_urls(text: str) -> str:
    """The text with neither user information nor query in its URLs."""
    return _URL.sub(r"\g<scheme>\g<rest>", text) if "://" in text else text


def _as_text(line: Mapping[str, Any]) -> str:
    rest = " ".join(
        f"{name}={value}"
        for name, value in line.items()
        if name not in {"ts", "level", "component", "code", "msg", "trace"}
    )
    head = f"{line['ts']} {line['component']} {line['code']}: {line['msg']}"
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in f"{head} {rest}".rstrip())
    return "\n  ".join([shown, *line.get("trace", ())])
