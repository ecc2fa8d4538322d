# SPDX-License-Identifier: Apache-2.0
"""A request and what answers it: values that cross between the server's core and whoever carries bytes.

`Watcher` is an answer that is not complete yet: a watch, but also a read that waits for a revision or an answer that a
fault holds back. Whoever serves one sends `head` once it is there, then `frames` until `ended`; `aborted` means that the
connection must be cut, not closed. `wake` is called when there may be something new, never with the frames themselves.
`more` after `frames`: whether asking again now may bring something, without a `wake`.
"""

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

import msgspec

from purelb.sandbox.apiserver.answers import Obj, Refusal
from purelb.sandbox.apiserver.identity import User

JSON_TYPE = "application/json"
PLAIN: Mapping[str, str] = {"content-type": "text/plain; charset=utf-8"}


class ApiRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`target`: path and query as on the wire. Header names are lower case. `user`: whom a client certificate named."""

    method: str
    target: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    user: User | None = None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def query(self) -> dict[str, str]:
        """The first value of each parameter; blank ones are kept."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self.target.partition("?")[2], keep_blank_values=True, max_num_fields=100):
            found.setdefault(name, value)
        return found


class ApiResponse(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


def flag(query: Mapping[str, str], name: str) -> bool | None:
    """A yes or no in a query, None if it is not there. As the real server: all but `0` and `false` is yes."""
    text = query.get(name)
    return None if text is None else text.lower() not in {"0", "false"}


def answer(code: int, obj: Obj, *, headers: Mapping[str, str] | None = None) -> ApiResponse:
    return ApiResponse(
        status=code, headers={"content-type": JSON_TYPE} | dict(headers or {}), body=msgspec.json.encode(obj)
    )


def encoded(code: int, body: bytes, *, headers: Mapping[str, str] | None = None) -> ApiResponse:
    return ApiResponse(status=code, headers={"content-type": JSON_TYPE} | dict(headers or {}), body=body)


def refused(refusal: Refusal) -> ApiResponse:
    return answer(refusal.code, refusal.status(), headers=refusal.headers)


class Head(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]


class Watcher:
    """See the module. A subclass says what comes when."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.ended = False
        self.aborted = False
        self.more = True
        self.wake: Callable[[], None] | None = None

    def frames(self, now: float) -> list[bytes]:
        """What may be sent now, in order; empty when there is nothing, and then `wake` will be called."""
        raise NotImplementedError

    def due(self) -> float | None:
        """When `frames` may have something new without anything having happened."""
        return None

    def close(self) -> None:
        """The reader is gone."""
        self.ended = True

    def ring(self) -> None:
        if self.wake is not None:
            self.wake()


class Later(Watcher):
    """A whole answer that comes at a time, when a condition holds, or never (a hang); it may also be lost on the way."""

    def __init__(
        self,
        make: Callable[[float], ApiResponse | None],
        *,
        again_at: float | None,
    ) -> None:
        super().__init__()
        self._make = make
        self._again_at = again_at

    def frames(self, now: float) -> list[bytes]:
        if self.ended:
            return []
        made = self._make(now)
        if made is None:
            return []
        self.ended = True
        self.head = Head(made.status, made.headers)
        return [made.body] if made.body else []

    def due(self) -> float | None:
        return None if self.ended else self._again_at


class Lost(Watcher):
    """No answer: the connection is cut before the first byte, or (`refused`) was never there."""

    def __init__(self, *, refused: bool = False) -> None:
        super().__init__()
        self.ended = self.aborted = True
        self.refused = refused

    def frames(self, now: float) -> list[bytes]:  # noqa: ARG002 - the interface
        return []
