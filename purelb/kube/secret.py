# SPDX-License-Identifier: Apache-2.0
"""A text that nobody reads by accident.

Whatever prints or formats it gets `[redacted]`. Encoders do not know it: those that write for people are given `redacted` as
their hook, the others raise, since a secret that is encoded into a request was not meant to be one. Two are equal when their
texts are, compared in constant time. `reveal` is the only way to the text, and a test lists the modules that may call it.

Rejected: a `str` with another content; joined to a URL it would be a text like any other. Not promised: that it is gone from
memory when it is dropped.
"""

from __future__ import annotations

import hmac
from typing import Final, NoReturn

REDACTED: Final = "[redacted]"


class Secret:
    """`Secret("token")`; see the head of this file."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text, to be sent and not to be kept."""
        return self.__text

    def __str__(self) -> str:
        return REDACTED

    __repr__ = __str__

    def __format__(self, form: str) -> str:
        return format(REDACTED, form)

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (each.encode("utf-8", "surrogatepass") for each in (self.__text, other.reveal()))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is neither copied nor pickled")


def redacted(value: object) -> str:
    """`enc_hook` (msgspec) and `default` (json) of encoders that write for people. Raises TypeError for what is no secret."""
    if isinstance(value, Secret):
        return REDACTED
    raise TypeError(f"a {type(value).__name__} cannot be encoded")
