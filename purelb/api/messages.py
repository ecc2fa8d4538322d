# SPDX-License-Identifier: Apache-2.0
"""The bound of what we write for people: conditions and Events hold at most 1024 characters."""

from typing import Final

from purelb.net.quoting import quoted, shown

__all__ = ["MESSAGE_MAX", "cut", "quoted", "shown"]

MESSAGE_MAX: Final = 1024


def cut(message: str, *, most: int = MESSAGE_MAX, tail: str = "") -> str:
    """`message` and `tail`; what is longer than `most` characters ends in ` ...`. Always encodes as UTF-8.

    What has to be left out is left out of the message, unless the tail alone takes more than half of the room. The bound is
    in characters, as the API counts it; text of users in it was already `shown`.
    """
    if 2 * len(tail) > most:
        message, tail = message + tail, ""
    room = most - len(tail)
    whole = (message if len(message) <= room else message[: room - 4] + " ...") + tail
    return whole if whole.isascii() else whole.encode("utf-8", "replace").decode()
