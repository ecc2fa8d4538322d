# SPDX-License-Identifier: Apache-2.0
"""A conversation with a reflector: an input goes in, exactly these actions come out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from purelb.kube.decode import Event, Page
from purelb.kube.errors import ApiError, Status, TransportError, api_error
from purelb.kube.listwatch import Input, Notice, Tick
from purelb.kube.model import ObjectMeta, PartialObject
from purelb.kube.reflector import Reflector

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

REFUSED = TransportError("refused", "")


def thing(name: str, rv: str) -> PartialObject:
    return PartialObject(metadata=ObjectMeta(name=name, resource_version=rv))


def page(*names: str, rv: str = "10", more: str | None = None) -> Page[PartialObject]:
    return Page(objects=tuple(thing(name, rv) for name in names), rv=rv, continue_=more)


def event(kind: str, name: str, rv: str) -> Event[PartialObject]:
    return Event(kind, thing(name, rv))


def refusal(code: int, reason: str = "", retry_after: float | None = None) -> ApiError:
    return api_error(Status(code=code, reason=reason), retry_after=retry_after)


class Script:
    """Feeds a reflector and fails on what was not expected. Notices are looked at separately."""

    def __init__(self, *, rng: Callable[[], float] = lambda: 0.0, **options: Any) -> None:
        self.machine: Reflector[PartialObject] = Reflector(rng=rng, **options)
        self.notices: list[Notice] = []
        self.left: list[object] = []
        self.at = 0.0

    def feed(self, *inputs: Input[PartialObject], at: float | None = None) -> Self:
        assert not self.left, "these were not expected"
        self.at = self.at if at is None else at
        for seen in inputs:
            self.machine.receive(seen, self.at)
            for action in self.machine.actions():
                if isinstance(action, Notice):
                    self.notices.append(action)
                else:
                    self.left.append(action)
        return self

    def expect(self, *actions: object) -> Self:
        assert self.left == list(actions)
        self.left = []
        return self

    def taken(self) -> list[object]:
        """What came out, without an opinion on it."""
        left, self.left = self.left, []
        return left

    def tick(self) -> Self:
        """Time reaches the deadline."""
        due = self.machine.deadline()
        assert due is not None, "nothing is waited for"
        return self.feed(Tick(), at=due)

    @property
    def waits(self) -> float | None:
        due = self.machine.deadline()
        return None if due is None else round(due - self.at, 6)

    def codes(self) -> list[str]:
        return [notice.code for notice in self.notices]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            assert not self.left, "these were not expected"
