# SPDX-License-Identifier: Apache-2.0
"""The answer to a list as a page of objects, taken apart while others have their turns.

A long body is cut into its items chunk by chunk (`pieces`). Where that does not work out, which the decoder shows, it is put
together and read as a whole, as short ones are: a long stretch on the loop, but the same objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from purelb.kube.clock import breathe
from purelb.kube.decode import Codec, Encoded, Known, Page, Poison, whole
from purelb.kube.errors import DecodeError
from purelb.kube.model import KubeObject
from purelb.kube.pieces import ItemSplitter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from purelb.kube.clock import Clock
    from purelb.kube.transport import Response

T = TypeVar("T", bound=KubeObject)

LARGE_BYTES: Final = 1024 * 1024
SLICE: Final = 0.005  # work on the loop before others get a turn


class Listing(Generic[T]):
    """One for each answer."""

    def __init__(
        self, codec: Codec[T], *, clock: Clock, transform: Callable[[T], T] | None, known: Known[T] | None
    ) -> None:
        self._codec = codec
        self._clock = clock
        self._transform = transform
        self._known = known
        self._objects: list[T] = []
        self._poison: list[Poison] = []
        self._until = 0.0

    async def page(self, answer: Response) -> Page[T]:
        """Its objects, as they are to be stored, and those that cannot be read. Raises `DecodeError` for what is no list."""
        self._until = self._clock.now() + SLICE
        if answer.pieces:
            if (page := await self._of_pieces(answer.pieces)) is not None:
                return page
            self._objects, self._poison = [], []
        body = b"".join(answer.pieces) or answer.body
        del answer
        if len(body) > LARGE_BYTES:
            await breathe()  # its chunks were joined in this turn, and taking it apart takes as long again
            self._until = self._clock.now() + SLICE
        raws, version, more = self._codec.envelope(body)
        del body  # it lives on in `raws` alone
        await self._take(raws)
        return self._page(version, more)

    async def _of_pieces(self, chunks: Iterable[bytes]) -> Page[T] | None:
        """None where an item turned out to be cut in the wrong place."""
        splitter = ItemSplitter()
        for chunk in chunks:
            if not await self._take(splitter.feed(chunk), pieces=True):
                return None
        rest = splitter.rest()
        if rest is None:
            return None
        try:
            raws, version, more = self._codec.envelope(rest)
        except DecodeError:
            return None  # what is wrong with the list as a whole is said of the whole
        await self._take(raws)
        return self._page(version, more)

    async def _take(self, items: Iterable[Encoded], *, pieces: bool = False) -> bool:
        """Decode them; whether all of them were items, of which a piece of a body has to be asked."""
        for item in items:
            match self._codec.item(item, transform=self._transform, known=self._known):
                case Poison() as bad:
                    if pieces and not whole(item):
                        return False
                    self._poison.append(bad)
                case good:
                    self._objects.append(good)
            if self._clock.now() >= self._until:
                await breathe()
                self._until = self._clock.now() + SLICE
        return True

    def _page(self, version: str, more: str | None) -> Page[T]:
        return Page(objects=tuple(self._objects), poison=tuple(self._poison), rv=version, continue_=more)
