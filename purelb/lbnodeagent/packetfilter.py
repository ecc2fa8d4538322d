# SPDX-License-Identifier: Apache-2.0
"""Classic BPF: a few instructions in the kernel that decide which datagrams wake this process. See linux/filter.h."""

from __future__ import annotations

import socket
import struct
from typing import Final

_SO_ATTACH_FILTER: Final = 26


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    """Each instruction is (code, jump if true, jump if false, operand); jumps count from the next instruction."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def attach(sock: socket.socket, instructions: bytes) -> None:
    """Give the filter to the socket. Raises OSError when the kernel refuses it."""
    import ctypes

    held = ctypes.create_string_buffer(instructions)  # struct sock_fprog names its address, so it must outlive the call
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(instructions) // 8, ctypes.addressof(held))
    )
