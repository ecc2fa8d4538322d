# SPDX-License-Identifier: Apache-2.0
"""Long work in pieces: a generator that stops wherever somebody else may have a turn, and answers in the end.

What decides must not know a loop or a clock, and what reads ten thousand addresses must not hold the loop for long. So it says where
it can be interrupted (`yield`), about every hundred microseconds, and whoever carries it out decides whether it is. Nothing that
it reads or changes may be changed by others meanwhile: that is promised by whoever interrupts it.

Rejected: a thread (the same work, but its inputs shared); a coroutine (a deciding file would then know how it is driven).
"""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Pieces = Generator[None, None, T]

# So many cheap looks at an address, or so many changes of one, between two stops.
LOOKS = 512
CHANGES = 32


def at_once(work: Pieces[T]) -> T:
    """Do all of it without a pause."""
    while True:
        try:
            next(work)
        except StopIteration as ended:
            answer: T = ended.value
            return answer
