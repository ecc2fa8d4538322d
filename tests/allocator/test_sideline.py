# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from purelb.allocator.sideline import Sideline
from purelb.kube.resources import SERVICES
from purelb.kube.writer import Cancelled, Target, Write, WriteResult, Written

if TYPE_CHECKING:
    from collections.abc import Callable


class Desk:
    """A writer that answers when it is told to, or at once when it is closed."""

    def __init__(self) -> None:
        self.sent: list[Write] = []
        self.answers: list[tuple[str, WriteResult]] = []
        self.closed = False
        self.sideline = Sideline(self.take, width=2)

    def take(self, write: Write) -> None:
        if self.closed:
            write.reply(Cancelled())
        else:
            self.sent.append(write)

    def ask(self, *names: str) -> None:
        for name in names:
            target = Target(SERVICES, "shop", name)
            reply = self.noted(name)
            self.sideline.submit(Write(target=target, verb="patch", reply=reply))

    def noted(self, name: str) -> Callable[[WriteResult], None]:
        def note(result: WriteResult) -> None:
            self.answers.append((name, result))

        return note

    def answer(self) -> str:
        write = self.sent.pop(0)
        write.reply(Written(None, "1", unchanged=False))
        return write.target.name


def test_two_are_out_and_the_next_one_goes_when_one_was_answered() -> None:
    desk = Desk()
    desk.ask("a", "b", "c", "d")
    assert [write.target.name for write in desk.sent] == ["a", "b"]
    assert desk.answer() == "a"
    assert [write.target.name for write in desk.sent] == ["b", "c"]
    assert [desk.answer() for _ in range(3)] == ["b", "c", "d"]
    assert [name for name, _ in desk.answers] == ["a", "b", "c", "d"]


def test_a_writer_that_closed_answers_each_of_many_once() -> None:
    desk = Desk()
    names = [f"s-{number}" for number in range(5000)]
    desk.ask(*names)
    desk.closed = True
    desk.answer()
    desk.answer()
    assert sorted(name for name, _ in desk.answers) == sorted(names)
    assert len(desk.sideline) == 0


def test_a_receiver_that_raises_does_not_stop_those_behind_it() -> None:
    desk = Desk()

    def broken(result: WriteResult) -> None:
        raise RuntimeError(result)

    desk.sideline.submit(Write(target=Target(SERVICES, "shop", "x"), verb="patch", reply=broken))
    desk.ask("a", "b")
    with pytest.raises(RuntimeError):
        desk.answer()
    assert [write.target.name for write in desk.sent] == ["a", "b"]
