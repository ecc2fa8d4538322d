# SPDX-License-Identifier: Apache-2.0
"""`purelb version`: what is installed, for bug reports."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING, Final

from purelb.process.command import DONE
from purelb.process.runtime import build_version

if TYPE_CHECKING:
    import argparse

_SHOWN: Final = ("msgspec", "aiohttp", "pyroute2", "kubernetes-asyncio", "prometheus-client", "python-json-logger")


class Version:
    name = "version"
    help = "print the versions of this program and of what it stands on"
    takes_unknown = False

    def configure(self, parser: argparse.ArgumentParser) -> None:
        del parser  # takes no arguments

    def run(self, arguments: argparse.Namespace) -> int:
        del arguments
        version, revision = build_version()
        print(f"purelb {version} (revision {revision})\nPython {platform.python_version()}")
        for name in _SHOWN:
            print(f"{name} {importlib.metadata.version(name)}")
        return DONE


command = Version()
