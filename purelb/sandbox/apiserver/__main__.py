# SPDX-License-Identifier: Apache-2.0
"""The embedded API server by itself: `python -m purelb.sandbox.apiserver --port 0 --state-dir DIR`.

Prints where it listens and where the admin's kubeconfig is, then serves until it is interrupted. Its certificate names loopback,
the host it was told to listen on and the address that came of it; where that is every address, this machine's name too.
"""

import argparse
import asyncio
import errno
import ipaddress
import random
import re
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.discovery import SERVER_VERSION
from purelb.sandbox.apiserver.http import listening, serve
from purelb.sandbox.apiserver.mvcc import History
from purelb.sandbox.apiserver.pki import LOOPBACK, Pki


class Unusable(Exception):
    """What was asked for cannot be had on this machine; the text says what."""


async def _run(options: argparse.Namespace) -> None:
    core = ApiCore(
        version=options.server_version,
        history=History(size_bytes=options.history * 1024 * 1024),
        rng=random.SystemRandom().random,
        epoch=datetime.now(UTC),
        watch_cache=options.watch_cache == "on",
        watch_list=options.watch_list,
    )
    try:
        one = listening(options.host, options.port)
    except OSError as error:
        why = error.strerror or str(error)
        raise Unusable(f"cannot listen on {options.host}:{options.port}: {why}; {_remedy(error)}") from error
    try:
        pki = Pki(options.state_dir, names=_names(options.host, one))
    except OSError as error:
        one.close()
        raise Unusable(
            f"cannot keep the authority in {options.state_dir}: {error.strerror or error}; "
            "give --state-dir a directory that you may write"
        ) from error
    async with serve(core, pki=pki, sockets=[one]) as server:
        stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for number in (signal.SIGINT, signal.SIGTERM):  # before anybody can know that there is something to end
            asyncio.get_running_loop().add_signal_handler(number, _ended, stop)
        print(f"listening on {server.url}")
        print(f"export KUBECONFIG={server.admin_kubeconfig()}", flush=True)
        await stop


def _remedy(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program has it: --port 0 takes a free one"
        case errno.EACCES:
            return "ports below 1024 need root: --port 0 takes a free one"
        case _:
            return "give --host an address of this machine, 127.0.0.1 for example"


def _names(host: str, one: socket.socket) -> tuple[str, ...]:
    """Under which the server will be reached."""
    address = one.getsockname()[0]
    every = (socket.gethostname(),) if ipaddress.ip_address(address).is_unspecified else ()
    return tuple(dict.fromkeys((*LOOPBACK, host, address, *every)))


def _ended(stop: asyncio.Future[None]) -> None:
    if not stop.done():
        stop.set_result(None)


def _version(text: str) -> str:
    if not re.fullmatch(r"1\.\d{1,3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no version of Kubernetes: say 1.34, for example")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: say a number from 0 to 65535, 0 takes a free one")
    return int(text)


def _mebibytes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of MiB from 1 to 1000000")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m purelb.sandbox.apiserver", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on, loopback unless you know better")
    parser.add_argument("--port", type=_port, default=0, help="port, 0 takes a free one")
    parser.add_argument("--state-dir", type=Path, required=True, help="where the authority and the kubeconfig are kept")
    parser.add_argument(
        "--server-version", type=_version, default=SERVER_VERSION, help="what /version says (default %(default)s)"
    )
    parser.add_argument(
        "--history",
        type=_mebibytes,
        default=256,
        metavar="MIB",
        help="most that the past may take (default %(default)s)",
    )
    parser.add_argument(
        "--watch-cache", choices=("on", "off"), default="on", help="off: limits count at resourceVersion 0 (default on)"
    )
    parser.add_argument(
        "--watch-list",
        choices=("on", "off", "ignore"),
        default="on",
        help="off refuses sendInitialEvents, ignore does not know it (default on)",
    )
    try:
        asyncio.run(_run(parser.parse_args()))
    except Unusable as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
