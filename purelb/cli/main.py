# SPDX-License-Identifier: Apache-2.0
"""The program `purelb`: finds its subcommands through the entry-point group `purelb.commands` and runs one.

Only the chosen subcommand is imported, so that a node agent does not carry the sandbox in its memory. A subcommand whose
extra is not installed says which one to install.

Until the subcommand has been imported, which takes a good part of a second, SIGINT and SIGTERM end the program at once with 130
or 143: nothing is there to be cleaned up, and for process 1 the kernel would do nothing at all. SIGTERM does so until the
subcommand says otherwise. So this file imports next to nothing before it has said that.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.metadata import EntryPoint

    from purelb.process.command import Command

GROUP: Final = "purelb.commands"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand named by the first argument; the answer is the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if before[number] == usual:  # who was started to ignore it goes on to ignore it
            signal.signal(number, _end)
    try:
        return _run(given, interrupted=lambda: signal.signal(signal.SIGINT, before[signal.SIGINT]))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        for number, handler in before.items():
            if handler is not None:  # one of whoever embeds this, not Python's
                signal.signal(number, handler)


def _end(number: int, _: object) -> None:
    os._exit(128 + number)


def _run(given: list[str], *, interrupted: Callable[[], object]) -> int:
    """`interrupted`: from now on SIGINT is an exception."""
    import argparse
    from importlib.metadata import entry_points

    from purelb.process.command import BAD_USAGE, CANNOT_WORK_HERE

    known = {point.name: point for point in entry_points(group=GROUP)}
    if not given or given[0] in {"-h", "--help", "help"}:
        print(usage(known))
        return 0 if given else BAD_USAGE
    if given[0] == "--version":
        given[0] = "version"
    if (point := known.get(given[0])) is None:
        print(f'purelb: "{given[0]}" is not a command\n\n{usage(known)}', file=sys.stderr)
        return BAD_USAGE
    try:
        command: Command = point.load()
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("purelb"):
            raise
        print(
            f"purelb {given[0]}: the package {missing.name} is missing: pip install 'purelb[sandbox]'", file=sys.stderr
        )
        return CANNOT_WORK_HERE
    parser = argparse.ArgumentParser(prog=f"purelb {command.name}", description=command.help, allow_abbrev=False)
    command.configure(parser)
    arguments, unknown = parser.parse_known_args(given[1:])
    if unknown and not command.takes_unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    arguments.unknown = unknown
    interrupted()
    return command.run(arguments)


def usage(known: dict[str, EntryPoint]) -> str:
    """What `purelb --help` prints."""
    names = "\n".join(f"  {name}" for name in sorted(known))
    return f"usage: purelb COMMAND [...]\n\ncommands:\n{names}\n\nEach has --help."


if __name__ == "__main__":
    sys.exit(main())
