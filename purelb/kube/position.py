# SPDX-License-Identifier: Apache-2.0
"""How far a reflector has come, and from which version the next list or stream of everything has to be.

A relist never goes back in time: it asks for the version that we have, or a newer one. Only what the server no longer has, or
has not seen yet, is replaced by the newest (a read from the quorum), at once and once. The first list may come from the
server's cache (`"0"`), unless it must be consistent. Versions are opaque: they are told apart from `""` and `"0"`, no more.

Relists are numbered as they are asked for, so that whoever asked hears of the first one that began afterwards.
"""

from typing import Final

from purelb.kube.errors import ApiError, Expired, KubeError
from purelb.kube.listwatch import List

PAGE_SIZE: Final = 500


class Position:
    """`consistent`: the first list is a quorum read. `page_size`: page every list by it."""

    def __init__(self, *, consistent: bool, page_size: int | None) -> None:
        self.rv = ""
        self.filled_once = False
        self.page_size = page_size or PAGE_SIZE
        self._always_page = bool(page_size)
        self._consistent = consistent
        self._newest = False  # what we asked for is not there any more, or not there yet
        self._asked = 0  # relists asked for
        self._asked_consistent = 0  # the last of them that must be a quorum read
        self._serves = 0  # as many had been asked for when the fetch under way began
        self._served = 0
        self._holding = False

    @property
    def served(self) -> int:
        """How many of the relists asked for are answered by what is stored."""
        return self._served

    @property
    def owes(self) -> bool:
        """Whether a relist was asked for that nothing fetched so far answers."""
        return self._asked > self._served

    # What has to be fetched

    def relist(self, *, consistent: bool) -> None:
        """Somebody wants everything anew."""
        self._asked += 1
        if consistent:
            self._asked_consistent = self._asked

    def next_list(self) -> List:
        """A list of everything begins: its first page."""
        quorum = self._begins()
        if self.filled_once:
            rv = "" if quorum else self.rv
        else:
            rv = "" if quorum or self._consistent else "0"
        return List(rv=rv, limit=self.page_size if rv in {"", "0"} or self._always_page else 0)

    def next_stream(self) -> str:
        """A stream of everything begins: the version to ask it for, never the cache's."""
        quorum = self._begins()
        return "" if quorum or self.rv == "0" else self.rv

    def continued(self, asked: List) -> None:
        """A page promised another one. A server that pages its cache has no cache worth asking."""
        if asked.rv == "0" and not self.filled_once:
            self._always_page = True

    def filled(self, rv: str) -> bool:
        """Everything was fetched, as of `rv`; whether for the first time."""
        first, self.filled_once = not self.filled_once, True
        self._newest, self._served, self.rv = False, self._serves, rv
        return first

    def distrust(self) -> None:
        """What we have is known to be wrong: the next fetch is a quorum read."""
        self._newest = True

    def went_too_far(self, error: KubeError | None) -> bool:
        """The version that we asked for is not there any more, or not yet, and we have not asked for the newest so far."""
        gone = isinstance(error, Expired) or (isinstance(error, ApiError) and error.rv_too_large)
        if gone and not self._newest:
            self._newest = True
            return True
        return False

    def _begins(self) -> bool:
        self._serves = self._asked
        return self._newest or self._asked_consistent > self._served

    # While watching

    def watched(self) -> None:
        """A watch from here begins."""
        self._holding = self.rv in {"", "0"}

    def streamed(self) -> None:
        """The stream of everything goes on as a watch."""
        self._holding = False

    def advance(self, rv: str, kind: str) -> None:
        """An event of this kind brought `rv`."""
        if kind != "ADDED":
            self._holding = False
        # A watch from "any version" begins with one ADDED per object, in no order of versions.
        if rv and not self._holding:
            self.rv = rv
