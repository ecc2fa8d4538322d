# SPDX-License-Identifier: Apache-2.0
"""What a subcommand of `purelb` is. Floors 3 and 4 register theirs in the entry-point group `purelb.commands`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import argparse

# operations: exit codes. 130 and 143 stand for a second SIGINT or SIGTERM.
DONE: Final = 0
ANSWER_IS_NO: Final = 1
BAD_USAGE: Final = 2
CANNOT_WORK_HERE: Final = 3
INTERNAL_ERROR: Final = 5


class Command(Protocol):
    """A subcommand: what it is called, what it takes, what it does.

    `takes_unknown`: arguments the parser does not know are left in `arguments.unknown` instead of ending the program, so
    that a component can report all its bad settings at once.
    """

    @property
    def name(self) -> str: ...

    @property
    def help(self) -> str: ...

    @property
    def takes_unknown(self) -> bool: ...

    def configure(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; the answer is the exit code of the program."""
        ...
