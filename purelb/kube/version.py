# SPDX-License-Identifier: Apache-2.0
"""Whether a server can stream the initial state of a watch, asked once per client.

It can from 1.27 on; what does not look like a version is tried, since a server that cannot says so. All who want to know at
the same time wait for one request. When that brings no answer it is the error of all of them and nothing is remembered; when
the one who made it is cancelled, another one makes it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from purelb.kube.bell import Bell
from purelb.kube.errors import ApiError, KubeError, TooManyRequests, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from purelb.kube.clock import Clock

STREAMS_SINCE: Final = (1, 27)


class _Version(msgspec.Struct):
    major: str = ""
    minor: str = ""


_NUMBERS: Final = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")
_VERSION: Final = msgspec.json.Decoder(_Version)


def streams(body: bytes) -> bool:
    """What the answer to `/version` says about it. Providers append to the minor version: `27+` is 27."""
    try:
        said = _VERSION.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    found = _NUMBERS.match(f"{said.major}.{said.minor}")
    return found is None or (int(found[1]), int(found[2])) >= STREAMS_SINCE


class ServerVersion:
    """`ask` makes the request."""

    def __init__(self, ask: Callable[[], Awaitable[bytes]], *, clock: Clock) -> None:
        self._ask = ask
        self._bell = Bell(clock)
        self._asking = False
        self._failures = 0
        self._failure: KubeError | None = None
        self._streams: bool | None = None

    async def streams(self) -> bool:
        """Raises `KubeError` when there is no answer."""
        before = self._failures
        while (known := self._streams) is None:
            if self._asking:
                await self._bell.wait(None)
            else:
                await self._request()
            if self._failures != before and self._failure is not None:
                raise self._failure
        return known

    async def _request(self) -> None:
        self._asking = True
        try:
            self._streams = streams(await self._ask())
        except KubeError as error:
            if _says_nothing(error):
                self._streams = True
            else:
                self._failures += 1
                self._failure = error
        finally:
            self._asking = False
            self._bell.ring_all()


def _says_nothing(error: KubeError) -> bool:
    """Whether the server is there, and will go on to keep its version to itself."""
    return isinstance(error, ApiError) and error.code < 500 and not isinstance(error, Unauthorized | TooManyRequests)
