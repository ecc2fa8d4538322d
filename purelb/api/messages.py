# SPDX-License-Identifier: Apache-2.0
"""The bound of what we write for people: conditions and Events hold at most 1024 characters."""

from typing import Final

from purelb.net.quoting import quoted, shown

__all__ = ["MESSAGE_MAX", "cut", "quoted", "shown"]

MESSAGE_MAX: Final = 1024


def cut(message: str, *, most: int = MESSAGE_MAX) -> str:
    """`message`, its end replaced by ` ...` when it is longer than `most` characters. Always encodes as UTF-8.

    The bound is in characters, as the API counts it; text of users in it was already `shown`.
    """
    whole = message if len(message) <= most else message[: most - 4] + " ..."
    return whole.encode("utf-8", "replace").decode()
