# SPDX-License-Identifier: Apache-2.0
"""`purelb state`: the state of the component that runs beside this command, as JSON."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from purelb.process.command import CANNOT_WORK_HERE, DONE
from purelb.process.options import STATE_SOCKET
from purelb.process.statesocket import ask

if TYPE_CHECKING:
    import argparse


class State:
    name = "state"
    help = "print the state of the component that runs here, as JSON"
    takes_unknown = False

    def configure(self, parser: argparse.ArgumentParser) -> None:
        default = os.environ.get("PURELB_STATE_SOCKET") or STATE_SOCKET
        parser.add_argument("--state-socket", default=default, metavar="PATH", help=f"its Unix socket ({default})")

    def run(self, arguments: argparse.Namespace) -> int:
        try:
            answer = ask(arguments.state_socket)
        except OSError as error:
            print(
                f"nothing answers at {arguments.state_socket}: {error.strerror or error}; does the component run here, "
                "with this --state-socket?",
                file=sys.stderr,
            )
            return CANNOT_WORK_HERE
        sys.stdout.buffer.write(answer)
        return DONE


command = State()
