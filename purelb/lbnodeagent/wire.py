# SPDX-License-Identifier: Apache-2.0
"""The link itself: raw frames out, and what others claim about addresses in.

One AF_PACKET socket per interface in use. A filter in the kernel passes ARP replies, gratuitous ARP and neighbour
advertisements only, so LAN noise does not wake the process; frames of our own MACs are our own voice and are dropped. A frame
that cannot be sent is an errno symbol, not an exception. An interface that vanishes takes its socket with it in silence:
the kernel's events say so, and `use` is called again. What waits to be read is bounded; the surplus is dropped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Final

from purelb.lbnodeagent.host import Seen
from purelb.lbnodeagent.packetfilter import attach, program
from purelb.net.frames import claimed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_ETH_P_ALL: Final = 3
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_FRAME: Final = 2048
_FRAMES_AT_ONCE: Final = 64
_WAITING_MAX: Final = 4096

_HALF, _BYTE, _WORD, _TO_X, _EQUAL, _EQUAL_X, _RETURN = 0x28, 0x30, 0x20, 0x07, 0x15, 0x1D, 0x06
# ARP with opcode 2 or equal sender and target address; ICMPv6 type 136. Offsets into the Ethernet frame.
CLAIMS: Final = program(
    (_HALF, 0, 0, 12),
    (_EQUAL, 0, 6, 0x0806),
    (_HALF, 0, 0, 20),
    (_EQUAL, 9, 0, 2),
    (_WORD, 0, 0, 28),
    (_TO_X, 0, 0, 0),
    (_WORD, 0, 0, 38),
    (_EQUAL_X, 5, 6, 0),
    (_EQUAL, 0, 5, 0x86DD),
    (_BYTE, 0, 0, 20),
    (_EQUAL, 0, 3, 58),
    (_BYTE, 0, 0, 54),
    (_EQUAL, 0, 1, 136),
    (_RETURN, 0, 0, 0xFFFFFFFF),
    (_RETURN, 0, 0, 0),
)


class PacketWire:
    """`host.Wire` of the network namespace this process is in. `close` it in the end."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._macs: frozenset[bytes] = frozenset()
        self._seen: asyncio.Queue[Seen] = asyncio.Queue(_WAITING_MAX)
        self.dropped = 0

    def use(self, interfaces: Mapping[int, bytes]) -> None:
        """Listen on exactly these interfaces (index to MAC). One that cannot be opened is left out."""
        self._macs = frozenset(mac for mac in interfaces.values() if mac)
        for ifindex in [ifindex for ifindex in self._sockets if ifindex not in interfaces]:
            self._shut(ifindex)
        for ifindex in interfaces:
            if ifindex not in self._sockets:
                with contextlib.suppress(OSError):  # it vanished in this moment: the next call knows better
                    self._open(ifindex)

    def send(self, ifindex: int, frame: bytes) -> str | None:
        """The errno's symbol when the frame could not be sent."""
        sock = self._sockets.get(ifindex)
        if sock is None:
            return "ENODEV"
        for _ in range(2):  # the first error may be an old one: a socket keeps what a link that was down left behind
            try:
                sock.send(frame)
            except OSError as error:
                failed = errno.errorcode.get(error.errno or 0, "EIO")
            else:
                return None
        return failed

    async def frames(self) -> AsyncIterator[Seen]:
        """Claims of other hosts, in order. Never ends."""
        while True:
            yield await self._seen.get()

    def close(self) -> None:
        for ifindex in list(self._sockets):
            self._shut(ifindex)

    def _open(self, ifindex: int) -> None:
        name = socket.if_indextoname(ifindex)
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            sock.setblocking(False)
            attach(sock, CLAIMS)
            with contextlib.suppress(OSError):  # before Linux 4.20: our own frames are recognised by their MAC
                sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            sock.bind((name, _ETH_P_ALL))
        except BaseException:
            sock.close()
            raise
        self._sockets[ifindex] = sock
        asyncio.get_running_loop().add_reader(sock, self._read, ifindex, sock)

    def _shut(self, ifindex: int) -> None:
        sock = self._sockets.pop(ifindex)
        asyncio.get_running_loop().remove_reader(sock)
        sock.close()

    def _read(self, ifindex: int, sock: socket.socket) -> None:
        for _ in range(_FRAMES_AT_ONCE):
            try:
                frame = sock.recv(_FRAME)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in {errno.ENETDOWN, errno.EINTR}:  # down: the socket works again when it is up
                    self._shut(ifindex)
                return
            found = claimed(frame, own=self._macs)
            if found is None:
                continue
            try:
                self._seen.put_nowait(Seen(ifindex, found.ip, found.mac, found.solicited))
            except asyncio.QueueFull:
                self.dropped += 1
