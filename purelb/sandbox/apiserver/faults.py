# SPDX-License-Identifier: Apache-2.0
"""Misbehaviour on order: rules that match requests and say what goes wrong with them.

A rule has a match (subject, verb, resource, name as globs), a count, a probability from its own seed, and one effect. The
first rule that matches and fires decides. Each effect is one class here; what is done to a whole request is one branch in
`core`, what is done to an answer on its way is in `spoiling`. Every effect is what a network or a server could do: no hook
reaches into the store. A token is rejected by a rule for its subject with `Answer(code=401)`.
"""

import hashlib
from collections.abc import Iterator
from fnmatch import fnmatchcase

import msgspec


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """This status instead of doing it, with a Status body of the usual reason or with this text."""

    code: int
    reason: str = ""
    retry_after: int | None = None
    text: str | None = None


class Delay(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The request is carried out that much later."""

    seconds: float


class Hang(msgspec.Struct, frozen=True, tag=True):
    """Accepted, never carried out, never answered."""


class Reset(msgspec.Struct, frozen=True, tag=True):
    """The connection is cut instead of doing it."""


class LoseAnswer(msgspec.Struct, frozen=True, tag=True):
    """It is carried out, and the connection is cut instead of answering."""


class Refuse(msgspec.Struct, frozen=True, tag=True):
    """Nobody listens. Over sockets, where the connection stands already, this is a reset."""


class Compact(msgspec.Struct, frozen=True, tag=True):
    """The past is forgotten, then it is carried out."""


class Older(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A list is answered as of so many revisions ago, like a server whose cache lags. Other requests are carried out."""

    revisions: int


class CutStream(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A watch ends after so many frames, or bytes: `clean` as if the server ended it, else the connection is cut."""

    after_frames: int = 0
    after_bytes: int | None = None
    clean: bool = False


class Silence(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The headers come and so many frames, then nothing more and no end: a server that hangs, or half a connection."""

    after_frames: int = 0


class Chunks(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A stream comes in pieces of this size, wherever its frames end; a remainder comes when there is nothing more."""

    size_bytes: int


class Garble(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The frame after so many frames is not what was sent: some bytes of it differ, or (`truncate`) its second half is gone."""

    after_frames: int = 0
    truncate: bool = False


class Expire(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A watch ends after so many frames with the ERROR event of a revision that is gone."""

    after_frames: int = 0


class NoBookmarks(msgspec.Struct, frozen=True, tag=True):
    """A watch brings no bookmarks."""


class DropEvent(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One event of a watch never comes: that after so many events."""

    after_events: int = 0


OnTheWay = CutStream | Silence | Chunks | Garble | Expire | NoBookmarks | DropEvent
Effect = Answer | Delay | Hang | Reset | LoseAnswer | Refuse | Compact | Older | OnTheWay


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """`resource` is `plural`, `plural.group` or `plural/subresource`; `count` None means for ever."""

    effect: Effect
    subject: str = "*"
    verb: str = "*"
    resource: str = "*"
    name: str = "*"
    count: int | None = None
    probability: float = 1.0
    seed: int = 0


class Faults:
    """The rules in force. Numbers are given out in `add` and name a rule in `remove`."""

    def __init__(self) -> None:
        self._rules: dict[int, _InForce] = {}
        self._next = 1

    def add(self, rule: Rule) -> int:
        number, self._next = self._next, self._next + 1
        self._rules[number] = _InForce(rule)
        return number

    def remove(self, number: int) -> None:
        self._rules.pop(number, None)

    def clear(self) -> None:
        self._rules.clear()

    def __iter__(self) -> Iterator[tuple[int, Rule, int]]:
        """Number, rule, and how often it has fired."""
        yield from ((number, held.rule, held.fired) for number, held in self._rules.items())

    def fires(self, *, subject: str, verb: str, resource: str, name: str) -> Effect | None:
        for held in self._rules.values():
            rule = held.rule
            if rule.count is not None and held.fired >= rule.count:
                continue
            pairs = ((subject, rule.subject), (verb, rule.verb), (resource, rule.resource), (name, rule.name))
            if all(fnmatchcase(value, pattern) for value, pattern in pairs) and held.draw() < rule.probability:
                held.fired += 1
                return rule.effect
        return None


class _InForce:
    """A rule with its count and its own source of chance, which depends on its seed and on nothing else."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.fired = 0
        self._drawn = 0

    def draw(self) -> float:
        self._drawn += 1
        digest = hashlib.blake2b(f"{self.rule.seed}/{self._drawn}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64
