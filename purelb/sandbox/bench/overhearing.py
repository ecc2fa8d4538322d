# SPDX-License-Identifier: Apache-2.0
"""What is heard at the far end of the cable: when each address was first claimed there without having been asked for.

Gratuitous ARP and unsolicited neighbour advertisements, read from an AF_PACKET socket in the client's namespace. Times are of this
process's own clock, taken when the frame is read here, as the observer takes those of interfaces.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from purelb.net.frames import claimed
from purelb.sandbox.rig.namespaces import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from purelb.sandbox.bench.cable import FarEnd

ETH_P_ALL: Final = 3
FRAME_MAX_BYTES: Final = 2048


class Overheard:
    """`claims`: when each address was first claimed, by its text."""

    def __init__(self) -> None:
        self.claims: dict[str, float] = {}

    def heard(self, frame: bytes, at: float) -> None:
        """Take in a frame; an answer to somebody's question and anything else is none of ours."""
        found = claimed(frame, own=frozenset())
        if found is not None and not found.solicited:
            self.claims.setdefault(str(found.ip), at)


@contextmanager
def overhearing(far: FarEnd) -> Iterator[Overheard]:
    """Listen until the block ends; needs a running loop."""
    overheard = Overheard()
    with inside(far.network):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    with sock:
        sock.setblocking(False)
        sock.bind((far.link, ETH_P_ALL))
        loop = asyncio.get_running_loop()
        loop.add_reader(sock, _read, sock, overheard)
        try:
            yield overheard
        finally:
            loop.remove_reader(sock)


def _read(sock: socket.socket, overheard: Overheard) -> None:
    while True:
        try:
            frame = sock.recv(FRAME_MAX_BYTES)
        except BlockingIOError:
            return
        overheard.heard(frame, time.perf_counter())
