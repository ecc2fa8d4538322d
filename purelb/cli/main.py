# SPDX-License-Identifier: Apache-2.0
"""The program `purelb`: finds its subcommands through the entry-point group `purelb.commands` and runs one.

Only the chosen subcommand is imported, so that a node agent does not carry the sandbox in its memory. A subcommand whose
extra is not installed says which one to install.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from purelb.process.command import BAD_USAGE, CANNOT_WORK_HERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from purelb.process.command import Command

GROUP = "purelb.commands"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand named by the first argument; the answer is the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
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
    try:
        return command.run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def usage(known: dict[str, EntryPoint]) -> str:
    """What `purelb --help` prints."""
    names = "\n".join(f"  {name}" for name in sorted(known))
    return f"usage: purelb COMMAND [...]\n\ncommands:\n{names}\n\nEach has --help."


if __name__ == "__main__":
    sys.exit(main())
