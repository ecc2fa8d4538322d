# SPDX-License-Identifier: Apache-2.0
"""What an informer tells people: each trouble once, again when it changes, then at most once a minute.

An object that cannot be read is named once for each version of it, however often a list repeats it. What is remembered of such
objects is forgotten when they are mended or gone, so it is bounded by what is wrong at present. A server's own words are cut and made plain before people read them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from purelb.kube.errors import plain
from purelb.kube.failures import failure
from purelb.kube.metrics import (
    REFLECTOR_AUDIT_DIFFERENCES,
    REFLECTOR_IDLE_CLOSES,
    REFLECTOR_SHORT_WATCHES,
    REFLECTOR_UNDECODABLE,
    Sink,
)

if TYPE_CHECKING:
    from collections.abc import Container

    from purelb.kube.clock import Clock
    from purelb.kube.decode import Poison
    from purelb.kube.listwatch import Notice

log = logging.getLogger(__name__)

LOG_EVERY: Final = 60.0
TEXT_MAX_CHARS: Final = 1000


class Troubles:
    """The troubles of the informer of one resource."""

    def __init__(self, resource: str, *, clock: Clock, sink: Sink) -> None:
        self._resource = resource
        self._clock = clock
        self._sink = sink
        self._noticed: dict[str, tuple[object, float]] = {}
        self._spoiled: dict[str, tuple[str, str]] = {}
        self.last_error = ""
        self.lists_failed = 0

    def spoiled(self, poison: Poison) -> None:
        """An object cannot be read."""
        self._sink.count(REFLECTOR_UNDECODABLE, self._resource)
        if self._spoiled.get(poison.key) != (poison.uid, poison.rv):
            self._spoiled[poison.key] = (poison.uid, poison.rv)
            log.info(
                "an object cannot be read; what was known of it stays",
                extra={
                    "code": "undecodable",
                    "resource": self._resource,
                    "key": plain(poison.key, TEXT_MAX_CHARS),
                    **failure(plain(poison.error, TEXT_MAX_CHARS), kind="DecodeError"),
                },
            )

    @property
    def any_spoiled(self) -> bool:
        """Whether there is an object that cannot be read."""
        return bool(self._spoiled)

    def mended(self, key: str) -> None:
        """It can be read again, or is gone."""
        self._spoiled.pop(key, None)

    def only(self, keys: Container[str]) -> None:
        """Of all objects, at most these cannot be read."""
        self._spoiled = {key: seen for key, seen in self._spoiled.items() if key in keys}

    def notice(self, notice: Notice) -> None:
        """The reflector has something to say."""
        match notice.code:
            case "shortWatch":
                self._sink.count(REFLECTOR_SHORT_WATCHES, self._resource)
            case "watchIdle" | "watchOutlived":
                self._sink.count(REFLECTOR_IDLE_CLOSES, self._resource)
            case "listFailed" | "auditFailed":
                self.lists_failed += 1
            case "auditDifferences":
                self._sink.count(REFLECTOR_AUDIT_DIFFERENCES, self._resource, by=int(str(notice.details["count"])))
            case _:
                pass
        details = {name: plain(str(value), TEXT_MAX_CHARS) for name, value in notice.details.items()}
        self.last_error = details.get("error", self.last_error)
        # The words of the reflector, as tokens of a log: the first letter is small.
        code = notice.code[:1].lower() + notice.code[1:]
        fields = {"code": code, "resource": self._resource, **details}
        if notice.level == "debug":
            log.debug("the informer goes on in another way", extra=fields)
            return
        now, said = self._clock.now(), self._noticed.get(notice.code)
        if said is None or said[0] != details or now - said[1] >= LOG_EVERY:
            self._noticed[notice.code] = (details, now)
            log.info("the informer has trouble", extra=fields)
